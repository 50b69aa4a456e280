"""The optimizers of a run in its checkpoint: the state of the only one as documented, of several by their names."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.checkpoint.fit import check_settings, in_order, optimizer_state, order_groups, parameter_names
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.weights import unwrap

__all__ = ["fitting_states", "load_outside", "names_of", "outside_parameters", "states_of"]

Optimizers = Mapping[str, Optimizer]


def states_of(optimizers: Optimizers) -> Any:
    """What a checkpoint has as ``optimizer_state_dict``."""
    states = {name: optimizer_state(optimizer) for name, optimizer in optimizers.items()}
    return next(iter(states.values())) if len(states) == 1 else states


def names_of(model: nn.Module, optimizers: Optimizers) -> dict[str, list[list[str]]]:
    """The names of the parameters of each, group by group."""
    return {name: parameter_names(model, optimizer) for name, optimizer in optimizers.items()}


def outside_parameters(model: nn.Module, optimizers: Optimizers) -> dict[str, list[Tensor]]:
    """What the optimizers train that is not the model's, e.g. a temperature or a criterion's parameters."""
    own = {id(parameter) for parameter in unwrap(model).parameters()}
    found = {
        name: [parameter.detach() for parameter in parameters_of(optimizer) if id(parameter) not in own]
        for name, optimizer in optimizers.items()
    }
    return {name: parameters for name, parameters in found.items() if parameters}


def load_outside(model: nn.Module, optimizer: Optimizer, values: Sequence[Tensor]) -> None:
    """Give an optimizer's parameters that are not the model's these values.

    Raises:
        ValueError: if they are others.
    """
    parameters = outside_parameters(model, {"": optimizer}).get("", [])
    if [parameter.shape for parameter in parameters] != [value.shape for value in values]:
        raise ValueError("its parameters that are not the model's have other shapes, or are others in number")
    if parameters:
        torch._foreach_copy_(parameters, [value.to(own.device) for value, own in zip(values, parameters, strict=True)])


def fitting_states(model: nn.Module, optimizers: Optimizers, contents: Mapping[str, Any]) -> dict[str, Any]:
    """The states that a checkpoint holds, in the order that each optimizer has its parameters in, by its name.

    Groups that come in another order are put into that of the run.

    Raises:
        ValueError: if the run had other optimizers, or one of them other parameters.
    """
    names, saved = contents["run"]["parameters"], contents["optimizer_state_dict"]
    if names.keys() != optimizers.keys():
        raise ValueError(f"the optimizers of the run are {', '.join(names)}; got {', '.join(optimizers)}")
    found = {}
    for name, optimizer in optimizers.items():
        try:
            order_groups(model, optimizer, names[name])
            state = saved if len(optimizers) == 1 else saved[name]
            found[name] = in_order(state, names[name], parameter_names(model, optimizer))
            check_settings(optimizer, state)
        except Exception as error:
            raise ValueError(f"{name}: {error}") from error
    return found
