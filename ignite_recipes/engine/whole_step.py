"""Run the steps of a training as one program each, where that is the same; otherwise say why not."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine, Events
from torch import Tensor
from torch.optim import Optimizer
from torch.utils import _pytree

from ignite_recipes.engine.blocks import MOST_STEPS
from ignite_recipes.engine.compute_block import compute_block
from ignite_recipes.engine.describe import name_of
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.step_program import (
    NotOneProgramError,
    StepProgram,
    modules_of_step,
    parts_of_step,
    roots_of_step,
)
from ignite_recipes.engine.steps_ahead import StepsAhead
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.programs.cuda_program import FusedOptimizer
from ignite_recipes.programs.optimizers import NoStateError, check_supported, structure_of
from ignite_recipes.programs.part import is_program_part
from ignite_recipes.programs.python_state import changed, has_hooks, holds_engine, python_state

if TYPE_CHECKING:
    from ignite_recipes.engine.step import TrainingStep
    from ignite_recipes.engine.trainer import TrainingEngine

__all__ = ["WholeStep", "check_one_program", "layout_of"]

logger = logging.getLogger(__name__)

# Inside the step; and where handlers may do what they like between two steps, as seldom as it is.
_INSIDE = (
    TrainEvents.INPUTS_READY,
    TrainEvents.LOSSES_READY,
    TrainEvents.BACKWARD_COMPLETED,
    TrainEvents.GRADIENTS_READY,
    TrainEvents.OPTIMIZER_STEP_STARTED,
)
_BETWEEN = (
    Events.GET_BATCH_STARTED,
    Events.GET_BATCH_COMPLETED,
    Events.ITERATION_STARTED,
    Events.ITERATION_COMPLETED,
    TrainEvents.OPTIMIZER_STEP_COMPLETED,
    TrainEvents.OPTIMIZER_STEP_SKIPPED,
    TrainEvents.DECISION_POINT,
    TrainEvents.RESUME_POINT,
)


def check_one_program(step: "TrainingStep", engine: Engine) -> None:
    """Raise NotOneProgramError if the steps of an engine, as it is set up, cannot be programs."""
    if step.device.type not in ("cpu", "cuda"):
        raise NotOneProgramError(f"there are no programs for {step.device.type}")
    if step.exchange.world_size > 1:
        raise NotOneProgramError("several ranks exchange their gradients inside the step")
    if step.updates.only is None:
        raise NotOneProgramError("the step has several updates, or one that is not computed with every batch")
    update = step.updates.only
    if update.needs_closure:
        raise NotOneProgramError(f"{type(update.optimizer).__name__} computes the loss again and again")
    if step.device.type == "cuda" and not all(group.get("fused") for group in update.optimizer.param_groups):
        raise NotOneProgramError("on CUDA the optimizer must be made with fused=True")
    for event in _INSIDE:
        for handler, *_ in engine._event_handlers.get(event, ()):
            if event in (TrainEvents.LOSSES_READY, TrainEvents.BACKWARD_COMPLETED) or not is_program_part(handler):
                raise NotOneProgramError(
                    f"{name_of(handler)}, a handler of {event.name}, is Python that is called inside the step"
                )
    for part in (part for of_place in parts_of_step(engine).values() for part in of_place):
        if (obstacle := part.obstacle_in_program()) is not None:
            raise NotOneProgramError(f"{part!r} {obstacle}")
    if (held := holds_engine(roots_of_step(step, engine))) is not None:
        raise NotOneProgramError(f"the loss function holds {held}, on which it may depend in each step")
    if _has_hooks(update.optimizer) or has_hooks(modules_of_step(step)):
        raise NotOneProgramError("the model or the optimizer has hooks, which are called inside the step")


class WholeStep:
    """The programs of a training step, for batches of one layout.

    A step is a program where its batch has the layout (shapes and types) of the run's first one. An epoch's last
    window is computed one operation after the other, so that its gradients are there for those who look at them at
    the epoch's end; it is often shorter, too. All of that depends on the position in the run only, so that a resumed
    run has the same bits.

    Args:
        step: whose work it does.

    Attributes:
        layout: that of the run's first batch; None before it.
    """

    def __init__(self, step: "TrainingStep") -> None:
        for update in step.updates.values():
            check_supported(update.optimizer)
        self.layout: str | None = None
        self._programs: dict[bool, StepProgram] = {}  # for a window's last batch, and for the others
        self._waiting: dict[Tensor, Tensor] = {}  # which they have in common
        self._is_ready = self._is_watched = self._has_failed = False
        self._was_eager = True  # the last step
        self._said: set[str] = set()
        self._python: dict[str, Any] = {}
        self._identity: list[Any] = []
        self._known: tuple[list[Any], str] = [], ""  # the last layout of contiguous tensors
        self._others = 0  # batches of other layouts, in this epoch

    # What the run asks for.

    def start_epoch(self, step: "TrainingStep", engine: Engine) -> None:
        """Check again what may have changed since the last epoch."""
        self._is_ready = False
        if self._others > 1:  # one is an epoch's last
            others = f"{self._others} batches of an epoch have other shapes or types than the run's first one"
            self._say(others, "Their steps")
        self._others = 0
        try:
            check_one_program(step, engine)
        except NotOneProgramError as reason:
            self._say(str(reason))
            return
        self._is_ready = True
        self._is_watched = any(
            not _is_ours(entry[0]) for event in _BETWEEN for entry in engine._event_handlers.get(event, ())
        )
        self._refresh(step, engine)

    def train(self, engine: "TrainingEngine") -> None:
        """Compute the steps of an epoch in blocks, if no handler runs between them.

        The programs are the same, so that it makes no difference to the weights.
        """
        step: Any = engine.step
        length, window_length = engine.state.epoch_length, step.updates.first.window.length
        if not self._is_ready or self._has_failed or step.device.type != "cpu":
            return
        if length is None or length - engine.progress.position < 2:
            return
        try:
            ahead = StepsAhead(step, engine)
        except NotOneProgramError:  # of blocks; a program there may be all the same
            return
        if ahead.num_left * window_length < 2 or not self._has_layout(ahead.example):
            return
        inner = None
        if window_length > 1 and (inner := self._program(step, engine, ahead.example, takes_step=False)) is None:
            return
        if (program := self._program(step, engine, ahead.example, takes_step=True)) is None:
            return
        if self._was_eager:
            program.optimizer.read_counts()
        ahead.optimizer = program.optimizer
        while (left := ahead.num_left) and not (engine.should_terminate or engine.should_terminate_single_epoch):
            count = min(max(1, MOST_STEPS // window_length), left)
            ahead.look_at_batches(count)
            with preserve_generators():
                outcome = compute_block(ahead, count, program, inner)
            self._was_eager = False
            ahead.apply(outcome)
        ahead.leave()

    def take(
        self, step: "TrainingStep", engine: Engine, batch: Any, weight: Callable[[], float]
    ) -> dict[str, Tensor] | None:
        """The losses of a batch that a program has computed, optimizer's step included; None where none is used."""
        program = self._program_for(step, engine, batch)
        if program is None:
            self._was_eager = True
            return None
        if self._was_eager:
            for each in self._programs.values():
                each.optimizer.read_counts()
            self._was_eager = False
        return program(step, engine, batch, weight())

    def _program_for(self, step: "TrainingStep", engine: Engine, batch: Any) -> StepProgram | None:
        """That of the current batch; None if there is none, or the batch is computed without."""
        state: Any = engine.state
        window, progress = step.updates.first.window, step.progress
        assert progress is not None
        if not self._has_layout(batch):
            self._others += 1
            return None
        if not self._is_ready or self._has_failed:
            return None
        length, position = window.length, len(window.losses)
        if state.epoch_length is not None and state.epoch_length - progress.position < length - position:
            return None  # the epoch ends with this window
        return self._program(step, engine, batch, takes_step=position + 1 == length)

    def _has_layout(self, batch: Any) -> bool:
        """Whether a batch has the layout of the run's first one."""
        layout = self._layout_of(batch)
        if self.layout is None:
            self.layout = layout
        return layout == self.layout

    def _program(self, step: "TrainingStep", engine: Engine, batch: Any, *, takes_step: bool) -> StepProgram | None:
        """That of batches like this one, for a window's last batch or for the others."""
        try:
            if self._is_watched or takes_step not in self._programs:
                self._refresh(step, engine)
            if takes_step not in self._programs:
                self._programs[takes_step] = StepProgram(
                    step, engine, batch, takes_step=takes_step, waiting=self._waiting
                )
                self._identity = self._identity_of(step, engine)  # the optimizer's state may have been made
            self._programs[takes_step].check()
        except NoStateError:
            return None  # the optimizer's own step makes it
        except NotOneProgramError as reason:
            self._has_failed = True  # until something changes
            self._say(str(reason))
            return None
        return self._programs[takes_step]

    def state_dict(self) -> dict[str, Any]:
        """The layout of the run's first batch."""
        return {"layout": self.layout}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Use programs for the batches that the saved run used them for."""
        self.layout = state["layout"]

    def __getstate__(self) -> dict[str, Any]:
        programs: dict[str, Any] = {"_programs": {}, "_waiting": {}, "_python": {}, "_identity": []}
        return {**vars(self), **programs, "_is_ready": False, "_has_failed": False}

    # What may stand against it.

    def _say(self, reason: str, which: str = "The steps") -> None:
        if reason not in self._said:
            self._said.add(reason)
            logger.warning("compile='step': %s. %s run one operation after the other", reason, which)

    def _refresh(self, step: "TrainingStep", engine: Engine) -> None:
        """Make new programs if something has changed that they have as constants."""
        python, identity = python_state(roots_of_step(step, engine)), self._identity_of(step, engine)
        name = changed(self._python, python)
        if self._programs and name is not None:
            logger.info("%s has changed since the step was compiled: it is compiled again", name.lstrip("."))
        if name is not None or identity != self._identity:
            self._programs, self._waiting, self._has_failed = {}, {}, False
            self._python, self._identity = python, identity

    @staticmethod
    def _identity_of(step: "TrainingStep", engine: Engine) -> list[Any]:
        """Which tensors, settings and handlers the programs are of."""
        update = step.updates.first
        identity: list[Any] = [_where(tensor) for tensor in parameters_of(update.optimizer)]
        identity += [_where(tensor) for module in modules_of_step(step) for tensor in module.buffers()]
        identity += [parameter.requires_grad for parameter in parameters_of(update.optimizer)]
        # A state that is loaded, e.g. by a rollback, puts other groups in their places, with their own rates.
        identity += [(id(group), len(group["params"])) for group in update.optimizer.param_groups]
        identity += structure_of(update.optimizer)
        identity += () if update.precision is None else update.precision.constants()
        if step.device.type == "cuda":
            identity += FusedOptimizer.constants_of(update.optimizer)
        for part in (part for of_place in parts_of_step(engine).values() for part in of_place):
            identity += [id(part), *map(_where, part.carried_in_program())]
        for parameter in parameters_of(update.optimizer):
            identity += [_where(value) for value in update.optimizer.state.get(parameter, {}).values()]
        return identity

    def _layout_of(self, batch: Any) -> str:
        """Shapes, strides and types of a batch's tensors, and all else that is in it."""
        known, layout = self._known
        if type(batch) is tuple or type(batch) is list:
            key: list[Any] = [type(batch)]
            for item in batch:  # nearly all are of contiguous tensors
                if type(item) is not Tensor or not item.is_contiguous() or item.requires_grad:
                    return layout_of(batch)
                key += [item.shape, item.dtype, item.device]
            if key != known:
                self._known = key, layout = key, layout_of(batch)
            return layout
        return layout_of(batch)


def layout_of(batch: Any) -> str:
    """Shapes, strides and types of a batch's tensors, and all else that is in it."""
    leaves, structure = _pytree.tree_flatten(batch)
    described = [
        (tuple(leaf.shape), tuple(leaf.stride()), str(leaf.dtype), leaf.device.type, leaf.requires_grad)
        if type(leaf) is Tensor
        else repr(leaf)[:200]
        for leaf in leaves
    ]
    return f"{structure} {described}"


def _where(value: Any) -> Any:
    return (id(value), value.data_ptr(), tuple(value.shape)) if isinstance(value, Tensor) else value


def _has_hooks(optimizer: Optimizer) -> bool:
    return bool(optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)


def _is_ours(handler: Any) -> bool:
    owner = getattr(handler, "__self__", handler)
    module = getattr(owner, "__module__", None) or type(owner).__module__
    return str(module).startswith("ignite_recipes.")
