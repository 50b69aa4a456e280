"""Stop a run whose metric has ceased to improve, and give its best weights back."""

import logging
import math
from numbers import Real
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor, nn

from ignite_recipes.arguments import whole_number
from ignite_recipes.checkpoint.fit import misfits
from ignite_recipes.engine.weights import WeightSwap, copy_weights, load_weights, unwrap
from ignite_recipes.exchange.ranks import rank
from ignite_recipes.handlers._host import Metric, host_of
from ignite_recipes.handlers._numbers import is_better

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
        patience: epochs without improvement after which to stop, at least 1; None never stops for the want of
            one: without a threshold it only gives the best weights back.
        min_delta: the least change that counts as an improvement, in the metric's units.
        restore_best_weights: keep a copy of the best weights, buffers included, and load it when training
            stops; attached to a trainer, also when training ends by itself.
        verbose: print when it stops.
        mode: ``"min"`` or ``"max"``: which way is better.
        start_from_epoch: the number of the first epoch that is judged, as epochs are numbered where it is called: a
            trainer's first is 1. Those before it use no patience, are never the best and stop nothing, e.g. while a
            term of the loss is still being warmed up. 0 judges all.
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
        baseline: float | None = None,
        divergence_threshold: float | None = None,
        stopping_threshold: float | None = None,
    ) -> None:
        patience = None if patience is None else whole_number(patience, "patience", "epochs")
        if not isinstance(min_delta, (float, Real)) or not min_delta >= 0:
            raise ValueError(f"min_delta must not be negative, in the units of the metric; got {min_delta!r}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max'; got {mode!r}")
        self.patience, self.min_delta, self.mode = patience, min_delta, mode
        self.start_from_epoch = whole_number(start_from_epoch, "start_from_epoch", at_least=0)
        self.baseline = _number_or_none(baseline, "baseline")
        self.divergence_threshold = _number_or_none(divergence_threshold, "divergence_threshold")
        self.stopping_threshold = _number_or_none(stopping_threshold, "stopping_threshold")
        self._check_thresholds()
        self.restore_best_weights, self.verbose = restore_best_weights, verbose
        self.best_loss = math.inf if mode == "min" else -math.inf
        self.best_epoch: int | None = None
        self.wait = 0
        self.stopped_epoch: int | None = None
        self._stopped_value: float | None = None
        self._model: nn.Module | None = None
        self._best_weights: dict[str, Any] | None = None
        self._swap: WeightSwap | None = None  # once attached
        self._metric: Metric = "val_loss"
        self._is_warned = False

    def __repr__(self) -> str:
        return f"EarlyStopping(patience={self.patience}, mode={self.mode!r})"

    def set_model(self, model: nn.Module) -> None:
        """Name the model whose best weights are kept."""
        self._model = unwrap(model)

    def on_epoch_end(self, epoch: int, val_loss: float | Tensor) -> bool:
        """Judge an epoch by its metric, a number or a 0-d tensor; True asks to stop training.

        The best weights are in the model again when it returns True. Without a model it monitors and stops, and
        restores nothing, which a warning says once.
        """
        if self.restore_best_weights and self._model is None and not self._is_warned:
            self._is_warned = True
            logger.warning("EarlyStopping restores no weights: it was not told of a model; call set_model(model) first")
        stop = self._judge(epoch, float(val_loss))
        if stop:
            self._restore()
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
        host = host_of(trainer)
        if model is None and self._model is None and host.step is not None:
            model = host.step.model
        if model is not None:
            self.set_model(model)
        self._require_model()
        if not (self.patience is None and self.divergence_threshold is None and self.stopping_threshold is None):
            host.watch(metric, self.mode, independent=independent)
        host.keep("early_stopping", self)
        self._swap = None if self._model is None else host.swap(self._model)
        self._metric = metric
        trainer.add_event_handler(Events.STARTED, self._stop_again)
        host.to_decide(self)
        trainer.add_event_handler(Events.COMPLETED, self._give_best_back)
        return self

    def watches(self, metric: Metric, mode: str) -> bool:
        """Whether it decides on this metric, with this way to be better."""
        return self._metric == metric and self.mode == mode

    def __call__(self, trainer: Engine) -> None:
        """Judge the epoch that has just ended."""
        is_first = self.best_epoch is None and not self.wait
        value = host_of(trainer).read(self._metric, self, is_first=is_first)
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
            self._keep_weights()
        if is_best and (self.baseline is None or is_better(value, self.baseline, self.mode, self.min_delta)):
            self.wait = 0
        else:
            self.wait += 1
        reason = self._reason_to_stop(value)
        if reason is None:
            return False
        self.stopped_epoch, self._stopped_value = epoch, value
        message = f"Early stopping at epoch {epoch}: {reason}"
        logger.info(message)
        if self.verbose and rank() == 0:
            print(message)  # noqa: T201  # the documented meaning of verbose
        return True

    def _reason_to_stop(self, value: float) -> str | None:
        """Why an epoch of this value is the last one, where ``wait`` counts it already; None if it is not."""
        good, bad, baseline = self.stopping_threshold, self.divergence_threshold, self.baseline
        if good is not None and is_better(value, good, self.mode):
            return f"{value:g} is better than stopping_threshold={good:g}"
        if bad is not None and is_better(bad, value, self.mode):
            return f"{value:g} is worse than divergence_threshold={bad:g}"
        if self.patience is None or self.wait < self.patience:
            return None
        if baseline is not None and not is_better(self.best_loss, baseline, self.mode, self.min_delta):
            return (
                f"the baseline of {baseline:g} was not beaten for {self.wait} epochs, the best was {self.best_loss:g}"
            )
        return f"no improvement on {self.best_loss:g} for {self.wait} epochs"

    def _check_thresholds(self) -> None:
        good, bad = self.stopping_threshold, self.divergence_threshold
        if good is not None and bad is not None and is_better(bad, good, self.mode):
            raise ValueError(
                f"stopping_threshold must not be worse than divergence_threshold, or every value stops the run; got "
                f"{good:g} and {bad:g} with mode={self.mode!r}"
            )

    def _require_model(self) -> None:
        if self.restore_best_weights and self._model is None:
            raise RuntimeError(
                "EarlyStopping must know the model whose best weights it restores: "
                "call set_model(model) first, or pass restore_best_weights=False"
            )

    def _keep_weights(self) -> None:
        if self.restore_best_weights and self._model is not None:
            self._best_weights = copy_weights(self._model, self._best_weights or {})

    def _restore(self) -> None:
        if self._model is not None and self._best_still_fit():
            load_weights(self._model, self._best_weights or {})

    def _give_best_back(self) -> None:
        if self._swap is not None and self._best_still_fit():
            self._swap.put_in(self._best_weights or {})

    def _best_still_fit(self) -> bool:
        """Whether there are best weights, of the model as it is now."""
        if self._best_weights is None or self._model is None:
            return False
        changed = list(misfits(self._model, self._best_weights).values())
        if changed:
            logger.warning(
                "the model was changed after epoch %s, the best one, whose weights do not fit it now (%s): it keeps "
                "its last weights",
                self.best_epoch,
                "; ".join(changed[:3]),
            )
        return not changed

    def _stop_again(self, trainer: Engine) -> None:
        if self._swap is not None:  # the same trainer continues
            self._swap.take_out()
        if self.stopped_epoch is not None:
            logger.warning("the run stopped early at epoch %d: it trains no further", self.stopped_epoch)
            trainer.terminate()

    def state_dict(self) -> dict[str, Any]:
        """All that changes during a run, the best weights included."""
        return {
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "wait": self.wait,
            "stopped_epoch": self.stopped_epoch,
            "stopped_value": self._stopped_value,
            "best_weights": self._best_weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as if it had never stopped watching; a run that it had stopped does if these settings would not."""
        self.best_loss, self.best_epoch = state["best_loss"], state["best_epoch"]
        self.wait, self.stopped_epoch = state["wait"], state["stopped_epoch"]
        self._stopped_value = value = state.get("stopped_value")  # older files have none
        if self.stopped_epoch is not None and self._reason_to_stop(math.nan if value is None else value) is None:
            logger.info("it had stopped at epoch %d; with %s it continues", self.stopped_epoch, self._limits())
            self.stopped_epoch = self._stopped_value = None
        weights = state["best_weights"]
        devices = {name: value.device for name, value in self._tensors().items()}
        self._best_weights = weights and {
            name: value.to(devices.get(name, value.device), copy=True) if isinstance(value, Tensor) else value
            for name, value in weights.items()
        }

    def _limits(self) -> str:
        """What may stop a run, in words."""
        thresholds = {
            "divergence_threshold": self.divergence_threshold,
            "stopping_threshold": self.stopping_threshold,
        }
        given = [f"{name} {value:g}" for name, value in thresholds.items() if value is not None]
        return ", ".join([f"patience {self.patience}", *given])

    def _tensors(self) -> dict[str, Tensor]:
        entries = {} if self._model is None else self._model.state_dict()
        return {name: value for name, value in entries.items() if isinstance(value, Tensor)}


def _number_or_none(value: float | None, name: str) -> float | None:
    if value is not None and (not isinstance(value, (float, Real)) or math.isnan(value)):
        raise ValueError(f"{name} must be a number in the units of the metric, or None; got {value!r}")
    return value
