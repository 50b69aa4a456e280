"""A step of torch's optimizers as a function: new weights and new state of gradients, with the rates as tensors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from ignite_recipes.programs.part import StepValues

__all__ = ["SUPPORTED", "NoStateError", "OptimizerFunction", "check_state", "check_supported", "structure_of"]

SUPPORTED = (SGD, Adam, AdamW, RMSprop)
"""Whose steps can be a part of a program."""

Numbers = Sequence[Tensor]


def check_supported(optimizer: Optimizer) -> None:
    """Raise ValueError for an optimizer whose step cannot be a part of a program."""
    if type(optimizer) not in SUPPORTED:
        names = ", ".join(kind.__name__ for kind in SUPPORTED)
        raise ValueError(
            f"compile='step' needs one of torch's own optimizers {names}; got {type(optimizer).__name__}: use one of "
            "them, or compile=True"
        )


def structure_of(optimizer: Optimizer) -> list[Any]:
    """What of an optimizer's settings is a part of a program: which terms there are, not how large they are."""
    return [_KINDS[type(optimizer)].structure(group) for group in optimizer.param_groups]


class NoStateError(Exception):
    """An optimizer has not stepped for all of its parameters yet, so that it lacks a state."""


def check_state(optimizer: Optimizer, trained: Sequence[Tensor]) -> None:
    """Raise NoStateError unless the optimizer has a state of every parameter that gets gradients."""
    gets_gradient = {id(parameter) for parameter in trained}
    for group in optimizer.param_groups:
        names = _KINDS[type(optimizer)].names(group)
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if id(parameter) in gets_gradient and not all(isinstance(state.get(name), Tensor) for name in names):
                raise NoStateError


class OptimizerFunction:
    """The step of one optimizer for the parameters that it has a state of.

    Its arithmetic is that of torch's own implementations, to a rounding. What a schedule may change (rates, momenta,
    weight decay) and the numbers that depend on the count of steps are computed on the host, in double precision as
    torch does it, and come as tensors; whether e.g. there is a momentum at all is a part of the program.

    Args:
        optimizer: one of :data:`SUPPORTED` that has stepped before, so that it has its state.
        trained: the parameters that get gradients.

    Attributes:
        weights: the parameters that it updates, in the order of its groups.

    Raises:
        NoStateError: if it has not stepped for one of them.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> sgd = SGD([weight], lr=0.5)
    >>> function = OptimizerFunction(sgd, [weight])
    >>> numbers = torch.tensor(function.numbers(), dtype=torch.float64).unbind()
    >>> function([weight.detach()], [torch.tensor([1.0, 2.0])], [], numbers)
    ([tensor([0.5000, 0.0000])], [])
    """

    def __init__(self, optimizer: Optimizer, trained: Sequence[Tensor]) -> None:
        check_state(optimizer, trained)
        self._optimizer, self._kind = optimizer, _KINDS[type(optimizer)]
        gets_gradient = {id(parameter) for parameter in trained}
        # Parameters of one group that have taken the same number of steps: one set of numbers serves them all.
        self._sets: list[tuple[dict[str, Any], list[Tensor]]] = []
        for group in optimizer.param_groups:
            by_count: dict[float, list[Tensor]] = {}
            for parameter in group["params"]:
                if id(parameter) in gets_gradient:
                    by_count.setdefault(self._count(parameter), []).append(parameter)
            self._sets += [(group, parameters) for parameters in by_count.values()]
        self.weights = [parameter for _, parameters in self._sets for parameter in parameters]
        self.read_counts()

    def read_counts(self) -> None:
        """Take notice of steps that the optimizer has taken itself."""
        self._counts = [self._count(parameters[0]) for _, parameters in self._sets]

    def _count(self, parameter: Tensor) -> float:
        return float(self._optimizer.state.get(parameter, {}).get("step", 0.0))

    def state(self) -> list[Tensor]:
        """The tensors that a step changes, but for the weights."""
        return [
            self._optimizer.state[parameter][name]
            for group, parameters in self._sets
            for parameter in parameters
            for name in self._kind.names(group)
        ]

    def numbers(self, ahead: int = 0) -> list[float]:
        """Those of the step to come, or of one that comes after ``ahead`` others."""
        found: list[float] = []
        for (group, _), count in zip(self._sets, self._counts, strict=True):
            found += self._kind.numbers(group, count + ahead + 1)
        return found

    def settings(self) -> tuple[Any, ...]:
        """What the numbers depend on: optimizers of equal ones have the same numbers."""
        return self._kind, tuple(self._counts), *(tuple(self._kind.numbers(group, 1.0)) for group, _ in self._sets)

    def note_step(self, steps: int = 1) -> None:
        """A step was taken, or several: the numbers of the next one are others."""
        self._counts = [count + steps for count in self._counts]
        self._optimizer._opt_called = True  # type: ignore[attr-defined]  # which torch's schedulers look at

    def __call__(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], state: Sequence[Tensor], numbers: Numbers
    ) -> tuple[list[Tensor], list[Tensor]]:
        """New weights and new state; nothing is changed in place."""
        new_weights: list[Tensor] = []
        new_state: list[Tensor] = []
        k, rest, values = 0, list(state), list(numbers)
        for group, parameters in self._sets:
            names, needed = self._kind.names(group), len(self._kind.numbers(group, 1.0))
            own, values = values[:needed], values[needed:]
            for _ in parameters:
                before, rest = rest[: len(names)], rest[len(names) :]
                weight, after = self._kind.step(group, weights[k], gradients[k], before, own)
                new_weights.append(weight)
                new_state += [*after, *(before[-1] + 1 for name in names[-1:] if name == "step")]
                k += 1
        return new_weights, new_state

    def update(self, weights: Sequence[Tensor], values: StepValues, state: Sequence[Tensor], numbers: Numbers) -> None:
        """Change weights and state in place, unless the step is to be dropped."""
        new_weights, new_state = self(weights, values.gradients, state, numbers)
        for old, new in zip([*weights, *state], [*new_weights, *new_state], strict=True):
            old.copy_(new if values.drop is None else torch.where(values.drop > 0, old, new))


