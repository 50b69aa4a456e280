"""How much the divergence of a variational autoencoder counts, while it trains."""

import math
from numbers import Real
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ignite_recipes.arguments import shown, whole_number
from ignite_recipes.handlers._host import training_host_of

__all__ = ["KLSchedule"]


class KLSchedule:
    """Warm up the weight of the KL divergence, once or in cycles, so that the latent space is used before it costs.

    The ``epochs`` are divided into ``cycles`` equal parts. The weight is ``beta * min(1, c / ramp)``, c being the
    position in the current part, from 0 to 1; after ``epochs`` it is ``beta``. One cycle that is all ramp is a linear
    warm-up; ``epochs=0`` is a constant weight, as in a beta-VAE. A loss function multiplies the divergence by
    ``weight``, a tensor that stays the same object: a compiled or captured step reads it too.

    Runs:   trainer, ITERATION_STARTED.
    Writes: ``weight``.
    Keeps:  ``position``, which determines the weight.

    Args:
        beta: the weight in the end, not negative; more than 1 asks for less information in the latent space, less
            than 1 for more.
        epochs: how long the warm-up takes in all, 0 for none.
        cycles: the number of warm-ups in that time.
        ramp: the part of a cycle in which the weight grows, in (0, 1]; None is 1 for one cycle, and 0.5 for several.
        device: where the loss is computed.

    Attributes:
        weight: a 0-d tensor.
        position: in epochs.

    Raises:
        ValueError: for a number out of its range.

    >>> schedule = KLSchedule(epochs=4)
    >>> [schedule.at(position) for position in (0, 1, 2.5, 4, 9)]
    [0.0, 0.25, 0.625, 1.0, 1.0]
    >>> cyclical = KLSchedule(beta=2.0, epochs=8, cycles=2)
    >>> [cyclical.at(position) for position in (0, 1, 2, 3.5, 4, 5, 8)]
    [0.0, 1.0, 2.0, 2.0, 0.0, 1.0, 2.0]
    >>> schedule.move_to(1)  # by hand, before a step
    >>> divergence = torch.tensor(3.0)
    >>> schedule.weight * divergence
    tensor(0.7500)

    Reference: S. Bowman et al., arXiv:1511.06349; in cycles: H. Fu et al., arXiv:1903.10145; beta: I. Higgins et al.,
    2017.
    """

    def __init__(
        self,
        beta: float = 1.0,
        *,
        epochs: float = 0,
        cycles: int = 1,
        ramp: float | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        for name, value in (("beta", beta), ("epochs", epochs)):
            if not isinstance(value, (float, Real)) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number of at least 0; got {shown(value)}")
        self.cycles = whole_number(cycles, "cycles")
        self.ramp = (1.0 if self.cycles == 1 else 0.5) if ramp is None else ramp
        if not isinstance(self.ramp, (float, Real)) or not 0 < self.ramp <= 1:
            raise ValueError(f"ramp must be in (0, 1], a part of a cycle; got {shown(ramp)}")
        if self.cycles > 1 and not epochs:
            raise ValueError(f"{self.cycles} cycles must have epochs to be in; got epochs=0: say how long they take")
        self.beta, self.epochs = float(beta), epochs
        self.position = 0.0
        self.weight: Tensor = torch.tensor(self.at(0.0), device=device)

    def __repr__(self) -> str:
        cycles = f", cycles={self.cycles}, ramp={self.ramp:g}" if self.cycles > 1 or self.ramp < 1 else ""
        return f"KLSchedule(beta={self.beta:g}, epochs={self.epochs:g}{cycles})"

    @property
    def is_constant(self) -> bool:
        """Whether the weight is ``beta`` from the start."""
        return not self.epochs

    def at(self, position: float) -> float:
        """The weight at a position, in epochs."""
        if position >= self.epochs:
            return self.beta
        cycle = position * self.cycles / self.epochs % 1.0
        return self.beta * min(1.0, cycle / self.ramp)

    def move_to(self, position: float) -> None:
        """Set the weight of a position, in epochs: by hand, ``epoch + batch / len(loader)`` from 0."""
        self.position = float(position)
        self.weight.fill_(self.at(self.position))  # in place: the host does not wait for a device

    def attach(self, trainer: Engine) -> "KLSchedule":
        """Set the weight before every step of ``trainer``; once an epoch as long as its length is not known."""
        training_host_of(trainer, self).keep("kl_schedule", self)
        trainer.add_event_handler(Events.ITERATION_STARTED, self)
        return self

    def __call__(self, trainer: Engine) -> None:
        """Set the weight of the current step."""
        state: Any = trainer.state
        length = state.epoch_length
        self.move_to((state.iteration - 1) / length if length else state.epoch - 1)

    def state_dict(self) -> dict[str, Any]:
        """The position."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        self.move_to(state["position"])
