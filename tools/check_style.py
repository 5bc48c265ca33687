"""Check the rules of CONTRIBUTING.md that neither ruff nor mypy can.

Prints one line a violation, ``file:line: what is wrong``, and exits with 1 if there is
any. Each rule is a function from text to violations, so that a test can give it any text.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "src/cellglass"
HEAVY = ("anndata", "jax", "matplotlib", "pandas", "scanpy", "sklearn")

# The brackets keep these patterns from finding themselves.
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:[h]ome|[r]oot|[t]mp|[U]sers|[o]pt|[s]rv)/\w")
REGISTRY_HOST = re.compile(r"p[y]pi\.org|python[h]osted|anacond[a]\.org|np[m]js")

Violation = tuple[int, str]  # line, what is wrong


def check_module_docstring(source: str) -> Iterator[Violation]:
    """Demand that a module opens with its job, in one sentence on one line."""
    lines = (ast.get_docstring(ast.parse(source)) or "").splitlines()
    if not lines:
        yield 1, "the module has no docstring; say its job in one sentence"
    elif not re.fullmatch(r"(?:[^.!?]|[.!?](?=\S))+\.", lines[0]):
        yield 1, f"the docstring's first line is not one sentence: {lines[0]!r}"


def check_no_pickle(source: str) -> Iterator[Violation]:
    """Forbid arrays that can run code when they are loaded."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=False)):
                pass
            case ast.keyword(arg="allow_pickle"):
                yield node.lineno, "allow_pickle may only be False"


def check_portable(text: str) -> Iterator[Violation]:
    """Forbid a folder of one machine, or the host of a package registry."""
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in (("path", MACHINE_PATH), ("registry", REGISTRY_HOST)):
            if found := pattern.search(line):
                yield number, f"names a {what} that others may not have: {found[0]!r}"


def check_architecture(page: str, modules: Iterable[str]) -> Iterator[Violation]:
    """Demand that the page names every module, a folder's ``__init__.py`` by the folder."""
    named = set(re.findall(r"\w+\.py\b|\w+(?=/)", page))
    for module in modules:
        path = Path(module)
        is_folder = path.name == "__init__.py" and len(path.parts) > 1
        name = path.parent.name if is_folder else path.name
        if name not in named:
            yield 1, f"does not name {module}"


def check_changelog(changelog: str, version: str) -> Iterator[Violation]:
    """Demand a section for what is coming, or for the current version."""
    if not re.search(rf"^## \[?(Unreleased|{re.escape(version)})\b", changelog, re.M):
        yield 1, f"has no section '## Unreleased' or '## {version}'"


def check_citation(citation: str, version: str) -> Iterator[Violation]:
    """Demand that the citation is of the current version."""
    found = re.search(r"^version: *[\"']?([^\s\"']+)", citation, re.M)
    if found is None or found[1] != version:
        cited = found[1] if found else "none"
        yield 1, f"version is {cited}, but cellglass.__version__ is {version}"


def check_light_import(module: str) -> Iterator[Violation]:
    """Demand that importing this module loads no library that takes long."""
    program = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if run.returncode:
        yield 1, f"{module} cannot be imported: {run.stderr.strip().splitlines()[-1]}"
    for heavy in sorted(set(HEAVY) & set(run.stdout.split())):
        yield 1, f"importing {module} loads {heavy}; import it where it is used"


def check_project() -> Iterator[tuple[str, int, str]]:
    def read(name: str) -> str:
        path = ROOT / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def at(name: str, violations: Iterable[Violation]) -> Iterator[tuple[str, int, str]]:
        return ((name, line, what) for line, what in violations)

    modules = sorted(
        path.relative_to(ROOT).as_posix() for path in ROOT.glob(PACKAGE + "/**/*.py")
    )
    for module in modules:
        yield from at(module, check_module_docstring(read(module)))
        yield from at(module, check_no_pickle(read(module)))
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in sorted(filter(None, listed.stdout.split("\0"))):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in content:
            yield from at(name, check_portable(content.decode("utf-8", "replace")))

    version = re.search(r'^__version__ = "(.+)"', read(f"{PACKAGE}/__init__.py"), re.M)[1]
    in_package = [module.removeprefix(PACKAGE + "/") for module in modules]
    page = "docs/architecture.md"
    yield from at(page, check_architecture(read(page), in_package))
    yield from at("CHANGELOG.md", check_changelog(read("CHANGELOG.md"), version))
    yield from at("CITATION.cff", check_citation(read("CITATION.cff"), version))
    for file, module in (("__init__", "cellglass"), ("cli/__init__", "cellglass.cli")):
        yield from at(f"{PACKAGE}/{file}.py", check_light_import(module))


def main() -> None:
    violations = list(check_project())
    for name, line, what in violations:
        print(f"{name}:{line}: {what}")
    sys.exit(bool(violations))


if __name__ == "__main__":
    main()
