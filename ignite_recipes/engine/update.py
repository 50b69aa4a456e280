"""One training update: what is done with the gradients of a window of batches."""

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from ignite.engine import Engine
from ignite.engine.events import EventsList
from torch import Tensor
from torch.optim import Optimizer

from ignite_recipes.arguments import whole_number
from ignite_recipes.engine.by_hand import Calls, take_by_hand
from ignite_recipes.engine.events import STEP_EVENTS, TrainEvents, fire
from ignite_recipes.engine.gradients import gradients_of, parameters_of, zero_gradients
from ignite_recipes.engine.losses import LossFunction, check_loss_function
from ignite_recipes.engine.of_update import OfUpdate
from ignite_recipes.engine.optimizer_step import check_optimizer, needs_closure, step_optimizer
from ignite_recipes.engine.progress import StepCount
from ignite_recipes.engine.statistics import RunningStatistics
from ignite_recipes.engine.updates import updates_of
from ignite_recipes.engine.window import Window
from ignite_recipes.exchange import Exchange

__all__ = ["Update"]


_FLOAT32: AbstractContextManager[Any] = nullcontext()


class Update:
    """Backward, unscale, average over the window, let handlers clip and check, step: a part of a training step.

    A step may hold several, each with its optimizer: the discriminator and the generator of a GAN, actor and critic.
    Gradients go only to the parameters of its optimizer, so that the other models need not be frozen.

    - ``create_trainer(model, updates=[Update(...), Update(...)])`` takes them in this order with every batch.
    - In your own update function, ``update(engine, loss)`` does everything, with the events of a step.

    Handlers that are attached to the trainer act on all updates, those that are attached to an update on it only:
    ``GradientClipper(1.0).attach(trainer.updates["critic"])``.

    Args:
        optimizer: the optimizer of the parameters that are updated.
        loss_fn: ``loss_fn(model, inputs, batch) -> {"loss": total, ...}``; None in an update function of your own.
        name: the name of the update, in ``describe``, in its losses and in the checkpoint; unique in a step.
        accumulation_steps: batches per optimizer step.
        every: compute it with every n-th batch: with 5, an update of every batch takes five steps for each step of this
            one. Batches are counted from the run's first one, also on a resume.
        closure: whether ``optimizer.step`` needs a closure that computes the loss again; None looks at its signature,
            which says so for LBFGS. The optimizer may call it as often as it needs: the batch and the random numbers
            are the same.

    Attributes:
        window: the batches since the last optimizer step.
        precision: set by ``MixedPrecisionTrainer.attach``; None is float32.
        veto: set by a handler of OPTIMIZER_STEP_STARTED to drop the step: True, or a 0-d tensor on the device
            that is nonzero where the step must be dropped.
        veto_lag: updates until the host asks an accelerator whether one was finite; 0 is at once.
        count: how many steps were taken and dropped since the run began.
        statistics: the model's buffers before the window, e.g. batch norm's.

    Raises:
        TypeError: for an optimizer, loss function or name of another kind.
        ValueError: if a number is below 1, or a closure is to be accumulated over several batches.

    >>> from ignite.engine import Events
    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> descend = Update(torch.optim.SGD([weight], lr=0.25))
    >>> engine = Engine(lambda engine, target: descend(engine, (weight - target).square().sum()))
    >>> _ = engine.run([2.0] * 3, max_epochs=1)
    >>> weight.item(), descend.count.taken
    (1.75, 3)
    """

    NAME = "update"
    """The default name; ``make_resumable`` gives the update that of the part."""

    def __init__(
        self,
        optimizer: Optimizer,
        loss_fn: LossFunction | None = None,
        *,
        name: str = NAME,
        accumulation_steps: int = 1,
        every: int = 1,
        closure: bool | None = None,
    ) -> None:
        check_optimizer(optimizer)
        if loss_fn is not None:
            check_loss_function(loss_fn)
        if not isinstance(name, str) or not name:
            raise TypeError(f"name must be a word, e.g. 'generator'; got {name!r}")
        self.optimizer, self.loss_fn, self.name = optimizer, loss_fn, name
        self.every = whole_number(every, "every", "batches")
        self.window = Window(whole_number(accumulation_steps, "accumulation_steps", "batches"))
        self.needs_closure = needs_closure(optimizer) if closure is None else closure
        if self.needs_closure and accumulation_steps > 1:
            raise ValueError(
                "an optimizer that needs a closure computes the loss of one batch again and again; got "
                f"accumulation_steps={accumulation_steps}: make the batches larger"
            )
        self.precision: Any = None
        self.veto: bool | Tensor = False
        self.veto_lag = 0
        self.count = StepCount()
        self.losses: Any = loss_fn  # compiled, if that is asked for
        self.begun = self.done = 0  # the last iterations that were computed, and that are in the weights
        self.place = "step"  # of its random numbers, in addition to the seed and the iteration
        self.is_alone = False  # whether it is the only update of a step of ours
        self.is_observed = False  # whether an update function steps the optimizer itself
        self.exchange: Exchange | None = None
        self.statistics: RunningStatistics | None = None
        self.keeps_after_step = False  # where several updates have them in common
        self.calls = Calls()
        self._engine: weakref.ref[Engine] | None = None

    def __repr__(self) -> str:
        rhythm = "" if self.every == 1 else f", every={self.every}"
        return f"Update({self.name!r}, {type(self.optimizer).__name__}{rhythm})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "losses": None, "_engine": None}

    # Where it belongs.

    @property
    def engine(self) -> Engine:
        """Whose update it is.

        Raises:
            RuntimeError: if it belongs to no engine yet.
        """
        engine = None if self._engine is None else self._engine()
        if engine is None:
            raise RuntimeError(
                f"{self!r} must belong to an engine: give it to create_trainer or make_resumable, or call "
                "attach(engine), before handlers are attached to it"
            )
        return engine

    def belong_to(self, engine: Engine) -> None:
        """Be an update of ``engine``."""
        self._engine = weakref.ref(engine)

    def attach(self, engine: Engine) -> "Update":
        """Be an update of an Engine of your own; the first call does so if it was not done before."""
        updates_of(engine).add(self)
        return self

    def add_event_handler(self, event: Any, handler: Callable[..., Any], *args: Any) -> None:
        """Run ``handler`` at an event of the engine; at one of a step for this update only."""
        for one in event if isinstance(event, EventsList) else [event]:
            self.engine.add_event_handler(one, OfUpdate(self.name, handler) if one in STEP_EVENTS else handler, *args)

    # One update, from top to bottom.

    def __call__(self, engine: Engine, loss: Tensor | Callable[[], Tensor], num_samples: int | None = None) -> Tensor:
        """Update the parameters by a loss that an update function of your own has computed.

        Args:
            engine: that calls the update function.
            loss: a 0-d tensor; or a function that computes it, which is called under autocast, and several times by an
                optimizer that needs a closure.
            num_samples: that the loss is a mean of; by default the length of the batch's first tensor.

        Returns:
            The loss, detached.
        """
        if self._engine is None or self._engine() is not engine:
            self.attach(engine)
        return take_by_hand(self, engine, loss, num_samples)

    def begin(self, state: Any, *, keep: bool = True) -> None:
        """Before a batch is computed: free the gradients of the window before."""
        state.update = self
        self.begun = state.iteration
        if not self.window.is_open:
            zero_gradients(self.optimizer)
            if keep and self.statistics is not None:
                self.statistics.keep()

    def autocast(self) -> AbstractContextManager[Any]:
        """A context for the forward pass and the loss."""
        return _FLOAT32 if self.precision is None else self.precision.autocast()

    def backward(self, loss: Tensor, weight: float) -> None:
        """Add the gradients of ``weight`` times the loss to those of the window."""
        if weight != 1:
            loss = loss * weight
        if self.precision is not None:
            loss = self.precision.scale_loss(loss)
        if self.is_alone:
            loss.backward()  # type: ignore[no-untyped-call]
        else:  # the parameters of other updates are left alone
            own = [parameter for parameter in parameters_of(self.optimizer) if parameter.requires_grad]
            if own:  # none while all of them are frozen
                loss.backward(inputs=own)  # type: ignore[no-untyped-call]

    def take(
        self,
        engine: Engine,
        *,
        note: Callable[[], None] | None = None,
        compute_again: Callable[[], Tensor] | None = None,
    ) -> None:
        """Update the parameters with the gradients of the window, and begin the next one.

        Args:
            engine: whose events are fired.
            note: called when the parameters are updated, before anybody is told.
            compute_again: for a closure, computes the loss and its gradients once more.
        """
        self.ready_gradients(engine)
        is_taken = step_optimizer(self, engine, compute_again)

        self.window.clear()
        self.done = engine.state.iteration
        if note is not None:
            note()
        self.note_step(engine, is_taken=is_taken)

    def note_step(self, engine: Engine, *, is_taken: bool) -> None:
        """Count a step, and tell handlers what has come of it."""
        if self.keeps_after_step and self.statistics is not None:
            self.statistics.keep()  # a later update does not put back what this one's batch has changed
        if not is_taken:
            self.count.skipped += 1
            fire(engine, TrainEvents.OPTIMIZER_STEP_SKIPPED)
            return
        self.count.taken += 1
        if self.count.owed:
            self.count.owed -= 1
        else:
            fire(engine, TrainEvents.OPTIMIZER_STEP_COMPLETED)

    def ready_gradients(self, engine: Engine) -> None:
        """Bring the gradients of the window to their true size, and let handlers clip and judge them."""
        state: Any = engine.state
        state.update = self
        if self.exchange is not None and self.exchange.world_size > 1:
            self.exchange.finish_gradients(self.gradients)
        if self.precision is not None:
            self.precision.unscale_gradients(self.optimizer)
        if self.window.is_weighted:
            torch._foreach_div_(self.gradients(), self.window.weight)

        state.grad_norm = None
        self.veto = False
        fire(engine, TrainEvents.GRADIENTS_READY)
        fire(engine, TrainEvents.OPTIMIZER_STEP_STARTED)

    def report_late_skip(self, engine: Engine) -> None:
        """Correct the counts: a step that was counted as taken turns out to have been dropped.

        OPTIMIZER_STEP_COMPLETED was fired for it, so the next one is withheld: schedules advance exactly as
        often as the optimizer did.
        """
        self.count.taken -= 1
        self.count.skipped += 1
        self.count.owed += 1
        fire(engine, TrainEvents.OPTIMIZER_STEP_SKIPPED)

    # Its gradients, and what is left of one that was cut short.

    def abandon(self) -> None:
        """Forget what an error has cut short, its window, and what its batches have left in the model's buffers."""
        if self.done < self.begun and self.statistics is not None:
            self.statistics.put_back()
        self.begun = self.done
        self.calls.restart()
        self.window.clear()
        if self.precision is not None:
            self.precision.abandon_step()

    def settle(self, iteration: int) -> None:
        """What parameters and buffers hold now is what the run has after ``iteration``."""
        self.begun = self.done = iteration
        self.calls = Calls(iteration)

    def zero_gradients(self) -> None:
        """Free the gradients of the optimizer's parameters."""
        zero_gradients(self.optimizer)

    def gradients(self) -> list[Tensor]:
        """The gradients of the optimizer's parameters that have one, as ``gradients_of`` gives them."""
        return gradients_of(parameters_of(self.optimizer))
