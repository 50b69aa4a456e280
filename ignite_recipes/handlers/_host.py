"""What an engine offers to handlers: the one place that tells a trainer of ours from any other Engine.

A handler asks here, when it is attached, at which event it runs and with what. A trainer of ours is one of
``create_trainer``, or an Engine that ``make_resumable`` has changed; the latter differs in the events of a step only.
What stands for our events on another Engine:

========================= ====================================== ==============================================
moment                    trainer of ours                        another Engine
========================= ====================================== ==============================================
events of a step          fired by its step; of                  fired by ``Engine(TrainingStep(...))``, by
                          ``make_resumable`` by ``Update`` or    ``Update``, or by the update function, which
                          around the optimizers' steps           registers them
after an optimizer step   OPTIMIZER_STEP_COMPLETED               the same if registered, else ITERATION_COMPLETED
an epoch is trained       EPOCH_TRAINED                          EPOCH_COMPLETED
measure                   EPOCH_COMPLETED                        EPOCH_COMPLETED
decide, record            METRICS_READY                          EPOCH_COMPLETED, after what measures: handlers of
                                                                 ours are refused in another order
a run may be left         RESUME_POINT                           ITERATION_COMPLETED
a run has failed          EXCEPTION_RAISED                       EXCEPTION_RAISED, and the error reaches the caller
a metric never comes      METRICS_READY: an error; COMPLETED: a  EPOCH_COMPLETED, the same
                          warning, of what some epochs measure
an event never comes      of a user's update function only: as   EPOCH_COMPLETED of the first epoch: a warning
                          on another Engine
========================= ====================================== ==============================================
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.engine.evaluator import EvaluationEngine
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.own_step import OwnStep, silent_events
from ignite_recipes.engine.parts import keep_state
from ignite_recipes.engine.step import TrainingStep
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.engine.unfired import say_unfired
from ignite_recipes.engine.update import Update
from ignite_recipes.engine.weights import WeightSwap, unwrap
from ignite_recipes.handlers._host_metrics import HostMetrics
from ignite_recipes.handlers._order import MeasuresFirst
from ignite_recipes.handlers._run_end import Failures

__all__ = ["Host", "host_of", "of_current_update", "training_host_of"]


def host_of(engine: Engine | Update) -> "Host":
    """What an engine, or one of its updates, offers to a handler."""
    return Host(engine)


def training_host_of(engine: Engine | Update, handler: object) -> "Host":
    """The same for a handler that acts on a training, or records one: an evaluator starts again in every run of it.

    Raises:
        RuntimeError: if the engine is an evaluator of ``create_evaluator``.
    """
    if isinstance(engine, EvaluationEngine):
        raise RuntimeError(
            f"{type(handler).__name__} must be attached to an engine that trains; got an evaluator of "
            "create_evaluator, whose runs measure one epoch and take no steps: attach it to the trainer, and let "
            "Validation(evaluator, loader).attach(trainer) measure for it"
        )
    return Host(engine)


class Host:
    """An engine, as a handler sees it. Create it when needed and do not store it, because it refers to the engine.

    Attributes:
        trainer: the engine, if it is a trainer of ours.
        step: the step that it runs, if a trainer of ours or a TrainingStep does.
        update: the one to whose events handlers are added; None is all.
        all_updates: those of the step.
        metrics: what it has measured.
    """

    def __init__(self, engine: Engine | Update) -> None:
        self.update = engine if isinstance(engine, Update) else None
        self.engine: Engine = engine.engine if isinstance(engine, Update) else engine
        self.trainer = self.engine if isinstance(self.engine, TrainingEngine) else None
        own = self.engine._process_function
        self.step = self.trainer.step if self.trainer is not None else own if isinstance(own, TrainingStep) else None
        self.metrics = HostMetrics(self.engine, self.trainer)
        if self.step is not None and self.step.progress is None:
            self.step.updates.attach(self.engine)
        self.all_updates = tuple(vars(self.engine).get("updates", {}).values())

    @property
    def updates(self) -> tuple[Update, ...]:
        """Those that a handler is to act on."""
        return self.all_updates if self.update is None else (self.update,)

    def of_optimizer(self, optimizer: Optimizer) -> "Host":
        """The host of the update of ``optimizer``, where a step has several.

        Raises:
            RuntimeError: if no update has it.
        """
        own = [update for update in self.all_updates if update.optimizer is optimizer]
        others = () if self.trainer is None else self.trainer.optimizers.values()
        if self.step is not None and not own and not any(optimizer is other for other in others):
            raise RuntimeError("the schedule must be of the trainer's own optimizer; got another one's")
        return Host(own[0]) if own and len(self.all_updates) > 1 else self

    # Who runs when.

    def _add(self, event: Any, handler: Callable[..., Any], *args: Any) -> None:
        self._say_unfired()
        (self.update or self.engine).add_event_handler(event, handler, *args)

    def _say_unfired(self) -> None:
        """On an Engine of the user's own, let a warning say which events never come; a step of ours fires all."""
        if self.trainer is None:
            say_unfired(self.engine)
        elif isinstance(self.step, OwnStep):
            say_unfired(self.engine, sure=set(TrainEvents) - silent_events(self.step.updates))

    def require(self, event: Any, handler: object, remedy: str) -> None:
        """Refuse a handler of an event of a step that the engine does not register.

        A warning after the first epoch names an event that is registered and never fired.

        Raises:
            RuntimeError: naming the handler, the event and the ``remedy``, a sentence that says what to do by hand.
        """
        if not self.fires(event):
            raise RuntimeError(
                f"{type(handler).__name__} runs at {event.name}, which this engine does not fire. If its update "
                f"function fires it, say so with engine.register_events(TrainEvents.{event.name}); otherwise {remedy}"
            )
        self._say_unfired()

    def fires(self, event: Any) -> bool:
        """Whether the engine says that it fires an event."""
        return event in self.engine._allowed_events

    def after_optimizer_step(self, handler: Callable[..., Any]) -> None:
        """Run once for each step that the optimizer has taken."""
        event = TrainEvents.OPTIMIZER_STEP_COMPLETED
        self._add(event if self.fires(event) else Events.ITERATION_COMPLETED, handler)

    @property
    def steps_several_times(self) -> bool:
        """Whether several optimizers step with a batch, none of which a handler is attached to in particular."""
        optimizers = self.all_updates if self.trainer is None else self.trainer.optimizers
        return self.update is None and len(optimizers) > 1

    def when_epoch_is_trained(self, handler: Callable[..., Any]) -> None:
        """Run after the last step of an epoch, before it is measured."""
        self._add(Events.EPOCH_COMPLETED if self.trainer is None else TrainEvents.EPOCH_TRAINED, handler)

    def check_measures_first(self, handler: object) -> None:
        """Refuse a handler that measures at EPOCH_COMPLETED after one that decides on it, or records it.

        Raises:
            RuntimeError: naming both, and the order that works; never on a trainer of ours.
        """
        deciding = [] if self.trainer is not None else self._order().deciding
        attached = [entry[0] for entry in self.engine._event_handlers[Events.EPOCH_COMPLETED]]
        earlier = [first for first in deciding if any(first is other for other in attached)]
        if earlier:
            names = ", ".join(map(repr, earlier))
            raise RuntimeError(
                f"{handler!r} must be attached before {names}: on an engine of your own they run at EPOCH_COMPLETED in "
                f"the order of their attachment, and would see the metrics of the epoch before. Attach {handler!r} "
                f"first, then {names}"
            )

    def to_decide(self, handler: Callable[..., Any], *args: Any, on_metrics: bool = True) -> None:
        """Run when all of an epoch's metrics are known; on another Engine, attach it after what measures.

        Args:
            handler: what decides or records.
            args: given to it, after the engine.
            on_metrics: whether it reads metrics; what does not may be attached before what measures.
        """
        if self.trainer is None and on_metrics:
            self._order().deciding.append(handler)
        self._add(Events.EPOCH_COMPLETED if self.trainer is None else TrainEvents.METRICS_READY, handler, *args)

    def _order(self) -> MeasuresFirst:
        """What knows which handlers of another Engine decide."""
        attached = (entry[0] for entry in self.engine._event_handlers[Events.STARTED])
        order = next((handler for handler in attached if isinstance(handler, MeasuresFirst)), None)
        if order is None:
            order = MeasuresFirst()
            self.engine.add_event_handler(Events.STARTED, order)
        return order

    def where_run_can_be_left(self, handler: Callable[..., Any]) -> None:
        """Run where the run may be left; of a trainer of ours a checkpoint that is taken there resumes exactly."""
        self._add(Events.ITERATION_COMPLETED if self.trainer is None else TrainEvents.RESUME_POINT, handler)

    def at_end(self, handler: Callable[..., Any]) -> None:
        """Run when the run ends by itself, and when it fails; the error still reaches the caller."""
        self._add(Events.COMPLETED, handler)
        handlers = self.engine._event_handlers[Events.EXCEPTION_RAISED]
        if self.trainer is not None:
            self.engine.add_event_handler(Events.EXCEPTION_RAISED, handler)
            return
        failures = next((entry[0] for entry in handlers if isinstance(entry[0], Failures)), None)
        if failures is None:
            failures = Failures()
            self.engine.add_event_handler(Events.EXCEPTION_RAISED, failures)
        failures.handlers.append(handler)

    # What it works with.

    def keep(self, name: str, handler: Any) -> None:
        """Enter the handler's state; it belongs to the run."""
        keep_state(self.engine, name if self.update is None else f"{self.update.name}_{name}", handler)

    def require_trainer(self, handler: object, remedy: str = "") -> TrainingEngine:
        """The engine, which must be a trainer of ours.

        Raises:
            RuntimeError: if it is another Engine.
        """
        if self.trainer is None:
            raise RuntimeError(
                f"{type(handler).__name__} needs a trainer of create_trainer or make_resumable, which knows all of "
                f"its state{remedy}"
            )
        return self.trainer

    def model(self, given: nn.Module | None, purpose: str) -> nn.Module:
        """The model that is trained: the one that is given, or the step's own.

        Raises:
            RuntimeError: if neither is known; ``purpose`` completes "does not say".
        """
        if given is None and self.step is None:
            raise RuntimeError(f"an engine of your own does not say {purpose}: pass attach(trainer, model)")
        return self.step.model if given is None and self.step is not None else given  # type: ignore[return-value]

    def parameters(
        self, given: nn.Module | Iterable[Tensor] | None, purpose: str
    ) -> Callable[[Engine], Iterable[Tensor]]:
        """What gives those of a model or of the current update as they are then, or those that are given."""
        if given is not None and not isinstance(given, nn.Module):
            return partial(_those, list(given))
        if given is None and self.all_updates:
            return of_current_update
        return partial(_of_model, self.model(given, purpose))

    def swap(self, model: nn.Module) -> WeightSwap:
        """What puts other weights into ``model``: for a trainer's own it is the trainer's, which checkpoints know."""
        if self.trainer is not None and unwrap(self.trainer.model) is unwrap(model):
            return self.trainer.weights
        return WeightSwap(model)

    # Where its run is.

    @property
    def batches_done(self) -> int:
        """The batches of the current epoch that are done when it starts: more than 0 if a run continues inside it."""
        progress = None if self.step is None else self.step.progress
        return 0 if progress is None else progress.position

    @property
    def steps_taken(self) -> int | None:
        """Optimizer steps since the run began, if the engine counts them."""
        return sum(update.count.taken for update in self.updates) if self.updates else None


def _those(parameters: list[Tensor], engine: Engine) -> list[Tensor]:
    return parameters


def _of_model(model: nn.Module, engine: Engine) -> Iterable[Tensor]:
    return model.parameters()


def of_current_update(engine: Engine) -> list[Tensor]:
    """The parameters that the update of the current moment trains."""
    return parameters_of(engine.state.update.optimizer)  # type: ignore[attr-defined]
