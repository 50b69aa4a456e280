"""The trainer: a run of the training step that starts, stops, fails and resumes, once for every recipe."""

import logging
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from ignite.engine import Events, State

from ignite_recipes.engine.environment import deterministic_algorithms
from ignite_recipes.engine.events import TrainEvents, fire
from ignite_recipes.engine.foreign import load_late
from ignite_recipes.engine.keyed_engine import KeyedEngine
from ignite_recipes.engine.losses import modules_of
from ignite_recipes.engine.modes import enter_training_mode, in_evaluation_mode
from ignite_recipes.engine.own_step import OwnStep
from ignite_recipes.engine.parts import Parts
from ignite_recipes.engine.places import is_lazy
from ignite_recipes.engine.progress import Progress, Stage
from ignite_recipes.engine.state import TrainingState
from ignite_recipes.engine.step import TrainingStep
from ignite_recipes.engine.updates import Updates
from ignite_recipes.engine.weights import WeightSwap, unwrap
from ignite_recipes.exchange.ranks import all_reduce_max, lost_rank
from ignite_recipes.loading.given import as_loader
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.randomness import derive_seed, preserve_generators, seed_torch
from ignite_recipes.turns import current_run

__all__ = ["TrainingEngine", "start_epoch"]

logger = logging.getLogger(__name__)


