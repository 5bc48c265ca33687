"""Print the lower bound of every dependency in pyproject.toml, as constraints for pip.

``make test-lowest`` installs these versions and runs the tests on them.
"""

import itertools
import re
import sys
import tomllib
from pathlib import Path

BOUND = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,]+\])?>=(?P<version>[\w.]+) *(?P<marker>;.*)?")


def lowest(requirement: str) -> str:
    """Turn ``name>=version; marker`` into ``name==version; marker``."""
    bound = BOUND.fullmatch(requirement)
    if bound is None:
        raise ValueError(
            f"{requirement!r} in pyproject.toml is not of the form 'name>=version' (a "
            "marker may follow), so it has no lower bound to test."
        )
    return f"{bound['name']}=={bound['version']}{bound['marker'] or ''}"


def main() -> None:
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    own = f"{project['name']}["  # the extra "dev" takes in the others
    sys.stdout.writelines(lowest(r) + "\n" for r in requirements if not r.startswith(own))


if __name__ == "__main__":
    main()
