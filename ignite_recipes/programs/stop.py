"""What holds a block of steps after one that was dropped."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ignite_recipes.programs.part import STOPPED, ProgramPart, StepValues

__all__ = ["Stop"]


class Stop(ProgramPart):
    """After a step that is dropped nothing later in the same block is applied: the host decides first what follows."""

    def __init__(self) -> None:
        self.flag = torch.zeros(())  # nonzero once a step was dropped

    def in_program(self, values: StepValues, carried: Sequence[Tensor], numbers: Sequence[Tensor]) -> None:
        """Drop the step if an earlier one was."""
        if values.drop is not None:
            values.drop = torch.where(carried[0] > 0, float(STOPPED), values.drop.to(carried[0].dtype))
            carried[0].copy_(values.drop)

    def carried_in_program(self) -> list[Tensor]:
        """Whether there was one."""
        return [self.flag]

    def constants_in_program(self) -> Any:
        """None."""
        return ()

    def after_block(self, engine: Any, values: StepValues, count: int) -> None:
        """The parts that drop steps take notice."""