class TrainingEngine(KeyedEngine):
    """The trainer that :func:`create_trainer` makes: an Ignite Engine that runs a :class:`TrainingStep`.

    :func:`make_resumable` makes one of an Engine with an update function of your own.

    Args:
        step: processes a batch.
        seed: the seed of everything random in the run.
        deterministic: run only with algorithms that give the same bits in every process.

    Attributes:
        step: the :class:`TrainingStep`; ``model``, ``optimizer`` and ``device`` are its.
        updates: what the step does with the gradients: :class:`~ignite_recipes.Update` by name.
        optimizers: the optimizers of all updates, by the name under which a checkpoint has their state.
        progress: where the run is: :class:`~ignite_recipes.engine.progress.Progress`.
        weights: puts other weights into the model for a while: :class:`~ignite_recipes.engine.weights.WeightSwap`.
        parts: everything else whose state a checkpoint of this run holds; see :func:`keep_state`.
        metadata: plain values that its checkpoints hold too, e.g. a recipe's settings.
        recover: called with the trainer and an exception that ends its run; it may restore the run to a point from
            which it can continue, and return True.
        state: Ignite's State, and in addition :class:`~ignite_recipes.engine.state.TrainingState`.

    >>> from torch import nn
    >>> from ignite_recipes import create_trainer
    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()})
    >>> batches = [torch.ones(4, 2)] * 5
    >>> [trainer.run(batches, max_epochs=n).iteration for n in (2, 3, 3)]  # the second continues, the third is done
    [10, 15, 15]
    """

    step: TrainingStep | OwnStep
    updates: Updates

    def __init__(self, step: TrainingStep | OwnStep, *, seed: int, deterministic: bool = False) -> None:
        super().__init__(step, "train", step.device, seed)
        self.register_events(*TrainEvents)
        self.model, self.optimizer, self.optimizers = step.model, step.optimizer, step.optimizers
        self.progress = Progress(self.state)
        step.updates.bind(self, self.progress)
        self.weights = WeightSwap(step.model, step.exchange.broadcast_buffers)
        self.parts = Parts()
        if isinstance(step, TrainingStep) and step.whole is not None:
            self.parts.add("whole_step", step.whole)
        self.metadata: dict[str, Any] = {}
        self.identity: str | None = uuid.uuid4().hex  # of the run; None of one that an older version began
        self.deterministic = deterministic
        self.watched: tuple[Any, str] | None = None  # the metric that handlers decide on, and which way is better
        self.recover: Callable[[TrainingEngine, BaseException], bool] | None = None
        self.is_recovering = False  # whether the current start is one after an error
        self.loader_place: Mapping[str, Any] | None = None  # of a run that was restored inside an epoch
        self._decided: set[int] = set()  # handlers of METRICS_READY that have decided on the current epoch
        self.add_event_handler(Events.EPOCH_STARTED, start_epoch)

    def run(
        self,
        data: Iterable[Any] | None = None,
        max_epochs: int | None = None,
        max_iters: int | None = None,
        epoch_length: int | None = None,
        *,
        batch_size: int | None = None,
    ) -> State:
        """Train on ``data`` until ``max_epochs``, from the current state on.

        Unlike Ignite's: a run that has reached its end goes straight to COMPLETED instead of starting again on the
        trained weights (``state.max_epochs = None`` asks for that), one that was stopped inside an epoch continues with
        the next batch of that epoch, and an exception always reaches the caller, unless a handler can recover from it.
        A data set's rows are shuffled and fetched in batches of ``batch_size``; with it given, a tensor's or an array's
        rows too, and those of a tuple of such.
        """
        if data is not None:
            data = as_loader(data, batch_size, shuffle=True, name="data")
        self.is_recovering = False
        while True:
            try:
                self.weights.take_out()
                return self._run(data, max_epochs, max_iters, epoch_length)
            except BaseException as error:
                self.weights.take_out()
                if (lost := lost_rank(error)) is not None:
                    raise lost from error
                if not isinstance(error, Exception) or self.recover is None or not self.recover(self, error):
                    raise
                self.is_recovering = True

    def _run(
        self, data: Iterable[Any] | None, max_epochs: int | None, max_iters: int | None, epoch_length: int | None
    ) -> State:
        state, progress = self.state, self.progress
        if state.max_epochs is None and state.max_iters is None:  # a first run, or one that should start again
            self.updates.restart()
            self.identity = uuid.uuid4().hex
        else:
            self.updates.abandon()  # stopped inside an accumulation window, whose gradients are gone
            progress.rewind()
            if max_iters is not None:  # an end that is given as the other number replaces the one before
                state.max_epochs, state.max_iters = None, max_iters
            elif max_epochs is not None and state.max_iters is not None:
                state.max_epochs, state.max_iters = max_epochs, None
            epoch_length = epoch_length or progress.given_length
            self._check_same_length(data, epoch_length)
            if self._finish_epoch_if_due(max_epochs or state.max_epochs, max_iters or state.max_iters):
                self._fire_event(Events.COMPLETED)
                return state
        progress.given_length = epoch_length
        if isinstance(self.step, TrainingStep):  # an update function of the user's own has modes of its own
            enter_training_mode(self.model)
        if data is not None and is_lazy(self.model):
            self._size_lazy_layers(self.step, data)
        try:
            with deterministic_algorithms(self.deterministic), _with_gradients():
                return super().run(data, max_epochs, max_iters, epoch_length)
        except BaseException:
            state.iteration = progress.iteration  # the failed batch is not in the weights as a whole: it is repeated
            self.updates.abandon()
            raise

    def _size_lazy_layers(self, step: TrainingStep | OwnStep, data: Iterable[Any]) -> None:
        """Let lazy layers take their sizes from a first batch, before handlers look at the model."""
        assert self.state.seed is not None
        if isinstance(step, OwnStep):
            raise ValueError("the models must know their sizes; got lazy layers: give them one batch first")
        parts = [module for loss_fn in step.loss_functions() for module in modules_of(loss_fn)]
        with preserve_generators(self.device), torch.no_grad(), in_evaluation_mode(self.model, *parts):
            loader = KeyedLoader(data, self.state.seed, self.purpose, self.device)
            batch = step.prepare_batch(next(iter(loader)), self.device, True)
            seed_torch(derive_seed(self.state.seed, "lazy"), self.device)
            for loss_fn in step.loss_functions():
                loss_fn(unwrap(self.model), step.get_inputs(batch), batch)

    def _finish_epoch_if_due(self, max_epochs: int | None, max_iters: int | None) -> bool:
        """Finish an epoch that is trained but not yet measured or saved; True if the run is over."""
        state, progress = self.state, self.progress
        self.should_terminate = False
        with preserve_generators(self.device):
            if progress.is_trained:
                state.epoch = progress.epoch
                state.metrics.update(progress.rates)
                self._fire_event(Events.EPOCH_COMPLETED)
            elif progress.stage == Stage.DECIDED:
                self._save_epoch()
        is_last_epoch = max_epochs is not None and state.epoch == max_epochs
        return bool(self.should_terminate) or is_last_epoch or state.iteration == max_iters

    def _run_once_on_dataset_as_gen(self) -> Any:
        """An epoch's batches. Those that can be computed in blocks, or together with those of other runs, go first.

        Ignite's loop has the rest, the last batch of the epoch at least.
        """
        if (run := current_run()) is not None and run.turns.train is not None:
            run.turns.train(self)
        elif isinstance(self.step, TrainingStep) and self.step.whole is not None:
            self.step.whole.train(self)
        return super()._run_once_on_dataset_as_gen()

    def _fire_event(self, event_name: Any, *event_args: Any, **event_kwargs: Any) -> None:
        """As :class:`KeyedEngine`; EPOCH_COMPLETED, COMPLETED and ITERATION_COMPLETED also fire our own events."""
        if event_name is Events.EPOCH_COMPLETED:
            self._end_epoch()
            return
        if event_name is Events.COMPLETED:
            self.updates.zero_gradients()  # weights that are swapped need their memory
            fire(self, TrainEvents.RUN_TRAINED)
        super()._fire_event(event_name, *event_args, **event_kwargs)
        if event_name is Events.ITERATION_COMPLETED and not (self.updates.is_open or self.progress.is_last_batch):
            fire(self, TrainEvents.DECISION_POINT)
            fire(self, TrainEvents.RESUME_POINT)

    def _end_epoch(self) -> None:
        """Measure, decide, save. If that fails and the run is started again, it is measured again, and decided once."""
        progress = self.progress
        if progress.stage == Stage.TRAINING:
            self.updates.finish(self)
            self.step.exchange.broadcast_buffers(self.model)
            progress.stage = Stage.TRAINED
            self._decided.clear()
        fire(self, TrainEvents.EPOCH_TRAINED)
        super()._fire_event(Events.EPOCH_COMPLETED)
        self._decide(TrainEvents.METRICS_READY)
        if all_reduce_max(bool(self.should_terminate)) and not self.should_terminate:
            self.terminate()  # a handler of another rank has decided so
        self.weights.take_out()
        progress.stage = Stage.DECIDED
        self._save_epoch()

    def _decide(self, event: TrainEvents) -> None:
        """Fire ``event`` for the handlers that have not decided on this epoch yet."""
        for entry in list(self._event_handlers[event]):
            if id(entry) not in self._decided:  # the entry, for one function may be attached twice
                self._call(entry)
                self._decided.add(id(entry))

    def _save_epoch(self) -> None:
        fire(self, TrainEvents.EPOCH_DECIDED)
        fire(self, TrainEvents.CHECKPOINT_READY)
        self.progress.stage = Stage.SAVED
        fire(self, TrainEvents.RESUME_POINT)

    def _handle_exception(self, error: BaseException) -> None:
        self.weights.take_out()
        super()._handle_exception(error)

    def _check_same_length(self, data: Iterable[Any] | None, epoch_length: int | None) -> None:
        if self.progress.lengths_vary and epoch_length is None:
            return
        length = epoch_length or (data is not None and self._get_data_length(data))
        if self.state.iteration and length and self.state.epoch_length and length != self.state.epoch_length:
            raise ValueError(
                f"the loader must have the {self.state.epoch_length} batches an epoch that this run began with; "
                f"got {length}: resume with the same data and batch size"
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._decided = set()
        self.updates.bind(self, self.progress)

    def state_dict(self) -> Any:
        """Where the run is: that of ``progress``."""
        return self.progress.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Be where the saved run was; what the model holds now are its trained weights."""
        self.progress.load_state_dict(state_dict)
        self.weights.forget()
        self.updates.settle()
        self._decided.clear()

    def place_in_loader(self) -> dict[str, Any] | None:
        """What a checkpoint notes of the loader, inside an epoch."""
        loader, progress = self.state.dataloader, self.progress
        if isinstance(loader, KeyedLoader) and (progress.is_inside_epoch or loader.is_stream):
            # After a failure the loader is ahead of the weights: then nothing is known of its place.
            is_level = loader.given == progress.iteration - (0 if loader.is_stream else progress.epoch_start)
            return loader.place(self.state.batch) if is_level else None
        return None if self.loader_place is None else dict(self.loader_place)


def start_epoch(engine: TrainingEngine) -> None:
    """The first handler of EPOCH_STARTED, so that ``describe`` shows it."""
    state, progress = engine.state, engine.progress
    engine.step.start_epoch(engine)
    load_late(engine.parts.values())
    state.begin_epoch()
    state.metrics.update(progress.rates)
    loader: Any = state.dataloader
    # Ignite would divide to know how much of an epoch is done, which terminate_epoch() makes wrong.
    engine._init_iter = progress.position
    if not isinstance(loader, KeyedLoader):
        engine._dataloader_iter = None
        return
    if progress.given_length not in (None, engine._get_data_length(loader.loader)):
        if engine._dataloader_iter is None:  # epochs are not passes: the stream continues in the next one
            loader.enter_stream(progress.iteration, engine.loader_place)
    else:
        loader.enter(state.epoch, progress.position, engine.loader_place)
        engine._dataloader_iter, length = None, loader.length()
        _set_length(engine, length)
        loader.at_end = partial(_end_pass, weakref.ref(state), length)  # a cycle would keep the loader's workers
    engine.loader_place = None


def _set_length(engine: TrainingEngine, length: int | None) -> None:
    """Let an epoch end with its pass: a loader may have another length in every epoch, or none that it knows."""
    state, progress = engine.state, engine.progress
    if length is not None and state.epoch_length not in (None, length):
        progress.lengths_vary = True
    if length is None and state.max_iters is not None:
        state.max_epochs = None  # which Ignite has made of the length of the first epoch
    state.epoch_length = length


def _end_pass(of: "weakref.ref[TrainingState]", length: int | None, given: int) -> None:
    state = of()
    if state is not None and length is not None and given < length:
        logger.warning(
            "epoch %d: the loader says that it has %d batches and gave %d: the epoch ends with them. Correct its "
            "length, or leave it out",
            state.epoch,
            length,
            given,
        )
        state.epoch_length = None  # Ignite would iterate over it again


@contextmanager
def _with_gradients() -> Iterator[None]:
    """A training computes gradients, whoever calls it."""
    outside = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with outside, torch.enable_grad():
        yield
