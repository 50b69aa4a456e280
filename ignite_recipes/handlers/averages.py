"""Average a run's losses over the samples of an epoch, without reading them before its end."""

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ignite_recipes.batches import count_samples
from ignite_recipes.engine import TrainingEngine, keep_state
from ignite_recipes.handlers.step_buffer import StepBuffer
from ignite_recipes.keyed_engine import TrainingState

__all__ = ["EpochAverages"]


class EpochAverages:
    """Write the epoch's sample-weighted mean of every loss into ``state.metrics``.

    The mean is over samples, not over batches: ``sum(n_i * loss_i) / sum(n_i)`` with n_i samples in batch i,
    summed in float64 on the device and read once, at the end of the epoch.

    Runs:   trainer or evaluator; EPOCH_STARTED, ITERATION_COMPLETED, EPOCH_COMPLETED.
    Reads:  ``state.output``, a dict of 0-d tensors; n from ``state.num_samples`` or ``state.batch``.
    Writes: ``state.metrics[prefix + name]``, floats.
    Keeps:  the sums of the epoch at hand.

    Args:
        prefix: of the names in ``state.metrics``, e.g. ``"train_"``.
        skip_nonfinite: leave batches out whose losses are not finite, as the guard's policy ``"skip"`` does
            with their steps; otherwise one NaN makes the average NaN, as it should.

    >>> trainer = Engine(lambda engine, batch: {"loss": batch.mean()})
    >>> averages = EpochAverages("train_").attach(trainer)
    >>> trainer.run([torch.tensor([0.0, 0.0, 0.0]), torch.tensor([4.0])]).metrics
    {'train_loss': 1.0}
    """

    def __init__(self, prefix: str = "", *, skip_nonfinite: bool = False) -> None:
        self.prefix, self.skip_nonfinite = prefix, skip_nonfinite
        self._names: list[str] = []
        self._sums: Tensor | None = None  # (K + 1,): the losses' weighted sums, then the number of samples
        self._batches = 0  # of the epoch at hand
        self._buffer = StepBuffer(self._fold)

    def __repr__(self) -> str:
        return f"EpochAverages({self.prefix!r})"

    def attach(self, engine: Engine) -> "EpochAverages":
        """Attach to a trainer or an evaluator, ours or any other whose output is a dict of 0-d tensors."""
        keep_state(engine, "epoch_averages", self)
        engine.add_event_handler(Events.EPOCH_STARTED, self._reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._read)
        return self

    def __call__(self, engine: Engine) -> None:
        """Take note of one batch."""
        output: Any = engine.state.output
        if not self._names:
            self._names = list(output)
        state = engine.state
        n = state.num_samples if isinstance(state, TrainingState) else count_samples(state.batch)
        self._buffer.add([torch.as_tensor(output[name]) for name in self._names], n)
        self._batches += 1

    def _reset(self, engine: Engine) -> None:
        done = engine.position if isinstance(engine, TrainingEngine) else 0
        if not done:
            self._sums, self._batches = None, 0
            self._buffer.clear()
        elif self._batches > done:  # a run that goes on has gone back to the start of an accumulation window
            self._buffer.drop_last(self._batches - done)
            self._batches = done

    def _fold(self, values: Tensor, weights: Tensor) -> None:
        weighted = values * weights[:, None]
        if self.skip_nonfinite:
            finite = values.isfinite().all(1)
            weighted, weights = weighted.where(finite[:, None], 0), weights.where(finite, 0)
        block = torch.cat([weighted.sum(0), weights.sum()[None]])
        self._sums = block if self._sums is None else self._sums.to(block.device) + block

    def _read(self, engine: Engine) -> None:
        self._buffer.flush()
        if self._sums is None:
            return
        *sums, count = self._sums.tolist()
        means = [total / count if count else float("nan") for total in sums]
        engine.state.metrics.update({self.prefix + name: mean for name, mean in zip(self._names, means, strict=True)})

    def state_dict(self) -> dict[str, Any]:
        """Names, sums and the steps not summed yet."""
        buffer = self._buffer.state_dict()
        return {"names": list(self._names), "sums": self._sums, "batches": self._batches, "buffer": buffer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in the middle of the epoch that was saved."""
        self._names, self._sums, self._batches = list(state["names"]), state["sums"], state["batches"]
        self._buffer.load_state_dict(state["buffer"])
