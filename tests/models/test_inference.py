"""Embeddings follow the loader, and the file for inference runs where this library is not."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from ignite_recipes import (
    RowDataset,
    TrafficPredictor,
    VariationalAutoencoder,
    extract_embeddings,
    make_traffic_windows,
    predict_traffic,
    save_for_inference,
)

X = torch.rand(11, 5)


def test_embeddings_are_those_of_every_row_in_order_and_the_model_keeps_its_mode():
    model = VariationalAutoencoder(5, 2, 8).train()
    for loader in (DataLoader(X, 4), DataLoader(TensorDataset(X), 4), [X]):
        torch.testing.assert_close(extract_embeddings(model, loader), model.embed(X).detach())
    assert model.training
    assert not extract_embeddings(model, [X]).requires_grad


FORMS = {
    "data set": lambda: TensorDataset(X, torch.arange(11)),
    "rows": lambda: RowDataset(X),
    "sparse rows": lambda: RowDataset(csr_array(X.numpy())),
    "tensor": lambda: X,
    "tensor of doubles with a gradient": lambda: X.double().requires_grad_(),
    "array": lambda: X.numpy(),
    "csr": lambda: csr_array(X.numpy()),
    "pandas": lambda: pd.DataFrame(X.numpy(), columns=list("abcde")).assign(checklist="S1"),
    "pandas, sparse": lambda: pd.DataFrame.sparse.from_spmatrix(csr_array(X.numpy())),
    "polars": lambda: pl.DataFrame(X.numpy(), schema=list("abcde")),
    "loader": lambda: DataLoader(X, 4),
    "loader that shuffles": lambda: DataLoader(X, 4, shuffle=True),
    "loader that drops the last batch": lambda: DataLoader(TensorDataset(X), 4, drop_last=True),
    "batches of arrays": lambda: [X[:6].numpy(), X[6:].numpy()],
    "generator": lambda: (part for part in X.split(4)),
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in FORMS.items()])
def test_embeddings_are_a_row_for_each_vector_in_the_order_of_the_data_whatever_holds_them(make):
    model = VariationalAutoencoder(5, 2, 8)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    embeddings = extract_embeddings(model, make())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert (embeddings.dtype, embeddings.shape) == (torch.float32, (11, 2))
    torch.testing.assert_close(embeddings, model.embed(X).detach())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(X[:, :4], r"must be \(N, 5\), with the model's 5 .*got shape \(11, 4\): pass", id="narrow"),
        pytest.param([X, torch.rand(2, 6)], r"got shape \(2, 6\)", id="a wide batch"),
        pytest.param(torch.rand(2, 3, 5), r"got shape \(2, 3, 5\)", id="3-D"),
        pytest.param(X[0], r"got shape \(5,\)", id="one vector"),
        pytest.param(DataLoader(X, sampler=WeightedRandomSampler([1.0] * 9, 9)), "Sampler gives others", id="sampler"),
        pytest.param(pd.DataFrame(X.numpy()).assign(latitude=9.5), r"got shape \(11, 6\)", id="a column too many"),
    ],
)
def test_other_vectors_than_the_models_are_refused_in_one_line(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        extract_embeddings(VariationalAutoencoder(5, 2, 8), data)
    assert "\n" not in str(caught.value)


def test_traffic_is_predicted_of_every_window_in_order_without_dropout_and_the_model_keeps_its_mode():
    windows = make_traffic_windows(torch.rand(40, 2), torch.ones(40), 10, 5)
    model = TrafficPredictor(input_size=2, output_size=5, dropout_rate=0.5).train()
    whole, parts = predict_traffic(model, windows), predict_traffic(model, windows, batch_size=7)
    assert model.training
    with torch.no_grad():
        expected = model.eval()(windows.sources, windows.last_transmitted, windows.source_traffic)
    for a, b, c in zip(whole, parts, expected, strict=True):
        torch.testing.assert_close(a, c)
        torch.testing.assert_close(b, c)
        assert not a.requires_grad


def test_an_empty_loader_is_refused():
    with pytest.raises(ValueError, match="at least one batch"):
        extract_embeddings(VariationalAutoencoder(5, 2, 8), [])


@pytest.mark.slow
def test_the_file_is_run_by_torch_alone(tmp_path):
    model = VariationalAutoencoder(5, 2, 8)
    path = save_for_inference(model, tmp_path / "deep" / "vae.pt2", ["a", "b", "c", "d", "e"])
    torch.save(X, tmp_path / "x.pt")
    reader = f"""
