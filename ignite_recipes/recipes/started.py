"""The trainer of a recipe, without its training."""

from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from ignite.engine import Events

from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.recipes.experiment_run import ExperimentRun
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.options import Attachable, RunOptions

__all__ = ["DryRun", "TakeTrainer", "Taken", "recipe_trainer", "taken_from"]


class Taken(Exception):  # noqa: N818  # it is not an error: it brings the trainer out of the recipe
    """What a recipe would have trained."""

    def __init__(self, trainer: TrainingEngine, data: Any) -> None:
        super().__init__("the trainer was taken out of its recipe")
        self.trainer, self.data = trainer, data


class TakeTrainer:
    """End a run before its first epoch, and hand out its trainer and its loader.

    Runs: trainer, STARTED. Stops: with :class:`Taken`.
    """

    def attach(self, trainer: TrainingEngine) -> None:
        """Take ``trainer``."""
        trainer.add_event_handler(Events.STARTED, self)

    def __call__(self, trainer: TrainingEngine) -> NoReturn:
        """Take it now."""
        loader = trainer.state.dataloader
        raise Taken(trainer, getattr(loader, "loader", loader))


class DryRun(ExperimentRun):
    """A run whose trainer is taken before it trains; what its recipe must have on disk is in a folder for that time.

    Attributes:
        measuring: of the recipe, once its trainer was put together.
    """

    measuring: Measuring | None = None

    def recorders(self, unit: str, measuring: Measuring) -> list[Attachable]:
        """What takes the trainer, and nothing that writes."""
        self.measuring = measuring
        return [TakeTrainer()]

    def savers(self, options: RunOptions, measuring: Measuring) -> list[Attachable]:
        """Nothing."""
        return []


def taken_from(train: Callable[[DryRun], Any], resume_from: Any = None) -> tuple[TrainingEngine, Any]:
    """The trainer and the loader of what ``train`` trains when it is called with a run to be kept by."""
    with TemporaryDirectory() as folder:
        try:
            train(DryRun(None, folder, resume_from))
        except Taken as taken:
            return taken.trainer, taken.data
    raise TypeError("recipe must be one that trains when it is called")


def recipe_trainer(recipe: Callable[..., Any], *args: Any, **options: Any) -> tuple[TrainingEngine, Any]:
    """The trainer that a recipe would run, with its handlers except those that save, and its loader.

    Nothing is trained and no file is written: for :func:`find_learning_rate` and :func:`find_batch_size`. The model
    is moved to its device.

    Args:
        recipe: a function, e.g. ``train_model_advanced``.
        *args, **options: those of the recipe, as it will be called; an experiment or a folder of checkpoints is not
            used.

    Raises:
        TypeError: if ``recipe`` does not train when it is called; and what it raises before it trains.

    >>> import torch
    >>> from ignite_recipes import find_learning_rate, train_model_advanced
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(200, 4)
    >>> model, data = torch.nn.Linear(4, 1), (x, x.sum(1, keepdim=True))
    >>> trainer, loader = recipe_trainer(train_model_advanced, model, data, epochs=5, device="cpu", seed=0)
    >>> rate = find_learning_rate(trainer, loader).suggestion
    >>> results = train_model_advanced(model, data, epochs=5, learning_rate=rate, device="cpu", seed=0, verbose=False)
    """
    return taken_from(lambda run: recipe(*args, **{**options, "experiment": run}), options.get("resume_from"))
