"""Use a trained model: embeddings, predictions, and a file that needs none of this code."""

import copy
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from ignite_recipes.data import TrafficArrays, TrafficDataset
from ignite_recipes.data.traffic_flags import flag_threshold
from ignite_recipes.data.vectors import unchanged, vector_batches
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.files import replace_file
from ignite_recipes.models.identified import split_identifiers, with_identifiers
from ignite_recipes.models.traffic import TrafficPrediction, TrafficPredictor
from ignite_recipes.models.vae import VariationalAutoencoder, decoded, row_width

__all__ = ["InferenceProgram", "chosen_threshold", "extract_embeddings", "predict_traffic", "save_for_inference"]


@overload
def extract_embeddings(model: torch.nn.Module, loader: Any, *, identifiers: None = None) -> torch.Tensor: ...
@overload
def extract_embeddings(model: torch.nn.Module, loader: Any, *, identifiers: Any) -> Any: ...


@torch.no_grad()
def extract_embeddings(model: nn.Module, loader: Any, *, identifiers: Any = None) -> Any:
    """The embeddings (latent means) of N vectors, in their order, on the CPU: (N, Z) float32.

    No generator is moved by it.

    Args:
        model: with a method ``embed(x)``, such as :class:`VariationalAutoencoder`; evaluated as in inference
            and left in the mode in which it was.
        loader: a loader, or another iterable of batches (n, D), or of tuples or lists whose first item is one; or the
            vectors themselves, (N, D): a data set such as :class:`RowDataset`, a tensor, an array, a CSR matrix, or a
            frame of pandas or polars, of which the columns of numbers are read. A loader that shuffles,
            or drops the last batch, is read in its data set's order and as a whole, with a warning.
        identifiers: the names of the rows, for a frame of these and the embeddings, ``z1``, ``z2``, ...: the name of
            a column of the frame that is embedded, or of several, e.g. coordinates too, which are then not in the
            vectors; or N names apart from it: a frame, a column, a list or an array. The result is a frame of pandas
            if they are, else of polars.

    Raises:
        TypeError: for a model without ``embed``, or for data of another kind.
        ValueError: if there is no vector, or not one identifier for each; if the vectors do not have the model's
            ``input_dimension`` D; if a loader's sampler does not give each row of its data set once, in their order.

    >>> model = VariationalAutoencoder(4, latent_dimension=2, hidden_dimension=8)
    >>> extract_embeddings(model, [torch.zeros(3, 4), torch.ones(1, 4)]).shape
    torch.Size([4, 2])
    >>> extract_embeddings(model, torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    >>> extract_embeddings(model, torch.zeros(3, 4), identifiers=["S1", "S2", "S3"]).columns
    ['identifier', 'z1', 'z2']
    """
    if identifiers is not None:
        vectors, named = split_identifiers(loader, identifiers)
        return with_identifiers(_embeddings(model, vectors), named)
    return _embeddings(model, loader)


def _embeddings(model: nn.Module, loader: Any) -> Tensor:
    model = unwrap(model)
    embed: Any = getattr(model, "embed", None)
    if not callable(embed):
        raise TypeError(f"model must have a method embed(x), e.g. a VariationalAutoencoder; got {type(model).__name__}")
    device, width = next(model.parameters()).device, row_width(model)
    parts = []
    with in_evaluation_mode(model), unchanged(loader):
        for batch in vector_batches(loader):
            if width is not None and batch.shape[1:] != (width,):
                raise ValueError(
                    f"the vectors must be (N, {width}), with the model's {width} features; got shape "
                    f"{tuple(batch.shape)}: pass the columns that the model was trained on, in their order"
                )
            parts.append(embed(batch.to(device).float()).cpu())
    if not parts:
        raise ValueError("the loader must yield at least one batch; got an empty one")
    return torch.cat(parts)


