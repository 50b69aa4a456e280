"""Where a model has its tensors: another one may be put in the place of each, during a run."""

from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

__all__ = ["ModuleTree", "Place", "buffer_places", "is_lazy", "tensor_at", "weight_places"]

Place = tuple[dict[str, Any], str]
"""Among which of a module's parameters or buffers, and under which name."""


class ModuleTree:
    """Which modules a model consists of, to notice cheaply that one was replaced, added or taken away.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> tree = ModuleTree(model)
    >>> tree.has_changed()
    False
    >>> model[1] = nn.Linear(2, 3)
    >>> tree.has_changed()
    True
    """

    def __init__(self, model: nn.Module) -> None:
        self._children = [(module._modules, dict(module._modules)) for module in model.modules() if module._modules]

    def has_changed(self) -> bool:
        """Whether a module has other children than when this was made."""
        return any(now != then for now, then in self._children)  # modules are equal where they are the same


def is_lazy(model: nn.Module) -> bool:
    """Whether the model has layers whose sizes are still to be seen from a first batch."""
    kinds = (UninitializedParameter, UninitializedBuffer)
    return any(isinstance(tensor, kinds) for tensor in (*model.parameters(), *model.buffers()))


def tensor_at(place: Place) -> Tensor:
    """What is there now; KeyError if the name is gone, e.g. of a weight that was pruned or parametrised."""
    tensors, name = place
    value: Tensor = tensors[name]
    return value


def buffer_places(model: nn.Module) -> list[Place]:
    """Those of all buffers, also of those that no state dict holds."""
    of_modules = [module._buffers for module in model.modules()]
    return [(buffers, name) for buffers in of_modules for name, value in buffers.items() if value is not None]


def weight_places(model: nn.Module) -> dict[str, Place]:
    """Those of the tensors of the model's state dict, under their names there."""
    saved, places = model.state_dict(keep_vars=True), {}
    for path, module in model.named_modules(remove_duplicate=False):
        for tensors in (module._parameters, module._buffers):
            for name, value in tensors.items():
                full = f"{path}.{name}" if path else name
                if value is not None and saved.get(full) is value:
                    places[full] = (tensors, name)
    return places
