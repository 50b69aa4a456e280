"""A training step on a CUDA device, captured once as a graph of its kernels and replayed with every batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ignite_recipes.programs.optimizers import check_state
from ignite_recipes.programs.part import StepValues

__all__ = ["CapturedStep", "FusedOptimizer"]

_WARM_UPS = 2  # runs before a capture, in which libraries choose kernels and take their workspaces


class CapturedStep:
    """Replays the kernels that a function has launched, on the same memory.

    Torch's default generator of the device draws in a replay what it draws in the function after the same
    ``manual_seed``, so that seeding it before each step is all that randomness needs.

    Args:
        function: called without arguments; it reads ``batch`` and changes ``changed`` in place.
        batch: tensors on the device into which each batch is copied.
        changed: all tensors that it changes; they are as before when it has been captured.
    """

    def __init__(
        self, function: Callable[[], list[Tensor]], batch: Sequence[Tensor], changed: Sequence[Tensor]
    ) -> None:
        self.batch = list(batch)
        device = self.batch[0].device if self.batch else torch.device("cuda")
        kept = [tensor.detach().clone() for tensor in changed]
        generator = torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
        drawn = generator.get_state()
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                function()
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self._graph):
                self._outputs = torch.stack([output.float() for output in function()])
        finally:
            with torch.no_grad():
                for tensor, before in zip(changed, kept, strict=True):
                    tensor.copy_(before)
            generator.set_state(drawn)

    def __call__(self, batch: Sequence[Tensor]) -> list[Tensor]:
        """The outputs for a batch, in memory of their own."""
        torch._foreach_copy_(self.batch, list(batch), non_blocking=True)
        self._graph.replay()
        return list(self._outputs.clone().unbind())


class FusedOptimizer:
    """The step of one of torch's fused optimizers, its own kernels, with the learning rates on the device.

    Args:
        optimizer: made with ``fused=True``, that has stepped before.
        trained: its parameters that get gradients.

    Attributes:
        weights: the parameters that it updates.

    Raises:
        NoStateError: if it has not stepped for one of them.
    """

    def __init__(self, optimizer: Optimizer, trained: Sequence[Tensor]) -> None:
        check_state(optimizer, trained)
        self._optimizer, self.weights = optimizer, list(trained)
        self._constants = self.constants_of(optimizer)

    @staticmethod
    def constants_of(optimizer: Optimizer) -> list[Any]:
        """What of its groups is a part of the program: all but the learning rates."""
        but = ("params", "lr", "initial_lr", "max_lr", "min_lr")
        return [{name: value for name, value in group.items() if name not in but} for group in optimizer.param_groups]

    def has_changed(self) -> bool:
        """Whether they are others now."""
        return self.constants_of(self._optimizer) != self._constants

    def numbers(self) -> list[float]:
        """The learning rate of each group."""
        return [float(group["lr"]) for group in self._optimizer.param_groups]

    def state(self) -> list[Tensor]:
        """The tensors that a step changes, but for the weights."""
        states = [self._optimizer.state.get(weight, {}) for weight in self.weights]
        return [value for state in states for value in state.values() if isinstance(value, Tensor)]

    def read_counts(self) -> None:
        """The device has them."""

    def note_step(self) -> None:
        """The step was launched; the device itself counts those that it takes."""
        self._optimizer._opt_called = True  # type: ignore[attr-defined]  # which torch's schedulers look at

    def update(
        self, weights: Sequence[Tensor], values: StepValues, state: Sequence[Tensor], numbers: Sequence[Tensor]
    ) -> None:
        """Change weights and state in place, unless the step is to be dropped."""
        optimizer: Any = self._optimizer
        before = [weight.grad for weight in self.weights]
        for weight, gradient in zip(self.weights, values.gradients, strict=True):
            weight.grad = gradient
        if values.drop is not None:
            optimizer.grad_scale, optimizer.found_inf = None, values.drop.clamp(max=1.0)
        try:
            with self._rates(numbers):
                optimizer.step()
        finally:
            if values.drop is not None:
                del optimizer.grad_scale, optimizer.found_inf
            for weight, kept in zip(self.weights, before, strict=True):
                weight.grad = kept

    @contextmanager
    def _rates(self, numbers: Sequence[Tensor]) -> Iterator[None]:
        """Let the groups have tensors as their rates, and say that they can be captured, as the fused ones can."""
        groups = self._optimizer.param_groups
        before = [(group["lr"], group.get("capturable")) for group in groups]
        try:
            for group, rate in zip(groups, numbers, strict=True):
                group["lr"], group["capturable"] = rate, True
            yield
        finally:
            for group, (rate, capturable) in zip(groups, before, strict=True):
                group["lr"] = rate
                if capturable is None:
                    del group["capturable"]
                else:
                    group["capturable"] = capturable
