"""Packages that only parts of the library need: loaded when they are first used, and named where they are missing."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["EXTRAS", "MissingPackageError", "check_installed", "needs", "pandas", "polars"]

_FRAMES = {"pandas": "pandas", "polars": "polars", "scipy": "scipy", "sklearn": "scikit-learn"}
_PICTURES = {"jinja2": "jinja2", "matplotlib": "matplotlib", "PIL": "pillow"}

EXTRAS: Mapping[str, Mapping[str, str]] = {
    "cli": {
        "docstring_parser": "docstring-parser",
        "jsonargparse": "jsonargparse",
        "statsmodels": "statsmodels",
        **_FRAMES,
        **_PICTURES,
    },
    "ebird": _FRAMES,
    "images": {"PIL": "pillow"},
    "onnx": {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
    "report": {**_PICTURES, "polars": "polars"},
    "search": {"optuna": "optuna", **_FRAMES},
    "tables": _FRAMES,
    "traffic": {"statsmodels": "statsmodels", **_FRAMES},
}
"""The extras of the distribution: the names by which their packages are imported, and by which pip knows them."""


class MissingPackageError(ModuleNotFoundError):
    """A package that is not part of the core is not installed; the message has the line that installs it."""


@contextmanager
def needs(extra: str, otherwise: str = "") -> Iterator[None]:
    """Around the import of a package that is not part of the core.

    Args:
        extra: of :data:`EXTRAS`, that installs it.
        otherwise: what can be done without the package.

    Raises:
        MissingPackageError: if the package is missing.

    >>> with needs("tables"):
    ...     from sklearn.preprocessing import StandardScaler
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = EXTRAS[extra].get(str(error.name))
        if missing is None:  # a fault of the package itself
            raise
        line = f"pip install 'ignite-recipes[{extra}]'{otherwise and ', or '}{otherwise}"
        raise MissingPackageError(
            f"{missing} must be installed for this, and is not: {line}", name=error.name
        ) from None


def check_installed(extra: str, otherwise: str = "") -> None:
    """Raise MissingPackageError if a package of an extra is missing: before a long work whose end needs it.

    >>> check_installed("tables")
    """
    for name in EXTRAS[extra]:
        with needs(extra, otherwise):
            if importlib.util.find_spec(name) is None:
                raise ModuleNotFoundError(name=name)


class _Lazy(ModuleType):
    """A module that is loaded when something of it is first used."""

    def __init__(self, name: str, extra: str) -> None:
        super().__init__(name)
        self._extra = extra

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # whoever looks a module over does not use it
            raise AttributeError(attribute)
        with needs(self._extra):
            module = importlib.import_module(self.__name__)
        value = getattr(module, attribute)
        vars(self)[attribute] = value
        return value


if TYPE_CHECKING:
    import pandas as pandas
    import polars as polars
else:
    pandas, polars = _Lazy("pandas", "tables"), _Lazy("polars", "tables")
