"""A moving average of a model's weights: a tensor for each of them, whatever the model does to its own meanwhile."""

import logging
import operator
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ignite_recipes.engine.places import ModuleTree, Place, is_lazy, tensor_at, weight_places
from ignite_recipes.exchange.sharded import local_tensors

__all__ = ["WeightAverage"]

logger = logging.getLogger(__name__)


class WeightAverage:
    """The average of a model's weights; it begins with those of now, and follows a model that changes.

    Buffers and whole numbers are copied; the average of half-precision weights is in float32. A weight that is new in
    the model, or has another shape, is averaged from the next update on.

    Args:
        model: without wrappers.

    >>> model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> average = WeightAverage(model)
    >>> model[1] = nn.Linear(1, 2)
    >>> sorted(average.tensors()), average.new_names()
    (['0.bias', '0.weight'], ['1.bias', '1.weight'])
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._tensors: dict[str, Tensor] = {}  # under the names of the model's state dict
        self._places: dict[str, Place] = {}
        self._tree: ModuleTree | None = None
        self._seen: list[list[Tensor]] = []  # the weights of the last step
        # The same tensors, and where the model has its own (it may put another buffer in the place of one);
        # those that are averaged and those that are copied, each kind in one operation for each dtype.
        self._groups: dict[tuple[bool, torch.dtype], tuple[list[Tensor], list[Place]]] = {}
        self._find(self._places_now())

    def update(self, decay: float) -> None:
        """Keep ``decay`` of the average, and take the rest from the weights as they are now."""
        weights = self._current()
        if weights is None:
            self._follow_model()
            weights = self._current() or []
        for ((is_averaged, dtype), (averages, _)), current in zip(self._groups.items(), weights, strict=True):
            averages, values = local_tensors(averages), local_tensors(current)
            if is_averaged:  # with the weights themselves, if they are not in half precision
                torch._foreach_lerp_(averages, [value.to(dtype) for value in values], 1 - decay)
            else:
                torch._foreach_copy_(averages, values)

    def is_current(self) -> bool:
        """Whether it is of the weights that the model has now."""
        return self._current() is not None

    def averages(self) -> list[Tensor]:
        """Each average once, in the order in which :meth:`update_in_program` takes them."""
        return [average for averages, _ in self._groups.values() for average in averages]

    def update_in_program(self, averages: Sequence[Tensor], share: Tensor, drop: Tensor | None) -> None:
        """As :meth:`update`, inside a program: ``averages`` take a ``share`` of the weights of now.

        Args:
            averages: the tensors of :meth:`averages`, or those of a trace in their place.
            share: 1 - decay, a 0-d tensor.
            drop: nonzero where everything is to stay.
        """
        rest = list(averages)
        if drop is not None:
            share = torch.where(drop > 0, 0.0, share)
        for (is_averaged, dtype), (own, places) in self._groups.items():
            mine, rest = rest[: len(own)], rest[len(own) :]
            values = [tensor_at(place).detach().to(dtype) for place in places]
            if is_averaged:
                steps = torch._foreach_mul(torch._foreach_sub(values, mine), share.to(dtype))
                values = list(torch._foreach_add(mine, steps))
            for average, value in zip(mine, values, strict=True):
                average.copy_(value if is_averaged or drop is None else torch.where(drop > 0, average, value))

    def tensors(self) -> dict[str, Tensor]:
        """The averages, under the names of the model's state dict; none of what is new in the model."""
        places = self._places_now()
        return {name: self._tensors[name] for name in places.keys() - self._new_names(places)}

    def new_names(self) -> list[str]:
        """The names that the model has and no update has averaged yet, in alphabetical order."""
        return sorted(self._new_names(self._places_now()))

    def load(self, weights: Mapping[str, Tensor], new: Iterable[str]) -> None:
        """Continue with a saved average, on the model's device.

        Args:
            weights: the weights under all names of the model's state dict.
            new: those among them that were new when it was saved.
        """
        self._follow_model()
        names = list(self._tensors)
        saved = local_tensors(weights[name] for name in names)
        torch._foreach_copy_(local_tensors(self._tensors[name] for name in names), saved)
        for name in new:
            del self._tensors[name]
            self._tree = None  # the next update looks for them

    def _places_now(self) -> dict[str, Place]:
        return {} if is_lazy(self.model) else weight_places(self.model)  # lazy layers are sized when the run starts

    def _new_names(self, places: dict[str, Place]) -> set[str]:
        """The names of what is not averaged yet: of layers that were added or replaced, of weights of another shape."""
        return {
            name
            for name, place in places.items()
            if name not in self._tensors
            or place[0] is not self._places[name][0]
            or (tensor_at(place).shape, _dtype_of_average(tensor_at(place)))
            != (self._tensors[name].shape, self._tensors[name].dtype)
        }

    def _follow_model(self) -> None:
        """Take notice of layers that were replaced, added, pruned or parametrised, and of weights of another shape."""
        places = self._places_now()
        if places and (places.keys() != self._places.keys() or self._new_names(places)):
            self._find(places)

    def _find(self, places: dict[str, Place]) -> None:
        """Average what is at these places: where an average is of such a weight already, it continues."""
        before, new, self._places = self._tensors, self._new_names(places), places
        self._tree = ModuleTree(self.model)
        self._tensors, self._groups, seen = {}, {}, {}
        for name, place in places.items():
            value = tensor_at(place)
            if id(value) not in seen:  # tied weights have two names
                seen[id(value)] = average = _as_average(value) if name in new else before[name]
                averages, places_of_them = self._groups.setdefault((_is_weight(value), average.dtype), ([], []))
                averages.append(average)
                places_of_them.append(place)
            self._tensors[name] = seen[id(value)]
        self._seen = [[] for _ in self._groups]
        if before and new:
            names = ", ".join(name for name in places if name in new)
            logger.info("the average of %s starts with the current weights: the model has changed", names)

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
    return value.detach().to(_dtype_of_average(value), copy=True)


def _dtype_of_average(value: Tensor) -> torch.dtype:
    return torch.promote_types(value.dtype, torch.float32) if _is_weight(value) else value.dtype
