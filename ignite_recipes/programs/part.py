"""What a handler does inside a step, as a function of tensors: the same one in an eager step and in a program."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ignite_recipes.programs.python_state import python_state

__all__ = ["OVERFLOW", "STOPPED", "ProgramPart", "StepValues", "is_program_part", "takes_blocks"]

# What a drop is made of; below OVERFLOW it is what a guard has found.
OVERFLOW = 4
"""Gradients have overflown, as they do where a loss is scaled."""
STOPPED = 8
"""An earlier step of the same block was dropped."""


@dataclass
class StepValues:
    """The tensors that a step has computed so far, in an eager step or in a trace.

    Attributes:
        inputs: what the model is fed with.
        losses: what the loss function returned.
        loss: the sum of the losses of the window, detached.
        gradients: the gradients of the parameters that are trained, at their true size; those without one are left out.
        norm: the norm of all gradients as one vector, before clipping; None until a part has computed it.
        scale: the scale of the loss whose gradients they were, 0-d; None where it is not scaled.
        drop: a 0-d tensor that is nonzero where the step must not be taken; None where every step is.

    >>> import torch
    >>> from ignite_recipes import GradientClipper
    >>> values = StepValues(gradients=[torch.tensor([3.0, 4.0])])
    >>> GradientClipper(max_norm=1.0).in_program(values, [], [torch.tensor(1.0)])
    >>> values.norm, values.gradients
    (tensor(5.), [tensor([0.6000, 0.8000])])
    """

    inputs: Any = None
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    loss: Tensor | None = None
    gradients: list[Tensor] = field(default_factory=list)
    norm: Tensor | None = None
    scale: Tensor | None = None
    drop: Tensor | None = None


class ProgramPart(ABC):
    """A handler of an event inside the step whose work can be a part of a program.

    With ``compile="step"`` a step is one program if every handler of its inner events (INPUTS_READY to
    OPTIMIZER_STEP_STARTED) is one of these. A subclass that changes ``__call__`` must change :meth:`in_program` too.

    Attributes:
        takes_notice_of_programs: of a handler of OPTIMIZER_STEP_COMPLETED, which is called after a program as after any
            step: whether it leaves out what the program has done, of which :meth:`after_program` tells it. Otherwise
            it is not a part of a program.

    >>> from ignite_recipes import TrainEvents
    >>> class Halved(ProgramPart):
    ...     def attach(self, trainer):
    ...         trainer.add_event_handler(TrainEvents.GRADIENTS_READY, self)
    ...
    ...     def __call__(self, trainer):  # the eager step
    ...         for gradient in trainer.state.update.gradients():
    ...             gradient.mul_(0.5)
    ...
    ...     def in_program(self, values, carried, numbers):  # the same, in a program
    ...         values.gradients = [0.5 * gradient for gradient in values.gradients]
    >>> Halved().obstacle_in_program() is None
    True
    """

    takes_notice_of_programs = False

    @abstractmethod
    def in_program(self, values: StepValues, carried: Sequence[Tensor], numbers: Sequence[Tensor]) -> None:
        """Do the handler's work on ``values``.

        It calls operations of torch only, reads no number of a tensor, and changes nothing of the handler: in a
        program it runs once, when the program is made.

        Args:
            values: what the step has computed so far; what the handler computes is put there.
            carried: the tensors of :meth:`carried_in_program`; changes in place stay.
            numbers: those of :meth:`numbers_in_program`, 0-d tensors.
        """

    def carried_in_program(self) -> list[Tensor]:
        """Tensors that the part has from step to step."""
        return []

    def numbers_in_program(self) -> list[float]:
        """Numbers that differ from step to step, of the step to come; always as many."""
        return []

    def numbers_ahead(self, count: int) -> list[list[float]]:
        """The numbers of each of the ``count`` steps to come, if all of them are taken.

        Where :meth:`numbers_in_program` is overridden and this is not, steps are computed one by one.
        """
        return [self.numbers_in_program()] * count

    def constants_in_program(self) -> Any:
        """What of its settings is a constant of the program: runs of equal ones can have one program."""
        return sorted(python_state([self]).items(), key=str)

    def after_program(self, engine: Any, values: StepValues) -> None:  # noqa: B027  # a part may do without
        """Take notice of a step that a program has computed: of its ``loss``, ``norm`` and ``drop``, if it has them."""

    def after_block(self, engine: Any, values: StepValues, count: int) -> None:
        """Take notice of ``count`` steps that were computed at once, all of them taken; ``values`` are (count,).

        Where :meth:`after_program` is overridden and this is not, steps are computed one by one.
        """
        for k in range(count):
            norm, drop = (None if value is None else value[k] for value in (values.norm, values.drop))
            loss = None if values.loss is None else values.loss[k]
            self.after_program(engine, StepValues(loss=loss, norm=norm, drop=drop))

    def obstacle_in_program(self) -> str | None:
        """Why the handler cannot be a part of a program as it is set up; None if it can."""
        return None


def is_program_part(handler: Any) -> bool:
    """Whether a handler can be a part of a program: one whose ``__call__`` no subclass has changed alone."""
    if not isinstance(handler, ProgramPart):
        return False
    owners = [_owner(type(handler), name) for name in ("__call__", "in_program")]
    return issubclass(owners[1], owners[0])


def takes_blocks(part: ProgramPart) -> bool:
    """Whether a part knows the numbers of several steps beforehand, and takes notice of several at once."""
    kind = type(part)
    owners = [
        [_owner(kind, name) for name in pair]
        for pair in (("numbers_in_program", "numbers_ahead"), ("after_program", "after_block"))
    ]
    return all(of_one is ProgramPart or issubclass(of_several, of_one) for of_one, of_several in owners)


def _owner(kind: type, name: str) -> type:
    return next((base for base in kind.__mro__ if name in vars(base)), object)
