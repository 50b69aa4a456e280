"""An Ignite Engine whose randomness depends on its seed and position only, and that can always run again."""

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Engine, Events, State

from ignite_recipes.arguments import whole_number
from ignite_recipes.devices import outside_autocast
from ignite_recipes.engine.copies import check_functions, deep_copy, portable, restore
from ignite_recipes.engine.state import TrainingState
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.turns import current_run

__all__ = ["KeyedEngine"]

# Ignite logs each exception twice on its way to the caller, who gets it anyway and says what it means; and the end
# of every epoch, validation's too, which is the business of those who report on a run.
_ignite_logger = logging.getLogger(f"{__name__}.ignite")
_ignite_logger.addFilter(lambda record: record.levelno == logging.WARNING)


_lock = threading.RLock()  # a validation runs inside its training, in the same thread


@contextmanager
def _alone_in_process() -> Iterator[None]:
    """Hold torch's, NumPy's and Python's generators, of which a process has one each.

    Runs that take turns have them one after the other.

    Raises:
        RuntimeError: if a run of another thread holds them: each would draw what the other has seeded.
    """
    if current_run() is not None:
        yield
        return
    if not _lock.acquire(blocking=False):
        raise RuntimeError(
            "one run at a time must use the random generators of a process; another thread trains or evaluates: wait "
            "for it, or give each run a process of its own"
        )
    try:
        yield
    finally:
        _lock.release()


class KeyedEngine(Engine):
    """An Engine whose randomness depends on its seed and its position only, and that can always run again.

    Two of Ignite's private methods are replaced: ``_fire_event``, which took half the time of a tiny step, and
    ``_handle_exception``, which swallowed exceptions and called handlers twice (Ignite 0.5.5). A third one, the loop
    over the batches of an epoch, comes in a trainer after those that are computed in blocks. Of its private attributes
    those are set that say where in a loader a run is.

    It can be copied with ``copy.deepcopy``, and with ``pickle`` and ``torch.save`` if its functions stand at the top of
    a file; its handlers are copied with it, the loader is not: pass it to ``run`` again.

    Args:
        step: the process function. It holds no reference to the engine: an engine in a reference cycle would keep its
            loaders until the garbage collector comes, and torch then takes 5 seconds to end each of their workers.
        purpose: a word that keeps the random numbers of a run's engines apart.
        device: its generator is seeded too.
        seed: the seed of everything random.
    """

    state: TrainingState

    def __init__(self, step: Callable[[Any, Any], Any], purpose: str, device: torch.device, seed: int) -> None:
        super().__init__(step)
        self.logger = _ignite_logger
        self.step, self.purpose, self.device = step, purpose, device
        self.state = TrainingState()
        self.state.seed = seed
        self._reported: BaseException | None = None

    def run(
        self,
        data: Iterable[Any] | None = None,
        max_epochs: int | None = None,
        max_iters: int | None = None,
        epoch_length: int | None = None,
    ) -> State:
        """Run over ``data``, leaving the global random generators as they were found."""
        max_epochs, max_iters, epoch_length = (
            None if value is None else whole_number(value, name)
            for name, value in (("max_epochs", max_epochs), ("max_iters", max_iters), ("epoch_length", epoch_length))
        )
        with _alone_in_process(), outside_autocast(self.device):
            return self._run_alone(data, max_epochs, max_iters, epoch_length)

    def _run_alone(
        self, data: Iterable[Any] | None, max_epochs: int | None, max_iters: int | None, epoch_length: int | None
    ) -> State:
        if data is None:
            with preserve_generators(self.device):
                return super().run(data, max_epochs, max_iters, epoch_length)
        if not isinstance(data, Iterable):
            raise TypeError(f"data must be a loader or another iterable of batches; got {type(data).__name__}")
        if self._get_data_length(data) == 0:
            raise ValueError("the loader must yield at least one batch; got an empty one: check its data set")
        # What an exception, an interrupt or terminate() left of an earlier run would end this one at once.
        self._internal_run_generator = self._dataloader_iter = self._reported = None
        self.should_terminate = False
        with preserve_generators(self.device):
            assert self.state.seed is not None
            loader = KeyedLoader(data, self.state.seed, self.purpose, self.device)
            return super().run(loader, max_epochs, max_iters, epoch_length)

    def __getstate__(self) -> dict[str, Any]:
        check_functions(self)
        return portable(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.logger, self._reported = _ignite_logger, None
        restore(self, state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deep_copy(self, memo)

    def _fire_event(self, event_name: Any, *event_args: Any, **event_kwargs: Any) -> None:
        # As Ignite's, without the text that it makes of each event for a log that nobody reads: 8 of 9 microseconds,
        # five times a step.
        self.last_event_name = event_name
        for entry in self._event_handlers[event_name]:
            self._call(entry, *event_args, **event_kwargs)

    def _call(self, entry: tuple[Callable[..., Any], Any, Any], *event_args: Any, **event_kwargs: Any) -> None:
        """Call a handler with what it was attached with and what its event brings."""
        handler, args, kwargs = entry
        takes_engine = args and isinstance(args[0], weakref.ref)
        first, others = ((self,), args[1:]) if takes_engine else ((), args)
        handler(*first, *event_args, *others, **kwargs, **event_kwargs)

    def _handle_exception(self, error: BaseException) -> None:
        # Ignite swallows the exception when a handler returns, and calls handlers twice when one raises.
        if self._reported is not error:
            self._reported = error
            self._fire_event(Events.EXCEPTION_RAISED, error)
        raise error
