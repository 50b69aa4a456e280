"""A model file gives back what was saved, to the bit, runs nothing, and a bad one is refused in one line."""

import json
import os
import pickle

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from safetensors.torch import load_file, save_file
from support.tables import SMALL, TABLE, mixed_table
from torch import nn

from ignite_recipes import (
    ArrayPredictor,
    CheckpointError,
    ModelRegistry,
    TrafficPredictor,
    VariationalAutoencoder,
    VectorEmbedder,
    WindowPredictor,
    load_model,
    make_traffic_windows,
    multilayer_perceptron,
    save_model,
    train_on_table,
)
from ignite_recipes.models import file as model_file
from ignite_recipes.models.architecture import architecture_of

NEW = mixed_table(40, seed=5).drop("kind")


def fitted(model):
    model.fit_path(make_traffic_windows(torch.rand(30, 2), torch.ones(30), 10, 3))
    return model


def own_model():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.fixture(scope="module")
def table_predictor():
    return train_on_table(TABLE, "kind", epochs=3, **SMALL)["predictor"]


PREDICTORS = {
    "vectors": lambda: (
        VectorEmbedder(VariationalAutoencoder(5, 2, 8), feature_names=list("abcde")),
        torch.rand(7, 5),
    ),
    "images": lambda: (
        ArrayPredictor(
            ModelRegistry.create("mynet", num_classes=3, input_shape=(1, 8, 8), width=4),
            class_names=["crow", "kite", "owl"],
            input_shape=(1, 8, 8),
        ),
        torch.rand(7, 1, 8, 8),
    ),
    "windows with a fitted path": lambda: (
        WindowPredictor(fitted(TrafficPredictor(2, 3, hidden_size=8, num_layers=2, fits_path=True))),
        make_traffic_windows(torch.rand(30, 2), torch.ones(30), 10, 3),
    ),
    "numbers": lambda: (ArrayPredictor(multilayer_perceptron(4, 1, 8), units={"prediction": "mm"}), torch.rand(7, 4)),
    "windows": lambda: (
        WindowPredictor(
            TrafficPredictor(2, 3, hidden_size=8, num_layers=2, dropout_rate=0.1),
            feature_names=["a", "b"],
            limits=([0.1, 0.2], [1 / 3, 2.0]),
            deadband=0.06,
            flag_threshold=0.2,
        ),
        make_traffic_windows(torch.rand(30, 2), torch.ones(30), 10, 3),
    ),
}


def test_two_files_of_one_model_are_the_same_bytes(tmp_path):
    model = own_model()
    texts = {"class_names": ["größer", "★"], "trained": {"recipe": 'a "word"\n\x01'}}
    files = {save_model(tmp_path / f"{k}.safetensors", model, **texts).read_bytes() for k in range(8)}
    assert len(files) == 1
    (contents,) = files
    assert (8 + int.from_bytes(contents[:8], "little")) % 8 == 0  # where the tensors begin
    torch.testing.assert_close(load_file(tmp_path / "0.safetensors"), dict(model.state_dict()), rtol=0, atol=0)
    assert load_model(tmp_path / "0.safetensors", own_model()).trained == texts["trained"]


@pytest.mark.parametrize("name", PREDICTORS)
def test_what_is_read_predicts_as_what_was_saved_to_the_bit(name, tmp_path):
    predictor, data = PREDICTORS[name]()
    read = load_model(save_model(tmp_path / "m.safetensors", predictor))
    assert type(read) is type(predictor)
    assert_frame_equal(read.predict(data), predictor.predict(data), check_exact=True)
    assert (read.class_names, read.feature_names, read.units) == (
        predictor.class_names,
        predictor.feature_names,
        predictor.units,
    )
    assert read.description() == predictor.description()
    assert not read.model.training


def test_a_table_is_predicted_from_the_file_as_from_the_run(table_predictor, tmp_path):
    read = load_model(save_model(tmp_path / "m.safetensors", table_predictor))
    assert_frame_equal(read.predict(NEW), table_predictor.predict(NEW), check_exact=True)
    assert read.preprocessor.decisions == table_predictor.preprocessor.decisions


