"""Find a learning rate by a range test: it rises from step to step until the loss does."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ignite.engine import Events

from ignite_recipes.arguments import whole_number
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.finding.trial_run import set_rates, trainer_and_data, trial_run
from ignite_recipes.handlers import NonFiniteError
from ignite_recipes.loading.given import as_loader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LearningRates", "find_learning_rate", "summarise_rates"]

SMOOTHING = 0.9  # of the moving average: a loss counts for about ten steps
DIVERGED = 4.0  # times the lowest smoothed loss, as in fastai
_FEWEST = 10  # steps from which something can be told
_BEGUN = 0.1  # of the whole fall of the loss


@dataclass(frozen=True)
class LearningRates:
    """The result of a range test.

    Attributes:
        rates: the rate of each step, in the first parameter group.
        losses: the losses of each step, before it; means over its batches.
        smoothed: their moving average, exponential and without a bias at the beginning.
        suggestion: the rate at which the smoothed loss falls fastest, per factor of the rate, after a tenth of its
            whole fall; None if it never falls.
        minimum: the rate with the lowest smoothed loss; a tenth of it is another common choice. None as above.
        diverged: whether the loss rose to four times its lowest value, or was not finite, which ended the test; if not,
            ``end_lr`` was reached.

    >>> found = LearningRates([0.01, 0.1], [2.0, 1.0], [2.0, 1.5], suggestion=0.01, minimum=0.1, diverged=False)
    >>> found.plot().axes[0].get_xlabel()
    'learning rate'
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float] = field(repr=False)
    suggestion: float | None
    minimum: float | None
    diverged: bool

    def plot(self) -> "Figure":
        """The losses over the rates, with the suggestion; a matplotlib figure."""
        from ignite_recipes.plotting.learning_rates import plot_learning_rates

        return plot_learning_rates(self.rates, self.losses, self.smoothed, self.suggestion, self.minimum)


def find_learning_rate(
    trainer: Any,
    data: Any = None,
    *,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_steps: int = 100,
) -> LearningRates:
    """Train for some steps with a rate that rises exponentially, and find where the loss fell fastest.

    Model, optimizer, the handlers' state, generators and files are restored afterwards, also after an error. Only those
    handlers of the trainer act that are part of a step, see :func:`preserve_run`. Data that can be read only once are
    used up.

    Args:
        trainer: a trainer of ``create_trainer`` or ``make_resumable``, or the classification ``Trainer``; that of
            another recipe is given by :func:`recipe_trainer`.
        data: the data for ``trainer.run``; None takes the training data of a ``Trainer``. If they are few, they are
            read several times.
        start_lr, end_lr: the range, of the first parameter group; other groups have rates in proportion, as they have
            now.
        num_steps: optimizer steps from one end to the other; at least 10.

    Returns:
        The rates, the losses, the suggestion; ``plot()`` draws them.

    Raises:
        ValueError: for a range or a number of steps that makes no sense.
        TypeError: if there are no data, or it is not a trainer.
        RuntimeError: if the test ended in its first ten steps, because the loss was not finite or rose at once.

    >>> import torch
    >>> from ignite_recipes import create_trainer
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()}, seed=0)
    >>> before = model.weight.clone()
    >>> found = find_learning_rate(trainer, [torch.ones(4, 2)] * 5)
    >>> 1e-4 < found.suggestion < found.minimum, found.diverged, torch.equal(model.weight, before)
    (True, True, True)

    Reference: L. Smith, Cyclical Learning Rates for Training Neural Networks, arXiv:1506.01186, 2017, section 3.3; the
    ramp and the end by divergence are those of fastai.
    """
    trainer, data = trainer_and_data(trainer, data)
    data = as_loader(data, shuffle=True, name="data")
    num_steps = whole_number(num_steps, "num_steps", at_least=_FEWEST)
    if not 0 < start_lr < end_lr < math.inf:
        raise ValueError(f"start_lr must be positive and below end_lr; got {start_lr} and {end_lr}")
    ramp = _Ramp(np.geomspace(start_lr, end_lr, num_steps).tolist())
    with trial_run(trainer, data) as inside:
        windows = max(update.window.length for update in inside.updates.values())
        ramp.attach(inside)
        try:
            inside.run(data, max_iters=num_steps * windows)
        except NonFiniteError:
            ramp.diverged = True
    return summarise_rates(ramp.rates[: len(ramp.losses)], ramp.losses, diverged=ramp.diverged)


