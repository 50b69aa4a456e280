"""One run among several that train together: what a program of all of them is made of."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from ignite_recipes.engine.blocks import Outcome
from ignite_recipes.engine.step import TrainingStep
from ignite_recipes.engine.step_program import (
    NotOneProgramError,
    modules_of_step,
    roots_of_step,
    trained_parameters,
)
from ignite_recipes.engine.steps_ahead import StepsAhead
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.engine.whole_step import check_one_program, layout_of
from ignite_recipes.loading.fetching import dataset_of
from ignite_recipes.programs.first_state import make_state
from ignite_recipes.programs.function import Modules
from ignite_recipes.programs.loss_scale import LossScale
from ignite_recipes.programs.optimizers import OptimizerFunction, structure_of
from ignite_recipes.programs.python_state import code_of, python_state, tensors_in
from ignite_recipes.programs.stop import Stop

__all__ = ["Member"]


class Member(StepsAhead):
    """The steps of a run to come that are computed with those of others.

    All that an epoch ends with is as in a run that is alone.

    Args:
        engine: between two steps.

    Attributes:
        key: runs with equal keys have one program.
        outcome: of the last block.

    Raises:
        NotOneProgramError: if its steps cannot be computed with those of others; the message says why.
    """

    def __init__(self, engine: TrainingEngine) -> None:
        step = engine.step
        if not isinstance(step, TrainingStep):
            raise NotOneProgramError("your own update function is Python")
        check_one_program(step, engine)
        if step.device.type != "cpu":
            raise NotOneProgramError(f"there is no program of several runs for {step.device.type}")
        if step.updates.first.window.length > 1:
            raise NotOneProgramError("gradients are accumulated over several batches")
        if step.compile not in (False, "step"):
            raise NotOneProgramError("the model is compiled by itself")
        super().__init__(step, engine)
        self.outcome = Outcome()
        self.stop = Stop()
        self.parts["gradients"].append(self.stop)

    # What a program of several runs is made of.

    @cached_property
    def modules(self) -> Modules:
        """That the loss function computes with."""
        return Modules(modules_of_step(self.step))

    @cached_property
    def trained(self) -> list[Tensor]:
        """The optimizer's parameters that can be trained."""
        return trained_parameters(self.update, self.modules)

    @cached_property
    def scale(self) -> LossScale | None:
        """The scale of the loss, in float16."""
        return None if self.update.precision is None else self.update.precision.scale_in_program()

    @cached_property
    def roots(self) -> list[Any]:
        """Objects whose Python values are constants of a program."""
        return roots_of_step(self.step, self.engine)

    @cached_property
    def constants(self) -> dict[str, Tensor]:
        """Tensors that they hold, by their path."""
        return tensors_in(self.roots)

    @cached_property
    def key(self) -> str:
        """All that a program depends on, as far as it is not a number or a tensor."""
        python = {path: value for path, value in python_state(self.roots).items() if not isinstance(value, tuple)}
        held = [(tuple(tensor.shape), tensor.dtype, tensor.requires_grad) for tensor in self.modules.held()]
        parts = [
            (place, type(part), part.constants_in_program()) for place, parts in self.parts.items() for part in parts
        ]
        precision = self.update.precision
        return repr(
            [
                layout_of(self.example),
                held,
                self.modules.names,
                [type(module) for root in self.modules.modules for module in root.modules()],
                self.modules.modules[0].training,
                [(path, tuple(tensor.shape), tensor.dtype) for path, tensor in self.constants.items()],
                sorted(python.items()),
                structure_of(self.update.optimizer),
                [len(group["params"]) for group in self.update.optimizer.param_groups],
                parts,
                None if precision is None else (type(precision), precision.constants()),
                code_of(self.roots, [type(part) for parts in self.parts.values() for part in parts]),
            ]
        )

    # What a block needs.

    @property
    def dataset(self) -> Any:
        """What its batches are rows of."""
        return dataset_of(self.loader.loader)

    def optimizer_function(self, trained: Sequence[Tensor]) -> OptimizerFunction:
        """The optimizer's step as a function."""
        make_state(self.update.optimizer, trained)
        self.optimizer: Any = OptimizerFunction(self.update.optimizer, trained)
        return self.optimizer

    def tensors(self) -> list[Tensor]:
        """What a step changes: weights and buffers, the optimizer's state, the handlers' tensors."""
        return [*self.modules.held(), *self.optimizer.state(), *self.carried()]

    def carried(self) -> list[Tensor]:
        """The tensors of the loss's scale, and the handlers'."""
        own = [] if self.scale is None else self.scale.carried
        parts = (part for of_place in self.parts.values() for part in of_place)
        return [*own, *(tensor for part in parts for tensor in part.carried_in_program())]
