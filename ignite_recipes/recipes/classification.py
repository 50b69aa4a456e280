"""Train an image classifier, with its experiment: log, curves, checkpoints, resume and fork."""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import torch
from ignite.engine import Events
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.checkpoint.manager import CheckpointManager
from ignite_recipes.checkpoint.newest import NoRunError, newest_checkpoint
from ignite_recipes.devices import as_device, move_model
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import join_ranks, on_rank_zero
from ignite_recipes.experiments.log_file import read_training_log
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.handlers import EpochAverages
from ignite_recipes.loading.given import as_loaders, settings_of
from ignite_recipes.loading.randomness import derive_seed, draw_seed
from ignite_recipes.models import ArrayPredictor
from ignite_recipes.recipes.assembly import (
    attach_last,
    attach_records,
    attach_step_handlers,
    attach_stopping,
    attach_validation,
    chosen_precision,
    new_evaluator,
    new_history,
    new_trainer,
)
from ignite_recipes.recipes.checks import AUTO, check_saves
from ignite_recipes.recipes.classification_settings import (
    attach_schedule,
    begin_run,
    check_arguments,
    checked_epochs,
    description,
    note_best,
    rates,
)
from ignite_recipes.recipes.experiment_run import ExperimentRun, experiment_run
from ignite_recipes.recipes.experiment_start import refuse_results
from ignite_recipes.recipes.manager_saves import savers_through
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.options import RunOptions, Unpack, takes_run_options
from ignite_recipes.recipes.precision import settle_precision
from ignite_recipes.recipes.supervised_loss import SupervisedLoss

__all__ = ["Trainer"]

logger = logging.getLogger(__name__)

NEVER = sys.maxsize
MODES = {"train_loss": "min", "train_accuracy": "max", "val_loss": "min", "val_accuracy": "max"}
METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")


class RandomlyTransformed(Protocol):
    """A data set whose random transforms can be drawn again, e.g. a :class:`~ignite_recipes.BaseDataset`."""

    def reapply_transforms(self, epoch: int) -> Any: ...