class _Adam:
    """Adam and AdamW: D. Kingma, J. Ba, arXiv:1412.6980; I. Loshchilov, F. Hutter, arXiv:1711.05101."""

    @staticmethod
    def is_decoupled(group: dict[str, Any]) -> bool:
        return bool(group.get("decoupled_weight_decay"))

    @classmethod
    def structure(cls, group: dict[str, Any]) -> Any:
        return (
            "adam", cls.is_decoupled(group), group["amsgrad"], group["maximize"], group["weight_decay"] != 0
        )  # fmt: skip

    @staticmethod
    def names(group: dict[str, Any]) -> list[str]:
        return ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else []), "step"]

    @staticmethod
    def numbers(group: dict[str, Any], count: float) -> list[float]:
        (beta1, beta2), rate = map(float, group["betas"]), float(group["lr"])
        correction2 = (1 - beta2**count) ** 0.5
        decay = float(group["weight_decay"])
        return [rate / (1 - beta1**count), correction2, 1 - beta1, beta2, float(group["eps"]), decay, rate * decay]

    @classmethod
    def step(
        cls, group: dict[str, Any], weight: Tensor, gradient: Tensor, state: Sequence[Tensor], numbers: Numbers
    ) -> tuple[Tensor, list[Tensor]]:
        step_size, correction2, new1, beta2, eps, decay, rate_times_decay = numbers
        if group["maximize"]:
            gradient = -gradient
        if group["weight_decay"] != 0:
            if cls.is_decoupled(group):
                weight = weight * _as(1 - rate_times_decay, weight)
            else:
                gradient = gradient + weight * _as(decay, weight)
        mean = torch.lerp(state[0], gradient, _as(new1, weight))
        square = state[1] * _as(beta2, weight) + gradient * gradient * _as(1 - beta2, weight)
        largest = [torch.maximum(state[2], square)] if group["amsgrad"] else []
        root = (largest or [square])[0].sqrt() / _as(correction2, weight) + _as(eps, weight)
        return weight - _as(step_size, weight) * (mean / root), [mean, square, *largest]


