"""``predict expN FILE`` writes what comes along and the predictions, and answers a mistake in one line."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.commands import run
from support.tables import TABLE, mixed_table

from ignite_recipes import TablePredictor

NEW = mixed_table(30, seed=4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with an experiment of a table, exp1, and one of digits, exp2."""
    from ignite_recipes.cli import main

    folder = tmp_path_factory.mktemp("trained")
    TABLE.write_csv(folder / "table.csv")
    common = ["--epochs", "2", "--device", "cpu", "--hidden-dimension", "8", "--runs-dir", str(folder / "runs")]
    assert main(["supervised", str(folder / "table.csv"), "--target", "kind", *common]) == 0
    assert main(["supervised", *common]) == 0
    return folder


@pytest.fixture(autouse=True)
def _folder(trained, in_an_empty_folder):
    Path("runs").symlink_to(trained / "runs")
    NEW.drop("kind").write_csv("new.csv")


def predict(capsys, *arguments):
    return run(capsys, "predict", *arguments, "--device", "cpu")


def test_columns_that_were_not_used_come_first_then_the_prediction_and_the_probabilities(capsys):
    named = NEW.drop("kind").with_columns(name=pl.Series([f"r{k}" for k in range(30)]))
    named.write_csv("new.csv")
    code, out, err = predict(capsys, "exp1", "new.csv")
    assert (code, err) == (0, "")
    assert out == (
        "Predicted 'kind' of 30 rows with runs/exp1/model.safetensors; the predictions are in predictions.csv\n"
    )
    written = pl.read_csv("predictions.csv")
    assert written.columns == ["name", "prediction", "p_large", "p_small"]
    assert written["name"].to_list() == named["name"].to_list()
    expected = TablePredictor.from_checkpoint("runs/exp1/checkpoints/best_model.pt").predict("new.csv")
    assert_frame_equal(written.drop("name"), expected)


def test_the_columns_that_come_along_can_be_chosen(capsys):
    assert predict(capsys, "exp1", "new.csv", "--id", "city", "size", "city")[0] == 0
    assert pl.read_csv("predictions.csv").columns == ["city", "size", "prediction", "p_large", "p_small"]


def test_without_its_model_file_an_experiment_predicts_with_its_best_checkpoint(capsys, trained):
    predict(capsys, "exp1", "new.csv", "--output", "first.csv")
    (trained / "runs/exp1/model.safetensors").rename("aside")
    out = predict(capsys, "exp1", "new.csv", "--output", "second.csv")[1]
    Path("aside").rename(trained / "runs/exp1/model.safetensors")
    assert "with runs/exp1/checkpoints/best_model.pt" in out
    assert Path("first.csv").read_text() == Path("second.csv").read_text()


def test_a_damaged_model_file_is_said_and_passed_over(capsys, trained, caplog):
    path = trained / "runs/exp1/model.safetensors"
    sound = path.read_bytes()
    path.write_bytes(sound[:-9])
    code = predict(capsys, "exp1", "new.csv")[0]
    path.write_bytes(sound)
    assert code == 0
    assert [record.getMessage()[:12] for record in caplog.records] == ["passed over:"]


def test_the_model_file_is_enough(capsys, trained):
    (trained / "runs/exp1/checkpoints").rename("aside")
    (trained / "runs/exp1/checkpoints").mkdir()
    code = predict(capsys, "exp1", "new.csv")[0]
    (trained / "runs/exp1/checkpoints").rmdir()
    Path("aside").rename(trained / "runs/exp1/checkpoints")
    assert code == 0


@pytest.mark.parametrize(
    ("name", "read"), [("p.csv", pl.read_csv), ("p.parquet", pl.read_parquet), ("p.feather", pl.read_ipc)]
)
def test_files_of_any_kind_are_written_and_an_experiment_may_be_a_path(capsys, name, read):
    assert predict(capsys, "runs/exp1", "new.csv", "--output", f"made/{name}")[0] == 0
    assert read(Path("made", name)).height == 30


