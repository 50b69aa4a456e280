"""Copies of an engine of ours: what ``pickle``, ``torch.save`` and ``copy.deepcopy`` take of it."""

import copy
import functools
import sys
import weakref
from collections import defaultdict
from types import FunctionType
from typing import Any

from ignite.engine import Engine

from ignite_recipes.engine.describe import is_filtered
from ignite_recipes.loading.generators import closed_over

__all__ = ["check_functions", "deep_copy", "portable", "restore", "state_of_step"]

# The place in a loader, which is not copied; an exception; and what belongs to this process.
_LEFT_OUT = ("_dataloader_iter", "_internal_run_generator", "_reported", "_decided", "logger")


def portable(engine: Engine) -> dict[str, Any]:
    """The attributes of an engine that a copy has; its handlers without the weak references to it."""
    state = {name: value for name, value in vars(engine).items() if name not in _LEFT_OUT}
    plain = {event: event for event in engine._allowed_events}  # a key may have the filter of its first handler
    state["_event_handlers"] = {
        plain.get(event, event): [(handler, *_without_engine(args), kwargs) for handler, args, kwargs in entries]
        for event, entries in engine._event_handlers.items()
    }
    return state


def _without_engine(args: tuple[Any, ...]) -> tuple[bool, tuple[Any, ...]]:
    takes_engine = bool(args) and isinstance(args[0], weakref.ref)
    return takes_engine, args[1:] if takes_engine else args


def restore(engine: Engine, state: dict[str, Any]) -> None:
    """Be the engine that :func:`portable` took the attributes from, in front of its loader."""
    entries = state.pop("_event_handlers")
    vars(engine).update(state)
    engine._dataloader_iter = engine._internal_run_generator = None
    me = weakref.ref(engine)
    engine._event_handlers = defaultdict(list)
    for event, handlers in entries.items():
        engine._event_handlers[event] = [
            (handler, (me, *args) if takes_engine else args, kwargs) for handler, takes_engine, args, kwargs in handlers
        ]


def deep_copy(engine: Any, memo: dict[int, Any]) -> Any:
    """A copy whose handlers are copies too; functions are shared.

    Raises:
        TypeError: for an update function of the user's own, which would train the original's models.
    """
    function = getattr(engine.step, "function", None)
    if isinstance(function, (FunctionType, functools.partial)):
        raise TypeError(
            "an engine can be copied if its update function is an object that holds its models; got a function, which "
            "would train the models of the original: make the engine again"
        )
    kind: Any = type(engine)
    new = kind.__new__(kind)
    memo[id(engine)] = new
    new.__setstate__(copy.deepcopy(portable(engine), memo))
    for entries in new._event_handlers.values():
        entries[:] = [(_filtered_by(new, handler, memo), args, kwargs) for handler, args, kwargs in entries]
    return new


def _filtered_by(engine: Engine, handler: Any, memo: dict[int, Any]) -> Any:
    """A handler of a filtered event, ``Events.EPOCH_COMPLETED(every=2)``, with the counts of this engine."""
    if not is_filtered(handler):
        return handler
    inside = closed_over(handler)
    return engine._handler_wrapper(copy.deepcopy(inside["handler"], memo), inside["event_name"], inside["event_filter"])


def state_of_step(step: Any) -> dict[str, Any]:
    """The attributes of a step that a copy has; what is compiled is compiled again.

    Raises:
        TypeError: if several ranks share it.
    """
    if step.exchange.world_size > 1:
        raise TypeError(
            f"a step can be copied where it runs alone; this one is shared by {step.exchange.world_size} ranks: save "
            "the run with run_state and write_checkpoint, and make a new trainer"
        )
    return {name: value for name, value in vars(step).items() if name != "losses"}


def check_functions(engine: Any) -> None:
    """Refuse to pickle an engine whose functions pickle cannot name.

    Raises:
        TypeError: naming the first of them, and what to do.
    """
    step = engine.step
    functions = ("loss_fn", "get_inputs", "batch_size", "prepare_batch")
    named = {f"its {name}": getattr(step, name, None) for name in functions if hasattr(step, name)}
    if len(losses := step.loss_functions() if hasattr(step, "loss_functions") else ()) > 1:
        named |= {f"the loss_fn of {update!r}": update.loss_fn for update in step.updates.values()}
    elif losses:
        named["its loss_fn"] = losses[0]
    watched = getattr(engine, "watched", None)
    named["the metric that it watches"] = watched and watched[0]
    for event, entries in engine._event_handlers.items():
        for handler, *_ in entries:
            if is_filtered(handler):
                raise TypeError(
                    f"an engine cannot be pickled while a handler has a filter; {handler.__qualname__} of {event.name} "
                    "has one: attach it without, and count inside it, or save the run with run_state and "
                    "write_checkpoint"
                )
            _check_function(f"a handler of {event.name}", handler)
    for place, function in named.items():
        _check_function(place, function)


def _check_function(place: str, function: Any) -> None:
    while isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, FunctionType):
        return
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not function:
        raise TypeError(
            f"an engine can be pickled if its functions stand at the top of a file; {place} does not, "
            f"{function.__qualname__}: define it there with def, or save the run with run_state and write_checkpoint"
        )
