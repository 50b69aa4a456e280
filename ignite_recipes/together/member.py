"""One run among several that train together: what its steps need, and what it makes of what they have come to."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import numpy as np
from ignite.engine import Events
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree

from ignite_recipes.engine.blocks import (
    AFTER_STEP,
    BEFORE_STEP,
    Outcome,
    is_called_for_each,
    needs_each_step,
    steps_until_needed,
)
from ignite_recipes.engine.describe import name_of
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.step import TrainingStep
from ignite_recipes.engine.step_program import (
    NotOneProgramError,
    end_window,
    modules_of_step,
    parts_of_step,
    roots_of_step,
    trained_parameters,
)
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.engine.whole_step import check_one_program, layout_of
from ignite_recipes.loading.batches import count_samples, to_device
from ignite_recipes.loading.fetching import dataset_of
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.randomness import derive_seed, seed_torch
from ignite_recipes.programs.first_state import make_state
from ignite_recipes.programs.function import Modules
from ignite_recipes.programs.loss_scale import LossScale
from ignite_recipes.programs.optimizers import OptimizerFunction, structure_of
from ignite_recipes.programs.part import StepValues, takes_blocks
from ignite_recipes.programs.python_state import code_of, python_state, tensors_in
from ignite_recipes.programs.stop import Stop

__all__ = ["Member"]

MOST_BYTES = 2**26
"""The most bytes of batches that handlers are given as one."""


class Member:
    """The steps of a run to come in the current epoch, but for its last one.

    The last one is computed by the run itself: its gradients are there for those who look at them at the epoch's end,
    and all that an epoch ends with is as in a run that is alone.

    Args:
        engine: between two steps.

    Attributes:
        key: runs with equal keys have one program.
        outcome: of the last block.

    Raises:
        NotOneProgramError: if its steps cannot be computed with those of others; the message says why.
    """

    def __init__(self, engine: TrainingEngine) -> None:
        if not isinstance(engine.step, TrainingStep):
            raise NotOneProgramError("your own update function is Python")
        self.engine, self.step = engine, engine.step
        self.state: Any = engine.state
        check_one_program(self.step, engine)
        self.update = self.step.updates.first
        self._check()
        self.outcome = Outcome()
        self._schedules = [
            handler
            for handler in self._handlers(TrainEvents.OPTIMIZER_STEP_COMPLETED)
            if hasattr(handler, "looking_ahead")
        ]
        self.stop = Stop()
        self.parts = {name: list(parts) for name, parts in parts_of_step(engine).items()}
        self.parts["gradients"].append(self.stop)
        self.loader = self._loader()
        self.batches = self._batches()
        if not self.batches:  # the run ends with the next one
            return
        self._has_epochs = self.loader.say_epoch()
        self._bytes = 0
        self.look_at_batches(1)
        first = self.prepared(self.fetch(0))
        self.example = first
        self.length = self.step.batch_size(first)
        leaves = [leaf for leaf in _pytree.tree_leaves(first) if isinstance(leaf, Tensor)]
        self.has_row_batches = all(leaf.dim() and len(leaf) == len(self.batches[0]) for leaf in leaves)
        self._bytes = sum(leaf.nbytes for leaf in leaves)

    def _check(self) -> None:
        if self.step.device.type != "cpu":
            raise NotOneProgramError(f"there is no program of several runs for {self.step.device.type}")
        if self.update.window.length > 1:
            raise NotOneProgramError("gradients are accumulated over several batches")
        if self.step.batch_size is not count_samples:
            raise NotOneProgramError("the samples of a batch are counted by your own function")
        if self.step.compile not in (False, "step"):
            raise NotOneProgramError("the model is compiled by itself")
        for event in BEFORE_STEP:
            for handler in self._handlers(event):
                if needs_each_step(handler):
                    raise NotOneProgramError(f"{name_of(handler)}, a handler of {event.name}, may change the batch")

    def _handlers(self, event: Any) -> list[Any]:
        return [entry[0] for entry in self.engine._event_handlers.get(event, ())]

    def _loader(self) -> KeyedLoader:
        loader = self.state.dataloader
        if not isinstance(loader, KeyedLoader):
            raise NotOneProgramError("there is no loader")
        return loader

    def _batches(self) -> list[Any]:
        """The row numbers of the batches to come, but for the epoch's last one."""
        length, progress = self.state.epoch_length, self.engine.progress
        if length is None:
            raise NotOneProgramError("the length of an epoch is not known beforehand")
        if progress.given_length is not None:
            raise NotOneProgramError("an epoch is not a pass over the loader")
        rows = self.loader.rows()
        if rows is None:
            raise NotOneProgramError("the loader's batches cannot be fetched by row numbers that are known beforehand")
        last = min(length, len(rows)) - 1
        if self.state.max_iters is not None:
            last = min(last, self.state.max_iters - progress.epoch_start - 1)
        return rows[progress.position : last]

    # What a program of several runs is made of; a run that is alone has one already.

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
    def num_left(self) -> int:
        """Steps that can be computed together until the run must look at something."""
        handlers = [handler for event in AFTER_STEP for handler in self._handlers(event)]
        limits = [steps_until_needed(handler, self.engine) for handler in handlers]
        if not all(takes_blocks(part) for parts in self.parts.values() for part in parts):
            limits.append(1)
        return min([len(self.batches), *(limit for limit in limits if limit is not None)])

    @property
    def dataset(self) -> Any:
        """What its batches are rows of."""
        return dataset_of(self.loader.loader)

    @property
    def shares_rows(self) -> bool:
        """Whether a batch is a matter of its rows only, so that those of several runs can be fetched at once."""
        return not self._has_epochs and self.step.prepare_batch is to_device

    def fetch(self, k: int) -> Any:
        """The batch ``k`` steps from now."""
        self.loader.say_epoch()
        return self.fetch_rows(self.batches[k])

    def fetch_rows(self, rows: Sequence[int] | NDArray[np.int64]) -> Any:
        """A batch of these rows, as the loader would give it."""
        loader: Any = self.loader.loader
        return loader.collate_fn(loader.dataset.__getitems__(rows))

    def look_at_batches(self, count: int) -> None:
        """Let handlers check the batches of the steps to come, all at once."""
        entries = [entry for event in BEFORE_STEP for entry in self.engine._event_handlers.get(event, ())]
        if not entries:
            return
        self.loader.say_epoch()
        at_once = max(1, MOST_BYTES // max(1, self._bytes))
        for first in range(0, count, at_once):
            self._look_at(range(first, min(first + at_once, count)), entries)

    def _look_at(self, steps: range, entries: Sequence[Any]) -> None:
        """Let handlers look at the batches of some steps as one."""
        before = self.state.iteration
        self.state.iteration += steps[0] + 1
        self.state.batch = self.fetch_rows([row for k in steps for row in self.batches[k]])
        try:
            for entry in entries:
                self.engine._call(entry)
        except ValueError:  # of which batch, it says where it has only one
            for k in steps:
                self.state.iteration, self.state.batch = before + k + 1, self.fetch(k)
                for entry in entries:
                    self.engine._call(entry)
            raise
        finally:
            self.state.iteration, self.state.batch = before, None

    def prepared(self, batch: Any) -> Any:
        """The batch as the step takes it."""
        return self.step.prepare_batch(batch, self.step.device, True)

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

    def numbers(self, count: int, known: dict[Any, list[list[float]]] | None = None) -> list[list[float]]:
        """Those of each of the steps to come, if all of them are taken.

        Args:
            count: the number of steps.
            known: the optimizer's numbers of other runs, by what they depend on.
        """
        parts = [part.numbers_ahead(count) for parts in self.parts.values() for part in parts]
        of_optimizer = self._optimizer_numbers(count, {} if known is None else known)
        if not any(part[0] for part in parts):
            return of_optimizer
        return [[*own, *(number for part in parts for number in part[k])] for k, own in enumerate(of_optimizer)]

    def _optimizer_numbers(self, count: int, known: dict[Any, list[list[float]]]) -> list[list[float]]:
        if self._schedules and count > 1:
            with ExitStack() as stack:
                for schedule in self._schedules:
                    stack.enter_context(schedule.looking_ahead())
                found = []
                for k in range(count):
                    found.append(self.optimizer.numbers(k))
                    for schedule in self._schedules:
                        schedule.step()
            return found
        key = self.optimizer.settings()
        if key not in known:
            known[key] = [self.optimizer.numbers(k) for k in range(count)]
        return known[key]

    def seed(self, step: int, place: str | None) -> None:
        """Let torch's generators draw what belongs to a place in a step to come; None is the update's.

        Args:
            step: from the next one, which is 0.
            place: of :class:`~ignite_recipes.engine.step.TrainingStep`.
        """
        place = self.update.place if place is None else place
        iteration = self.state.iteration + 1 + step
        if self.state.seed is not None:
            seed_torch(derive_seed(self.state.seed, place, iteration, *self.step.exchange.key), self.step.device)

    def leave(self) -> None:
        """Let the run itself fetch and compute the rest of its epoch."""
        progress = self.engine.progress
        self.loader.enter(self.state.epoch, progress.position, None)
        self.engine._init_iter = progress.position
        self.engine._dataloader_iter = iter(self.loader)

    # What a block has come to.

    def apply(self, outcome: Outcome) -> None:
        """Let the run's handlers take notice of the steps.

        Of steps after one that was dropped nothing is known; they are computed again in the next block.
        """
        if outcome.error is not None:
            raise outcome.error
        engine, state, update = self.engine, self.state, self.update
        update.begin(state)
        state.num_samples = self.length
        rows, self.batches = self.batches[outcome.count - 1], self.batches[outcome.count :]
        if outcome.count > 1:
            self._apply_taken(outcome, outcome.count - 1)

        # The last one may have been dropped.
        state.iteration += 1
        update.begun = state.iteration
        self.loader.say_epoch()
        state.batch = self.fetch_rows(rows)
        self.loader.pass_over(self.engine.progress.position, state.batch)
        state.inputs = self.step.get_inputs(self.prepared(state.batch))  # a guard says where NaN has come from
        last = [column[-1] for column in outcome.outputs]
        update.window.weigh(self.length)
        state.output = dict(zip(outcome.places.names, last, strict=False))
        update.window.losses.append(state.output["loss"])
        end_window(self.step, engine, self.optimizer, self.parts, outcome.places, last)
        engine._fire_event(Events.ITERATION_COMPLETED)
        state.inputs = state.losses = None

    def _apply_taken(self, outcome: Outcome, count: int) -> None:
        """The first ``count`` steps, which were taken."""
        engine, state, progress = self.engine, self.state, self.engine.progress
        columns = [column[:count] for column in outcome.outputs]
        losses = dict(zip(outcome.places.names, columns, strict=False))
        before = state.iteration
        state.iteration += count
        values = StepValues(loss=losses["loss"])
        for part, (norm, drop) in zip(self.parts["gradients"], outcome.places.found, strict=True):
            values.norm = None if norm is None else columns[norm]
            values.drop = None if drop is None else columns[drop]
            part.after_block(engine, values, count)
        for part in self.parts["after"]:
            part.after_block(engine, values, count)
        if self.update.precision is not None:
            self.update.precision.after_block()
        self.optimizer.note_step(count)
        self.update.count.taken += count
        progress.previous_iteration, progress.iteration = state.iteration - 1, state.iteration
        self.update.begun = self.update.done = state.iteration
        one_by_one = []
        for event in (TrainEvents.OPTIMIZER_STEP_COMPLETED, Events.ITERATION_COMPLETED):
            for entry in engine._event_handlers.get(event, ()):
                if not is_called_for_each(entry[0]):
                    continue
                if (of_block := getattr(getattr(entry[0], "__self__", entry[0]), "of_block", None)) is not None:
                    of_block(engine, losses)
                else:
                    one_by_one.append(entry)
        for k in range(count if one_by_one else 0):
            state.iteration, state.output = before + k + 1, {name: column[k] for name, column in losses.items()}
            for entry in one_by_one:
                engine._call(entry)
