"""What an experiment has trained, ready to answer: from its model file, or from its best checkpoint."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ignite_recipes.answers.run_data import image_dataset, traffic_sides, vae_settings
from ignite_recipes.checkpoint.file import CheckpointError, read_checkpoint
from ignite_recipes.checkpoint.model_file import load_checkpoint
from ignite_recipes.checkpoint.newest import best_weights
from ignite_recipes.data import BaseDataset
from ignite_recipes.data.deadband import Limits
from ignite_recipes.devices import as_device, move_model
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.members import is_group, members_folder
from ignite_recipes.experiments.provenance import read_provenance
from ignite_recipes.models import (
    ArrayPredictor,
    ModelRegistry,
    TablePredictor,
    TrafficPredictor,
    VariationalAutoencoder,
    VectorEmbedder,
    WindowPredictor,
    multilayer_perceptron,
)
from ignite_recipes.models.file import MODEL_FILE, Predictor, load_model, predictor_of, read_description
from ignite_recipes.models.inference import chosen_threshold
from ignite_recipes.plotting.histories import Experiment, find_experiment

__all__ = ["DIGITS", "RECIPES", "Trained", "find_trained", "image_predictor", "window_predictor"]

logger = logging.getLogger(__name__)

DIGITS = [*range(10)]
"""The classes of the digits."""

RECIPES = ("classify", "supervised", "traffic", "vae")
_OWN_MODELS = ("trainModel", "train_variational_autoencoder")  # recipes in Python whose models are known
_OF_TRAFFIC = ("input_size", "output_size", "num_classes", "hidden_size", "num_layers", "dropout_rate", "dt", "degree")


class Trained(NamedTuple):
    """An experiment and what it predicts with."""

    experiment: ExperimentManager
    settings: dict[str, Any]
    predictor: Predictor
    path: Path
    """The file of the weights."""
    epoch: int | None
    """The best one, from 1."""

    @property
    def recipe(self) -> str:
        """By which it was trained."""
        return str(self.settings.get("recipe"))

    @property
    def name(self) -> str:
        """The name of the experiment."""
        return Path(self.experiment.experiment_dir).name

    def data_file(self) -> dict[str, Any] | None:
        """By what the file that was trained on is known again: ``size`` and ``sha256``; None if that is not known."""
        starts = read_provenance(self.experiment.experiment_dir)
        known = starts[0].get("data") if starts else None
        found = {name: (known or {}).get(name) for name in ("size", "sha256")}
        return None if None in found.values() else found


def find_trained(
    experiment: Experiment,
    *,
    runs_dir: str | os.PathLike[str] = "runs",
    model: nn.Module | None = None,
    device: str | torch.device | None = "auto",
) -> Trained:
    """What an experiment predicts with: the best weights, in evaluation mode.

    They come from its model file, or, where training did not end or went on since, from its best checkpoint.

    Args:
        experiment: its name, e.g. ``"exp3"``; the path of its folder, or its manager.
        runs_dir: where a name is looked for.
        model: a model of the architecture that was trained, if it is one of your own.
        device: where it predicts.

    Raises:
        FileNotFoundError: if there is no such experiment.
        ValueError: if it has nothing trained yet, or is of your own model and none is given.
        CheckpointError: if nothing that it has is sound.
    """
    manager = find_experiment(experiment, runs_dir)
    place = as_device(device)
    path, folder = Path(manager.experiment_dir, MODEL_FILE), Path(manager.checkpoints_dir)
    settings = manager.settings()
    best = _best_checkpoint(folder, path)
    if path.is_file():
        try:
            epoch = (read_description(path).get("trained") or {}).get("epoch")
            if best is None or read_checkpoint(best).get("epoch") == epoch:
                return Trained(manager, settings, load_model(path, model, device=place), path, epoch)
        except CheckpointError as error:
            if best is None or "model of your own" in str(error):
                raise
            logger.warning("passed over: %s", error)
    if best is None and is_group(manager.experiment_dir):
        raise ValueError(
            f"{manager.experiment_dir} holds many runs and no ensemble of them: name one, "
            f"{members_folder(manager.experiment_dir)}/NAME; ignite-recipes show {manager.experiment_dir} lists them"
        )
    if best is None:
        raise ValueError(f"{manager.experiment_dir} must have a model to predict with; it has none yet: train it first")
    predictor = _of_checkpoint(best, settings, model)
    predictor.model = move_model(predictor.model, place).eval()
    epoch = read_checkpoint(best).get("epoch")
    predictor.trained = {"recipe": settings.get("recipe"), "epoch": epoch, "experiment": best.parent.parent.name}
    return Trained(manager, settings, predictor, best, epoch)


def image_predictor(model: nn.Module, dataset: BaseDataset) -> ArrayPredictor:
    """A classifier of images like those of a data set, with its classes' names where it knows them."""
    names = getattr(dataset, "class_names", None) or range(dataset.num_classes)
    return ArrayPredictor(model, class_names=[*names], input_shape=dataset.input_shape)