class _Ramp:
    """Set the rate of each step and note its loss; stop when it has diverged.

    Runs: trainer, ITERATION_STARTED and ITERATION_COMPLETED, where the host waits for the loss.
    """

    def __init__(self, rates: list[float]) -> None:
        self.rates, self.losses, self.diverged = rates, list[float](), False
        self._given: list[float] = []
        self._window: list[float] = []  # losses of the batches of the step
        self._average, self._lowest = 0.0, math.inf

    def attach(self, trainer: TrainingEngine) -> None:
        self._given = [float(g["lr"]) for optimizer in trainer.optimizers.values() for g in optimizer.param_groups]
        trainer.add_event_handler(Events.ITERATION_STARTED, self._set)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._note)

    def _set(self, trainer: TrainingEngine) -> None:
        set_rates(trainer, self.rates[min(len(self.losses), len(self.rates) - 1)], self._given)

    def _note(self, trainer: TrainingEngine) -> None:
        output: Mapping[str, Any] = trainer.state.output  # type: ignore[assignment]
        self._window.append(float(output["loss"]))
        if trainer.updates.is_open:
            return
        loss, self._window = sum(self._window) / len(self._window), []
        if not math.isfinite(loss):
            self.diverged = True
            trainer.terminate()
            return
        self.losses.append(loss)
        smooth = smoothed(self.losses[-1], self._average, len(self.losses))
        self._average, value = smooth
        self._lowest = min(self._lowest, value)
        # A loss may be below zero, e.g. a likelihood of densities: what counts is how far it has risen.
        scale = max(abs(self._lowest), abs(self.losses[0] - self._lowest))
        if len(self.losses) > _FEWEST and value > self._lowest + (DIVERGED - 1) * scale:
            self.diverged = True
            trainer.terminate()


def smoothed(loss: float, average: float, count: int) -> tuple[float, float]:
    """The moving average with one more loss, the ``count``-th, and its value without the bias of its beginning."""
    average = SMOOTHING * average + (1 - SMOOTHING) * loss
    return average, average / (1 - SMOOTHING**count)


def _fall_begins(losses: list[float], curve: list[float], lowest: int) -> int:
    """The step from which the smoothed loss stays below where it was, by a tenth of its whole fall.

    Before, the loss differs from batch to batch only, and the average of a few steps may fall faster than it ever does
    by the rate.
    """
    before = float(np.median(losses[: max(_FEWEST, (lowest + 1) // 2)]))
    above = np.flatnonzero(np.array(curve[: lowest + 1]) > before - _BEGUN * (before - curve[lowest]))
    return int(above[-1]) if len(above) else 0


def summarise_rates(rates: list[float], losses: list[float], *, diverged: bool) -> LearningRates:
    """What rates and losses of a range test say.

    >>> rates = np.geomspace(1e-6, 1, 60).tolist()
    >>> losses = [3 - 2 / (1 + (1e-3 / rate) ** 2) for rate in rates]  # falls fastest, over the logarithm, at 0.001
    >>> found = summarise_rates(rates, losses, diverged=False)
    >>> 1e-3 < found.suggestion < 1e-2  # the average lags
    True
    """
    if len(losses) < _FEWEST:
        raise RuntimeError(
            f"a range test needs {_FEWEST} steps whose loss is finite; got {len(losses)}: start with a lower start_lr, "
            "and check that the loss of a first step is finite"
        )
    average, curve = 0.0, []
    for count, loss in enumerate(losses, start=1):
        average, value = smoothed(loss, average, count)
        curve.append(value)
    lowest = int(np.argmin(curve))
    slopes = np.gradient(np.array(curve), np.log(rates))
    begun = _fall_begins(losses, curve, lowest)
    falls = begun + np.flatnonzero(slopes[begun : lowest + 1] < 0)
    is_better = curve[lowest] < curve[0]
    steepest = int(falls[np.argmin(slopes[falls])]) if is_better and len(falls) else None
    return LearningRates(
        rates=rates,
        losses=losses,
        smoothed=curve,
        suggestion=None if steepest is None else rates[steepest],
        minimum=rates[lowest] if is_better else None,
        diverged=diverged,
    )
