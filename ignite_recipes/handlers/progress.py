"""Show how far a run is, in a terminal or a notebook, without slowing it down."""

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor

from ignite_recipes.arguments import shown
from ignite_recipes.engine.blocks import with_numbers_only
from ignite_recipes.exchange.ranks import rank
from ignite_recipes.handlers._host import host_of

__all__ = ["ProgressBar", "print_line", "silence"]

_is_silent: ContextVar[bool] = ContextVar("is_silent", default=False)


@contextmanager
def silence() -> Iterator[None]:
    """Print no lines and show no bars in the block, in this thread only: what runs in it is one of many.

    >>> with silence():
    ...     print_line("not seen")
    >>> print_line("seen")
    seen
    """
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)


class ProgressBar:
    """A tqdm bar over all iterations of a run, with the metrics of the last epoch that has ended.

    It redraws ten times a second at most and never reads a number from the device. Where its output is
    neither a terminal nor a notebook (a pipe, a log file) it shows nothing.

    Runs:   trainer; STARTED, ITERATION_COMPLETED, EPOCH_COMPLETED, TERMINATE, COMPLETED,
            EXCEPTION_RAISED.
    Reads:  ``state.metrics`` of the epochs that have ended.
    Writes: standard error.
    Keeps:  nothing; a resumed run's bar begins where the run does.

    Args:
        metrics: names to show; by default train_loss and val_loss.

    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = ProgressBar().attach(trainer)
    >>> trainer.run([0, 1], max_epochs=2).iteration
    4
    """

    def __init__(self, metrics: Sequence[str] = ("train_loss", "val_loss")) -> None:
        if isinstance(metrics, str):
            raise TypeError(f"metrics must be a tuple of names of metrics; got {shown(metrics)}")
        self.metrics = metrics
        self._bar: Any = None

    def __repr__(self) -> str:
        return "ProgressBar()"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_bar": None}  # a copy opens one of its own

    def attach(self, trainer: Engine) -> "ProgressBar":
        """Show the progress of ``trainer``."""
        if rank() or _is_silent.get():  # rank 0 does it for all
            return self
        trainer.add_event_handler(Events.STARTED, self._open)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._show_metrics)
        trainer.add_event_handler(Events.TERMINATE, self._close)
        host_of(trainer).at_end(self._close)
        return self

    def _open(self, trainer: Engine) -> None:
        state = trainer.state
        total = state.epoch_length * state.max_epochs if state.epoch_length and state.max_epochs else None
        self._bar = _bar(total=total, initial=state.iteration, unit="batch", leave=False, dynamic_ncols=True)
        self._bar.set_description_str(f"epoch {state.epoch + 1}/{state.max_epochs}", refresh=False)

    @with_numbers_only
    def _advance(self) -> None:
        self._bar.update()

    def of_block(self, engine: Engine, losses: Mapping[str, Tensor]) -> None:
        """Advance by several batches."""
        self._bar.update(len(next(iter(losses.values()))))

    def _show_metrics(self, trainer: Engine) -> None:
        if self._bar is None:
            return
        state = trainer.state
        numbers = host_of(trainer).metrics.numbers(self.metrics, of_earlier_epochs=True)
        self._bar.set_postfix({name: f"{number:.4g}" for name, number in numbers.items()}, refresh=False)
        self._bar.set_description_str(f"epoch {min(state.epoch + 1, state.max_epochs or 1)}/{state.max_epochs}")

    def _close(self, *_: object) -> None:  # EXCEPTION_RAISED brings its exception
        if self._bar is not None:
            self._bar.close()


def _bar(**settings: Any) -> Any:
    """A bar for where standard error leads: a terminal, a notebook, or nowhere."""
    in_notebook = _is_notebook()
    if in_notebook and importlib.util.find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm as notebook_bar

        return notebook_bar(**settings)
    from tqdm import tqdm

    return tqdm(disable=not in_notebook and not sys.stderr.isatty(), **settings)


def _is_notebook() -> bool:
    """Whether this process is a notebook's kernel; tools load parts of ipykernel elsewhere too."""
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and kernel.IPKernelApp.initialized() and not sys.stderr.isatty()


def print_line(line: str) -> None:
    """Print to standard output, once for all ranks, without tearing a bar that is being shown."""
    if rank() or _is_silent.get():
        return
    if "tqdm" not in sys.modules:
        print(line)  # noqa: T201  # what it is for
        return
    from tqdm import tqdm

    tqdm.write(line, file=sys.stdout)
