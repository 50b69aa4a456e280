"""What is asked for with many runs, and what each member gets of it."""

import copy
import functools
import inspect
import weakref
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from torch import nn

from ignite_recipes.arguments import kind_of, listed
from ignite_recipes.experiments.members import Member
from ignite_recipes.handlers._loggers import is_logger
from ignite_recipes.loading.randomness import preserve_generators, set_seed
from ignite_recipes.recipes.plain_settings import plain

__all__ = [
    "OF_THE_MEMBER",
    "Arguments",
    "Request",
    "Sweep",
    "bound",
    "default_of",
    "described",
    "maker",
    "own_parts",
    "refuse_refit",
    "seeded",
]

Arguments = dict[str, Any]


OF_THE_MEMBER = {
    "seed": "seeds= says those of the members",
    "experiment": "the members have one each",
    "resume_from": "experiment= names what is continued",
    "checkpoint_dir": "the members have experiments",
    "experiment_manager": "the members have one each",
    "checkpoint_manager": "the members have one each",
}


class Request:
    """What :func:`train_many` was asked for, apart from the recipe's own arguments.

    Attributes:
        sweep: the values of each swept setting.
        folds: how many; None without.
        fold_seed: the seed of the folds.
        group, time: by which rows are divided into folds.
        refit: whether to train once on all rows.
    """

    def __init__(
        self,
        sweep: Mapping[str, Any],
        folds: int | None,
        fold_seed: int,
        group: Any,
        time: Any,
        refit: bool,
    ) -> None:
        self.sweep, self.folds, self.fold_seed, self.group, self.time = sweep, folds, fold_seed, group, time
        self.refit = refit
        if folds is None:
            given = {"group": group is not None, "time": time is not None, "refit": refit}
            if chosen := [name for name, is_given in given.items() if is_given]:
                raise ValueError(f"{chosen[0]} is for folds; got no folds: add folds=5")


def bound(recipe: Callable[..., Any], args: tuple[Any, ...], settings: Arguments) -> Arguments:
    """The arguments by their names; the recipe itself says what is wrong with a name that it does not have."""
    names = [
        p.name
        for p in inspect.signature(recipe).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(args) > len(names):
        raise TypeError(f"{recipe.__name__} takes {len(names)} arguments by their places; got {len(args)}")
    by_place = dict(zip(names, args, strict=False))
    if twice := by_place.keys() & settings.keys():
        raise TypeError(f"{recipe.__name__} got {listed(twice)} twice, by its place and by its name")
    return {**by_place, **settings}


def maker(model: Any, recipe: str) -> Callable[..., Any]:
    """The function that makes a member's model; a model is refused, since all members would have its weights."""
    if isinstance(model, nn.Module):
        raise TypeError(
            f"{recipe} must be given a function that makes the model, so that each member has weights of its own; got "
            f"the {type(model).__name__} itself: pass lambda: {type(model).__name__}(...)"
        )
    if not callable(model):
        raise TypeError(f"model must be a function that makes one; got {kind_of(model)}")
    made: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    @functools.wraps(model)
    def make(*args: Any, **settings: Any) -> Any:
        one = model(*args, **settings)
        if isinstance(one, nn.Module):
            if one in made:
                raise TypeError(
                    f"the function that makes the model must make a new one for each member; it gave the same "
                    f"{type(one).__name__} again: make it inside the function"
                )
            made.add(one)
        return one

    return make


class Sweep:
    """To whom each swept setting goes: to the recipe, or to a function that makes a part.

    Args:
        request: with the sweep.
        recipe: its name, for errors.
        known: the recipe's own settings.
        makers: functions of the user's, by what they make.

    Raises:
        ValueError: for an unknown setting, or that is swept and given.
    """

    def __init__(
        self, request: Request, recipe: str, known: Any, makers: Mapping[str, Any], given: Mapping[str, Any]
    ) -> None:
        self.known = set(known) - set(OF_THE_MEMBER) - set(makers)
        self.taken = {what: _keywords(make) for what, make in makers.items() if make is not None}
        every = [*self.known, *(name for names in self.taken.values() for name in names)]
        for name in request.sweep:
            if name in OF_THE_MEMBER:
                raise ValueError(f"{name} cannot be swept: {OF_THE_MEMBER[name]}")
            if name in given:
                raise ValueError(f"{name} is swept, and given as {plain(given[name])!r} too: leave one of them out")
            if name not in every:
                near = get_close_matches(name, every, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {listed(sorted(every), 30)}"
                raise ValueError(
                    f"sweep must name settings of {recipe}, or of what makes its parts; got {name!r}: {hint}"
                )

    def of_recipe(self, member: Member) -> Arguments:
        """The recipe's."""
        return {name: value for name, value in member.settings.items() if name in self.known}

    def of(self, what: str, member: Member) -> Arguments:
        """Those of a function that makes ``what``; a name that the recipe has too is the recipe's."""
        taken = self.taken.get(what, [])
        return {name: value for name, value in member.settings.items() if name in taken and name not in self.known}


def _keywords(function: Any) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def seeded(member: Member, make: Callable[[], Any]) -> Any:
    """What a script makes after ``set_seed(seed)``; the generators stay as they are."""
    with preserve_generators():
        set_seed(member.seed)
        return make()


_COPIED = ("criterion", "metrics", "use_augmentation", "dataset")


def own_parts(arguments: Arguments, member: Member) -> Arguments:
    """The arguments of a member: what a training changes is a copy, so that no member sees what another has done.

    Raises:
        TypeError: for handlers of which there can be no copies.
    """
    own = {name: copy.deepcopy(value) if name in _COPIED else value for name, value in arguments.items()}
    handlers = arguments.get("handlers")
    if callable(handlers):
        own["handlers"] = handlers(member)
    elif isinstance(handlers, (list, tuple)) and handlers:
        remedy = "pass a function that makes the list for each member: handlers=lambda member: [...]"
        if any(is_logger(handler) for handler in handlers):
            raise TypeError(f"a logger is closed when its run ends, so each member needs one of its own: {remedy}")
        try:
            own["handlers"] = copy.deepcopy(handlers)
        except Exception as error:  # of whatever a handler holds
            raise TypeError(
                f"each member has a copy of the handlers; these cannot be copied ({error}): {remedy}"
            ) from error
    return own


def described(recipe: str, request: Request) -> Callable[[Member], dict[str, Any]]:
    """Makes what ``config.yaml`` says of a member before its recipe adds what it was told."""

    def settings(member: Member) -> dict[str, Any]:
        own = {name: plain(value) for name, value in member.settings.items()}
        fold = {} if member.fold is None else {"fold": member.fold, "folds": request.folds}
        return {"recipe": recipe, **own, **fold, "seed": member.seed}

    return settings


def default_of(recipe: Callable[..., Any], name: str) -> Any:
    """What a recipe takes where nothing is given."""
    return inspect.signature(recipe).parameters[name].default


def refuse_refit(request: Request, recipe: str) -> None:
    """Refuse a refit by a recipe that cannot train on all rows.

    Raises:
        ValueError: if that is asked for.
    """
    if request.refit:
        raise ValueError(f"refit needs a recipe that trains without validation data; {recipe} does not: leave it out")