@pytest.mark.parametrize("target", ["count", "size"])
def test_numbers_keep_their_scale(target, tmp_path):
    predictor = train_on_table(TABLE, target, epochs=1, **SMALL)["predictor"]
    read = load_model(save_model(tmp_path / "m.safetensors", predictor, units={"prediction": "mm"}))
    assert_frame_equal(read.predict(TABLE), predictor.predict(TABLE), check_exact=True)
    assert read.units == {"prediction": "mm"}


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 9), st.integers(1, 3), st.floats(0, 1))
def test_the_arguments_of_a_perceptron_are_read_off_it(width, outputs, hidden, layers, rate):
    model = multilayer_perceptron(width, outputs, hidden, layers, rate)
    found = architecture_of(model)
    assert repr(multilayer_perceptron(**found["arguments"])) == repr(model)


def test_a_registered_model_that_was_changed_is_ones_own(tmp_path):
    model = ModelRegistry.create("lenet", num_classes=10)
    assert architecture_of(model)["name"] == "lenet"
    model.classifier = nn.Linear(400, 2)
    assert architecture_of(model) is None
    path = save_model(tmp_path / "m.safetensors", model)
    with pytest.raises(CheckpointError, match="holds a model of your own: pass model="):
        load_model(path)


def test_a_model_of_ones_own_gets_its_weights_back(tmp_path):
    model, other = own_model(), own_model()
    model(torch.randn(9, 3))  # running statistics
    read = load_model(save_model(tmp_path / "m.safetensors", model), other)
    assert read.model is other
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_any_program_reads_the_weights_under_their_own_names(tmp_path):
    model = own_model()
    weights = load_file(save_model(tmp_path / "m.safetensors", model))
    assert {name: tuple(value.shape) for name, value in weights.items()} == {
        name: tuple(value.shape) for name, value in model.state_dict().items()
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_keep_their_type(dtype, tmp_path):
    model = VariationalAutoencoder(4, 2, 8).to(dtype)
    read = load_model(save_model(tmp_path / "m.safetensors", model))
    assert {value.dtype for value in read.model.state_dict().values()} == {dtype}


def test_weights_that_are_shared_are_saved(tmp_path):
    model = own_model()
    model.register_module("again", model[0])
    other = own_model()
    other.register_module("again", other[0])
    load_model(save_model(tmp_path / "m.safetensors", model), other)
    assert torch.equal(other[0].weight, model[0].weight)


def test_a_file_that_is_written_again_says_the_same_of_the_training(tmp_path):
    first = load_model(save_model(tmp_path / "1.safetensors", PREDICTORS["numbers"]()[0], trained={"epoch": 3}))
    second = load_model(save_model(tmp_path / "2.safetensors", first, trained={"loss": float("nan")}))
    assert second.trained == {"epoch": 3, "loss": None}


def test_no_generator_is_moved_by_saving_and_loading(tmp_path):
    predictor = PREDICTORS["vectors"]()[0]
    before = torch.get_rng_state()
    load_model(save_model(tmp_path / "m.safetensors", predictor))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_failed_write_leaves_the_older_file(tmp_path, monkeypatch):
    path = save_model(tmp_path / "m.safetensors", own_model())
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_model(path, own_model())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]


