"""One model, or several by name."""

from collections.abc import Mapping

from torch import nn

__all__ = ["Models", "as_module"]

Models = nn.Module | Mapping[str, nn.Module]
"""A model, or several by name, e.g. the generator and the discriminator of a GAN."""


def as_module(models: Models) -> nn.Module:
    """The model, or a ``ModuleDict`` of several.

    Raises:
        TypeError: if one of several is not a module.
        ValueError: if a name cannot be one of a ``ModuleDict``.

    >>> list(as_module({"actor": nn.Linear(2, 1), "critic": nn.Linear(2, 1)}).state_dict())
    ['actor.weight', 'actor.bias', 'critic.weight', 'critic.bias']
    """
    if isinstance(models, nn.Module) or not isinstance(models, Mapping):
        return models
    others = {name: type(part).__name__ for name, part in models.items() if not isinstance(part, nn.Module)}
    if wrong := [name for name in models if not _can_be_name(name)]:
        raise ValueError(f"names of models must be words that a ModuleDict can hold, e.g. 'actor'; got {wrong}")
    if others or not models:
        raise TypeError(f"each model by name must be a torch.nn.Module; got {others or 'none'}")
    whole = nn.ModuleDict(models)
    whole.training = any(part.training for part in models.values())  # new ones say that they train
    return whole


def _can_be_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and "." not in name and not hasattr(nn.ModuleDict, name)
