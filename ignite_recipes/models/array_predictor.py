"""A model of arrays, such as images or vectors, with what its outputs mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ignite_recipes.arguments import listed
from ignite_recipes.data.pictures import class_numbers, file_names, find_pictures, pictures_of, read_pictures
from ignite_recipes.data.tables import is_path
from ignite_recipes.data.vectors import read_vectors
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.models.measures import NUMBER_MEASURES, class_measures, measured
from ignite_recipes.models.names import checked_classes, checked_features, checked_units, probability_names
from ignite_recipes.optional import polars as pl

__all__ = ["ArrayPredictor", "targets_of"]

_BATCH = 256


class ArrayPredictor:
    """Predicts classes or numbers of images or vectors with a network; evaluated as in inference.

    A model of images also takes files and images of Pillow's: they are decoded as those of a folder to train on, turned
    upright, resized to the size of the training and made grey or coloured.

    Args:
        model: inputs (N, ...) to scores of K classes (N, K), or to numbers (N, K).
        class_names: the names of the K classes; None for numbers.
        feature_names: the names of the D inputs, of vectors (N, D).
        units: the units of the ``prediction`` and of inputs, by name.
        input_shape: the shape of one sample, e.g. (C, H, W) of an image; None takes any.

    >>> predictor = ArrayPredictor(nn.Linear(4, 2), class_names=["crow", "kite"])
    >>> predictor.predict(torch.zeros(3, 4)).columns
    ['prediction', 'p_crow', 'p_kite']
    """

    kind: ClassVar[str] = "arrays"

    def __init__(
        self,
        model: nn.Module,
        *,
        class_names: Sequence[Any] | None = None,
        feature_names: Sequence[str] | None = None,
        units: Mapping[str, str] | None = None,
        input_shape: Sequence[int] | None = None,
    ) -> None:
        self.model, self.class_names = model, checked_classes(class_names)
        self.input_shape = None if input_shape is None else tuple(int(size) for size in input_shape)
        width = self.input_shape[0] if self.input_shape is not None and len(self.input_shape) == 1 else None
        self.feature_names, self.units = checked_features(feature_names, width), checked_units(units)
        self.trained: dict[str, Any] = {}

    def predict(self, data: Any) -> "pl.DataFrame":
        """The predictions for each sample, in their order.

        Args:
            data: a tensor or an array (N, ...), a data set, a loader or another iterable of batches; if samples are
                tuples, their first item is used. Bytes are images, and are divided by 255. For a model of images
                (``input_shape`` is (C, H, W)) also a file, a folder, an image of Pillow's, or a list of files and such
                images.

        Returns:
            A frame of polars: ``prediction``, and for classes ``p_<class>``, the probability of each; for several
            numbers ``prediction_0``, ``prediction_1``, ... Of a folder ``file`` comes first, the names of the images
            in it and in its folders, sorted.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if samples have another shape, the model gives another number of classes, or a file is no image.
            TypeError: for data of another kind.
        """
        found = self.decode(self.outputs(data))
        if not is_path(data) or not (folder := Path(data).expanduser()).is_dir():
            return found
        return found.insert_column(0, pl.Series("file", file_names(find_pictures(folder), folder)))

    @torch.no_grad()
    def outputs(self, data: Any) -> Tensor:
        """The outputs of the model for each sample, (N, K) float32, on the CPU."""
        data = self._pixels(data)
        if isinstance(data, (Tensor, np.ndarray)) and data.dtype in (torch.uint8, np.uint8):
            data = torch.as_tensor(data).float() / 255
        inputs = read_vectors(data)
        if self.input_shape is not None and tuple(inputs.shape[1:]) != self.input_shape:
            raise ValueError(
                f"samples must be {self.input_shape}, as those of the training; got {tuple(inputs.shape[1:])}: resize "
                "them"
            )
        model = unwrap(self.model)
        place = next(model.parameters(), torch.empty(0))
        with in_evaluation_mode(model):
            parts = [model(part.to(place)).float().cpu() for part in torch.split(inputs, _BATCH)]
        outputs = torch.cat(parts)
        outputs = outputs[:, None] if outputs.dim() == 1 else outputs
        if self.class_names is not None and outputs.shape[1:] != (len(self.class_names),):
            raise ValueError(
                f"the model must give a score for each of the {len(self.class_names)} classes; got outputs of shape "
                f"{tuple(outputs.shape)}"
            )
        return outputs

    def _pixels(self, data: Any) -> Any:
        """Image files and images of Pillow's as bytes; other data as they are."""
        pictures = pictures_of(data)
        if pictures is None:
            return data
        if self.input_shape is None or len(self.input_shape) != 3:
            raise TypeError(
                f"image files need a model of images, with an input_shape of (C, H, W); got one of {self.input_shape}: "
                "pass arrays"
            )
        return read_pictures(pictures, self.input_shape)

    def decode(self, outputs: Tensor) -> "pl.DataFrame":
        """What outputs of the model say."""
        if self.class_names is None:
            flat = outputs.double().flatten(1).numpy()
            names = ["prediction"] if flat.shape[1] == 1 else [f"prediction_{k}" for k in range(flat.shape[1])]
            return pl.DataFrame({name: flat[:, k] for k, name in enumerate(names)})
        chances = outputs.double().softmax(1)
        chosen = pl.Series("prediction", self.class_names).gather(pl.Series(chances.argmax(1).numpy()))
        columns = zip(probability_names(self.class_names), chances.numpy().T, strict=True)
        return pl.DataFrame([chosen, *(pl.Series(name, column) for name, column in columns)])

    def evaluate(self, data: Any, targets: Any = None) -> dict[str, float]:
        """Measure how good the predictions are on samples whose target is known.

        Args:
            data: as for ``predict``; without ``targets`` a data set or a loader of pairs, or a folder with a folder of
                images for each class.
            targets: the numbers or the names of the classes (N,), or the true numbers (N,) or (N, 1).

        Returns:
            For classes ``accuracy``, ``balanced_accuracy`` and ``f1`` (a mean over the classes) in percent,
            ``log_loss`` in nats, and for two classes ``roc_auc``; for numbers ``rmse``, ``mae`` and ``r2``.

        Raises:
            ValueError: if there are no targets, or not one for each sample.
        """
        truth = self._truth(data) if targets is None else _flat(targets)
        return self.metrics(self.outputs(data), truth)

    def _truth(self, data: Any) -> NDArray[Any]:
        """What data say themselves: folders by their names."""
        if is_path(data) and (folder := Path(data).expanduser()).is_dir():
            numbers = class_numbers(find_pictures(folder), folder, self.class_names)
            if numbers is None:
                raise ValueError(
                    f"{folder} must hold a folder of images for each class, {listed(self.class_names or ())}, to "
                    "evaluate with; got others: pass targets="
                )
            return _flat(numbers)
        return targets_of(data)

    def metrics(self, outputs: Tensor, targets: Any) -> dict[str, float]:
        """How good outputs of the model are for targets (N,)."""
        truth, predicted = self.comparable(outputs, targets)
        return measured(class_measures(predicted.shape[1]) if self.class_names else NUMBER_MEASURES, truth, predicted)

    def comparable(self, outputs: Tensor, targets: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Targets (N,) and what is predicted: the numbers (N,), or the chances (N, classes).

        Raises:
            ValueError: if there is not one target for each output, or it is not a class's number.
        """
        truth = self._numbers(_flat(targets))
        if len(truth) != len(outputs):
            raise ValueError(f"there must be a target for each of the {len(outputs)} samples; got {len(truth)}")
        if self.class_names is None:
            if outputs.shape[1] != 1:
                raise ValueError(f"only a model of one number can be evaluated so; it gives {outputs.shape[1]}")
            return truth.astype(np.float64), outputs[:, 0].double().numpy()
        if len(truth) and not (truth.min() >= 0 and truth.max() < len(self.class_names)):
            raise ValueError(f"targets must be numbers of classes, 0 to {len(self.class_names) - 1}; got {truth.max()}")
        return truth.astype(np.int64), outputs.double().softmax(1).numpy()

    def _numbers(self, truth: NDArray[Any]) -> NDArray[Any]:
        """Targets that are names of classes by their numbers; others as they are."""
        if self.class_names is None or truth.dtype.kind not in "OUS":
            return truth
        number_of = {str(name): number for number, name in enumerate(self.class_names)}
        if unknown := [str(name) for name in np.unique(truth.astype(str)) if name not in number_of]:
            raise ValueError(f"targets must be classes, {listed(self.class_names)}; got {listed(unknown)} too")
        return np.array([number_of[str(name)] for name in truth], dtype=np.int64)

    def description(self) -> dict[str, Any]:
        """What a model file needs to make it again."""
        return {"input_shape": None if self.input_shape is None else list(self.input_shape)}

    @classmethod
    def from_description(cls, model: nn.Module, description: Mapping[str, Any]) -> "ArrayPredictor":
        """Made again of a model file."""
        names = ("class_names", "feature_names", "units", "input_shape")
        return cls(model, **{name: description[name] for name in names})

    def program(self) -> tuple[nn.Module, tuple[Tensor, ...], list[str]]:
        """The model, two samples, and what its outputs are."""
        shape = self.input_shape or _width_of(self.model)
        if shape is None:
            raise ValueError("input_shape must be known to export a model; pass it to ArrayPredictor")
        return unwrap(self.model), (torch.rand(2, *shape),), ["outputs"]


def _width_of(model: nn.Module) -> tuple[int, ...] | None:
    """The width of the first layer, if that is linear."""
    first = next((module for module in model.modules() if not list(module.children())), None)
    return (first.in_features,) if isinstance(first, nn.Linear) else None


def targets_of(data: Any) -> NDArray[Any]:
    """The second items of a data set's or a loader's samples, in the order in which ``read_vectors`` reads them."""
    from torch.utils.data import DataLoader, Dataset

    dataset = getattr(data, "dataset", data)
    if not isinstance(dataset, Dataset):
        raise ValueError("there must be targets to evaluate with; pass targets=, or a data set or loader of pairs")
    parts = [batch[1] for batch in DataLoader(dataset, _BATCH, collate_fn=_collate)]
    return _flat(torch.cat([torch.as_tensor(part) for part in parts]))


def _collate(batch: Any) -> Any:
    from torch.utils.data import default_collate

    return default_collate(batch) if isinstance(batch, list) else batch


def _flat(targets: Any) -> NDArray[Any]:
    array = targets.detach().cpu().numpy() if isinstance(targets, Tensor) else np.asarray(targets)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"targets must be (N,); got shape {array.shape}")
    return array
