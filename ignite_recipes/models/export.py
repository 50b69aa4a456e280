"""A trained model as a program that other tools run, checked against the model itself."""

import copy
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from ignite_recipes.engine.weights import unwrap
from ignite_recipes.files import replace_file
from ignite_recipes.loading.randomness import preserve_generators, seed_torch
from ignite_recipes.models.file import Predictor, save_model
from ignite_recipes.optional import check_installed, needs

__all__ = ["FORMATS", "TOLERANCE", "export_model"]

FORMATS = ("pt2", "onnx", "safetensors")
TOLERANCE = 1e-4
"""The largest difference of an output, in parts of the largest one and at least of 1, that an export may have."""

_OPSET = 18
_ROWS = (2, 5)  # of the example, and of a batch of another size that the program must take too


def export_model(path: str | os.PathLike[str], predictor: Predictor) -> float:
    """Write what a model computes to a file that needs none of this library, and check it against the model.

    The program takes any number N of samples: images or vectors as the model does; for a table the numbers that its
    preprocessing makes (which the file describes, and :func:`save_model` keeps). The file names its features, classes
    and outputs: a ``.pt2`` in the extra file ``description.json``, an ``.onnx`` in its metadata.

    Args:
        path: ends in ``.pt2`` (a program of ``torch.export``), ``.onnx``, or ``.safetensors`` (as :func:`save_model`).
        predictor: has the model, which is not changed.

    Returns:
        The largest difference between an output of the file's program and of the model, on the CPU, in parts of the
        largest output and at least of 1; 0 for safetensors.

    Raises:
        ValueError: if ``path`` ends otherwise, torch cannot export the model, or the program gives other outputs, by
            more than 1e-4; nothing is written then.
        ModuleNotFoundError: if ONNX is not installed; the message says how to.

    >>> from tempfile import TemporaryDirectory
    >>> from ignite_recipes import ArrayPredictor
    >>> with TemporaryDirectory() as folder:
    ...     difference = export_model(f"{folder}/m.pt2", ArrayPredictor(nn.Linear(4, 2), class_names=["crow", "kite"]))
    ...     program = torch.export.load(f"{folder}/m.pt2").module()
    >>> program(torch.zeros(3, 4)).shape, difference <= 1e-4
    (torch.Size([3, 2]), True)
    """
    path = Path(path).expanduser()
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"the file must end in {', '.join(f'.{name}' for name in FORMATS)}; got {path.name!r}")
    if kind == "safetensors":
        save_model(path, predictor)
        return 0.0
    if kind == "onnx":
        check_installed("onnx")
    with preserve_generators():
        seed_torch(0)
        own, example, names = predictor.program()
        model = copy.deepcopy(unwrap(own)).cpu().requires_grad_(False).eval()
        batches = [tuple(torch.rand(rows, *x.shape[1:]).to(x.dtype) for x in example) for rows in _ROWS]
    description = {
        "kind": predictor.kind,
        "outputs": names,
        "class_names": predictor.class_names,
        "feature_names": predictor.feature_names,
        "units": predictor.units,
        **predictor.description(),
    }
    program = _exported(model, batches[0])
    make = _pt2 if kind == "pt2" else _onnx
    worst = 0.0

    def write(file: IO[bytes]) -> None:
        nonlocal worst
        compute = make(program, names, description, file)
        worst = max(_difference(_outputs(model, batch), compute(batch)) for batch in batches)
        if not worst <= TOLERANCE:
            raise ValueError(
                f"the exported program must give the model's outputs within {TOLERANCE:g}; it is {worst:.3g} off: "
                "nothing was written"
            )

    replace_file(path, write)
    return worst


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch's exporter warns of: its own code, and that torchvision is not there."""
    said = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = said.level
    said.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        said.setLevel(level)


def _exported(model: nn.Module, example: tuple[Tensor, ...]) -> Any:
    """The program for any number of rows."""
    shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in example)
    try:
        return torch.export.export(model, example, dynamic_shapes=shapes)
    except Exception as error:  # of torch's compiler, which raises many kinds
        said = str(error).strip().partition("\n")[0]
        raise ValueError(f"torch cannot export this model ({said:.300}): write it as safetensors") from error


_Compute = Callable[[tuple[Tensor, ...]], list[Tensor]]


def _pt2(program: Any, names: list[str], description: dict[str, Any], file: IO[bytes]) -> _Compute:
    contents = io.BytesIO()
    torch.export.save(program, contents, extra_files={"description.json": json.dumps(description)})
    file.write(contents.getvalue())
    contents.seek(0)
    read = torch.export.load(contents).module()
    return lambda batch: _outputs(read, batch)


def _onnx(program: Any, names: list[str], description: dict[str, Any], file: IO[bytes]) -> _Compute:
    with needs("onnx"):
        import onnx
        import onnxruntime

    with _quietly():
        made = torch.onnx.export(program, output_names=names, opset_version=_OPSET, dynamo=True, verbose=False)
    if made is None:
        raise ValueError("torch cannot export this model to ONNX: write it as pt2 or safetensors")
    proto = made.model_proto
    onnx.helper.set_model_props(proto, {"description": json.dumps(description)})
    contents = proto.SerializeToString()
    file.write(contents)
    session = onnxruntime.InferenceSession(contents, providers=["CPUExecutionProvider"])
    inputs = [each.name for each in session.get_inputs()]

    def compute(batch: tuple[Tensor, ...]) -> list[Tensor]:
        found = session.run(None, {name: x.numpy() for name, x in zip(inputs, batch, strict=True)})
        return [torch.from_numpy(np.asarray(x)) for x in found]

    return compute


@torch.no_grad()
def _outputs(model: Any, batch: tuple[Tensor, ...]) -> list[Tensor]:
    found = model(*batch)
    return [found] if isinstance(found, Tensor) else list(found)


def _difference(own: list[Tensor], other: list[Tensor]) -> float:
    """NaN where shapes or numbers of outputs differ, so that no comparison holds."""
    if [x.shape for x in own] != [x.shape for x in other]:
        return float("nan")
    pairs = zip(own, other, strict=True)
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1)) for a, b in pairs)
