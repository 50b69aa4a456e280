"""Stop a run whose metric has ceased to improve, and give its best weights back."""

import logging
import math
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor, nn

from ignite_recipes.arguments import whole_number
from ignite_recipes.exchange.ranks import rank
from ignite_recipes.handlers._best_weights import BestWeights
from ignite_recipes.handlers._host import host_of, training_host_of
from ignite_recipes.handlers._host_metrics import Metric
from ignite_recipes.handlers._numbers import is_better
from ignite_recipes.handlers._stopping_rule import (
    beats_baseline,
    check_limits,
    limits_in_words,
    may_stop,
    reason_to_stop,
)

__all__ = ["EarlyStopping"]

logger = logging.getLogger(__name__)


class EarlyStopping:
    """Stop after ``patience`` epochs in a row without an improvement, and restore the best epoch's weights.

    Where the metric is not measured in every epoch, those in which it is not do not count.

    A value improves on the best one if ``value < best - min_delta`` (``mode="max"``: ``value > best +
    min_delta``). NaN and infinity never improve and use up patience; NaN is beyond neither threshold. The best weights
    are those of the best value also where a threshold stops the run.

    Runs:   trainer, METRICS_READY (another Engine: EPOCH_COMPLETED, after what computes the metric);
            COMPLETED to restore: checkpoints hold the trained weights, also those that are taken afterwards, and
            a run that continues does so from those.
    Reads:  ``state.metrics[metric]``; if it never comes, a warning says so at the end of the run, or an error in the
            first epoch where every epoch measures.
    Stops:  ``trainer.terminate()``; a run that had stopped stops again at once when it is resumed.
    Keeps:  best value and epoch, epochs waited, the epoch and the value it stopped at, the best weights.

    Args:
        patience: epochs without improvement before the run stops, at least 1; None never stops for the want of
            one: without a threshold it only gives the best weights back.
        min_delta: the least change that counts as an improvement, in the metric's units.
        restore_best_weights: keep a copy of the best weights, buffers included, and load it when training
            stops; attached to a trainer, also when training ends by itself.
        verbose: print when it stops.
        mode: ``"min"`` or ``"max"``: which way is better.
        start_from_epoch: the number of the first epoch that is judged, as epochs are numbered where it is called: a
            trainer's first is 1. Those before it use no patience, are never the best and stop nothing, e.g. while a
            term of the loss is still being warmed up. 0 judges all.
        patience_from_epoch: the number of the first epoch that uses up patience; those before it may be the best.
        baseline: in the metric's units: only values that improve on it too, by more than ``min_delta``, give patience
            back, so that a run that does not beat it within ``patience`` epochs stops. None asks for no more than
            improvement. The best value and the best weights are those of the best epoch, also below the baseline.
        divergence_threshold: in the metric's units: a value that is worse than it stops the run at once. None does
            not.
        stopping_threshold: in the metric's units: a value that is better than it is good enough and stops the run at
            once. None does not.

    Attributes:
        best_loss, best_epoch: of the best epoch; infinity and None before there is one.
        wait: epochs since then; with a ``baseline``, since the last one that was the best and beat it.
        stopped_epoch: where it stopped, or None.

    Raises:
        ValueError: for ``patience < 1``, a negative ``min_delta`` or ``start_from_epoch``, an unknown ``mode``, a
            baseline or threshold that is not a number, or thresholds that every value is beyond.

    >>> stopping = EarlyStopping(patience=2, restore_best_weights=False, verbose=False)
    >>> [stopping.on_epoch_end(epoch, loss) for epoch, loss in enumerate([3.0, 2.0, 2.5, float("nan")])]
    [False, False, False, True]
    >>> stopping.best_loss, stopping.best_epoch
    (2.0, 1)

    >>> stopping = EarlyStopping(restore_best_weights=False, verbose=False, stopping_threshold=0.5)
    >>> [stopping.on_epoch_end(epoch, loss) for epoch, loss in enumerate([3.0, 0.5, 0.4])]
    [False, False, True]

    Reference: L. Prechelt, Early Stopping - But When?, 1998. ``start_from_epoch`` and ``baseline`` are as in Keras,
    whose first epoch is 0; the thresholds are as in Lightning.
    """

    def __init__(
        self,
        patience: int | None = 10,
        min_delta: float = 1e-4,
        restore_best_weights: bool = True,
        verbose: bool = True,
        *,
        mode: str = "min",
        start_from_epoch: int = 0,
        patience_from_epoch: int = 0,
        baseline: float | None = None,
        divergence_threshold: float | None = None,
        stopping_threshold: float | None = None,
    ) -> None:
        self.patience = None if patience is None else whole_number(patience, "patience", "epochs")
        self.min_delta, self.mode = min_delta, mode
        self.start_from_epoch = whole_number(start_from_epoch, "start_from_epoch", at_least=0)
        self.patience_from_epoch = whole_number(patience_from_epoch, "patience_from_epoch", at_least=0)
        self.baseline = baseline
        self.divergence_threshold, self.stopping_threshold = divergence_threshold, stopping_threshold
        check_limits(self)
        self.restore_best_weights, self.verbose = restore_best_weights, verbose
        self.best_loss = math.inf if mode == "min" else -math.inf
        self.best_epoch: int | None = None
        self.wait = 0
        self.stopped_epoch: int | None = None
        self._stopped_value: float | None = None
        self._best = BestWeights()
        self._metric: Metric = "val_loss"
        self._is_warned = False

    def __repr__(self) -> str:
        return f"EarlyStopping(patience={self.patience}, mode={self.mode!r})"

    def set_model(self, model: nn.Module) -> None:
        """Name the model whose best weights are kept."""
        self._best.belong_to(model)

    def on_epoch_end(self, epoch: int, val_loss: float | Tensor) -> bool:
        """Judge an epoch by its metric, a number or a 0-d tensor; True asks to stop training.

        The best weights are in the model again when it returns True. Without a model it monitors and stops, and
        restores nothing, which a warning says once.
        """
        if self.restore_best_weights and self._best.model is None and not self._is_warned:
            self._is_warned = True
            logger.warning("EarlyStopping restores no weights: it has no model; call set_model(model) first")
        stop = self._judge(epoch, float(val_loss))
        if stop:
            self._best.load_into_model(self.best_epoch)
        return stop

    def get_best_metrics(self) -> dict[str, float | int | None]:
        """``best_loss``, ``best_epoch``, ``stopped_epoch`` and ``patience_used``."""
        return {
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "patience_used": self.wait,
        }

    def attach(
        self,
        trainer: Engine,
        metric: Metric = "val_loss",
        *,
        model: nn.Module | None = None,
        independent: bool = False,
    ) -> "EarlyStopping":
        """Attach to a trainer, ours or any other.

        Args:
            trainer: the engine to stop.
            metric: a name in ``trainer.state.metrics``, or a function of the engine that gives the value.
            model: whose weights to keep; by default the trainer's own, or that of :meth:`set_model`.
            independent: say that it is meant where it watches another metric than the trainer's other handlers, or
                the other way.

        Raises:
            RuntimeError: if there is no model to restore, or it is attached already.
            ValueError: if another handler of the trainer watches another metric, or the other way, and this one is
                not ``independent``.
        """
        host = training_host_of(trainer, self)
        if model is None and self._best.model is None and host.step is not None:
            model = host.step.model
        if model is not None:
            self.set_model(model)
        if self.restore_best_weights:
            self._best.require_model()
        if may_stop(self):
            host.metrics.watch(metric, self.mode, independent=independent)
        host.keep("early_stopping", self)
        self._best.swap = None if self._best.model is None else host.swap(self._best.model)
        self._metric = metric
        trainer.add_event_handler(Events.STARTED, self._stop_again)
        host.to_decide(self)
        trainer.add_event_handler(Events.COMPLETED, self._put_best_in)
        return self

    def watches(self, metric: Metric, mode: str) -> bool:
        """Whether it decides on this metric, with this way to be better."""
        return self._metric == metric and self.mode == mode

    def __call__(self, trainer: Engine) -> None:
        """Judge the epoch that has just ended."""
        is_first = self.best_epoch is None and not self.wait
        value = host_of(trainer).metrics.read(self._metric, self, is_first=is_first)
        if value is not None and self._judge(trainer.state.epoch, value):
            trainer.terminate()

    def _judge(self, epoch: int, value: float) -> bool:
        if self.stopped_epoch is not None:
            return True
        if epoch < self.start_from_epoch:
            return False
        is_best = math.isfinite(value) and is_better(value, self.best_loss, self.mode, self.min_delta)
        if is_best:
            self.best_loss, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self._best.keep()
        is_free = epoch < self.patience_from_epoch or (is_best and beats_baseline(self, value))
        self.wait = 0 if is_free else self.wait + 1
        reason = reason_to_stop(self, value, self.best_loss, self.wait)
        if reason is None:
            return False
        self.stopped_epoch, self._stopped_value = epoch, value
        message = f"Early stopping at epoch {epoch}: {reason}"
        logger.info(message)
        if self.verbose and rank() == 0:
            print(message)  # noqa: T201  # the documented meaning of verbose
        return True

    def _put_best_in(self) -> None:
        self._best.put_in(self.best_epoch)

    def _stop_again(self, trainer: Engine) -> None:
        self._best.take_out()  # the same trainer continues
        if self.stopped_epoch is not None:
            logger.warning("the run stopped early at epoch %d: it does not train further", self.stopped_epoch)
            trainer.terminate()

    def state_dict(self) -> dict[str, Any]:
        """All that changes during a run, the best weights included."""
        return {
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "wait": self.wait,
            "stopped_epoch": self.stopped_epoch,
            "stopped_value": self._stopped_value,
            "best_weights": self._best.weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as if it had never stopped watching; a run that it had stopped does if these settings would not."""
        self.best_loss, self.best_epoch = state["best_loss"], state["best_epoch"]
        self.wait, self.stopped_epoch = state["wait"], state["stopped_epoch"]
        self._stopped_value = state.get("stopped_value")  # older files have none
        value = math.nan if self._stopped_value is None else self._stopped_value
        if self.stopped_epoch is not None and reason_to_stop(self, value, self.best_loss, self.wait) is None:
            logger.info("it had stopped at epoch %d; with %s it continues", self.stopped_epoch, limits_in_words(self))
            self.stopped_epoch = self._stopped_value = None
        self._best.take_over(state["best_weights"])
