"""Every recipe's experiment predicts with its best weights, in the input's order, from Python as from the command."""

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from polars.testing import assert_frame_equal
from support.commands import run
from support.experiments import NAMES, write_series
from support.tables import TABLE, mixed_table

from ignite_recipes import DatasetRegistry, ExperimentManager, evaluate, load_digits_matrix, predict, read_checkpoint
from ignite_recipes.answers.trained import find_trained
from ignite_recipes.data.ebird_example import write_example_ebd

COLUMNS = {
    "vae": ["row", "z1", "z2", "z3"],
    "traffic": [
        *("row", "prediction", *(f"p_{k}" for k in range(6)), "traffic"),
        *(f"{name}_{k}" for name in ("p_sent", "sent") for k in range(1, 6)),
        *("transmissions", "transmissions_low", "transmissions_high"),
    ],
    "supervised": ["row", "prediction", *(f"p_{k}" for k in range(10))],
    "classify": ["row", "prediction", *(f"p_{k}" for k in range(10))],
    "classes": ["row", "kind", "prediction", "p_large", "p_small"],
    "numbers": ["row", "count", "prediction"],
}


@pytest.mark.parametrize("of", NAMES)
def test_the_validation_data_are_predicted_and_the_best_weights_are_used(of, runs):
    found = predict(NAMES[of], runs_dir=runs, device="cpu")
    assert found.columns == COLUMNS[of]
    assert found["row"].to_list() == sorted(found["row"].to_list())
    trained = find_trained(NAMES[of], runs_dir=runs, device="cpu")
    assert not trained.predictor.model.training
    best = read_checkpoint(runs / NAMES[of] / "checkpoints" / "best_model.pt")
    weights = trained.predictor.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in best["model_state_dict"].items())
    assert trained.epoch == best["epoch"]


@pytest.mark.parametrize("of", NAMES)
def test_without_the_model_file_the_best_checkpoint_predicts_the_same(of, runs):
    first = predict(NAMES[of], runs_dir=runs, device="cpu")
    path = runs / NAMES[of] / "model.safetensors"
    path.rename(path.with_suffix(".aside"))
    try:
        second = predict(NAMES[of], runs_dir=runs, device="cpu")
    finally:
        path.with_suffix(".aside").rename(path)
    assert_frame_equal(first, second, check_exact=True)


def test_a_model_file_of_an_earlier_best_epoch_is_not_used(runs, capsys, tmp_path):
    arguments = ["supervised", "--hidden-dimension", "8", "--device", "cpu", "--runs-dir", str(tmp_path)]
    run(capsys, *arguments, "--epochs", "1")
    old = (tmp_path / "exp1" / "model.safetensors").read_bytes()
    run(capsys, *arguments[:1], "--resume", "exp1", "--epochs", "3", "--runs-dir", str(tmp_path))
    (tmp_path / "exp1" / "model.safetensors").write_bytes(old)  # as if the run had been killed before its end
    trained = find_trained("exp1", runs_dir=tmp_path, device="cpu")
    assert (trained.path.name, trained.epoch) == ("best_model.pt", 3)


def test_rows_of_a_table_stay_in_their_order(runs):
    new = mixed_table(50, seed=8).drop("kind").with_row_index("number")
    order = np.random.default_rng(0).permutation(50)
    whole, shuffled = (predict("exp5", table, runs_dir=runs, device="cpu") for table in (new, new[order]))
    assert shuffled["number"].to_list() == order.tolist()
    assert_frame_equal(shuffled, whole[order], rel_tol=1e-5)


def test_an_experiment_may_be_its_manager_or_its_folder(runs):
    table = mixed_table(5, seed=8)
    named = predict("exp5", table, runs_dir=runs, device="cpu")
    assert_frame_equal(predict(runs / "exp5", table, device="cpu"), named)
    assert_frame_equal(predict(ExperimentManager(runs, resume_exp="exp5"), table, device="cpu"), named)


def test_what_is_predicted_of_vectors_can_be_chosen(runs):
    digits, _ = load_digits_matrix()
    both = predict("exp1", digits[:5], what="both", runs_dir=runs, device="cpu")
    assert both.columns[:4] == ["z1", "z2", "z3", "r_0"]
    assert both.shape == (5, 3 + 64)
    only = predict("exp1", digits[:5], what="reconstruction", runs_dir=runs, device="cpu")
    assert_frame_equal(both[:, 3:], only)


