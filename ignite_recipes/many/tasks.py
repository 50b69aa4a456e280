"""How each recipe in Python trains a member: what is made anew for it, and what its fold is of."""

import copy
import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ignite_recipes.arguments import kind_of, listed
from ignite_recipes.data.folds import fold_rows
from ignite_recipes.data.traffic import TrafficArrays, TrafficDataset
from ignite_recipes.experiments.members import Member
from ignite_recipes.handlers._loggers import is_logger
from ignite_recipes.loading.randomness import preserve_generators, set_seed
from ignite_recipes.many.given_rows import Folded, labelled_batches
from ignite_recipes.many.group import Task
from ignite_recipes.many.predictions import predict_batches
from ignite_recipes.models import ArrayPredictor
from ignite_recipes.models.file import MODEL_FILE, load_model
from ignite_recipes.recipes import (
    TrafficParameters,
    Trainer,
    train_model_advanced,
    train_on_table,
    train_variational_autoencoder,
    trainModel,
)
from ignite_recipes.recipes.experiment_run import ExperimentRun
from ignite_recipes.recipes.plain_settings import plain

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Request", "make_task"]

Arguments = dict[str, Any]

_OF_THE_MEMBER = {
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
        fold_seed: of the folds.
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
                raise ValueError(f"{chosen[0]} is of folds; got no folds: add folds=5")


def make_task(recipe: Callable[..., Any], args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    """How members of this call are trained.

    Raises:
        ValueError, TypeError: for a model in place of a function that makes one, an option that members have by
            themselves, a swept setting that nobody takes, folds of what has no rows.
    """
    if not callable(recipe):
        raise TypeError(f"recipe must be a function that trains, e.g. train_model_advanced; got {kind_of(recipe)}")
    for name, why in _OF_THE_MEMBER.items():
        if settings.get(name) is not None:
            raise ValueError(f"{name} is not for train_many: {why}; leave it out")
    if recipe is train_on_table:
        return _of_table(args, settings, request)
    if recipe is trainModel:
        return _of_traffic(args, settings, request)
    if recipe is Trainer:
        return _of_classifier(args, settings, request)
    if recipe in (train_model_advanced, train_variational_autoencoder):
        return _of_model(recipe, args, settings, request)
    return _of_function(recipe, args, settings, request)


def _bound(recipe: Callable[..., Any], args: tuple[Any, ...], settings: Arguments) -> Arguments:
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


def _maker(model: Any, recipe: str) -> Callable[..., Any]:
    if isinstance(model, nn.Module):
        raise TypeError(
            f"{recipe} must be given a function that makes the model, so that each member has weights of its own; got "
            f"the {type(model).__name__} itself: pass lambda: {type(model).__name__}(...)"
        )
    if not callable(model):
        raise TypeError(f"model must be a function that makes one; got {kind_of(model)}")
    return model  # type: ignore[no-any-return]


class _Sweep:
    """To whom each swept setting goes: to the recipe, or to a function that makes a part.

    Args:
        request: with the sweep.
        recipe: its name, for errors.
        known: the recipe's own settings.
        makers: functions of the user's, by what they make.

    Raises:
        ValueError: for a setting that nobody takes, or that is swept and given.
    """

    def __init__(
        self, request: Request, recipe: str, known: Any, makers: Mapping[str, Any], given: Mapping[str, Any]
    ) -> None:
        self.known = set(known) - set(_OF_THE_MEMBER) - set(makers)
        self.taken = {what: _keywords(make) for what, make in makers.items() if make is not None}
        every = [*self.known, *(name for names in self.taken.values() for name in names)]
        for name in request.sweep:
            if name in _OF_THE_MEMBER:
                raise ValueError(f"{name} cannot be swept: {_OF_THE_MEMBER[name]}")
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


def _seeded(member: Member, make: Callable[[], Any]) -> Any:
    """What a script makes after ``set_seed(seed)``; the generators stay as they are."""
    with preserve_generators():
        set_seed(member.seed)
        return make()


_COPIED = ("criterion", "metrics", "use_augmentation", "dataset")


def _own_parts(arguments: Arguments, member: Member) -> Arguments:
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


def _described(recipe: str, request: Request) -> Callable[[Member], dict[str, Any]]:
    def settings(member: Member) -> dict[str, Any]:
        own = {name: plain(value) for name, value in member.settings.items()}
        fold = {} if member.fold is None else {"fold": member.fold, "folds": request.folds}
        return {"recipe": recipe, **own, **fold, "seed": member.seed}

    return settings


def _default(recipe: Callable[..., Any], name: str) -> Any:
    return inspect.signature(recipe).parameters[name].default


def _of_model(recipe: Callable[..., Any], args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    """Of ``train_model_advanced`` and ``train_variational_autoencoder``."""
    arguments = _bound(recipe, args, settings)
    is_pairs = recipe is train_model_advanced
    epochs_name = "epochs" if is_pairs else "num_epochs"
    make = _maker(arguments.pop("model", None), recipe.__name__)
    sweep = _Sweep(request, recipe.__name__, inspect.signature(recipe).parameters, {"model": make}, arguments)
    folded = _folded(arguments, "pairs" if is_pairs else "vectors", request)

    def model_of(member: Member) -> nn.Module:
        made = _seeded(member, partial(make, **sweep.of("model", member)))
        if not isinstance(made, nn.Module):
            raise TypeError(f"the function that makes the model must give a torch.nn.Module; got {kind_of(made)}")
        return made

    def train(member: Member, run: ExperimentRun) -> "pl.DataFrame | None":
        own = {**_own_parts(arguments, member), **sweep.of_recipe(member), **_sides(folded, member)}
        own.setdefault("val_loader", None)
        recipe(model_of(member), seed=member.seed, experiment=run, **own)
        return _validated(run, partial(model_of, member), own, _val_rows(folded, member)) if is_pairs else None

    def refit(member: Member, epochs: int, run: ExperimentRun) -> None:
        patience = "early_stop_patience" if is_pairs else "patience"
        own = {**_own_parts(arguments, member), **sweep.of_recipe(member), epochs_name: epochs}
        own |= {patience: None, "val_loader": None}
        own |= {"monitor": None, "mode": None}
        recipe(model_of(member), seed=member.seed, experiment=run, **own)

    def epochs(member: Member) -> int:
        return int({**arguments, **member.settings}.get(epochs_name, _default(recipe, epochs_name)))

    first = Member("", 0)
    return Task(
        recipe.__name__,
        train,
        _described(recipe.__name__, request),
        epochs,
        model=partial(model_of, first) if not sweep.taken["model"] or not request.sweep else None,
        refit=refit if request.refit else None,
    )


def _of_table(args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    arguments = _bound(train_on_table, args, settings)
    make = arguments.get("model")
    if make is not None:
        _maker(make, "train_on_table")
    parameters = inspect.signature(train_on_table).parameters
    sweep = _Sweep(request, "train_on_table", parameters, {"model": make}, arguments)
    if request.folds is not None:
        for name in ("fold", "val_data", "split_seed"):
            if arguments.get(name) is not None:
                raise ValueError(f"{name} is one split, and folds are others; got both: leave one of them out")
        arguments |= {"split_seed": request.fold_seed}
    by = {"group": request.group, "time": request.time}
    arguments |= {name: value for name, value in by.items() if value is not None}

    def arguments_of(member: Member) -> Arguments:
        own = {**_own_parts(arguments, member), **sweep.of_recipe(member)}
        if member.fold is not None:
            own["fold"] = (member.fold, request.folds)
        if make is not None:
            own["model"] = partial(make, **sweep.of("model", member))
        return own

    def train(member: Member, run: ExperimentRun) -> "pl.DataFrame | None":
        own: Any = {**arguments_of(member), "seed": member.seed, "experiment": run}
        result = train_on_table(**own)
        return result["val_predictions"] if len(result["val_predictions"]) else None

    def refit(member: Member, epochs: int, run: ExperimentRun) -> None:
        own = {**arguments_of(member), "fold": None, "val_size": None, "early_stop_patience": None, "epochs": epochs}
        own |= {"monitor": None, "mode": None, "seed": member.seed, "experiment": run}
        train_on_table(**own)

    def epochs(member: Member) -> int:
        return int({**arguments, **member.settings}.get("epochs", _default(train_on_table, "epochs")))

    return Task(
        "train_on_table",
        train,
        _described("train_on_table", request),
        epochs,
        refit=refit if request.refit else None,
    )


def _of_traffic(args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    arguments = _bound(trainModel, args, settings)
    parameters = dict(arguments.pop("parameters", {}))
    _refuse_refit(request, "trainModel")
    if parameters.pop("seed", None) is not None and "seed" in request.sweep:
        raise ValueError(f"seed cannot be swept: {_OF_THE_MEMBER['seed']}")
    known = [*TrafficParameters.__annotations__, *inspect.signature(trainModel).parameters]
    sweep = _Sweep(request, "trainModel", known, {}, {})
    sides = None if request.folds is None else _traffic_folds(arguments, request)

    def train(member: Member, run: ExperimentRun) -> None:
        own = {**_own_parts(arguments, member), **({} if sides is None else sides[(member.fold or 1) - 1])}
        swept = sweep.of_recipe(member)
        of_model = {name: value for name, value in swept.items() if name in TrafficParameters.__annotations__}
        own |= {name: value for name, value in swept.items() if name not in of_model}
        told = {**parameters, **of_model, "seed": member.seed, "save_checkpoints": False}
        own["experiment"] = run
        trainModel(told, **own)

    def epochs(member: Member) -> int:
        return int({"num_epochs": 50, **parameters, **member.settings}["num_epochs"])

    return Task("trainModel", train, _described("trainModel", request), epochs)


def _traffic_folds(arguments: Arguments, request: Request) -> list[Arguments]:
    """Windows in the order of time; those that share samples with the windows to validate on are left out."""
    import numpy as np

    if arguments.get("testData") is not None or request.group is not None or request.time is not None:
        raise ValueError("folds of trainModel are cut of trainData, by time: leave out testData, group and time")
    data = arguments["trainData"]
    dataset = data if isinstance(data, TrafficDataset) else TrafficDataset(data)
    windows, length = dataset.arrays, dataset.len_source + dataset.len_target
    found = []
    for train, val in fold_rows(len(dataset), int(request.folds or 2), times=np.arange(len(dataset))):
        train = train[: 1 - length]
        if not len(train):
            raise ValueError(
                f"the series is too short for {request.folds} folds of windows of {length} samples: use fewer"
            )
        parts = [TrafficArrays(*(array[rows[0] : rows[-1] + 1] for array in windows)) for rows in (train, val)]
        found.append({"trainData": parts[0], "testData": parts[1]})
    return found


def _of_classifier(args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    """Of :class:`Trainer`: the optimizer is a function of the model, the scheduler one of the optimizer."""
    epochs_given = settings.pop("epochs", None)
    if epochs_given is None and "epochs" not in request.sweep:
        raise TypeError("train_many(Trainer, ...) must be told how long to train: add epochs=20")
    arguments = _bound(Trainer, args, settings)
    _refuse_refit(request, "Trainer")
    makers = {name: arguments.pop(name, None) for name in ("model", "optimizer", "scheduler")}
    make = _maker(makers["model"], "Trainer")
    for name in ("optimizer", "scheduler"):
        of = {"optimizer": "lambda model: torch.optim.AdamW(model.parameters())", "scheduler": "lambda optimizer: ..."}
        if makers[name] is not None and (not callable(makers[name]) or hasattr(makers[name], "step")):
            raise TypeError(
                f"{name} must be a function that makes one, for each member; got {kind_of(makers[name])}: pass "
                f"{of[name]}"
            )
    if makers["optimizer"] is None:
        raise TypeError("Trainer must be given a function that makes the optimizer: lambda model: ...")
    known = [*inspect.signature(Trainer).parameters, "epochs"]
    sweep = _Sweep(request, "Trainer", known, makers, arguments)
    folded = _folded(arguments, "pairs", request)

    def model_of(member: Member) -> nn.Module:
        return _seeded(member, partial(make, **sweep.of("model", member)))  # type: ignore[no-any-return]

    def epochs(member: Member) -> int:
        return int(member.settings.get("epochs", epochs_given))

    def train(member: Member, run: ExperimentRun) -> "pl.DataFrame | None":
        own = {**_own_parts(arguments, member), **sweep.of_recipe(member), **_sides(folded, member)}
        own.pop("epochs", None)
        model = model_of(member)
        own["optimizer"] = makers["optimizer"](model, **sweep.of("optimizer", member))
        if makers["scheduler"] is not None:
            own["scheduler"] = makers["scheduler"](own["optimizer"], **sweep.of("scheduler", member))
        own.setdefault("device", None)
        own |= {"seed": member.seed, "experiment": run}
        Trainer(model, **own).train(epochs(member))
        return _validated(run, partial(model_of, member), own, _val_rows(folded, member))

    first = Member("", 0)
    return Task(
        "Trainer",
        train,
        _described("Trainer", request),
        epochs,
        model=None if sweep.taken["model"] and request.sweep else partial(model_of, first),
    )


def _of_function(recipe: Callable[..., Any], args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    """Of a function of the user's, which trains by a recipe of ours that it hands ``seed`` and ``experiment``."""
    name = getattr(recipe, "__name__", type(recipe).__name__)
    parameters = inspect.signature(recipe).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    wanted = ["seed", "experiment", *(["fold"] if request.folds is not None else [])]
    for word in wanted:
        if word not in parameters and not takes_all:
            raise TypeError(
                f"{name} must take {', '.join(wanted)} as keywords, and hand experiment to the recipe that it calls; "
                f"it takes no {word}"
            )
    _refuse_refit(request, name)
    if not takes_all:
        _Sweep(request, name, parameters, {}, settings)

    def train(member: Member, run: ExperimentRun) -> None:
        fold = {} if member.fold is None else {"fold": (member.fold, request.folds)}
        recipe(*args, **settings, **member.settings, **fold, seed=member.seed, experiment=run)

    def described(member: Member) -> dict[str, Any]:
        return {name: value for name, value in _described(name, request)(member).items() if name != "recipe"}

    return Task(name, train, described, lambda member: 0, can_be_tried=False)


def _folded(arguments: Arguments, of: str, request: Request) -> Folded | None:
    if request.folds is None:
        return None
    if arguments.get("val_loader") is not None:
        raise ValueError("folds are cut of train_loader, and validate on its rows; got a val_loader too: leave it out")
    data = arguments.get("train_loader")
    return Folded(data, of, request.folds, request.fold_seed, request.group, request.time)


def _sides(folded: Folded | None, member: Member) -> Arguments:
    if folded is None or member.fold is None:
        return {}
    return {"train_loader": folded.side(member.fold, 0), "val_loader": folded.side(member.fold, 1)}


def _val_rows(folded: Folded | None, member: Member) -> Any:
    """Their numbers in the data that were divided; None of data that are validated on as they are."""
    return None if folded is None or member.fold is None else folded.sides[member.fold - 1][1]


def _validated(
    run: ExperimentRun, make: Callable[[], nn.Module], arguments: Arguments, rows: Any
) -> "pl.DataFrame | None":
    """What the best weights say of the rows that were validated on; None where there are none, or none is known."""
    from ignite_recipes.loading.given import as_loaders

    path = Path(run.make().experiment_dir) / MODEL_FILE
    val_loader = arguments.get("val_loader")
    if val_loader is None or not path.is_file():
        return None
    predictor = load_model(path, make())
    if not isinstance(predictor, ArrayPredictor):
        return None
    _, loader = as_loaders(arguments["train_loader"], val_loader, arguments.get("batch_size"), of="pairs")
    return predict_batches(predictor, labelled_batches(loader), rows)


def _refuse_refit(request: Request, recipe: str) -> None:
    if request.refit:
        raise ValueError(f"refit needs a recipe that trains without validation data; {recipe} does not: leave it out")
