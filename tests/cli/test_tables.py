"""``supervised FILE`` trains on a table, resumes to the same bits, and answers a mistake in one line."""

from pathlib import Path

import polars as pl
import pytest
from support.commands import latest, run, settings_of
from support.tables import TABLE

from ignite_recipes.checkpoint.resume_check import first_difference

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")

SMALL = ["--hidden-dimension", "8", "--device", "cpu", "--seed", "3"]


@pytest.fixture(autouse=True)
def _file(in_an_empty_folder):
    TABLE.write_csv("table.csv")


def supervised(capsys, *arguments):
    return run(capsys, "supervised", "table.csv", *SMALL, *arguments)


def test_classes_are_learnt_and_the_last_line_says_what_was_reached(capsys):
    code, out, err = supervised(capsys, "--target", "kind", "--epochs", "40", "--learning-rate", "0.01")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "target 'kind': classification of 2 classes; 160 rows to train on, 40 to validate on" in lines
    assert lines[-1].startswith("Validation accuracy ")
    assert ", better than the " in lines[-1]
    assert "to predict with: ignite-recipes predict runs/exp1 FILE" in lines[-1]
    settings = settings_of("exp1")
    assert (settings["target"], settings["val_size"], settings["file"]) == (
        "kind",
        0.2,
        str(Path("table.csv").resolve()),
    )


def test_numbers_are_learnt(capsys):
    code, out, _ = supervised(capsys, "--target", "size", "--epochs", "2")
    assert code == 0
    assert out.splitlines()[-1].startswith("Validation RMSE ")


def test_every_option_reaches_the_recipe(capsys):
    options = ["--group", "city", "--ignore", "count", "sunny", "--class-weights", "balanced", "--val-size", "0.3"]
    options += ["--max-categories", "2", "--task", "classification", "--batch-size", "40"]
    code, out, _ = supervised(capsys, "--target", "kind", "--epochs", "1", *options)
    assert code == 0
    for said in ("'count' is left out, as you asked", "'city' is left out: it is the group"):
        assert said in out
    state = latest("exp1")["metadata"]["table"]
    assert state["settings"]["class_weights"] == "balanced"
    assert state["preprocessor"]["max_categories"] == 2
    assert supervised(capsys, "--target", "kind", "--epochs", "1", "--time", "day")[0] == 0
    weights = '{"small": 1, "large": 2.5}'
    assert supervised(capsys, "--target", "kind", "--epochs", "1", "--class-weights", weights)[0] == 0
    assert latest("exp3")["metadata"]["table"]["settings"]["class_weights"] == {"small": 1.0, "large": 2.5}


def test_a_stopped_experiment_is_resumed_with_its_own_settings_and_equals_the_whole_run(capsys):
    options = ["--target", "kind", "--class-weights", "balanced", "--group", "city"]
    supervised(capsys, *options, "--epochs", "4")
    supervised(capsys, *options, "--epochs", "2")
    code, out, _ = run(capsys, "supervised", "--resume", "exp2", "--epochs", "4")
    assert code == 0
    assert "at epoch" in out.splitlines()[-1]
    assert first_difference(latest("exp1"), latest("exp2")) is None


def test_a_finished_experiment_that_is_resumed_says_what_it_reached(capsys):
    out = supervised(capsys, "--target", "kind", "--epochs", "2")[1]
    assert run(capsys, "supervised", "--resume", "exp1")[1].splitlines()[-1] == out.splitlines()[-1]


def test_a_resume_on_a_changed_file_is_refused_and_changes_nothing(capsys):
    supervised(capsys, "--target", "kind", "--epochs", "1")
    before = latest("exp1")
    TABLE.with_columns(size=pl.lit(1.0)).write_csv("table.csv")
    code, _, err = run(capsys, "supervised", "--resume", "exp1", "--epochs", "2")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "table.csv must be the file that the run was trained on" in err
    assert first_difference(before, latest("exp1")) is None
    Path("table.csv").unlink()
    code, _, err = run(capsys, "supervised", "--resume", "exp1", "--epochs", "2")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "there is none at" in err


def test_a_fork_begins_with_the_weights_and_other_settings(capsys):
    supervised(capsys, "--target", "kind", "--epochs", "2")
    code, _, _ = run(capsys, "supervised", "--fork", "exp1", "--epochs", "1", "--learning-rate", "1e-4")
    assert code == 0
    assert settings_of("exp2")["target"] == "kind"


def test_it_resumes_exactly_on_this_machine(capsys):
    code, out, _ = run(capsys, "resume-check", "supervised", "table.csv", "--target", "kind", *SMALL)
    assert code == 0, out
    assert "supervised resumes exactly on this machine" in out


