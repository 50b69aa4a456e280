"""One file for a trained model: its weights, and everything to use them on new data.

It is a `safetensors <https://github.com/huggingface/safetensors>`_ file, of the format's version 1. Its tensors are the
entries of the model's state dict under their own names, so any program that reads safetensors reads the weights. Two
texts of its metadata say the rest::

    ignite_recipes   JSON, an object with
                       "version"        1
                       "kind"           what predicts: "table", "tables", "arrays", "vectors" or "windows"
                       "architecture"   {"name": ..., "arguments": {...}}, or null for your own module
                       "class_names", "feature_names", "units"
                       "trained"        what it was trained on and how far, e.g. {"recipe": "vae", "epoch": 40}
                     and, by kind, fitted preprocessing as numbers and names
    sha256           of that JSON and of all tensors

Reading it runs no code: it holds no pickle, and makes only known architectures, from plain
arguments. A file is written whole or not at all, and what is read is checked before a model is touched.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ignite_recipes.checkpoint.file import CheckpointError
from ignite_recipes.checkpoint.fit import load_model as load_weights
from ignite_recipes.checkpoint.fit import unchanged_on_error
from ignite_recipes.devices import as_device, move_model
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.exchange.sharded import is_sharded
from ignite_recipes.files import replace_file
from ignite_recipes.models.architecture import architecture_of, make_architecture
from ignite_recipes.models.array_predictor import ArrayPredictor
from ignite_recipes.models.ensemble import TableEnsemble
from ignite_recipes.models.table_predictor import TablePredictor
from ignite_recipes.models.traffic import TrafficPredictor
from ignite_recipes.models.vae import VariationalAutoencoder
from ignite_recipes.models.vector_embedder import VectorEmbedder
from ignite_recipes.models.window_predictor import WindowPredictor

__all__ = ["MODEL_FILE", "Predictor", "load_model", "predictor_of", "read_description", "save_model"]

MODEL_FILE = "model.safetensors"
"""The file that a command leaves in its experiment's folder."""

VERSION = 1
_TEXT, _DIGEST = "ignite_recipes", "sha256"


class Predictor(Protocol):
    """What :func:`~ignite_recipes.load_model` gives: a model with all that it needs of new data.

    Attributes:
        kind: in the file.
        model: the module.
        class_names: the names of its outputs, if they are classes.
        feature_names: the names of its inputs, if they have names.
        units: the units of columns and of the ``prediction``, by name.
        trained: what a file says of the training.
    """

    kind: ClassVar[str]
    model: nn.Module
    units: dict[str, str]
    trained: dict[str, Any]

    @property
    def class_names(self) -> list[Any] | None:
        """As said above."""

    @property
    def feature_names(self) -> list[str] | None:
        """As said above."""

    def predict(self, data: Any) -> Any:
        """A frame with a row for each sample, in the data's order."""

    def evaluate(self, data: Any) -> dict[str, float]:
        """Measures on data whose truth is known."""

    def description(self) -> dict[str, Any]:
        """What a file needs to make it again, in JSON's types; without the model."""

    @classmethod
    def from_description(cls, model: nn.Module, description: Mapping[str, Any]) -> "Predictor":
        """Made again; ValueError, KeyError or TypeError if the description is none."""

    def program(self) -> tuple[nn.Module, tuple[Tensor, ...], list[str]]:
        """A module of tensors only, an example of its inputs, and the names of what it returns."""


_KINDS: dict[str, Any] = {
    each.kind: each for each in (TablePredictor, TableEnsemble, ArrayPredictor, VectorEmbedder, WindowPredictor)
}