def test_a_table_of_vectors_is_embedded_and_its_other_columns_come_along(runs, tmp_path):
    digits, _ = load_digits_matrix()
    frame = pl.DataFrame({f"pixel{k}": digits[:4, k].numpy() for k in range(64)}).with_columns(name=pl.lit("digit"))
    frame.select("name", *frame.columns[:-1]).write_csv(tmp_path / "digits.csv")
    found = predict("exp1", tmp_path / "digits.csv", runs_dir=runs, device="cpu")
    assert found.columns == ["name", "z1", "z2", "z3"]
    assert_frame_equal(found[:, 1:], predict("exp1", digits[:4], runs_dir=runs, device="cpu"), rel_tol=1e-5)


def test_checklists_of_another_file_are_embedded_by_the_names_of_their_species(capsys, tmp_path):
    from ignite_recipes import create_species_matrix, load_ebird_data

    write_example_ebd(tmp_path / "old.txt", num_checklists=60, seed=0)
    write_example_ebd(tmp_path / "new.txt", num_checklists=20, seed=1)
    small = ["--hidden-dimension", "8", "--latent-dimension", "2", "--epochs", "1", "--device", "cpu"]
    run(capsys, "vae", str(tmp_path / "old.txt"), "--answers", "false", *small, "--runs-dir", str(tmp_path / "runs"))
    found = predict("exp1", tmp_path / "new.txt", what="both", runs_dir=tmp_path / "runs", device="cpu")
    matrix, _ = create_species_matrix(load_ebird_data(tmp_path / "new.txt"))
    assert found["SAMPLING EVENT IDENTIFIER"].to_list() == matrix["SAMPLING EVENT IDENTIFIER"].to_list()
    species = find_trained("exp1", runs_dir=tmp_path / "runs", device="cpu").predictor.feature_names
    assert found.columns[3:] == [f"r_{name}" for name in species]
    known = [name for name in species if name in matrix]
    vectors = torch.zeros(len(matrix), len(species))
    vectors[:, [species.index(name) for name in known]] = torch.tensor(matrix[known].to_numpy(dtype="float32"))
    expected = predict("exp1", vectors, runs_dir=tmp_path / "runs", device="cpu")
    assert_frame_equal(found.select("z1", "z2"), expected)


def test_pictures_of_a_folder_are_resized_and_come_in_the_order_of_their_names(runs, tmp_path):
    dataset = DatasetRegistry.create("digits")
    (tmp_path / "deep").mkdir()
    for k in range(6):
        pixels = (dataset.val.images[k, 0].numpy() * 255).astype("uint8")
        place = tmp_path / ("deep" if k % 2 else "") / f"{9 - k}.png"
        Image.fromarray(pixels).convert("RGB").resize((8 + k // 3, 8)).save(place)
    (tmp_path / "note.txt").write_text("not a picture")
    found = predict("exp4", tmp_path, runs_dir=runs, device="cpu")
    assert found["file"].to_list() == ["5.png", "7.png", "9.png", "deep/4.png", "deep/6.png", "deep/8.png"]
    first = predict("exp4", dataset.val.images[:1].clone(), runs_dir=runs, device="cpu")
    assert found["p_3"][2] == pytest.approx(first["p_3"][0], abs=0.02)  # of the same picture, as bytes
    alone = predict("exp4", tmp_path / "9.png", runs_dir=runs, device="cpu")
    assert alone["prediction"].to_list() == first["prediction"].to_list()


def test_pictures_are_decoded_as_for_the_training(runs, tmp_path):
    pixels = (DatasetRegistry.create("digits").val.images[0, 0].numpy() * 255).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels.astype("uint16") * 257).save(tmp_path / "b.png")  # grey of 16 bits
    Image.fromarray(pixels).save(tmp_path / "c.PGM", format="PPM")
    (tmp_path / ".hidden").mkdir()
    Image.fromarray(pixels).save(tmp_path / ".hidden" / "d.png")
    found = predict("exp4", tmp_path, runs_dir=runs, device="cpu")
    assert found["file"].to_list() == ["a.png", "b.png", "c.PGM"]
    assert found.drop("file").unique().height == 1


@pytest.mark.parametrize("kind", ["a.png", "a.PGM"])
def test_a_picture_is_decoded_as_those_of_the_training(kind, runs, tmp_path):
    upright = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000  # 16 bits, as of a microscope
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera that was held upright
    Image.fromarray(upright if kind == "a.PGM" else np.rot90(upright).copy()).save(
        tmp_path / kind, **({} if kind == "a.PGM" else {"exif": exif})
    )
    (tmp_path / ".ipynb_checkpoints").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / ".ipynb_checkpoints" / "a-checkpoint.png")
    found = predict("exp4", tmp_path, runs_dir=runs, device="cpu")
    pixels = torch.from_numpy((upright >> 8).astype(np.uint8))[None, None]
    assert found["file"].to_list() == [kind]
    assert_frame_equal(found.drop("file"), predict("exp4", pixels, runs_dir=runs, device="cpu"))


