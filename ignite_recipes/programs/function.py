"""A training step of one update as a function of tensors, which a compiler traces and a CUDA graph captures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils import _pytree

from ignite_recipes.exchange.averaging import losses_in
from ignite_recipes.programs.loss_scale import LossScale
from ignite_recipes.programs.part import ProgramPart, StepValues
from ignite_recipes.programs.trace import draws_so_far

__all__ = ["Modules", "Places", "StepFunction", "StepTensors", "StepsWeights"]


class StepsWeights(Protocol):
    """The step of an optimizer, as a part of a program.

    Attributes:
        weights: the parameters that it updates.
    """

    weights: list[Tensor]

    def numbers(self) -> list[float]: ...  # noqa: D102
    def state(self) -> list[Tensor]: ...  # noqa: D102
    def note_step(self) -> None: ...  # noqa: D102
    def read_counts(self) -> None: ...  # noqa: D102
    def update(  # noqa: D102
        self, weights: Sequence[Tensor], values: StepValues, state: Sequence[Tensor], numbers: Sequence[Tensor]
    ) -> None: ...


@dataclass
class Places:
    """Where in the outputs of a step is what.

    Attributes:
        names: the names of the losses, which come first.
        found: for each part for the gradients, where are the norm and what drops the step as it left them; None where
            there was none yet.
        drop: where is what has dropped the step in the end; None where nothing can.
    """

    names: list[str] = field(default_factory=list)
    found: list[tuple[int | None, int | None]] = field(default_factory=list)
    drop: int | None = None


@dataclass
class StepTensors:
    """All tensors that a step reads; what it changes, it changes in place.

    Attributes:
        held: the parameters and buffers of the modules.
        state: the optimizer's.
        waiting: the gradients of the window's earlier batches, one for each parameter that is trained.
        earlier: the sum of the losses of these batches, 0-d, in a list; empty where no window ends.
        carried: those of the handlers.
        batch: the tensors in the batch.
        numbers: (K,), float64: what the host knows of this step.
        drawn: random numbers, in the order in which the step draws them.
        constants: other tensors that the loss function computes with.
    """

    held: list[Tensor] = field(default_factory=list)
    state: list[Tensor] = field(default_factory=list)
    waiting: list[Tensor] = field(default_factory=list)
    earlier: list[Tensor] = field(default_factory=list)
    carried: list[Tensor] = field(default_factory=list)
    batch: list[Tensor] = field(default_factory=list)
    numbers: list[Tensor] = field(default_factory=list)
    drawn: list[Tensor] = field(default_factory=list)
    constants: list[Tensor] = field(default_factory=list)

    def flat(self) -> list[Tensor]:
        """All of them, in one list."""
        return [tensor for part in fields(self) for tensor in getattr(self, part.name)]

    def like(self, tensors: Sequence[Tensor]) -> "StepTensors":
        """Others in the same places."""
        new, start = StepTensors(), 0
        for part in fields(self):
            length = len(getattr(self, part.name))
            setattr(new, part.name, list(tensors[start : start + length]))
            start += length
        return new


class Modules:
    """The parameters and buffers of some modules, and others in their places for a while.

    >>> linear = nn.Linear(1, 1, bias=False)
    >>> modules = Modules([linear])
    >>> with modules.holding([torch.full((1, 1), 2.0)]):
    ...     linear(torch.tensor([3.0])).item()
    6.0
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        self.names = [list(dict([*module.named_parameters(), *module.named_buffers()])) for module in self.modules]

    def held(self) -> list[Tensor]:
        """What they hold now, in a fixed order."""
        found: list[Tensor] = []
        for module, names in zip(self.modules, self.names, strict=True):
            own = dict([*module.named_parameters(), *module.named_buffers()])
            found += [own[name] for name in names]
        return found

    def buffers(self) -> list[int]:
        """Where the buffers are among what they hold."""
        found, start = [], 0
        for module, names in zip(self.modules, self.names, strict=True):
            own = dict(module.named_buffers())
            found += [start + k for k, name in enumerate(names) if name in own]
            start += len(names)
        return found

    @contextmanager
    def holding(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Inside the block the modules compute with ``tensors``; a buffer that a module replaces is changed in place.

        Raises:
            ValueError: if a module puts a buffer of another shape in the place of its own.
        """
        start, placed = 0, []
        with ExitStack() as stack:
            for module, names in zip(self.modules, self.names, strict=True):
                own = dict(zip(names, tensors[start : start + len(names)], strict=True))
                start += len(names)
                placed.append((dict(own), own))
                stack.enter_context(_reparametrize_module(module, own, tie_weights=True))
            yield
        for before, after in placed:  # the second dict has what a module has put in a tensor's place
            for name, tensor in before.items():
                if after[name] is not tensor:
                    if after[name].shape != tensor.shape:
                        raise ValueError(f"the buffer {name} changes its shape in the forward pass")
                    with torch.no_grad():
                        tensor.copy_(after[name])


class StepFunction:
    """A batch's losses and gradients and, at the end of a window, the optimizer's step.

    Args:
        modules: that the loss function computes with.
        loss_fn: ``loss_fn(model, inputs, batch)``.
        model: its first argument.
        get_inputs: makes the inputs of a batch.
        batch: an example, whose structure all have.
        autocast: makes a context for the forward pass.
        check_loss: gives the loss among the losses, or raises.
        parts: the parts of the handlers, for the inputs, for the gradients and for after the step, in their order.
        optimizer: whose parameters are trained; None for a batch inside a window.
        trained: its parameters that get gradients.
        is_window: whether windows have several batches.
        scale: the scale of the loss; None where it is not scaled.
        keeps_buffers: whether a step that is dropped leaves buffers as they were, e.g. batch norm's statistics;
            otherwise whoever learns of the drop puts them back.

    Attributes:
        places: where is what in its outputs, once it was called.
        num_input_draws: draws of random numbers for the inputs, once it was traced.
    """

    def __init__(
        self,
        *,
        modules: Modules,
        loss_fn: Callable[..., Mapping[str, Tensor]],
        model: nn.Module,
        get_inputs: Callable[[Any], Any],
        batch: Any,
        autocast: Callable[[], AbstractContextManager[Any]],
        check_loss: Callable[[Any], Tensor],
        parts: Mapping[str, Sequence[ProgramPart]],
        optimizer: StepsWeights | None,
        trained: Sequence[Tensor],
        is_window: bool,
        scale: LossScale | None = None,
        keeps_buffers: bool = False,
    ) -> None:
        self.modules, self.loss_fn, self.model, self.get_inputs = modules, loss_fn, model, get_inputs
        self.structure = _pytree.tree_structure(batch)
        self.others = [None if isinstance(leaf, Tensor) else leaf for leaf in _pytree.tree_leaves(batch)]
        self.is_tensor = [isinstance(leaf, Tensor) for leaf in _pytree.tree_leaves(batch)]
        self.is_flat = type(batch) in (list, tuple) and all(type(item) is Tensor for item in batch)
        self.autocast, self.check_loss, self.optimizer = autocast, check_loss, optimizer
        self.parts, self.is_window, self.places = parts, is_window, Places()
        self.scale, self.keeps_buffers = scale, keeps_buffers
        self.num_input_draws = 0
        self._drop: Tensor | None = None
        self._all_parts = [part for of_event in parts.values() for part in of_event]
        place = {id(tensor): k for k, tensor in enumerate(modules.held())}
        self.trained = [place[id(parameter)] for parameter in trained]
        self.num_carried = [len(part.carried_in_program()) for part in self._all_parts]
        self.num_numbers = [len(part.numbers_in_program()) for part in self._all_parts]

    def numbers(self, weight: float, window_weight: float) -> list[float]:
        """Those of the step to come: of the window, the optimizer's, the handlers'."""
        found = [weight, window_weight] if self.is_window else []
        if self.optimizer is not None:
            found += self.optimizer.numbers()
        for part in self._all_parts:
            found += part.numbers_in_program()
        return found

    def carried(self) -> list[Tensor]:
        """The tensors of the scale and of the handlers."""
        own = [] if self.scale is None else self.scale.carried
        return [*own, *(tensor for part in self._all_parts for tensor in part.carried_in_program())]

    def tensors_of(self, batch: Any) -> list[Tensor]:
        """The tensors in a batch, in their order."""
        if self.is_flat:
            return list(batch)
        return [leaf for leaf in _pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]

    def batch_of(self, tensors: Sequence[Tensor]) -> Any:
        """A batch with these tensors in it."""
        rest = iter(tensors)
        leaves = [
            next(rest) if is_tensor else other for is_tensor, other in zip(self.is_tensor, self.others, strict=True)
        ]
        return _pytree.tree_unflatten(leaves, self.structure)

    def __call__(self, tensors: StepTensors) -> list[Tensor]:
        """The losses, detached; where the window ends also norms of the gradients and what says to drop the step."""
        held = list(tensors.held)
        for k in self.trained:
            held[k] = held[k].detach().requires_grad_()
        numbers = list(tensors.numbers[0].unbind()) if tensors.numbers else []
        buffers = [tensors.held[k] for k in self.modules.buffers()] if self.keeps_buffers else []
        before = [buffer.clone() for buffer in buffers]
        with self.modules.holding(held):
            outputs = self._step(tensors, held, numbers)
        for buffer, value in zip(buffers, before, strict=True):
            if self._drop is not None:
                buffer.copy_(torch.where(self._drop > 0, value, buffer))
        return outputs

    def _step(self, tensors: StepTensors, held: Sequence[Tensor], numbers: list[Tensor]) -> list[Tensor]:
        values = StepValues()
        window, numbers = (numbers[:2], numbers[2:]) if self.is_window else ([], numbers)
        num_of_scale = 0 if self.scale is None else len(self.scale.carried)
        of_scale, carried = tensors.carried[:num_of_scale], tensors.carried[num_of_scale:]
        own, numbers = self._split(numbers, carried)
        loss = self._loss(tensors.batch, values, own)
        trained = [held[k] for k in self.trained]
        weighted = loss * window[0].to(loss.dtype) if window else loss
        if self.scale is not None:
            weighted = self.scale.scaled(weighted, of_scale)
        gradients = torch.autograd.grad(weighted, trained, allow_unused=True)
        outputs = [value.detach() for value in values.losses.values()]
        with torch.no_grad():
            if any(gradient is None for gradient in gradients):
                raise ValueError("a parameter that had a gradient in another step has none")
            values.gradients = [gradient for gradient in gradients if gradient is not None]
            values.loss = loss.detach()
            if window:
                values.gradients = [before + now for before, now in zip(tensors.waiting, values.gradients, strict=True)]
            for earlier in tensors.earlier:
                values.loss = values.loss + earlier.to(loss.dtype)
            if self.optimizer is None:
                for waiting, gradient in zip(tensors.waiting, values.gradients, strict=True):
                    waiting.copy_(gradient)
                return outputs
            if self.scale is not None:
                self.scale.unscale(values, of_scale)
            if window:
                values.gradients = [gradient / window[1].to(gradient.dtype) for gradient in values.gradients]
            found = self.places.found = []
            for part in self.parts["gradients"]:
                part.in_program(values, *own[id(part)])
                found.append((_place_of(values.norm, outputs), _place_of(values.drop, outputs)))
            self._drop, self.places.drop = values.drop, _place_of(values.drop, outputs)
            self.optimizer.update(trained, values, tensors.state, numbers)
            for part in self.parts["after"]:
                part.in_program(values, *own[id(part)])
            if self.scale is not None:
                self.scale.adapt(values, of_scale)
        return outputs

    def _loss(
        self,
        tensors: Sequence[Tensor],
        values: StepValues,
        own: Mapping[int, tuple[Sequence[Tensor], Sequence[Tensor]]],
    ) -> Tensor:
        """The loss of a batch, with its gradients still to be computed; inputs and losses are noted in ``values``."""
        batch = self.batch_of(tensors)
        values.inputs = self.get_inputs(batch)
        for part in self.parts["inputs"]:
            part.in_program(values, *own[id(part)])
        self.num_input_draws = draws_so_far()
        with self.autocast():
            losses = self.loss_fn(self.model, values.inputs, batch)
        loss = self.check_loss(losses)
        values.losses = losses_in(losses)
        self.places.names = list(values.losses)
        return loss

    def gets_gradient(self, tensors: StepTensors) -> list[bool]:
        """Which of the parameters get a gradient, of a batch computed on copies."""
        held = [tensor.detach().clone() for tensor in tensors.held]
        for k in self.trained:
            held[k].requires_grad_()
        numbers = torch.tensor(self.numbers(1.0, 1.0), device=tensors.batch[0].device if tensors.batch else None)
        carried = [tensor.clone() for part in self._all_parts for tensor in part.carried_in_program()]
        own, _ = self._split(list(numbers.unbind()), carried)
        with self.modules.holding(held):
            loss = self._loss(tensors.batch, StepValues(), own)
            gradients = torch.autograd.grad(loss, [held[k] for k in self.trained], allow_unused=True)
        if any(gradient is not None and gradient.layout != torch.strided for gradient in gradients):
            raise ValueError("a parameter has a sparse gradient")
        return [gradient is not None for gradient in gradients]

    def _split(
        self, numbers: list[Tensor], carried: Sequence[Tensor]
    ) -> tuple[dict[int, tuple[list[Tensor], list[Tensor]]], list[Tensor]]:
        """Each part's tensors and numbers, by its identity; and the optimizer's numbers."""
        total = sum(self.num_numbers)
        mine, others = numbers[len(numbers) - total :], numbers[: len(numbers) - total]
        own, tensors = {}, list(carried)
        for part, num_carried, num_numbers in zip(self._all_parts, self.num_carried, self.num_numbers, strict=True):
            own[id(part)] = tensors[:num_carried], mine[:num_numbers]
            tensors, mine = tensors[num_carried:], mine[num_numbers:]
        return own, others


def _place_of(value: Tensor | None, outputs: list[Tensor]) -> int | None:
    """Where a value is among the outputs, to which it is added if it is not there yet."""
    if value is None:
        return None
    place = next((k for k, output in enumerate(outputs) if output is value), None)
    if place is None:
        place = len(outputs)
        outputs.append(value)
    return place
