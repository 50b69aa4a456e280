"""Average the weights over the steps of a training, and measure and hand over the averaged ones."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from ignite_recipes.arguments import shown
from ignite_recipes.checkpoint.fit import misfits
from ignite_recipes.checkpoint.model_file import AVERAGED
from ignite_recipes.engine.blocks import with_numbers_only
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.engine.update import Update
from ignite_recipes.engine.weights import WeightSwap, load_weights, unwrap
from ignite_recipes.handlers._host import training_host_of
from ignite_recipes.handlers._weight_average import WeightAverage
from ignite_recipes.programs.part import ProgramPart, StepValues

__all__ = ["ExponentialMovingAverage"]


class ExponentialMovingAverage(ProgramPart):
    """Keep an exponential moving average of the weights, which is often better than the last weights.

    After each optimizer step ``average <- d * average + (1 - d) * weights``, from the weights before the first
    step on; with warm-up ``d = min(decay, (1 + t) / (10 + t))``, t being the steps averaged before, so that the first
    weights soon lose their influence. Buffers (running statistics) and whole numbers are copied. The average of
    half-precision weights is kept in float32: in their own precision it would not change.

    Where several optimizers step with a batch, it averages once a batch, after the last step that was taken; attached
    to one of the updates it averages after each step of that one.

    With ``validate`` an epoch is measured and decided on with the averaged weights: early stopping keeps those of
    the best epoch. At the end of the run the model has the averaged weights, or those that early stopping restores. The
    training itself stays the same to the last bit: it continues with the trained weights, and they are the
    ``model_state_dict`` of checkpoints, which hold the averaged ones as ``ema_model_state_dict``.

    Runs:   trainer, OPTIMIZER_STEP_COMPLETED (an Engine without it, or where several optimizers step:
            ITERATION_COMPLETED); STARTED, to begin with the weights of the first run; EPOCH_TRAINED, to validate, and
            RUN_TRAINED. On other Engines it only averages: see :meth:`averaged` and :meth:`copy_to`.
    Reads:  the model's parameters and buffers. Where an accelerator itself drops a step that is not finite, the
            average uses the unchanged weights twice, and leaves out a later step.
    Writes: the model, while an epoch is measured and at the end.
    Keeps:  the averaged weights, and over how many steps.

    Args:
        decay: the part of itself that the average keeps in a step, in [0, 1); it covers about 1 / (1 - decay) steps.
        validate: False measures the epochs with the trained weights.
        warmup: start with a smaller decay.

    Attributes:
        num_updates: steps averaged.

    Raises:
        ValueError: for a decay out of its range.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> ema = ExponentialMovingAverage(0.5, warmup=False)
    >>> ema.set_model(model)
    >>> for _ in range(3):
    ...     _ = nn.init.ones_(model.weight)  # the optimizer's step
    ...     ema.update()
    >>> with ema.averaged():
    ...     model.weight.item()
    0.875
    >>> model.weight.item()
    1.0

    Reference: B. T. Polyak, A. B. Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; the
    warm-up is that of TensorFlow's ExponentialMovingAverage.
    """

    takes_notice_of_programs = True

    def __init__(self, decay: float = 0.999, *, validate: bool = True, warmup: bool = True) -> None:
        if not isinstance(decay, (float, Real)) or not 0 <= decay < 1:
            raise ValueError(
                f"decay must be in [0, 1), the part of itself that the average keeps in a step; got {shown(decay)}"
            )
        self.decay, self.validate, self.warmup = decay, validate, warmup
        self.num_updates = 0
        self._has_begun = False  # with the weights of the first run, and not those it was attached with
        self._averaged_in: int | None = None  # the last iteration whose program has done so
        self._is_due = False  # of several optimizers one has stepped with the current batch
        self._swap: WeightSwap | None = None
        self._whole: nn.Module | None = None  # the trainer's model, where the average is of a part of it
        self._prefix = ""
        self._average: WeightAverage | None = None

    def __repr__(self) -> str:
        return f"ExponentialMovingAverage({self.decay})"

    def set_model(self, model: nn.Module) -> None:
        """Name the model whose weights are averaged; the average starts with its current weights."""
        self._swap = WeightSwap(model)
        self._begin(self._swap.model)

    def _begin(self, model: nn.Module) -> None:
        self.num_updates, self._average = 0, WeightAverage(model)

    def _required(self) -> tuple[WeightSwap, WeightAverage]:
        if self._swap is None or self._average is None:
            raise RuntimeError("the average must know the model whose weights it is of: call set_model(model) first")
        return self._swap, self._average

    @torch.no_grad()
    def update(self) -> None:
        """Average the weights as they are now; by hand, after ``optimizer.step()``.

        Raises:
            RuntimeError: if :meth:`set_model` was not called.
        """
        self._required()[1].update(self._next_decay())
        self._note_update()

    def _next_decay(self) -> float:
        return min(self.decay, (1 + self.num_updates) / (10 + self.num_updates)) if self.warmup else self.decay

    def _note_update(self) -> None:
        self.num_updates += 1
        self._has_begun = True

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block the model has the averaged weights; after it, its own weights again.

        Your own Engine validates with them: ``with ema.averaged(): evaluator.run(val_loader)``.

        Raises:
            RuntimeError: if :meth:`set_model` was not called.
        """
        swap, _ = self._required()
        if swap.is_in:  # a block inside a block
            yield
            return
        try:
            swap.put_in(self._named())
            yield
        finally:
            swap.take_out()

    def copy_to(self, model: nn.Module) -> None:
        """Load the averaged weights into a model of the same architecture."""
        load_weights(model, self._named())

    def _named(self) -> dict[str, Any]:
        """The model's state dict, with the averaged weights in it; of what is new, those of now."""
        swap, average = self._required()
        weights = swap.model.state_dict()
        weights.update(average.tensors())
        return weights

    def attach(self, trainer: Engine | Update, model: nn.Module | None = None) -> "ExponentialMovingAverage":
        """Average over the steps of ``trainer``.

        Args:
            trainer: ours, or any Engine whose update function steps the optimizer.
                Given one of its updates, over the steps of that only; of several, otherwise, once a batch.
            model: the model whose weights to average: the trainer's own (the default), or a part of it, e.g. a GAN's
                generator; on your own Engine that of :meth:`set_model`. If several parts are averaged, the
                ``ema_model_state_dict`` of a checkpoint has the average attached last.

        Raises:
            RuntimeError: if an engine of your own names no model, or it is attached already.
            ValueError: if the model is not a model of the trainer.
        """
        host = training_host_of(trainer, self)
        own = None if host.trainer is None else host.trainer.model
        if own is not None and model is not None:
            names = {id(module): name for name, module in unwrap(own).named_modules()}
            if id(unwrap(model)) not in names:
                raise ValueError("a trainer averages the weights of its own model, or of a part of it; got another one")
            name = names[id(unwrap(model))]
            self._whole, self._prefix = unwrap(own), f"{name}." if name else ""
        if model is None and self._swap is not None and own is None:
            model = self._swap.model
        model = host.model(model, "what to average")
        host.keep("ema", self)
        if self._swap is None or self._swap.model is not unwrap(model):
            self.set_model(model)
        trainer.add_event_handler(Events.STARTED, self._begin_run)
        if host.steps_several_times:
            host.after_optimizer_step(self._note_step)
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self.end_batch)
            host.when_epoch_is_trained(self.end_batch)  # the epoch's last window may end after its last batch
        else:
            host.after_optimizer_step(self)
        if own is not None and self.validate:
            trainer.add_event_handler(TrainEvents.EPOCH_TRAINED, self._put_in)
        if own is not None:
            trainer.add_event_handler(TrainEvents.RUN_TRAINED, self._put_in)
        return self

    def after_block(self, engine: Engine, values: StepValues, count: int) -> None:
        """The programs have averaged; :meth:`of_block` counts."""

    def of_block(self, engine: Engine, losses: Mapping[str, Tensor]) -> None:
        """Count several averages."""
        self.num_updates += len(next(iter(losses.values())))
        self._has_begun = True

    @with_numbers_only  # after a program, which has averaged
    def __call__(self, trainer: Engine) -> None:
        """Average the weights after a step."""
        if self._averaged_in == trainer.state.iteration:
            self._note_update()
        else:
            self.update()

    def _note_step(self) -> None:
        self._is_due = True

    def end_batch(self) -> None:
        """Where several optimizers step with a batch, average the weights after it, if one has done so since."""
        if self._is_due:
            self._is_due = False
            self.update()

    def in_program(self, values: StepValues, carried: Sequence[Tensor], numbers: Sequence[Tensor]) -> None:
        """The same, of the weights after a program's step; where it is dropped the average stays."""
        self._required()[1].update_in_program(carried, numbers[0], values.drop)

    def carried_in_program(self) -> list[Tensor]:
        """The averages."""
        return self._required()[1].averages()

    def numbers_in_program(self) -> list[float]:
        """What the average takes of the weights in the next step."""
        return [1 - self._next_decay()]

    def numbers_ahead(self, count: int) -> list[list[float]]:
        """The same, of several steps."""
        before, numbers = self.num_updates, []
        for self.num_updates in range(before, before + count):
            numbers.append(self.numbers_in_program())
        self.num_updates = before
        return numbers

    def constants_in_program(self) -> Any:
        """None: the decay is a number."""
        return ()

    def after_program(self, engine: Engine, values: StepValues) -> None:
        """Leave out the eager average of this step."""
        self._averaged_in = engine.state.iteration

    def obstacle_in_program(self) -> str | None:
        """The model must be the one whose average this is."""
        return None if self._required()[1].is_current() else "starts again, because the model has changed"

    def _begin_run(self) -> None:
        if not self._has_begun:  # weights may have been loaded since it was attached
            self._begin(self._required()[0].model)
            self._has_begun = True

    def _put_in(self, trainer: TrainingEngine) -> None:
        trainer.weights.put_in(self._in_whole())

    def _in_whole(self) -> dict[str, Any]:
        """The trainer's model's state dict, with the averaged weights of a part in it."""
        if not self._prefix or self._whole is None:
            return self._named()
        weights = self._whole.state_dict()
        weights.update({self._prefix + name: value for name, value in self._named().items()})
        return weights

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights under the model's own names, and over how many steps; like torch's, not a copy.

        Raises:
            RuntimeError: if :meth:`set_model` was not called.
        """
        return {
            "num_updates": self.num_updates,
            "has_begun": self._has_begun,
            "weights": self._named(),
            "new": self._required()[1].new_names(),
        }

    def checkpoint_entries(self) -> dict[str, Any]:
        """The entry of a checkpoint with its own key: the averaged weights, as in the state."""
        return {AVERAGED: self._in_whole()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue to average from there, on the model's device.

        Raises:
            ValueError: if the average is of another model.
            RuntimeError: if :meth:`set_model` was not called.
        """
        swap, average = self._required()
        problems = list(misfits(swap.model, state["weights"]).values())
        if problems:
            raise ValueError(f"the average is of another model: {'; '.join(problems[:3])}")
        average.load(state["weights"], state.get("new", ()))  # older files have no "new"
        self.num_updates, self._has_begun, self._is_due = state["num_updates"], state["has_begun"], False