WRONG = {
    "another ending": (lambda p: (p / "m.pt", own_model(), {}), ValueError, "must end in .safetensors"),
    "no model": (lambda p: (p / "m.safetensors", {"w": 1}, {}), TypeError, "must be a torch.nn.Module"),
    "one class": (lambda p: (p / "m.safetensors", own_model(), {"class_names": ["a"]}), ValueError, "two classes"),
    "a text for classes": (
        lambda p: (p / "m.safetensors", own_model(), {"class_names": "ab"}),
        ValueError,
        "two classes",
    ),
    "two classes of one name": (
        lambda p: (p / "m.safetensors", own_model(), {"class_names": ["1", 1]}),
        ValueError,
        "different names",
    ),
    "too few features": (
        lambda p: (p / "m.safetensors", VariationalAutoencoder(3, 2, 4), {"feature_names": ["a"]}),
        ValueError,
        "must name the model's 3 features; got 1",
    ),
    "units that are numbers": (
        lambda p: (p / "m.safetensors", own_model(), {"units": {"x": 3}}),
        ValueError,
        "units must be a text",
    ),
    "trained that is no JSON": (
        lambda p: (p / "m.safetensors", own_model(), {"trained": {"x": object()}}),
        TypeError,
        "must be plain values",
    ),
    "a type that the format lacks": (
        lambda p: (p / "m.safetensors", nn.Linear(2, 1, dtype=torch.complex128), {}),
        TypeError,
        "of types that safetensors knows; got torch.complex128",
    ),
    "classes for what predicts": (
        lambda p: (p / "m.safetensors", ArrayPredictor(own_model()), {"class_names": ["a", "b"]}),
        ValueError,
        "has its own: leave them out",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_saved_is_refused_and_writes_nothing(name, tmp_path):
    make, kind, said = WRONG[name]
    path, model, options = make(tmp_path)
    with pytest.raises(kind, match=said):
        save_model(path, model, **options)
    assert os.listdir(tmp_path) == []


def rewrite(path, change):
    """Forge a file, with a checksum that is right again."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["ignite_recipes"])
        weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(description, weights)
    text = json.dumps(description)
    save_file(weights, path, {"ignite_recipes": text, "sha256": model_file._digest(text, weights)})


def changing(*keys, to):
    def change(description, weights):
        place = description
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return change


FORGED = {
    "a newer version": (changing("version", to=2), "has version 2 of the format, and this library reads 1"),
    "no version": (lambda d, w: d.pop("version"), "cannot be read"),
    "a version that is a text": (changing("version", to="1"), "its version is '1'"),
    "an unknown kind": (changing("kind", to="magic"), "of a kind that is not known here, 'magic'"),
    "a kind that is a list": (changing("kind", to=["table"]), "is of a kind that is not known"),
    "a kind that is none": (lambda d, w: d.pop("kind"), "is of a kind that is not known"),
    "an unknown architecture": (changing("architecture", "name", to="os.system"), "'os.system' is not known here"),
    "an architecture that is a text": (changing("architecture", to="mlp"), "must be a name and arguments"),
    "an unknown argument": (changing("architecture", "arguments", "x", to=1), "unexpected keyword argument"),
    "an endless number of layers": (changing("architecture", "arguments", "num_layers", to=10**9), "at most 10000"),
    "a size for which there is no memory": (
        changing("architecture", "arguments", "hidden_dimension", to=1 << 22),
        "its weights are not those of its architecture",
    ),
    "a size that is a text": (changing("architecture", "arguments", "hidden_dimension", to="8"), "does not describe"),
    "another width": (lambda d, w: w.update({"0.weight": torch.zeros(8, 3)}), "0.weight is (8, 3)"),
    "a weight missing": (lambda d, w: w.pop("0.bias"), "0.bias is missing"),
    "a weight more": (lambda d, w: w.update(more=torch.zeros(1)), "more is unknown"),
    "another preprocessing": (changing("preprocessor", to={}), "does not describe"),
    "preprocessing of code": (changing("preprocessor", "use", "x", to="os"), "does not describe"),
    "fewer numbers": (changing("preprocessor", "medians", to=[1.0]), "does not describe"),
    "no target": (lambda d, w: d.pop("target"), "it has no 'target'"),
    "classes for numbers": (changing("target", "task", to="regression"), "does not describe"),
    "one class": (changing("target", "classes", to=["large"]), "two classes"),
    "an attribute more": (changing("target", "encode", to="x"), "the state of a target must have"),
    "units that are numbers": (changing("units", to={"x": 1}), "units must be a text"),
    "another category": (
        lambda d, w: d["preprocessor"]["use"]["categories"]["city"].append("Lima"),
        "must have the input_dimension",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused_in_one_line(name, table_predictor, tmp_path):
    path = save_model(tmp_path / "m.safetensors", table_predictor)
    change, said = FORGED[name]
    rewrite(path, change)
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 700


def test_a_number_that_is_too_large_for_the_architecture_takes_no_memory(tmp_path):
    path = save_model(tmp_path / "m.safetensors", TrafficPredictor(2, 3, hidden_size=8, num_layers=1))
    rewrite(path, changing("architecture", "arguments", "degree", to=10**6))
    with pytest.raises(CheckpointError, match="at most 100"):
        load_model(path)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_file_that_was_cut_or_has_one_bit_turned_is_refused(data):
    contents = save_bytes()
    if data.draw(st.booleans()):
        damaged = contents[: data.draw(st.integers(0, len(contents) - 1))]
    else:
        place, bit = data.draw(st.integers(0, len(contents) - 1)), data.draw(st.integers(0, 7))
        damaged = contents[:place] + bytes([contents[place] ^ (1 << bit)]) + contents[place + 1 :]
    path = _FOLDER / "damaged.safetensors"
    path.write_bytes(damaged)
    model = nn.Linear(2, 1)
    before = [value.clone() for value in model.state_dict().values()]
    with pytest.raises(CheckpointError):
        load_model(path, model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory):
    global _FOLDER
    _FOLDER = tmp_path_factory.mktemp("files")


def save_bytes():
    path = _FOLDER / "sound.safetensors"
    if not path.is_file():
        save_model(path, nn.Linear(2, 1), trained={"epoch": 3})
    return path.read_bytes()


def test_files_of_other_kinds_are_refused_and_no_code_is_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps(Bomb()))
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "torch.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "text.safetensors").write_text("weights" * 99)
    said = {"pickle": "another kind", "torch": "a checkpoint or a program of torch", "foreign": "holds weights only"}
    for path in sorted(tmp_path.glob("*.safetensors")):
        with pytest.raises(CheckpointError, match=said.get(path.stem, "not a sound model file")):
            load_model(path)
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(FileNotFoundError, match="no model file at"):
        load_model(tmp_path / "none.safetensors")


def test_another_architecture_leaves_the_model_as_it_was(tmp_path):
    path = save_model(tmp_path / "m.safetensors", own_model())
    other = nn.Sequential(nn.Linear(3, 5))
    before = other[0].weight.clone()
    with pytest.raises(CheckpointError, match="of another architecture than the model"):
        load_model(path, other)
    assert torch.equal(other[0].weight, before)


def test_arrays_of_another_shape_or_kind_are_refused():
    predictor, _ = PREDICTORS["images"]()
    with pytest.raises(ValueError, match=r"samples must be \(1, 8, 8\)"):
        predictor.predict(torch.rand(2, 1, 9, 9))
    with pytest.raises(ValueError, match="a score for each of the 2 classes"):
        ArrayPredictor(nn.Linear(4, 3), class_names=["a", "b"]).predict(torch.rand(2, 4))
    with pytest.raises(ValueError, match="there must be a target for each of the 3 samples; got 2"):
        predictor.evaluate(torch.rand(3, 1, 8, 8), [0, 1])
    with pytest.raises(ValueError, match="targets must be numbers of classes, 0 to 2"):
        predictor.evaluate(torch.rand(3, 1, 8, 8), [0, 1, 3])


def test_bytes_are_images():
    predictor, _ = PREDICTORS["images"]()
    pixels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    assert_frame_equal(predictor.predict(pixels), predictor.predict(pixels.float() / 255))
    assert_frame_equal(predictor.predict(pixels.numpy()), predictor.predict(pixels.float() / 255))


def test_vectors_are_found_by_their_names_and_must_be_in_range():
    embedder, data = PREDICTORS["vectors"]()
    frame = pl.DataFrame({name: data[:, k].numpy() for k, name in enumerate("abcde")}).select(*"edcba")
    assert_frame_equal(embedder.predict(frame), embedder.predict(data))
    with pytest.raises(ValueError, match="missing: 'c'"):
        embedder.predict(frame.drop("c"))
    with pytest.raises(ValueError, match=r"vectors must be in \[0, 1\]"):
        embedder.predict(2 * data + 1)
    with pytest.raises(ValueError, match="what must be one of"):
        embedder.predict(data, "everything")


def test_the_losses_of_vectors_are_those_of_the_recipe_and_always_the_same():
    embedder, data = PREDICTORS["vectors"]()
    first = embedder.evaluate(data)
    assert first == embedder.evaluate(data)
    assert first["loss"] == pytest.approx(first["recon_loss"] + first["kl_loss"])


def test_the_windows_to_come_are_predicted_too(tmp_path):
    predictor, _ = PREDICTORS["windows"]()
    series = np.random.default_rng(0).uniform(0.2, 0.3, (40, 2))
    pl.DataFrame({"b": series[:, 1], "a": series[:, 0], "hour": range(40)}).write_csv(tmp_path / "s.csv")
    found = predictor.predict(tmp_path / "s.csv")
    assert found["row"].to_list() == list(range(9, 40))
    assert found["time"].to_list() == list(range(9, 40))
    known = predictor.decode(predictor.outputs(predictor.windows(tmp_path / "s.csv")))
    assert_frame_equal(found[: len(known)].select(known.columns), known, rel_tol=1e-5)
    pl.DataFrame({"a": series[:, 0], "hour": range(40)}).write_csv(tmp_path / "narrow.csv")
    with pytest.raises(ValueError, match="'b' is missing"):
        predictor.predict(tmp_path / "narrow.csv")
