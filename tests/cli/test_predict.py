"""``predict expN FILE`` writes the rows with their predictions, and answers a mistake in one line."""

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


def test_the_rows_are_written_again_with_the_prediction_and_the_probabilities(capsys):
    code, out, err = predict(capsys, "exp1", "new.csv")
    assert (code, err) == (0, "")
    assert out == (
        "Predicted 'kind' of 30 rows with runs/exp1/checkpoints/best_model.pt; the predictions are in predictions.csv\n"
    )
    written = pl.read_csv("predictions.csv")
    assert written.columns == [*NEW.drop("kind").columns, "prediction", "p_large", "p_small"]
    assert_frame_equal(written.select(NEW.drop("kind").columns), NEW.drop("kind"))
    expected = TablePredictor.from_checkpoint("runs/exp1/checkpoints/best_model.pt").predict("new.csv")
    assert_frame_equal(written.select(expected.columns), expected)


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


def test_predictions_can_be_predicted_again(capsys):
    predict(capsys, "exp1", "new.csv")
    assert predict(capsys, "exp1", "predictions.csv", "--output", "again.csv")[0] == 0
    assert Path("again.csv").read_text() == Path("predictions.csv").read_text()


def test_unknown_categories_are_said_once(capsys, caplog):
    NEW.drop("kind").with_columns(city=pl.lit("Lima")).write_csv("new.csv")
    assert predict(capsys, "exp1", "new.csv")[0] == 0
    assert [record.getMessage() for record in caplog.records if "Lima" in record.getMessage()] == [
        "categories that are unknown or rare are taken as one: 'city' in 30 rows ('Lima')"
    ]


MISTAKES = {
    "no such experiment": (["exp9", "new.csv"], "no experiment 'exp9'"),
    "another recipe's": (["exp2", "new.csv"], "is no checkpoint of a table"),
    "without weights": (["exp3", "new.csv"], "must have a checkpoint to predict with"),
    "no such file": (["exp1", "none.csv"], "there is none at"),
    "a column missing": (["exp1", "narrow.csv"], "missing: 'city'"),
    "text for numbers": (["exp1", "text.csv"], "column 'size' must hold numbers, as in training; got 'big' in row 0"),
    "kind of output": (["exp1", "new.csv", "--output", "p.xlsx"], "--output must end in .csv, .parquet, .feather"),
    "onto itself": (["exp1", "new.csv", "--output", "./new.csv"], "--output must be another file"),
    "no arguments": ([], "experiment"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(capsys, name, trained):
    (trained / "runs" / "exp3" / "checkpoints").mkdir(parents=True, exist_ok=True)
    inputs = NEW.drop("kind")
    inputs.drop("city").write_csv("narrow.csv")
    inputs.with_columns(size=pl.lit("big")).write_csv("text.csv")
    before = sorted(path.name for path in Path().iterdir())
    arguments, said = MISTAKES[name]
    code, out, err = predict(capsys, *arguments)
    shutil.rmtree(trained / "runs" / "exp3")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err
    assert sorted(path.name for path in Path().iterdir()) == before