def test_where_the_target_is_known_it_is_said_how_good_they_are(capsys):
    NEW.write_csv("new.csv")
    out = predict(capsys, "exp1", "new.csv")[1]
    metrics = TablePredictor.from_checkpoint("runs/exp1/checkpoints/best_model.pt").evaluate(NEW)
    assert f"accuracy {metrics['accuracy']:.2f}% on the 30 of them whose target is known" in out


def test_columns_that_are_named_like_predictions_are_not_written_twice(capsys):
    NEW.drop("kind").with_columns(prediction=pl.lit("x"), p_small=0.5).write_csv("new.csv")
    assert predict(capsys, "exp1", "new.csv")[0] == 0
    written = pl.read_csv("predictions.csv")
    assert written.columns == ["prediction", "p_large", "p_small"]
    assert "x" not in written["prediction"].to_list()


def test_without_a_file_the_validation_data_are_predicted(capsys, trained):
    out = predict(capsys, "exp1")[1]
    written = pl.read_csv("predictions.csv")
    rows = written["row"].to_list()
    assert rows == sorted(rows)
    assert TABLE["kind"].gather(rows).to_list() == written["kind"].to_list()
    hits = (written["kind"] == written["prediction"]).mean()
    assert f"accuracy {100 * hits:.2f}% on the {len(rows)} of them" in out


def test_unknown_categories_are_said_once(capsys, caplog):
    NEW.drop("kind").with_columns(city=pl.lit("Lima")).write_csv("new.csv")
    assert predict(capsys, "exp1", "new.csv")[0] == 0
    assert [record.getMessage() for record in caplog.records if "Lima" in record.getMessage()] == [
        "'city': 30 rows have a category that was rare in training or not seen ('Lima'), it is treated as a rare one"
    ]


MISTAKES = {
    "no such experiment": (["exp9", "new.csv"], "no experiment 'exp9'"),
    "another recipe's": (["exp2", "new.csv"], "must have the model's 64 columns of numbers; got 2"),
    "without weights": (["exp3", "new.csv"], "must have a model to predict with; it has none yet"),
    "without settings": (["exp4", "new.csv"], "must hold the settings of an experiment"),
    "a file without its experiment": (
        ["new.csv"],
        "name the experiment first, as exp1 new.csv; got the file alone, and",
    ),
    "a file first": (["new.csv", "exp1"], "the experiments in 'runs' are: exp1, exp2"),
    "an id that is no column": (
        ["exp1", "new.csv", "--id", "nme"],
        "--id: the data have no column 'nme'; they have 'size'",
    ),
    "a file after the ids": (["exp1", "--id", "city", "new.csv"], "also the file new.csv: name the file before --id"),
    "a folder to write to": (["exp1", "new.csv", "--output", "folder.csv"], "--output must be a file; 'folder.csv'"),
    "what of a table": (["exp1", "new.csv", "--what", "both"], "goes with a variational autoencoder; exp1 is of"),
    "another what": (["exp1", "new.csv", "--what", "nothing"], "--what must be one of"),
    "no such file": (["exp1", "none.csv"], "there is none at"),
    "a column missing": (["exp1", "narrow.csv"], "missing: 'city'"),
    "text for numbers": (["exp1", "text.csv"], "column 'size' must hold numbers, as in training; got 'big' in row 0"),
    "kind of output": (["exp1", "new.csv", "--output", "p.xlsx"], "--output must end in .csv, .parquet, .feather"),
    "onto itself": (["exp1", "new.csv", "--output", "./new.csv"], "--output must not be the file"),
    "no arguments": ([], "experiment"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(capsys, name, trained):
    for folder in ("exp3", "exp4"):
        (trained / "runs" / folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (trained / "runs" / "exp3" / "config.yaml").write_text("recipe: supervised\n")
    inputs = NEW.drop("kind")
    Path("folder.csv").mkdir()
    inputs.drop("city").write_csv("narrow.csv")
    inputs.with_columns(size=pl.lit("big")).write_csv("text.csv")
    before = sorted(path.name for path in Path().iterdir())
    arguments, said = MISTAKES[name]
    code, out, err = predict(capsys, *arguments)
    for folder in ("exp3", "exp4"):
        shutil.rmtree(trained / "runs" / folder)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err
    assert sorted(path.name for path in Path().iterdir()) == before