import json, sys, warnings
warnings.simplefilter("ignore")
sys.modules["ignite_recipes"] = sys.modules["ignite"] = None  # importing them is now an error
import torch
extra = {{"features.json": ""}}
program = torch.export.load({str(path)!r}, extra_files=extra).module()
assert json.loads(extra["features.json"]) == ["a", "b", "c", "d", "e"]
torch.save(program(torch.load({str(tmp_path / "x.pt")!r})), {str(tmp_path / "out.pt")!r})
"""
    subprocess.run([sys.executable, "-c", reader], check=True, cwd=tmp_path)
    embeddings, reconstructions = torch.load(tmp_path / "out.pt")
    assert not reconstructions.requires_grad
    torch.testing.assert_close(embeddings, model.embed(X))
    torch.testing.assert_close(reconstructions, model.decode(model.embed(X)))


@pytest.mark.parametrize(
    ("name", "features", "message"),
    [("vae.pt", None, "must end in .pt2"), ("vae.pt2", ["a"], "name the model's 5 features; got 1")],
)
def test_a_wrong_ending_or_number_of_names_is_refused(tmp_path, name, features, message):
    with pytest.raises(ValueError, match=message):
        save_for_inference(VariationalAutoencoder(5, 2, 8), tmp_path / name, features)
    assert not list(tmp_path.iterdir())


def checklists(module):
    """A frame as of create_species_matrix, with coordinates too."""
    rows = {name: X[:, k].numpy() for k, name in enumerate("abcde")}
    return module.DataFrame({"checklist": [f"S{k}" for k in range(11)], **rows, "latitude": np.linspace(8, 12, 11)})


@pytest.mark.parametrize("module", [pd, pl], ids=["pandas", "polars"])
def test_columns_that_name_the_rows_stand_beside_their_embeddings(module):
    model = VariationalAutoencoder(5, 2, 8)
    frame = checklists(module)
    found = extract_embeddings(model, frame, identifiers=["checklist", "latitude"])
    assert isinstance(found, module.DataFrame)
    assert list(found.columns) == ["checklist", "latitude", "z1", "z2"]
    assert list(found["checklist"]) == [f"S{k}" for k in range(11)]
    torch.testing.assert_close(torch.tensor(found[["z1", "z2"]].to_numpy()), model.embed(X).detach())
    alone = extract_embeddings(model, frame[["checklist", *"abcde"]], identifiers="checklist")
    assert list(alone.columns) == ["checklist", "z1", "z2"]


@pytest.mark.parametrize(
    ("identifiers", "kind", "name"),
    [
        ([f"S{k}" for k in range(11)], pl.DataFrame, "identifier"),
        (np.arange(11), pl.DataFrame, "identifier"),
        (pd.Series(range(11), index=range(100, 111), name="site"), pd.DataFrame, "site"),
        (pl.Series("site", range(11)), pl.DataFrame, "site"),
        (pl.DataFrame({"site": range(11)}), pl.DataFrame, "site"),
    ],
    ids=["list", "array", "pandas", "polars", "frame"],
)
def test_names_apart_from_the_vectors_do_too(identifiers, kind, name):
    model = VariationalAutoencoder(5, 2, 8)
    found = extract_embeddings(model, DataLoader(X, 4), identifiers=identifiers)
    assert isinstance(found, kind)
    assert list(found.columns) == [name, "z1", "z2"]
    if kind is pd.DataFrame:
        assert list(found.index) == list(range(100, 111))  # so that frames can be joined


@pytest.mark.parametrize(
    ("data", "identifiers", "error", "message"),
    [
        (X, list(range(10)), ValueError, "one for each of the 11 vectors; got 10"),
        (X, "checklist", TypeError, "names a column"),
        (checklists(pd), "place", ValueError, "missing: 'place'"),
        (checklists(pl), ["checklist", "place"], ValueError, "missing: 'place'"),
        (X, pl.DataFrame({"z1": range(11)}), ValueError, "rename"),
        (X, 3, TypeError, "identifiers must be"),
    ],
)
def test_identifiers_that_do_not_fit_are_refused(data, identifiers, error, message):
    with pytest.raises(error, match=message):
        extract_embeddings(VariationalAutoencoder(5, 2, 8), data, identifiers=identifiers)
