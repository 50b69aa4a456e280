"""``vae FILE`` ends with what an ecologist asks for, and nothing that goes wrong there costs the model."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.commands import run

from ignite_recipes import load_model, predict, spatial_blocks, write_example_ebd

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_pictures")]

SMALL = ["--hidden-dimension", "16", "--latent-dimension", "3", "--batch-size", "64", "--device", "cpu"]
SMALL += ["--epochs", "2", "--min-species-observations", "5"]


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("birds")
    write_example_ebd(folder / "kerala.txt", 400)
    return folder


@pytest.fixture
def vae(capsys, birds, monkeypatch):
    monkeypatch.chdir(birds)
    return lambda *arguments: run(capsys, "vae", "kerala.txt", *SMALL, *arguments)


@pytest.fixture(scope="module")
def ended(birds):
    """One run by spatial blocks, with covariates, that all tests look at which do not train."""
    from ignite_recipes.cli import main

    spatial = ["--covariates", "effort", "--split", "spatial", "--block-km", "60", "--name", "spatial", "--quiet"]
    assert main(["vae", str(birds / "kerala.txt"), *SMALL, *spatial, "--runs-dir", str(birds / "ended")]) == 0
    return birds / "ended/exp1"


def test_embeddings_have_identifiers_coordinates_and_sides(ended):
    found = pd.read_csv(ended / "embeddings.csv")
    assert list(found) == ["checklist", "latitude", "longitude", "date", "side", "species", "z1", "z2", "z3"]
    assert found["checklist"].is_unique
    assert found["checklist"].str.startswith("S2").all()
    assert found["latitude"].between(8, 13).all()
    assert set(found["side"]) == {"train", "validation"}
    again = pd.DataFrame(predict(ended, device="cpu").to_dict(as_series=False))  # of the rows that were validated on
    own = found[found["side"] == "validation"].reset_index(drop=True)
    assert np.allclose(again[["z1", "z2", "z3"]], own[["z1", "z2", "z3"]], atol=1e-5)


def test_no_block_is_on_both_sides(ended):
    found = pd.read_csv(ended / "embeddings.csv")
    blocks = spatial_blocks(found["latitude"], found["longitude"], 60)
    train, val = (set(blocks[found["side"] == side]) for side in ("train", "validation"))
    assert train
    assert val
    assert not train & val


def test_species_have_embeddings_neighbours_and_scores(ended):
    species = pd.read_csv(ended / "species_embeddings.csv")
    near = pd.read_csv(ended / "nearest_species.csv")
    assert list(species) == ["species", "checklists", "z1", "z2", "z3"]
    assert species["checklists"].ge(5).all()
    assert near["species"].tolist() == species["species"].tolist()
    assert not (near["nearest_1"] == near["species"]).any()
    assert near["cosine_1"].ge(near["cosine_2"]).all()
    scores = pd.read_csv(ended / "species_scores.csv")
    assert sorted(set(scores["model"])) == ["EASE", "VAE", "effort and season", "prevalence"]
    assert len(scores) == 4 * len(species)
    assert pd.read_csv(ended / "evaluation.csv")["recall@10"].between(0, 1).all()


def test_the_model_file_knows_species_and_covariates(ended, birds):
    predictor = load_model(ended / "model.safetensors")
    assert predictor.feature_names[-5:] == ["season_sin", "season_cos", "log_minutes", "log_km", "log_observers"]
    assert predictor.model.covariates == 5
    assert (predictor.model.covariate_deviation != 1).all()
    new = pd.DataFrame(predict(ended, birds / "kerala.txt", device="cpu").to_dict(as_series=False))
    known = pd.read_csv(ended / "embeddings.csv").set_index("checklist")
    new = new.set_index("SAMPLING EVENT IDENTIFIER").loc[known.index]
    assert np.allclose(new["z1"], known["z1"], atol=1e-5)


def test_the_report_shows_the_table_the_map_and_the_neighbours(ended):
    page = (ended / "report.html").read_text(encoding="utf-8")
    for words in ("Hidden species", "Geographic map", "Nearest species", "effort and season", "Reconstructions"):
        assert words in page
    assert page.count("data:image/png") >= 5
    for name in ("latent_map.png", "geographic_map.png"):
        assert (ended / name).read_bytes().startswith(b"\x89PNG")


def test_the_lines_and_the_facts_say_what_was_found(vae):
    code, out, err = vae("--json", "--quiet")
    assert code == 0, err
    facts = json.loads(out)
    assert [row["model"] for row in facts["hidden_species"]][:2] == ["VAE", "EASE"]
    with (Path(facts["path"]) / "evaluation.csv").open() as file:
        assert next(csv.DictReader(file))["model"] == "VAE"


def test_without_answers_nothing_more_is_written(vae):
    code, out, _ = vae("--answers", "false", "--runs-dir", "plain")
    assert code == 0
    assert "Half of the species" not in out
    assert not Path("plain/exp1/report.html").exists()
    assert not Path("plain/exp1/embeddings.csv").exists()


def test_what_goes_wrong_at_the_end_is_warned_of_and_the_model_stays(vae, monkeypatch, caplog):
    monkeypatch.setattr(
        "ignite_recipes.answers.bird_files.write_bird_files", lambda *_: (_ for _ in ()).throw(OSError("disk full"))
    )
    code, out, err = vae("--runs-dir", "full")
    assert code == 0
    assert "not all of its answers are written: disk full" in err + caplog.text
    assert out.splitlines()[-1].startswith("Best validation loss")
    assert load_model("full/exp1/model.safetensors").model.latent_dimension == 3


REFUSED = {
    "one block": (["--split", "spatial", "--block-km", "5000"], "at least two blocks"),
    "no size": (["--split", "spatial", "--block-km", "0"], "block_km must be a positive number"),
    "another split": (["--split", "temporal"], "--split must be random or spatial; got 'temporal'"),
    "another covariate": (["--covariates", "weather"], "--covariates must be effort; got 'weather'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_said_in_one_line(vae, case):
    arguments, message = REFUSED[case]
    code, _, err = vae(*arguments, "--runs-dir", "refused")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("refused").exists() or not list(Path("refused").iterdir())


@pytest.mark.parametrize("arguments", [["--split", "spatial"], ["--covariates", "effort"]])
def test_digits_have_neither_places_nor_effort(capsys, birds, monkeypatch, arguments):
    monkeypatch.chdir(birds)
    code, _, err = run(capsys, "vae", "--device", "cpu", *arguments)
    assert code == 2
    assert "is for checklists, not for the digits" in err


def test_the_latent_dimension_is_chosen_by_the_held_out_likelihood(vae):
    code, out, err = vae("--sweep", "latent_dimension=1,3", "--seeds", "2", "--runs-dir", "swept", "--folds", "2")
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("Chosen by the held-out -log p(x): latent_")]
    assert "nats (" in line
    assert "mean of 2 seeds" in line
    table = pd.read_csv("swept/exp1/members.csv")
    assert table["val_nll"].gt(0).all()
    assert (table["val_nll"] < table["val_loss"]).all()  # the tighter bound
    assert not list(Path("swept").rglob("embeddings.csv"))
