"""Autoencoder embeddings of single cells: train, compare and judge them.

Importing this package is quick: each name below is loaded when it is first used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cellglass import pl, tl
    from cellglass.cluster import Clustering, cluster
    from cellglass.compare import Comparison, compare
    from cellglass.errors import InputError, TrainingError
    from cellglass.estimator import Autoencoder
    from cellglass.model import Model, load
    from cellglass.read import read
    from cellglass.simulate import simulate

_HOME = {
    "Autoencoder": "estimator",
    "Clustering": "cluster",
    "Comparison": "compare",
    "InputError": "errors",
    "Model": "model",
    "TrainingError": "errors",
    "cluster": "cluster",
    "compare": "compare",
    "load": "model",
    "read": "read",
    "select": "select",
    "simulate": "simulate",
}

_SUBMODULES = ("pl", "tl")

__all__ = [
    "Autoencoder",
    "Clustering",
    "Comparison",
    "InputError",
    "Model",
    "TrainingError",
    "cluster",
    "compare",
    "load",
    "pl",
    "read",
    "select",
    "simulate",
    "tl",
]


class _Package(ModuleType):
    """Keeps ``cellglass.compare`` the function where a submodule has the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a submodule sets it on its package; functions come first here.
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"cellglass.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'cellglass' has no attribute {name!r}")
    return getattr(import_module(f"cellglass.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_SUBMODULES})