def save_model(
    path: str | os.PathLike[str],
    model: "nn.Module | Predictor",
    *,
    class_names: Sequence[Any] | None = None,
    feature_names: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    trained: Mapping[str, Any] | None = None,
) -> Path:
    """Write a trained model with everything that is needed to use it into one file, which runs no code when it is read.

    Args:
        path: ends in ``.safetensors``; missing folders are made, an older file is replaced completely or not at all.
        model: a predictor, e.g. ``result["predictor"]`` of :func:`train_on_table`, or a module. Your own module is
            saved without its architecture, and must be passed to :func:`load_model` again.
        class_names: the names of a module's outputs, if they are classes.
        feature_names: the names of a module's inputs, in their order.
        units: the units of columns and of the ``prediction``, by their names, e.g. ``{"prediction": "EUR"}``.
        trained: facts about the training, in JSON's types, e.g. ``{"recipe": "vae", "epoch": 40}``.

    Raises:
        ValueError: if ``path`` ends otherwise, or names do not fit the model.
        TypeError: for another kind of model, or one whose state is more than tensors.
        OSError: if the file cannot be written; an older one is still there then.

    >>> from tempfile import TemporaryDirectory
    >>> from ignite_recipes import multilayer_perceptron
    >>> model = multilayer_perceptron(4, 2)
    >>> with TemporaryDirectory() as folder:
    ...     path = save_model(f"{folder}/model.safetensors", model, class_names=["crow", "kite"])
    ...     predictor = load_model(path)
    >>> predictor.predict(torch.zeros(3, 4)).columns
    ['prediction', 'p_crow', 'p_kite']
    """
    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        raise ValueError(f"a model file must end in .safetensors; got {path.name!r}")
    if isinstance(model, nn.Module):
        predictor = predictor_of(model, class_names, feature_names, units)
    elif hasattr(model, "description"):
        predictor = model
        given = {"class_names": class_names, "feature_names": feature_names}
        if named := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{named[0]} go with a module; {type(model).__name__} has its own: leave them out")
        predictor.units |= dict(units or {})
    else:
        raise TypeError(f"model must be a torch.nn.Module or what predicts with one; got {type(model).__name__}")
    plain = unwrap(predictor.model)
    if is_sharded(plain):
        raise TypeError(
            "a model file needs all weights in one process; got a sharded model: load a checkpoint of it, which holds "
            "them, into a model that is not sharded, and save that"
        )
    weights = _tensors(plain)
    description = {
        "version": VERSION,
        "kind": predictor.kind,
        "architecture": architecture_of(plain),
        "class_names": predictor.class_names,
        "feature_names": predictor.feature_names,
        "units": predictor.units,
        **predictor.description(),
        "trained": _finite({**predictor.trained, **(trained or {})}),
    }
    try:
        text = json.dumps(description, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"names, units and trained must be plain values, of JSON's types; {error}") from error
    from safetensors.torch import save

    try:
        contents = save(weights, {_TEXT: text, _DIGEST: _digest(text, weights)})
    except KeyError as error:  # safetensors names nothing but the type
        raise TypeError(f"a model's state must be of types that safetensors knows; got {error}") from error
    header, tensors = _parted(contents)
    return replace_file(path, lambda file: file.writelines([header, tensors]))


def load_model(
    path: str | os.PathLike[str], model: nn.Module | None = None, *, device: str | torch.device | None = "cpu"
) -> "Predictor":
    """Read a file of :func:`save_model`, or of a command's experiment; no code in it is run.

    Args:
        path: e.g. ``runs/exp1/model.safetensors``.
        model: a model of the architecture that was saved, if it is one of your own; it gets the file's weights.
        device: where it predicts.

    Returns:
        A predictor: a :class:`TablePredictor`, :class:`ArrayPredictor`, :class:`VectorEmbedder` or
        :class:`WindowPredictor`, by the file's kind.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is cut short, damaged, another kind of file, of a newer version, of another architecture
            than ``model``, or of your own model and none is given. ``model`` is then as it was before.

    >>> from tempfile import TemporaryDirectory
    >>> net = nn.Sequential(nn.Linear(2, 1), nn.Tanh())  # your own
    >>> with TemporaryDirectory() as folder:
    ...     path = save_model(f"{folder}/model.safetensors", net, units={"prediction": "mm"})
    ...     predictor = load_model(path, nn.Sequential(nn.Linear(2, 1), nn.Tanh()))
    >>> torch.equal(predictor.model[0].weight, net[0].weight), predictor.units
    (True, {'prediction': 'mm'})
    """
    name = os.fspath(path)
    place = as_device(device)
    description, weights = _read(Path(path).expanduser(), name)
    if model is not None and not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    if model is None and description.get("architecture") is None:
        raise CheckpointError(f"{name!r} holds a model of your own: pass model=, of the same architecture")
    try:
        made = make_architecture(description["architecture"], weights) if model is None else model
        predictor: Predictor = _KINDS[description["kind"]].from_description(made, description)
    except Exception as error:  # of what a forged description leads to, in whatever library
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise CheckpointError(f"{name!r} does not describe a model that can be used here: {said:.300}") from error
    with unchanged_on_error(name, made):
        load_weights(made, weights, name)
    predictor.model, predictor.trained = move_model(made, place).eval(), dict(description.get("trained") or {})
    return predictor


