"""Whether saved weights and optimizer states fit a model, told before a single one is loaded."""

import copy
import itertools
import logging
import os
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.checkpoint.file import CheckpointError
from ignite_recipes.engine.weights import unwrap

__all__ = [
    "check_fits",
    "check_settings",
    "fitting",
    "freeze_as_saved",
    "frozen_parameters",
    "in_order",
    "load_model",
    "load_optimizer",
    "misfits",
    "optimizer_state",
    "order_groups",
    "parameter_names",
    "unchanged_on_error",
]

logger = logging.getLogger(__name__)


def fitting(model: nn.Module, weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights, under the names of the plain model where another program has left those of a wrapper in them.

    >>> list(fitting(nn.Linear(2, 1), {"module.weight": 1, "module.bias": 2}))
    ['weight', 'bias']
    """
    names = [str(name).replace("_orig_mod.", "") for name in weights]
    if names and all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    own = unwrap(model).state_dict().keys()
    if len(own & set(names)) <= len(own & weights.keys()):
        return weights
    renamed = OrderedDict(zip(names, weights.values(), strict=True))
    vars(renamed).update(
        vars(weights) if hasattr(weights, "__dict__") else {}
    )  # torch notes the modules' versions there
    return renamed


def load_model(model: nn.Module, weights: Mapping[str, Any], filepath: str | os.PathLike[str]) -> None:
    """Load weights as torch does it, with a module's own ways to load older files.

    Raises:
        CheckpointError: if they do not fit, naming the first entries; use it inside :func:`unchanged_on_error`.
    """
    weights = fitting(model, weights)
    try:
        unwrap(model).load_state_dict(weights)
    except RuntimeError:
        check_fits(model, weights, filepath)
        raise


def check_fits(model: nn.Module, saved: Mapping[str, Any], filepath: str | os.PathLike[str]) -> None:
    """Refuse weights of another architecture before a single one is loaded."""
    problems = list(misfits(model, saved).values())
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{os.fspath(filepath)!r} is of another architecture than the model: {'; '.join(problems[:3])}{more}. "
            "Make the model with the layers and sizes it was saved with"
        )


def misfits(model: nn.Module, saved: Mapping[str, Any]) -> dict[str, str]:
    """What keeps saved weights from being loaded into a model: the name of each entry, and what is wrong with it.

    >>> import torch
    >>> misfits(nn.Linear(2, 1), {"weight": torch.zeros(1, 3), "bias": torch.zeros(1)})
    {'weight': "weight is (1, 3), the model's is (1, 2)"}
    """
    own = unwrap(model).state_dict()
    problems = {name: f"{name} is missing" for name in own if name not in saved}
    problems |= {name: f"{name} is unknown to the model" for name in saved if name not in own}
    for name, value in own.items():
        if name in problems or not isinstance(value, Tensor):
            continue
        other = saved[name]
        if not isinstance(other, Tensor):
            problems[name] = f"{name} is a {type(other).__name__}, the model's is a tensor"
        elif value.shape != other.shape:
            problems[name] = f"{name} is {tuple(other.shape)}, the model's is {tuple(value.shape)}"
    return problems


def load_optimizer(optimizer: Optimizer, state: Any, filepath: str | os.PathLike[str]) -> None:
    """Load an optimizer's state, and refuse one of another optimizer.

    Raises:
        CheckpointError: if there is none or it does not fit; use it inside :func:`unchanged_on_error`.
    """
    name = os.fspath(filepath)
    if state is None:
        raise CheckpointError(f"{name!r} holds no optimizer state: load it with optimizer=None")
    try:
        check_settings(optimizer, state)
        optimizer.load_state_dict(state)
    except Exception as error:
        raise CheckpointError(
            f"{name!r} is of another optimizer ({error}): make one for the same parameters"
        ) from error


def check_settings(optimizer: Optimizer, state: Any) -> None:
    """Refuse the state of an optimizer of another kind: torch compares only the number of parameters."""
    lacking = {key for group in state["param_groups"] for key in optimizer.defaults.keys() - group.keys()}
    if lacking:  # would fail in the next step
        raise ValueError(f"it has no {', '.join(sorted(lacking))}")


def parameter_names(model: nn.Module, optimizer: Optimizer) -> list[list[str]]:
    """The names in the model of an optimizer's parameters, group by group; numbers for what is not the model's."""
    names = {id(parameter): name for name, parameter in unwrap(model).named_parameters()}
    others = itertools.count()
    return [
        [names.get(id(parameter)) or f"({next(others)})" for parameter in group["params"]]
        for group in optimizer.param_groups
    ]


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """Its state dict, without what it still has of parameters that were taken out of it: torch would raise."""
    own = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    everything = optimizer.state
    if all(key in own for key in everything if isinstance(key, Tensor)):
        return optimizer.state_dict()
    kept = {key: value for key, value in everything.items() if not isinstance(key, Tensor) or key in own}
    optimizer.state = defaultdict(dict, kept)
    try:
        return optimizer.state_dict()
    finally:
        optimizer.state = everything


def order_groups(model: nn.Module, optimizer: Optimizer, saved: list[list[str]]) -> None:
    """Put an optimizer's groups in the order in which a run had them, where they hold the same parameters."""
    groups = {frozenset(names): number for number, names in enumerate(saved)}
    order = [groups.get(frozenset(names), -1) for names in parameter_names(model, optimizer)]
    if sorted(order) == list(range(len(saved))):
        optimizer.param_groups = [optimizer.param_groups[order.index(number)] for number in range(len(saved))]


def in_order(state: Any, saved: list[list[str]], wanted: list[list[str]]) -> Any:
    """An optimizer's state for the same parameters in another order: state belongs to names, not to positions.

    Raises:
        ValueError: if a group holds other parameters, naming them.
    """
    if saved == wanted or state is None:
        return state
    if [sorted(group) for group in saved] != [sorted(group) for group in wanted]:
        raise ValueError(_other_groups(saved, wanted))
    flat = [(number, name) for number, group in enumerate(saved) for name in group]
    place = {key: index for index, key in enumerate(flat)}
    order = [place[number, name] for number, group in enumerate(wanted) for name in group]
    moments = {new: state["state"][old] for new, old in enumerate(order) if old in state["state"]}
    return {**state, "state": moments}


def _other_groups(saved: list[list[str]], wanted: list[list[str]]) -> str:
    """In which way an optimizer's groups are not those of a run."""
    then, now = ([sorted(group) for group in groups] for groups in (saved, wanted))
    missing, surplus = [group for group in then if group not in now], [group for group in now if group not in then]
    if not (missing and surplus) and len(then) != len(now):
        names = ", ".join(name for group in missing or surplus for name in group)
        return f"it had {len(then)} parameter groups, this one has {len(now)}: the difference is {names}"
    number = next(number for number, (before, own) in enumerate(zip(then, now, strict=False)) if before != own)
    others = ", ".join(sorted(set(then[number]) ^ set(now[number]))) or "some twice"
    return f"its parameter group {number} held other parameters: {others}"


def frozen_parameters(model: nn.Module) -> list[str]:
    """The names of those that are not trained."""
    return [name for name, parameter in unwrap(model).named_parameters() if not parameter.requires_grad]


def freeze_as_saved(model: nn.Module, frozen: list[str]) -> None:
    """Let exactly these not be trained, and say which ones that changes."""
    changed = set(frozen) ^ set(frozen_parameters(model))
    for name, parameter in unwrap(model).named_parameters():
        if name in changed:
            parameter.requires_grad_(name not in frozen)
    for names, word in ((changed - set(frozen), "trained"), (changed & set(frozen), "frozen")):
        if names:
            logger.info("%s will be %s, as where the run was saved", ", ".join(sorted(names)), word)


@contextmanager
def unchanged_on_error(
    filepath: str | os.PathLike[str], model: nn.Module | None = None, optimizer: Optimizer | None = None
) -> Iterator[None]:
    """Load a file inside the block: if that fails, model and optimizer are again as they were before it.

    Raises:
        CheckpointError: in the place of whatever error a model or an optimizer raises while it loads.
    """
    plain = None if model is None else unwrap(model)
    weights = None if plain is None else copy.deepcopy(plain.state_dict())
    state = {} if optimizer is None else {"state": optimizer.state, "param_groups": optimizer.param_groups}
    try:
        yield
    except BaseException as error:
        if plain is not None and weights is not None:
            plain.load_state_dict(weights)
        if optimizer is not None:
            vars(optimizer).update(state)  # torch puts new ones in their place and leaves these as they are
        if isinstance(error, CheckpointError) or not isinstance(error, Exception):
            raise
        raise CheckpointError(f"{os.fspath(filepath)!r} cannot be loaded into the model ({error})") from error
