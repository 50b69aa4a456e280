"""The names that a model file gives to inputs, classes and units, checked."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["checked_classes", "checked_features", "checked_units", "probability_names"]


def checked_classes(class_names: Sequence[Any] | None) -> list[Any] | None:
    """The names of at least two classes, each once; as texts if they are of several types.

    Raises:
        ValueError: if they are not.
    """
    if class_names is None:
        return None
    names = [] if isinstance(class_names, str) else list(class_names)
    if len(names) < 2 or len({str(name) for name in names}) < len(names):
        raise ValueError(f"class_names must be the different names of at least two classes; got {class_names!r:.80}")
    if not all(isinstance(name, (str, int, float, bool)) for name in names):
        raise ValueError(f"class_names must be texts, numbers or booleans; got {class_names!r:.80}")
    return names if len({type(name) for name in names}) == 1 else [str(name) for name in names]


def checked_features(feature_names: Sequence[str] | None, count: int | None) -> list[str] | None:
    """The names of the inputs, ``count`` of them where that is known.

    Raises:
        ValueError: if they are not.
    """
    if feature_names is None:
        return None
    names = list(feature_names)
    if isinstance(feature_names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"feature_names must be a list of texts; got {feature_names!r:.80}")
    if count is not None and len(names) != count:
        raise ValueError(f"feature_names must name the model's {count} features; got {len(names)}")
    return names


def checked_units(units: Mapping[str, str] | None) -> dict[str, str]:
    """Texts by the names of columns.

    Raises:
        ValueError: if they are not.
    """
    found = {} if units is None else units
    if not isinstance(found, Mapping) or not all(isinstance(x, str) for pair in found.items() for x in pair):
        raise ValueError(f"units must be a text for each name; got {units!r:.80}")
    return dict(found)


def probability_names(class_names: Sequence[Any]) -> list[str]:
    """The columns of the classes' probabilities.

    >>> probability_names(["crow", 3])
    ['p_crow', 'p_3']
    """
    return [f"p_{name}" for name in class_names]