@torch.no_grad()
def predict_traffic(
    model: TrafficPredictor, windows: TrafficArrays | TrafficDataset, batch_size: int = 4096
) -> TrafficPrediction:
    """The predictions of a traffic predictor for N windows, on the CPU.

    Args:
        model: evaluated as in inference and left in the mode in which it was.
        windows: the eight arrays, of which the model sees the three of the source.
        batch_size: windows at a time.

    Returns:
        path (N, T, F), traffic (N, 1), class logits (N, classes) and transmission logits (N, T).

    >>> from ignite_recipes import make_traffic_windows, traffic_report
    >>> windows = make_traffic_windows(torch.rand(40, 2), torch.ones(40), 10, 5)
    >>> prediction = predict_traffic(TrafficPredictor(input_size=2, output_size=5), windows)
    >>> [tuple(output.shape) for output in prediction]
    [(26, 5, 2), (26, 1), (26, 6), (26, 5)]
    >>> 0 <= traffic_report(prediction, windows)["traffic_mse"] <= 1
    True
    """
    dataset = windows if isinstance(windows, TrafficDataset) else TrafficDataset(windows)
    device = next(model.parameters()).device
    parts = []
    with in_evaluation_mode(model):
        for start in range(0, len(dataset), batch_size):
            batch = dataset.__getitems__(list(range(start, min(start + batch_size, len(dataset)))))
            inputs = (batch.sources, batch.last_transmitted, batch.source_traffic)
            parts.append([output.cpu() for output in model(*(array.to(device) for array in inputs))])
    return TrafficPrediction(*map(torch.cat, zip(*parts, strict=True)))


def chosen_threshold(model: TrafficPredictor, windows: TrafficArrays | TrafficDataset) -> float:
    """The threshold of a traffic predictor's flags with the greatest F1 on windows: :func:`flag_threshold`.

    >>> from ignite_recipes import make_traffic_windows
    >>> windows = make_traffic_windows(torch.rand(40, 2), torch.zeros(40), 10, 5)
    >>> chosen_threshold(TrafficPredictor(input_size=2, output_size=5), windows)  # nothing was transmitted
    0.5
    """
    arrays = windows.arrays if isinstance(windows, TrafficDataset) else windows
    return flag_threshold(predict_traffic(model, windows).transmission_logits.double().sigmoid(), arrays.transmissions)


class InferenceProgram(nn.Module):
    """The deterministic part of a VAE: vectors in, embeddings and reconstructions out."""

    def __init__(self, model: VariationalAutoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> embeddings (N, Z), reconstructions (N, D)."""
        embedding = self.model.embed(x)
        return embedding, decoded(self.model, x, embedding)


def save_for_inference(
    model: VariationalAutoencoder, path: str | os.PathLike[str], feature_names: Sequence[str] | None = None
) -> Path:
    """Write a trained VAE to a file that torch alone can run, without this library.

    It is a ``torch.export`` program (Z and D as in the model, any number N of rows)::

        extra = {"features.json": ""}
        program = torch.export.load("vae.pt2", extra_files=extra).module()
        embeddings, reconstructions = program(x)        # (N, D) -> (N, Z), (N, D)
        names = json.loads(extra["features.json"])      # of the D columns of x

    Args:
        model: stays as it is, on its device; the file's program runs on the CPU.
        path: ends in ``.pt2``; missing folders are made.
        feature_names: the names of the D columns, e.g. species, and of covariates after them; by default their numbers.

    Raises:
        TypeError: for another model.
        ValueError: if the number of names is not the model's ``row_dimension``, or ``path`` ends otherwise.

    >>> from tempfile import TemporaryDirectory
    >>> model = VariationalAutoencoder(4, latent_dimension=2, hidden_dimension=8)
    >>> with TemporaryDirectory() as folder:
    ...     path = save_for_inference(model, f"{folder}/vae.pt2")
    ...     program = torch.export.load(path).module()
    >>> embeddings, reconstructions = program(torch.ones(3, 4))
    >>> embeddings.shape, reconstructions.shape
    (torch.Size([3, 2]), torch.Size([3, 4]))
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"the file must end in .pt2, torch's ending for exported programs; got {path.name!r}")
    plain = unwrap(model)
    if not isinstance(plain, VariationalAutoencoder):
        raise TypeError(f"only a VariationalAutoencoder can be saved so; got {type(plain).__name__}: use torch.export")
    width = plain.row_dimension
    names = [str(k) for k in range(width)] if feature_names is None else list(feature_names)
    if len(names) != width:
        raise ValueError(f"feature_names must name the model's {width} features; got {len(names)}")
    copied = copy.deepcopy(plain).cpu().requires_grad_(False)
    rows = torch.export.Dim.DYNAMIC
    example = torch.zeros(2, width)
    program = torch.export.export(InferenceProgram(copied).eval(), (example,), dynamic_shapes=({0: rows},))
    return replace_file(
        path, lambda file: torch.export.save(program, file, extra_files={"features.json": json.dumps(names)})
    )