def test_a_series_is_predicted_to_its_end(capsys, tmp_path):
    write_series(tmp_path / "s.csv")
    small = ["--hidden-size", "8", "--num-layers", "1", "--epochs", "1", "--device", "cpu"]
    run(capsys, "traffic", str(tmp_path / "s.csv"), *small, "--runs-dir", str(tmp_path / "runs"))
    found = predict("exp1", tmp_path / "s.csv", runs_dir=tmp_path / "runs", device="cpu")
    assert found["row"].to_list() == list(range(9, 100))
    val = predict("exp1", runs_dir=tmp_path / "runs", device="cpu")
    same = found.filter(pl.col("row").is_in(val["row"].to_list())).drop("time")
    assert_frame_equal(same, val, rel_tol=1e-5)


def test_the_threshold_of_the_flags_is_in_the_model_file_and_chosen_again_of_a_checkpoint(capsys, tmp_path):
    write_series(tmp_path / "s.csv")
    runs = ["--device", "cpu", "--runs-dir", str(tmp_path / "runs")]
    small = ["--hidden-size", "8", "--num-layers", "1", "--epochs", "1", "--fits-path", "true", *runs]
    run(capsys, "traffic", str(tmp_path / "s.csv"), *small)
    run(capsys, "traffic", str(tmp_path / "s.csv"), *small, "--calibrate-flags", "false")
    chosen, half = (find_trained(f"exp{k}", runs_dir=tmp_path / "runs", device="cpu").predictor for k in (1, 2))
    assert (chosen.flag_threshold != 0.5, half.flag_threshold) == (True, 0.5)
    before = predict("exp1", runs_dir=tmp_path / "runs", device="cpu")
    (tmp_path / "runs" / "exp1" / "model.safetensors").unlink()
    again = find_trained("exp1", runs_dir=tmp_path / "runs", device="cpu").predictor
    assert again.flag_threshold == chosen.flag_threshold
    assert torch.equal(again.model.extrapolation, chosen.model.extrapolation)
    assert_frame_equal(predict("exp1", runs_dir=tmp_path / "runs", device="cpu"), before)


WRONG = {
    "a folder without pictures": ("exp4", "empty", "must hold images"),
    "a file that is no picture": ("exp4", "broken.png", "must be an image; it cannot be read"),
    "a missing file": ("exp4", "none.png", "there is none at"),
    "too few columns": ("exp1", "table.csv", "must have the model's 64 columns of numbers"),
    "a missing table": ("exp5", "none.csv", "there is none at"),
    "a table for a series": ("exp2", "table.csv", "must hold numbers"),
    "no vectors": ("exp1", "none.csv", "there is none at"),
    "vectors out of range": ("exp1", "large.csv", r"vectors must be in \[0, 1\]"),
    "a table for images": ("exp4", "table.csv", "must be an image"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_predicted_is_refused(name, experiments, tmp_path):
    experiment, file, said = WRONG[name]
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    TABLE.write_csv(tmp_path / "table.csv")
    pl.DataFrame({f"x{k}": [5.0, 2.0] for k in range(64)}).write_csv(tmp_path / "large.csv")
    with pytest.raises((ValueError, FileNotFoundError), match=said) as caught:
        predict(experiment, tmp_path / file, runs_dir=experiments / "runs", device="cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_changed_since_the_training_is_not_taken_for_the_validation_data(capsys, tmp_path):
    TABLE.write_csv(tmp_path / "t.csv")
    quickly = ["--epochs", "1", "--hidden-dimension", "8", "--device", "cpu", "--runs-dir", str(tmp_path)]
    run(capsys, "supervised", str(tmp_path / "t.csv"), "--target", "kind", *quickly)
    TABLE[:-1].write_csv(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="must be the file that the run was trained on"):
        evaluate("exp1", runs_dir=tmp_path, device="cpu")
    (tmp_path / "t.csv").unlink()
    with pytest.raises(FileNotFoundError):
        evaluate("exp1", runs_dir=tmp_path, device="cpu")
