"""Embeddings follow the loader, and the file for inference runs where this library is not."""

import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
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
