"""Average a run's losses over the samples of an epoch, without reading them before its end."""

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor

from ignite_recipes.engine.blocks import with_numbers_only
from ignite_recipes.handlers._host import host_of
from ignite_recipes.loading.batches import count_samples
from ignite_recipes.metrics import SampleMeans

__all__ = ["EpochAverages"]


class EpochAverages:
    """Write the epoch's sample-weighted mean of every loss into ``state.metrics``.

    The mean is over samples, not over batches (``SampleMeans``), and read once, at
    the end of the epoch.

    Runs:   trainer or evaluator; EPOCH_STARTED, ITERATION_COMPLETED, EPOCH_COMPLETED.
    Reads:  ``state.output``, a dict of 0-d tensors; n from ``state.num_samples``, which our step notes, or from
            ``state.batch``.
    Writes: ``state.metrics[prefix + name]``, floats.
    Keeps:  the sums of the current epoch.

    Args:
        prefix: the prefix of the names in ``state.metrics``, e.g. ``"train_"``.
        skip_nonfinite: leave batches out whose losses are not finite, as the guard's policy ``"skip"`` does
            with their steps; otherwise one NaN makes the average NaN, as it should.

    >>> import torch
    >>> trainer = Engine(lambda engine, batch: {"loss": batch.mean()})
    >>> averages = EpochAverages("train_").attach(trainer)
    >>> trainer.run([torch.tensor([0.0, 0.0, 0.0]), torch.tensor([4.0])]).metrics
    {'train_loss': 1.0}
    """

    def __init__(self, prefix: str = "", *, skip_nonfinite: bool = False) -> None:
        self.prefix = prefix
        self._means = SampleMeans(skip_nonfinite=skip_nonfinite)

    def __repr__(self) -> str:
        return f"EpochAverages({self.prefix!r})"

    @property
    def num_samples(self) -> int:
        """The number of samples of the current epoch."""
        return self._means.num_samples

    def attach(self, engine: Engine) -> "EpochAverages":
        """Attach to a trainer or an evaluator, ours or any other whose output is a dict of 0-d tensors.

        Raises:
            RuntimeError: if it is attached already, or an engine of your own has a handler that decides on metrics or
                records them: attach that one afterwards.
        """
        host = host_of(engine)
        host.check_measures_first(self)
        host.keep("epoch_averages", self)
        engine.add_event_handler(Events.EPOCH_STARTED, self._reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._read)
        return self

    @with_numbers_only
    def __call__(self, engine: Engine) -> None:
        """Take note of one batch.

        Raises:
            TypeError: if the update function returns no dict.
        """
        state: Any = engine.state
        if not isinstance(state.output, Mapping):
            raise TypeError(
                "EpochAverages reads a dict of losses, which the update function returns, e.g. "
                f"{{'loss': loss.detach()}}; got {type(state.output).__name__}"
            )
        n = getattr(state, "num_samples", None)
        self._means.add(state.output, count_samples(state.batch) if n is None else n)

    def of_block(self, engine: Engine, losses: Mapping[str, Tensor]) -> None:
        """Take note of several batches: (N,) of each loss."""
        state: Any = engine.state
        self._means.add_block(losses, state.num_samples)

    def _reset(self, engine: Engine) -> None:
        done = host_of(engine).batches_done
        if done:  # a run that continues has perhaps gone back to the start of an accumulation window
            self._means.keep_first(done)
        else:
            self._means.clear()

    def _read(self, engine: Engine) -> None:
        engine.state.metrics.update({self.prefix + name: mean for name, mean in self._means.read().items()})

    def state_dict(self) -> dict[str, Any]:
        """The sums of the current epoch."""
        return self._means.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue in the middle of the epoch that was saved."""
        self._means.load_state_dict(state)