@takes_run_options(resume_from="experiment_manager")
class Trainer:
    """Train a classifier on batches of inputs and labels, as an experiment with all its files.

    The best epoch has the highest validation accuracy, unless ``monitor`` names another number; early stopping watches
    it, and after :meth:`train` the model has the weights of its best epoch. Losses and accuracies (in percent) are
    means over samples. Metrics get the model's scores (N, C) and the labels (N,).

    The experiment gets ``config.yaml`` (unless it was made with settings), ``training_log.csv``,
    ``training_curves.png``, TensorBoard events and ``run.log``; with a checkpoint manager also
    ``latest_checkpoint.pt`` after every epoch, ``best_model.pt`` and ``epoch_N.pt``, each a whole run.

    Args:
        model: ``model(inputs)`` gives (N, C) scores of C classes.
        train_loader: batches ``(inputs, labels)``, labels (N,) integers from 0 to C - 1; or a data set of such pairs,
            or a tuple of two arrays or tensors, whose labels may also be names: checkpoints then have ``class_names``.
        val_loader: the same, for validation.
        criterion: ``criterion(outputs, labels)`` gives a single number, a mean over the samples.
        optimizer: the optimizer of the model, and of the criterion's parameters if it has some.
        device: where to train; None or ``"auto"`` is the best available one.
        experiment_manager: the experiment. A resumed one continues from its newest undamaged checkpoint, a forked one
            starts with the weights of its source. None if ``experiment`` is given, which brings a checkpoint manager
            too.
        checkpoint_manager: writes checkpoints; None writes none.
        scheduler: a torch scheduler, one of timm's, or a :class:`LearningRateScheduler`, which may say ``per="step"``.
            OneCycleLR and CyclicLR advance with every step, torch's others with every epoch. A plateau schedule with
            ``mode="max"`` watches the validation accuracy, with ``mode="min"`` the validation loss, which early
            stopping would contradict. With a ``monitor`` it watches that, in the monitor's direction.
        dataset: draws new random transforms before each epoch, by its ``reapply_transforms(epoch)``; None
            leaves the loaders' data as they are.
        patience: epochs without a better validation accuracy before the run stops; 0 trains to the end.
        verbose: print a line for each epoch.
        batch_size: rows per batch, if a data set or arrays are given in place of a loader; None is 32 to 1024,
            depending on the number of rows. Rows are shuffled for training, and in order for validation.
        **options: those of every recipe, :class:`RunOptions`.

    The first arguments, to ``patience``, are attributes of the same names; data are made into loaders.

    Attributes:
        engine: the Ignite engine that trains; ``describe(trainer)`` prints what runs when.

    Raises:
        ValueError: for a setting out of its range, or a plateau schedule and early stopping that disagree
            about what is better.

    >>> import tempfile
    >>> from ignite_recipes import BaseDataset, ModelRegistry
    >>> labels = torch.arange(60) % 2
    >>> images = labels.view(-1, 1, 1, 1) * torch.ones(60, 1, 8, 8)  # white ones and black ones
    >>> dataset = BaseDataset(images[:40], labels[:40], images[40:], labels[40:], name="two colours", transform=None)
    >>> model = ModelRegistry.create("mlp", num_classes=2, input_shape=dataset.input_shape)
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     loaders = dataset.get_dataloaders(batch_size=10)
    ...     trainer = Trainer(model, *loaders, nn.CrossEntropyLoss(), optimizer, "cpu", experiment=folder, seed=0)
    ...     results = trainer.train(epochs=5)
    >>> results["best_accuracy"], results["epochs_trained"]
    (100.0, 5)
    """

    def __init__(
        self,
        model: nn.Module,
        train_loader: Any,
        val_loader: Any,
        criterion: Callable[[Any, Any], Tensor],
        optimizer: Optimizer,
        device: str | torch.device | None,
        experiment_manager: ExperimentManager | None = None,
        checkpoint_manager: CheckpointManager | None = None,
        scheduler: Any = None,
        dataset: RandomlyTransformed | None = None,
        patience: int = 0,
        *,
        verbose: bool = False,
        batch_size: int | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        check_arguments(val_loader, criterion, experiment_manager, checkpoint_manager, dataset, patience)
        train_loader, val_loader = as_loaders(train_loader, val_loader, batch_size, of="pairs")
        run = _experiment(options, experiment_manager, checkpoint_manager)
        every_iterations = options["save_every_iterations"]
        has_place = checkpoint_manager is not None or options["experiment"] is not None
        check_saves(every_iterations, has_place=has_place, place="checkpoint_manager")
        self.device = as_device(device)
        join_ranks(self.device)
        self.model, self.criterion = move_model(model, self.device), criterion
        self.train_loader, self.val_loader = train_loader, val_loader
        self.optimizer, self.scheduler, self.dataset, self.patience = optimizer, scheduler, dataset, patience
        self._run, self._has_said = run, False
        self._seed_is_given = options["seed"] is not None
        self.seed = on_rank_zero(draw_seed) if options["seed"] is None else options["seed"]
        options["precision"] = chosen_precision(options, self.device)
        self._options = options
        self._loss = SupervisedLoss(criterion.to(self.device) if isinstance(criterion, nn.Module) else criterion)
        self._measuring = measuring = Measuring(
            options, MODES, "val_accuracy", validates=True, ignore_index=self._loss.ignore_index
        )

        # One step, in the order in which it happens.
        self.engine, _ = self._new_engine(self.seed)
        self._loss.belong_to(self.engine, add=False)
        self._rates = rates(optimizer)  # as they are given, before any schedule changes them
        if dataset is not None:
            self.engine.add_event_handler(Events.EPOCH_STARTED, reapply_transforms, dataset)

        # One epoch: measure, decide, save.
        self._evaluator = new_evaluator(self.engine, measuring)
        self._loss.check_batches_of(self._evaluator)
        self._validation = attach_validation(self.engine, self._evaluator, val_loader, measuring)
        self._stopping = attach_stopping(self.engine, patience or None, measuring)
        if scheduler is not None:
            watched = None if options["monitor"] is None else measuring
            attach_schedule(self.engine, scheduler, watched, stretch=options["stretch_schedule"])
        self._history = new_history(METRICS, measuring)
        self._report = attach_records(
            self.engine,
            self._history,
            _line,
            measuring,
            options,
            print_every=1 if verbose else None,
            stopping=self._stopping,
        )
        judge = None if measuring.monitor == "val_accuracy" else self._stopping
        # Made last: what is refused above leaves no folder.
        self.experiment_manager = run.make()
        if checkpoint_manager is None and options["experiment"] is not None:
            checkpoint_manager = CheckpointManager(self.experiment_manager.checkpoints_dir, run.save_every or NEVER)
        self.checkpoint_manager = checkpoint_manager
        savers = [] if checkpoint_manager is None else savers_through(checkpoint_manager, every_iterations, judge)
        attach_last(self.engine, [*run.recorders("nats", measuring), *options["handlers"]], *savers)

    def _new_engine(self, seed: int, **changes: Any) -> tuple[TrainingEngine, EpochAverages]:
        """An engine with all that belongs to a step, and what averages its epoch; ``changes`` are of the options."""
        options: RunOptions = {**self._options, "seed": seed, **changes}  # type: ignore[typeddict-item]
        engine = new_trainer(self.model, self.optimizer, self._loss, options, device=self.device, settings={})
        self._loss.check_batches_of(engine)
        return engine, attach_step_handlers(engine, options)

    @property
    def history(self) -> dict[str, list[float]]:
        """``train_loss, train_accuracy, val_loss, val_accuracy, learning_rate`` and metrics, one entry per epoch."""
        return {name: list(values) for name, values in self._history.epochs.items()}

    @property
    def best_accuracy(self) -> float:
        """The validation accuracy of the best epoch so far, in percent; 0 before there is one."""
        if self._stopping.best_epoch is None:
            return 0.0
        if self._measuring.monitor == "val_accuracy":
            return self._stopping.best_loss
        return self._measuring.best(self._history, self.best_epoch, "val_accuracy")["best_val_accuracy"]

    @property
    def best_epoch(self) -> int:
        """The epoch of the best validation accuracy, or of the best ``monitor``, from 1; 0 before there is one."""
        return self._stopping.best_epoch or 0

    @property
    def epochs_without_improvement(self) -> int:
        """Epochs since the best one."""
        return self._stopping.wait

    def train(self, epochs: int, start_epoch: int = 0) -> dict[str, Any]:
        """Train to the end of epoch ``epochs``; the model ends with its best weights.

        An experiment that was resumed continues exactly where its newest sound checkpoint is; a second call
        continues after the first.

        Args:
            epochs: the last epoch to train, counted from 1.
            start_epoch: epochs that the model was trained for already. A resumed experiment uses its own count, and
                logs it; otherwise only the counting starts there.

        Returns:
            ``epochs_trained`` (by this call), ``best_accuracy`` (percent), ``training_time`` (seconds, of this call),
            ``history``, ``experiment_dir``, ``stopped_early`` and ``best_epoch`` (from 1); each metric also has
            ``best_val_{name}``, from the best epoch; values that are not numbers are in ``report``.

        Raises:
            ValueError: for numbers of epochs that make no sense, batches or labels that do not fit the model, or
                a resume with other settings.
            NonFiniteError: for a loss or gradient that is not finite.
            CheckpointError: if there is no valid checkpoint to resume from, or the weights of another architecture.
            ExperimentBusyError: if another process trains the experiment.
        """
        began, state = time.monotonic(), self.engine.state
        epochs, start_epoch = checked_epochs(epochs, start_epoch, reached=state.epoch)
        with self._run.open(type(self).__name__, description(self, self._options, self._rates)):
            self._say_what_is_lost()
            if state.iteration == 0:
                self._settle_precision()
                seed = self.seed if self._seed_is_given else None
                self.seed = begin_run(self, self._options, self._rates, epochs, start_epoch, seed)
            first = state.epoch
            self.engine.run(self.train_loader, max_epochs=epochs)
            self._run.write_model(self._predictor, self._stopping.best_epoch)
        return {
            "epochs_trained": state.epoch - first,
            "best_accuracy": self.best_accuracy,
            "training_time": time.monotonic() - began,
            "history": self.history,
            "experiment_dir": self.experiment_manager.experiment_dir,
            "stopped_early": self._stopping.stopped_epoch is not None,
            "best_epoch": self.best_epoch,
            **self._measuring.best(self._history, self._stopping.best_epoch),
            **self._report.result,
        }

    def _predictor(self) -> ArrayPredictor:
        return self._loss.predictor(
            self.model, getattr(self.dataset, "class_names", None) or settings_of(self.train_loader).get("class_names")
        )

    def _settle_precision(self) -> None:
        experiment, saved = self.experiment_manager, None
        if experiment.resume_exp and self._options["precision"] == AUTO:
            with suppress(NoRunError):  # the model then continues as it is
                saved = newest_checkpoint(experiment.checkpoints_dir)
        settle_precision(self.engine, self.train_loader, self._options, saved)

    def _say_what_is_lost(self) -> None:
        if self.checkpoint_manager is None and not self._has_said:
            self._has_said = True
            logger.warning(
                "without a checkpoint_manager no checkpoint is written: a run that is stopped cannot be resumed, and "
                "only the weights of its best epoch are kept, when it ends. Pass "
                "checkpoint_manager=CheckpointManager(experiment_manager.checkpoints_dir), or experiment='runs'"
            )

    def train_epoch(self, epoch: int) -> tuple[dict[str, float], float]:
        """Train for one pass over the training data, for a loop of your own; it decides and saves nothing.

        Args:
            epoch: any number; with the seed it determines shuffling, dropout and transforms.

        Returns:
            ``loss``, ``accuracy`` (percent) and ``total_samples``, and the speed in batches per second.

        Raises:
            ValueError, NonFiniteError: as for :meth:`train`.
        """
        self._settle_precision()
        engine, averages = self._new_engine(derive_seed(self.seed, "train_epoch", epoch), ema_decay=None)
        engine.updates.first.losses = self.engine.updates.first.losses  # compiled once for all calls
        if self.dataset is not None:
            self.dataset.reapply_transforms(epoch)
        engine.run(self.train_loader, max_epochs=1)
        return _measured(engine, "train_", averages)

    def validate(self) -> tuple[dict[str, float], float]:
        """Evaluate the model as it is on the validation data; results as for :meth:`train_epoch`, and the metrics."""
        self._evaluator.state.seed = self.seed
        metrics = self._evaluator.run(self.val_loader).metrics
        found, speed = _measured(self._evaluator, "", self._validation)
        return {**metrics, **found}, speed

    def load_history_from_log(self) -> int:
        """Load the history from the experiment's ``training_log.csv``, with its best accuracy and epoch.

        :meth:`train` needs it only where there are no checkpoints: those hold the history themselves.

        Returns:
            The last epoch in the log; 0 if there is none.

        Raises:
            ValueError: if the log is damaged.
        """
        try:
            log = read_training_log(self.experiment_manager.log_file)
        except FileNotFoundError:
            return 0
        metrics = [name for name in self._measuring.names if name in log]
        self._history.load_state_dict({"epochs": {name: log.get(name, []) for name in (*METRICS, *metrics)}})
        epochs = log.get("epoch", [])
        note_best(self._stopping, epochs, log.get(self._measuring.monitor, []))
        return int(epochs[-1]) if epochs else 0


def _experiment(
    options: RunOptions, manager: ExperimentManager | None, checkpoints: CheckpointManager | None
) -> ExperimentRun:
    if options["experiment"] is None:
        if manager is None:
            raise TypeError("the experiment must be given: experiment='runs', or an ExperimentManager; got none")
        return ExperimentRun(manager)
    for name, value in (("experiment_manager", manager), ("checkpoint_manager", checkpoints)):
        if value is not None:
            raise ValueError(f"experiment brings its own {name}; got both: leave one of them out")
    given: Any = options["experiment"]
    if not isinstance(given, ExperimentManager):
        return experiment_run(options)
    if not given.resume_exp:
        refuse_results(given)
    return ExperimentRun(given)  # which train() continues


def reapply_transforms(engine: TrainingEngine, dataset: RandomlyTransformed) -> None:
    dataset.reapply_transforms(engine.state.epoch)


def _measured(engine: Any, prefix: str, averages: EpochAverages) -> tuple[dict[str, float], float]:
    metrics, seconds = engine.state.metrics, engine.state.times[Events.EPOCH_COMPLETED.name]
    named = {name: metrics[prefix + name] for name in ("loss", "accuracy")}
    return {**named, "total_samples": averages.num_samples}, engine.state.iteration / seconds


def _line(metrics: Mapping[str, float]) -> str:
    return (
        f"train loss {metrics['train_loss']:.4f}, {metrics['train_accuracy']:.2f}% | "
        f"val loss {metrics['val_loss']:.4f}, {metrics['val_accuracy']:.2f}% | "
        f"learning rate {metrics['learning_rate']:.3g}"
    )
