"""A model in evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["enter_training_mode", "in_evaluation_mode", "preserved_modes"]


def enter_training_mode(model: nn.Module) -> None:
    """Call ``model.train()`` where it is due; parts that were frozen by ``eval()`` in a model that trains stay so.

    A module with a ``train()`` of its own, the usual way to keep batch norm frozen, is asked in any case: the flag of a
    new module says that it trains already.
    """
    if not model.training or any(type(module).train is not nn.Module.train for module in model.modules()):
        model.train()


@contextmanager
def in_evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Inside the block the modules evaluate; after it each of their parts is in the mode in which it was found.

    >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    >>> with in_evaluation_mode(model):
    ...     print([module.training for module in model])
    [False, False]
    >>> [module.training for module in model]
    [True, False]
    """
    with preserved_modes(*modules):
        for module in modules:
            module.eval()
        yield


@contextmanager
def preserved_modes(*modules: nn.Module) -> Iterator[None]:
    """After the block each module is in the mode in which it was found, also one that was frozen in evaluation."""
    modes = [(module, module.training) for outer in modules for module in outer.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