def window_predictor(
    model: nn.Module, settings: Mapping[str, Any], limits: Limits, names: list[str], threshold: float | None = None
) -> WindowPredictor:
    """A traffic predictor of series like that of a command's run."""
    is_file, flags = settings["file"] is not None, settings["flag_column"]
    return WindowPredictor(
        model,
        feature_names=names,
        limits=limits,
        deadband=settings["deadband"] if flags is None or not is_file else None,
        flag_column=flags if is_file else None,
        time_column=settings["time_column"] if is_file else None,
        flag_threshold=threshold,
    )


def _best_checkpoint(folder: Path, model_file: Path) -> Path | None:
    try:
        return best_weights(folder)
    except CheckpointError:
        if model_file.is_file():
            return None
        raise


def _of_checkpoint(path: Path, settings: Mapping[str, Any], model: nn.Module | None) -> Predictor:
    """What predicts, made of a run's best checkpoint and its settings."""
    recipe = settings.get("recipe")
    contents = read_checkpoint(path)
    metadata = contents.get("metadata") or {}
    if isinstance(metadata.get("table"), dict):
        return TablePredictor.from_checkpoint(path, model)
    predictor: Predictor
    if model is not None:
        predictor = predictor_of(model)
    elif recipe not in (*RECIPES, *_OWN_MODELS):
        raise ValueError(f"{path} holds a model of your own: pass model=, of the same architecture")
    elif recipe == "trainModel":
        predictor = WindowPredictor(_traffic_model(metadata))
    elif recipe in ("vae", "train_variational_autoencoder"):
        weights = contents["model_state_dict"]
        first = weights.get("encoder_network.0.weight", weights.get("latent_mean_layer.weight"))  # linear
        if first is None or settings.get("latent_dimension") is None:
            raise ValueError(f"{path} holds a model of your own: pass model=, of the same architecture")
        covariates = len(weights.get("covariate_mean", ()))
        net = VariationalAutoencoder(
            first.shape[1] - covariates,
            settings["latent_dimension"],
            settings["hidden_dimension"],
            covariates=covariates,
            **vae_settings(settings),
        )
        predictor = VectorEmbedder(net, feature_names=metadata.get("features"))
    elif recipe == "traffic":
        predictor = window_predictor(_traffic_model(metadata), settings, *traffic_sides(settings)[2:])
    elif recipe == "classify":
        dataset = image_dataset(settings)
        sizes = {"num_classes": dataset.num_classes, "input_shape": dataset.input_shape}
        predictor = image_predictor(ModelRegistry.create(settings["model"], **sizes), dataset)
    else:
        network = {name: settings[name] for name in ("hidden_dimension", "num_layers", "dropout_rate")}
        predictor = ArrayPredictor(multilayer_perceptron(64, 10, **network), class_names=DIGITS, input_shape=[64])
    load_checkpoint(path, predictor.model, averaged=None)
    if recipe == "traffic" and settings.get("calibrate_flags") and isinstance(predictor.model, TrafficPredictor):
        assert isinstance(predictor, WindowPredictor)
        # As the end of the training chooses it.
        predictor.flag_threshold = chosen_threshold(predictor.model, traffic_sides(settings)[1])
    return predictor


def _traffic_model(metadata: Mapping[str, Any]) -> TrafficPredictor:
    sizes = {name: metadata[name] for name in (*_OF_TRAFFIC, "len_source")}
    return TrafficPredictor(**sizes, fits_path=metadata.get("fits_path", False))