class _SGD:
    """SGD with momentum: I. Sutskever et al., On the importance of initialization and momentum, 2013."""

    @staticmethod
    def structure(group: dict[str, Any]) -> Any:
        flags = group["momentum"] != 0, group["nesterov"], group["maximize"], group["weight_decay"] != 0
        return ("sgd", *flags)

    @staticmethod
    def names(group: dict[str, Any]) -> list[str]:
        return ["momentum_buffer"] if group["momentum"] != 0 else []

    @staticmethod
    def numbers(group: dict[str, Any], count: float) -> list[float]:
        return [float(group[name]) for name in ("lr", "momentum", "dampening", "weight_decay")]

    @staticmethod
    def step(
        group: dict[str, Any], weight: Tensor, gradient: Tensor, state: Sequence[Tensor], numbers: Numbers
    ) -> tuple[Tensor, list[Tensor]]:
        rate, momentum, dampening, decay = numbers
        if group["maximize"]:
            gradient = -gradient
        if group["weight_decay"] != 0:
            gradient = gradient + weight * _as(decay, weight)
        buffers = []
        if group["momentum"] != 0:
            buffers = [state[0] * _as(momentum, weight) + gradient * _as(1 - dampening, weight)]
            gradient = gradient + buffers[0] * _as(momentum, weight) if group["nesterov"] else buffers[0]
        return weight - _as(rate, weight) * gradient, buffers


class _RMSprop:
    """RMSprop: T. Tieleman, G. Hinton, lecture 6.5 of Neural Networks for Machine Learning, 2012."""

    @staticmethod
    def structure(group: dict[str, Any]) -> Any:
        flags = group["momentum"] > 0, group["centered"], group["maximize"], group["weight_decay"] != 0
        return ("rmsprop", *flags)

    @staticmethod
    def names(group: dict[str, Any]) -> list[str]:
        momentum = ["momentum_buffer"] if group["momentum"] > 0 else []
        return ["square_avg", *momentum, *(["grad_avg"] if group["centered"] else []), "step"]

    @staticmethod
    def numbers(group: dict[str, Any], count: float) -> list[float]:
        return [float(group[name]) for name in ("lr", "alpha", "eps", "weight_decay", "momentum")]

    @staticmethod
    def step(
        group: dict[str, Any], weight: Tensor, gradient: Tensor, state: Sequence[Tensor], numbers: Numbers
    ) -> tuple[Tensor, list[Tensor]]:
        rate, alpha, eps, decay, momentum = numbers
        if group["maximize"]:
            gradient = -gradient
        if group["weight_decay"] != 0:
            gradient = gradient + weight * _as(decay, weight)
        square = state[0] * _as(alpha, weight) + gradient * gradient * _as(1 - alpha, weight)
        centre = []
        if group["centered"]:
            centre = [torch.lerp(state[-2], gradient, _as(1 - alpha, weight))]
            root = (square - centre[0] * centre[0]).sqrt() + _as(eps, weight)
        else:
            root = square.sqrt() + _as(eps, weight)
        step, buffers = gradient / root, []
        if group["momentum"] > 0:
            step = state[1] * _as(momentum, weight) + step
            buffers = [step]
        return weight - _as(rate, weight) * step, [square, *buffers, *centre]


_KINDS: dict[type[Optimizer], Any] = {SGD: _SGD, Adam: _Adam, AdamW: _Adam, RMSprop: _RMSprop}


def _as(number: Tensor, weight: Tensor) -> Tensor:
    """A number in the precision of a weight, as torch's kernels have it."""
    return number.to(weight.dtype)
