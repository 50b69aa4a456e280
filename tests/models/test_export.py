"""An exported program gives the model's outputs for any number of samples, or nothing is written."""

import json
import os

import pytest
import torch
from support.tables import SMALL, TABLE
from torch import nn

from ignite_recipes import (
    ArrayPredictor,
    ModelRegistry,
    TrafficPredictor,
    VariationalAutoencoder,
    VectorEmbedder,
    WindowPredictor,
    export_model,
    load_model,
    train_on_table,
)
from ignite_recipes.models import export

PREDICTORS = {
    "vectors": lambda: VectorEmbedder(VariationalAutoencoder(5, 2, 8), feature_names=list("abcde")),
    "images": lambda: ArrayPredictor(
        ModelRegistry.create("mynet", num_classes=3, input_shape=(1, 8, 8), width=4),
        class_names=["crow", "kite", "owl"],
        input_shape=(1, 8, 8),
    ),
    "windows": lambda: WindowPredictor(TrafficPredictor(2, 3, hidden_size=8, num_layers=2)),
    "table": lambda: train_on_table(TABLE, "kind", epochs=1, **SMALL)["predictor"],
}


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_program_of_torch_gives_the_models_outputs_and_says_what_they_are(name, tmp_path):
    predictor = PREDICTORS[name]()
    before = torch.get_rng_state()
    assert export_model(tmp_path / "m.pt2", predictor) == 0
    assert torch.equal(torch.get_rng_state(), before)
    extra = {"description.json": ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=extra).module()
    own, example, names = predictor.program()
    wide = [torch.cat([x, x, x]) for x in example]
    found, expected = program(*wide), own.eval()(*wide)
    pairs = [(found, expected)] if isinstance(found, torch.Tensor) else list(zip(found, expected, strict=True))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
    description = json.loads(extra["description.json"])
    assert description["feature_names"] == predictor.feature_names
    assert description["class_names"] == predictor.class_names
    assert description["outputs"] == names
    assert len(names) == len(pairs)


@pytest.mark.parametrize("name", ["vectors", pytest.param("windows", marks=pytest.mark.slow)])
def test_a_program_of_onnx_gives_them_too(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    predictor = PREDICTORS[name]()
    assert export_model(tmp_path / "m.onnx", predictor) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    own, example, names = predictor.program()
    wide = [torch.cat([x, x, x]) for x in example]
    inputs = {each.name: x.numpy() for each, x in zip(session.get_inputs(), wide, strict=True)}
    found = dict(zip([each.name for each in session.get_outputs()], session.run(None, inputs), strict=True))
    assert list(found) == names
    for a, b in zip(found.values(), own.eval()(*wide), strict=True):
        assert torch.allclose(torch.from_numpy(a), b, atol=1e-5)
    description = json.loads(session.get_modelmeta().custom_metadata_map["description"])
    assert description["feature_names"] == predictor.feature_names


def test_safetensors_are_a_model_file(tmp_path):
    predictor = PREDICTORS["images"]()
    assert export_model(tmp_path / "m.safetensors", predictor) == 0
    assert load_model(tmp_path / "m.safetensors").class_names == ["crow", "kite", "owl"]


class Branching(nn.Module):
    """Its way depends on the numbers, which torch cannot export."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else -self.layer(x)


def test_a_model_that_torch_cannot_export_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="torch cannot export this model") as caught:
        export_model(tmp_path / "m.pt2", ArrayPredictor(Branching(), input_shape=[2]))
    assert len(str(caught.value).splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_a_program_that_gives_other_outputs_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "m.pt2").write_text("an older one")
    outputs = iter([[torch.zeros(2, 1)], [torch.ones(2, 1)]] * 9)
    monkeypatch.setattr(export, "_outputs", lambda model, batch: next(outputs))
    with pytest.raises(ValueError, match=r"must give the model's outputs within 0\.0001; it is 1 off"):
        export_model(tmp_path / "m.pt2", ArrayPredictor(nn.Linear(2, 1)))
    assert (tmp_path / "m.pt2").read_text() == "an older one"


def test_outputs_of_other_shapes_or_no_numbers_are_never_alike():
    one, nan = torch.ones(2), torch.tensor([float("nan"), 1.0])
    for other in ([torch.ones(3)], [], [nan]):
        assert not export._difference([one], other) <= export.TOLERANCE


def test_without_onnx_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"onnx must be installed for this, and is not: pip install"):
        export_model(tmp_path / "m.onnx", PREDICTORS["vectors"]())


def test_another_ending_and_a_model_of_unknown_inputs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.pt2, \.onnx, \.safetensors"):
        export_model(tmp_path / "m.tflite", PREDICTORS["vectors"]())
    convolution = ArrayPredictor(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()))
    with pytest.raises(ValueError, match="input_shape must be known"):
        export_model(tmp_path / "m.pt2", convolution)
