"""Where a model has its tensors: another one may be put in the place of each, during a run."""

from typing import Any

from torch import Tensor, nn

__all__ = ["Place", "buffer_places", "tensor_at", "weight_places"]

Place = tuple[dict[str, Any], str]
"""Among which of a module's parameters or buffers, and under which name."""


def tensor_at(place: Place) -> Tensor:
    """What is there now; KeyError if the name is gone, e.g. of a weight that was pruned or parametrised."""
    tensors, name = place
    value: Tensor = tensors[name]
    return value


def buffer_places(model: nn.Module) -> list[Place]:
    """Those of all buffers, also of those that no state dict holds."""
    return [
        (module._buffers, name)
        for module in model.modules()
        for name, value in module._buffers.items()
        if value is not None
    ]


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