FILES = {
    "ragged.csv": b"a,b\n1,2\n1,2,3\n",
    "short.csv": b"a,b\n1,2\n1\n",
    "latin.csv": "a,b\n1,café\n".encode("latin-1"),
    "empty.csv": b"",
    "constant.csv": b"a,y\n1,x\n2,x\n3,x\n",
    "lonely.csv": b"a,b,y\n1,5,x\n2,6,x\n3,5,x\n4,6,z\n",
    "target.csv": b"y\n1\n2\n",
    "fake.parquet": b"a,b\n1,2\n",
    "other.txt2": b"",
    "prices.csv": "".join(["n,y\n", *(f"{k % 9},{k}.5\n" for k in range(99)), "1,ask\n"]).encode(),
}
MISTAKES = {
    "missing file": (["missing.csv", "--target", "y"], "there is none at"),
    "no target": (["table.csv"], "needs the column to predict: add --target COLUMN"),
    "absent target": (["table.csv", "--target", "knid"], "did you mean 'kind'?"),
    "target without a file": (["--target", "kind"], "--target needs a table: give FILE"),
    "split without a file": (["--val-size", "0.3"], "--val-size needs a table: give FILE"),
    "a file after a list": (["--target", "kind", "--ignore", "city", "table.csv"], "name the file before --ignore"),
    "ragged rows": (["ragged.csv", "--target", "b"], "line 3 has 3"),
    "short rows": (["short.csv", "--target", "b"], "line 3 has 1"),
    "encoding": (["latin.csv", "--target", "b"], "the byte 0xe9 in line 2"),
    "empty": (["empty.csv", "--target", "b"], "it is empty"),
    "constant target": (["constant.csv", "--target", "y"], "got 'x' in every row"),
    "a class to validate on only": (["lonely.csv", "--target", "y", "--time", "a"], "at least two classes"),
    "nothing to predict from": (["target.csv", "--target", "y"], "must have a column to predict from"),
    "not what it says": (["fake.parquet", "--target", "y"], "must be a parquet file"),
    "text among numbers": (
        ["prices.csv", "--target", "y"],
        "'y' has 99 numbers and 1 value that is no number: 'ask' (row 99); rows are counted from 0: correct or empty "
        "them, or pass --task classification",
    ),
    "numbers as classes": (["table.csv", "--target", "count", "--task", "classification"], "pass --task regression"),
    "kind of file": (["other.txt2", "--target", "y"], "must be a CSV file"),
    "task": (["table.csv", "--target", "kind", "--task", "sorting"], "task must be one of regression"),
    "weights": (["table.csv", "--target", "kind", "--class-weights", "heavy"], "class_weights must be"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_on_stderr_exit_code_2_and_leaves_no_experiment(capsys, name, tmp_path):
    for file, content in FILES.items():
        Path(file).write_bytes(content)
    arguments, said = MISTAKES[name]
    code, _, err = run(capsys, "supervised", *SMALL, *arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert said in err
    assert not list(tmp_path.glob("runs/*"))


def test_columns_to_ignore_are_taken_with_commas_unless_one_is_called_so(capsys):
    for words in (["count,sunny"], ["count,", "sunny"], ["count", "sunny"]):
        out = supervised(capsys, "--target", "kind", "--epochs", "1", "--ignore", *words)[1]
        assert [line for line in out.splitlines() if line.endswith("as you asked")] == [
            "column 'count' is left out, as you asked",
            "column 'sunny' is left out, as you asked",
        ]
    TABLE.rename({"count": "city,day"}).write_csv("table.csv")
    out = supervised(capsys, "--target", "kind", "--epochs", "1", "--ignore", "city,day")[1]
    assert "column 'city,day' is left out, as you asked" in out
    code, _, err = supervised(capsys, "--target", "kind", "--ignore", "sunny,citi")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "got 'citi': did you mean 'city'?" in err


def test_few_rows_to_validate_on_are_said_and_nothing_is_claimed_where_r2_is_not_defined(capsys, caplog):
    few = ["--target", "count", "--epochs", "1", "--val-size"]
    code, out, _ = supervised(capsys, *few, "0.005")
    assert (code, caplog.messages[0]) == (0, "1 row to validate on: what is measured there says little")
    assert "(R2 is not defined)" in out.splitlines()[-1]
    assert "better" not in out.splitlines()[-1]
    assert "nan" not in out.splitlines()[-1]
    caplog.clear()
    code, out, _ = supervised(capsys, *few, "9")
    assert (code, caplog.messages[0]) == (0, "9 rows to validate on: what is measured there says little")
    assert "better than the " in out.splitlines()[-1]
    caplog.clear()
    supervised(capsys, *few, "10")
    assert "says little" not in caplog.text