def read_description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a model file says of itself, after it was checked.

    Raises:
        FileNotFoundError, CheckpointError: as :func:`load_model`.
    """
    return _read(Path(path).expanduser(), os.fspath(path))[0]


def predictor_of(
    model: nn.Module,
    class_names: Sequence[Any] | None = None,
    feature_names: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
) -> "Predictor":
    """What predicts with a module, by its kind; arguments as of :func:`save_model`."""
    plain = unwrap(model)
    if isinstance(plain, (VariationalAutoencoder, TrafficPredictor)):
        if class_names is not None:
            raise ValueError(f"class_names go with a model that classifies; got {type(plain).__name__}")
        of_kind: Any = VectorEmbedder if isinstance(plain, VariationalAutoencoder) else WindowPredictor
        return of_kind(plain, feature_names=feature_names, units=units)  # type: ignore[no-any-return]
    return ArrayPredictor(plain, class_names=class_names, feature_names=feature_names, units=units)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state dict on the CPU, each tensor with memory of its own, as safetensors wants it."""
    state = model.state_dict()
    if other := [
        name for name, value in state.items() if not isinstance(value, Tensor) or value.layout != torch.strided
    ]:
        raise TypeError(
            f"a model's state must be dense tensors to be saved so; {other[0]!r} is {type(state[other[0]]).__name__}: "
            "use save_checkpoint"
        )
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}


def _parted(contents: bytes) -> tuple[bytes, memoryview]:
    """The header of a safetensors file and its tensors; the header's texts in one order.

    safetensors writes them in a random one, so that two files of one model would differ.
    """
    length = int.from_bytes(contents[:8], "little")
    header = json.loads(contents[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # by which the tensors are aligned
    return len(text).to_bytes(8, "little") + text, memoryview(contents)[8 + length :]


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]  # a buffer
    return digest.hexdigest()


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(path: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"no model file at {name!r}: check the path")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # it is not a dict
    except (SafetensorError, ValueError, RuntimeError, TypeError, OverflowError) as error:
        said = str(error).partition("\n")[0]
        with path.open("rb") as start:
            is_zip = start.read(2) == b"PK"
        step = "it is a checkpoint or a program of torch" if is_zip else "it was cut short, damaged, or is another kind"
        raise CheckpointError(f"{name!r} is not a sound model file ({said}): {step}; see save_model") from error
    text, digest = metadata.get(_TEXT), metadata.get(_DIGEST)
    if text is None:
        raise CheckpointError(
            f"{name!r} holds weights only, and was not written by save_model: load it with safetensors.torch.load_model"
        )
    try:
        description = json.loads(text)
        version = description["version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{name!r} is not a sound model file: what it says of itself cannot be read") from error
    if type(version) is not int or version < 1:
        raise CheckpointError(f"{name!r} is not a sound model file: its version is {version!r:.80}")
    if version > VERSION:
        raise CheckpointError(
            f"{name!r} has version {version} of the format, and this library reads {VERSION}: install a newer one"
        )
    if digest != _digest(text, weights):
        raise CheckpointError(f"{name!r} is not a sound model file: it has another checksum than when it was written")
    if str(description.get("kind")) not in _KINDS:
        raise CheckpointError(f"{name!r} is of a kind that is not known here, {description.get('kind')!r:.80}")
    return description, weights
