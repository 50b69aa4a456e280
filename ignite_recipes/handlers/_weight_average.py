"""A moving average of a model's weights: a tensor for each of them, whatever the model does to its own meanwhile."""

import logging
import operator
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ignite_recipes.engine.places import ModuleTree, Place, is_lazy, tensor_at, weight_places
from ignite_recipes.exchange.sharded import local_tensors

__all__ = ["WeightAverage"]

logger = logging.getLogger(__name__)


class WeightAverage:
    """The average of a model's weights; it begins with those of now, and follows a model that changes.

    Buffers and whole numbers are copied; the average of half-precision weights is in float32.

    Args:
        model: without wrappers.

    Attributes:
        tensors: the average under the names of the model's state dict.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.tensors: dict[str, Tensor] = {}
        self._places: dict[str, Place] = {}
        self._tree: ModuleTree | None = None
        self._seen: list[list[Tensor]] = []  # the weights of the last step
        # The same tensors, and where the model has its own (it may put another buffer in the place of one);
        # those that are averaged and those that are copied, each kind in one operation for each dtype.
        self._groups: dict[tuple[bool, torch.dtype], tuple[list[Tensor], list[Place]]] = {}
        self._find({} if is_lazy(model) else weight_places(model))  # lazy layers are sized when the run starts

    def update(self, decay: float) -> None:
        """Keep ``decay`` of the average, and take the rest from the weights as they are now."""
        weights = self._current()
        if weights is None:
            self.follow_model()
            weights = self._current() or []
        for ((is_averaged, dtype), (averages, _)), current in zip(self._groups.items(), weights, strict=True):
            averages, values = local_tensors(averages), local_tensors(current)
            if is_averaged:  # with the weights themselves, if they are not in half precision
                torch._foreach_lerp_(averages, [value.to(dtype) for value in values], 1 - decay)
            else:
                torch._foreach_copy_(averages, values)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Continue with a saved average, on the model's device."""
        names = list(self.tensors)
        saved = local_tensors(weights[name] for name in names)
        torch._foreach_copy_(local_tensors(self.tensors[name] for name in names), saved)

    def follow_model(self) -> None:
        """Take notice of layers that were replaced, added, pruned or parametrised, and of weights of another shape."""
        if is_lazy(self.model):
            return
        places = weight_places(self.model)
        is_same = places.keys() == self._places.keys() and all(
            place[0] is self._places[name][0] and tensor_at(place).shape == self.tensors[name].shape
            for name, place in places.items()
        )
        if not is_same:
            self._find(places)

    def _find(self, places: dict[str, Place]) -> None:
        """Average what is at these places: where an average is of such a weight already, it continues."""
        before, places_before, self._places = self.tensors, self._places, places
        self._tree = ModuleTree(self.model)
        self.tensors, self._groups, seen = {}, {}, {}
        for name, place in places.items():
            value = tensor_at(place)
            if id(value) not in seen:  # tied weights have two names
                average = _as_average(value)
                kept, is_replaced = before.get(name), places_before.get(name, place)[0] is not place[0]
                if kept is not None and not is_replaced and (kept.shape, kept.dtype) == (average.shape, average.dtype):
                    average = kept
                seen[id(value)] = average
                averages, places_of_them = self._groups.setdefault((_is_weight(value), average.dtype), ([], []))
                averages.append(average)
                places_of_them.append(place)
            self.tensors[name] = seen[id(value)]
        self._seen = [[] for _ in self._groups]
        if before and (new := [name for name, average in self.tensors.items() if before.get(name) is not average]):
            logger.info("the average of %s begins with the weights of now: the model has changed", ", ".join(new))

    def _current(self) -> list[list[Tensor]] | None:
        """The weights of now, group by group; None if they are not those that are averaged."""
        if self._tree is None or self._tree.has_changed() or not self._groups:
            return None
        try:
            found = [[tensors[name] for tensors, name in places] for _, places in self._groups.values()]
        except KeyError:
            return None
        for (averages, _), values, seen in zip(self._groups.values(), found, self._seen, strict=True):
            if len(seen) == len(values) and all(map(operator.is_, values, seen)):  # as in the step before
                continue
            if any(value.shape != average.shape for average, value in zip(averages, values, strict=True)):
                return None
        self._seen = found
        return found


def _is_weight(value: Tensor) -> bool:
    return isinstance(value, nn.Parameter) and (value.is_floating_point() or value.is_complex())


def _as_average(value: Tensor) -> Tensor:
    """A copy, for weights in a precision that can take up small changes."""
    dtype = torch.promote_types(value.dtype, torch.float32) if _is_weight(value) else value.dtype
    return value.detach().to(dtype, copy=True)
