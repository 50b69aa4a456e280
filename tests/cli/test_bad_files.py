"""What is wrong with a user's file or a word about it is said in one line, and nothing that was there is lost."""

import gzip
import os
import random
import shutil
from pathlib import Path

import polars as pl
import pytest
from support.commands import refused_in_one_line
from support.damage import truncate
from support.experiments import OF_TABLES

from ignite_recipes.cli import main

HEADER = "n,c,x,day,y"
CLASSES = ("no", "yes", "yes")
_draw = random.Random(0)
ROWS = [f"{k % 7},{'ab'[k % 2]},{_draw.random():.3f},2024-01-{k % 28 + 1:02},{CLASSES[k % 3]}" for k in range(60)]
GOOD = "\n".join([HEADER, *ROWS, ""])
PACKED = gzip.compress(GOOD.encode(), mtime=0)


def _flipped(contents, place):
    return contents[:place] + bytes([contents[place] ^ 255]) + contents[place + 1 :]


FILES = {
    "a row too long": ("t.csv", GOOD.replace(ROWS[9], ROWS[9] + ",1,2", 1), "line 11 has 7"),
    "a row too short": ("t.csv", GOOD.replace(ROWS[9], "1,a", 1), "line 11 has 2"),
    "an open quote": ("t.csv", GOOD.replace(",a,", ',"a,', 1), "must have 5 values in every row"),
    "nothing": ("t.csv", "", "it is empty"),
    "empty lines": ("t.csv", "\n\n\n", "it is empty"),
    "names only": ("t.csv", HEADER + "\n", "must hold rows below its line of column names"),
    "one row": ("t.csv", f"{HEADER}\n{ROWS[0]}\n", "must have at least two values"),
    "two rows": ("t.csv", f"{HEADER}\n{ROWS[0]}\n{ROWS[1]}\n", "must hold at least two classes"),
    "a name twice": ("t.csv", GOOD.replace("n,c,", "n,n,", 1), "must name each column once; got 'n' twice"),
    "a picture": ("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "it holds zero bytes"),
    "zero bytes": ("t.csv", GOOD.replace("a", "\0", 3), "it holds zero bytes"),
    "UTF-16": ("t.csv", GOOD.encode("utf-16"), "must be UTF-8 text"),
    "Latin-1": ("t.csv", GOOD.replace(",a,", ",\xe4,").encode("latin-1"), "got the byte 0xe4 in line 2"),
    "half a gzip": ("t.csv.gz", PACKED[:-20], "must be a whole gzip file"),
    "no gzip": ("t.csv.gz", GOOD, "must be a whole gzip file"),
    "a spoilt gzip": ("t.csv.gz", _flipped(PACKED, 30), "must be a whole gzip file"),
    "a gzip of another sum": ("t.csv.gz", _flipped(PACKED, -6), "must be a whole gzip file"),
    "no parquet": ("t.parquet", GOOD, "must be a parquet file"),
    "an empty parquet": ("t.parquet", "", "must be a parquet file"),
    "no feather": ("t.feather", GOOD, "must be a feather file"),
    "a workbook": ("t.xlsx", b"PK\x03\x04" + bytes(40), "got the ending '.xlsx'"),
    "no ending": ("t", GOOD, "got the ending ''"),
    "a constant target": ("t.csv", GOOD.replace("yes", "no"), "got 'no' in every row"),
    "an empty target": ("t.csv", GOOD.replace("yes", "").replace(",no", ","), "it is missing in every row"),
    "columns without values": ("t.csv", "n,c,y\n" + ",,0\n,,1\n" * 20, "'n' is left out: it has no value"),
    "the target alone": ("t.csv", "y\n" + "0\n1\n" * 20, "must have a column to predict from"),
    "a class a row": (
        "t.csv",
        "n,y\n" + "".join(f"{k % 9},id{k}\n" for k in range(40)),
        "must hold every class of 'y'",
    ),
}
WORDS = {
    "another target": (["--target", "Y"], "target must be a column of the table; got 'Y'"),
    "a misspelt target": (["--target", "dy"], "did you mean 'day'?"),
    "numbers from text": (["--target", "c", "--task", "regression"], "must hold numbers for regression; got 'a'"),
    "another task": (["--task", "ranking"], "task must be one of regression, classification"),
    "the target ignored": (["--ignore", "y"], "ignore must name columns of the table; got 'y'"),
    "no such column to ignore": (["--ignore", "z"], "ignore must name columns of the table; got 'z'"),
    "all ignored": (["--ignore", "n", "c", "x", "day"], "must have a column to predict from"),
    "no such group": (["--group", "g"], "group must be a column of the table"),
    "a group for each class": (["--group", "y"], "must hold at least two classes"),
    "no such time": (["--time", "t"], "time must be a column of the table"),
    "a time of letters": (["--time", "c"], "'c' holds text like 'a'"),
    "a group and a time": (["--group", "c", "--time", "day"], "by group or by time; got both"),
    "nothing to validate on": (["--val-size", "0"], "val_size must be a fraction in (0, 1)"),
    "nothing to train on": (["--val-size", "1"], "val_size must be a fraction in (0, 1)"),
    "a size that is no number": (["--val-size", "nan"], "--val-size must be a finite number or none; got 'nan'"),
    "a weight for no class": (["--class-weights", '{"maybe": 2}'], "got {'maybe': 2.0}"),
    "a negative weight": (["--class-weights", '{"yes": -2}'], "must give a positive weight"),
    "a word as weights": (["--class-weights", "equal"], "must be 'balanced'"),
    "weights of numbers": (["--target", "x", "--class-weights", "balanced"], "must be None for a target of numbers"),
    "no categories": (["--max-categories", "0"], "max_categories must be a whole number of at least 1"),
    "no rows a batch": (["--batch-size", "0"], "batch_size must be a whole number of at least 1"),
    "half a layer": (["--num-layers", "1.5"], "--num-layers must be a whole number; got '1.5'"),
    "a rate below zero": (["--learning-rate", "-1"], "learning_rate must be a positive number"),
    "a metric nobody knows": (["--metrics", "f2"], "must be one of accuracy"),
    "a monitor not measured": (["--monitor", "val_f1"], "measure it too, metrics=['f1']"),
    "a name like a number": (["--name", "exp3"], "must not be like those that are given by number"),
    "a name like a path": (["--name", "a/b"], "without a path; got 'a/b'"),
    "an empty name": (["--name", ""], "without a path; got ''"),
    "half a configuration": (["--config", "half.yaml"], "--config half.yaml must hold settings"),
    "an unknown setting": (["--config", "colour.yaml"], "colour in --config is not a setting here"),
    "another command's setting": (
        ["--config", "norm.yaml"],
        "max_grad_norm in --config is not a setting here: use gra",
    ),
    "one hyphen": (["-epochs", "3"], "-epochs is not an option here: did you mean --epochs?"),
    "two files": (["t.csv"], "unrecognized arguments: t.csv"),
    "runs in a file": (["--runs-dir", "t.csv"], "t.csv"),
    "a device of dreams": (["--device", "tpu9"], "device must be"),
}
TRAIN = ["--target", "y", "--device", "cpu", "--epochs", "1"]


def contents():
    """Of all files but the notes of what was started when."""
    files = [path for path in Path().rglob("*") if path.is_file() and path.name not in ("provenance.json", "run.log")]
    return {path: path.read_bytes() for path in files}


def refused(capsys, arguments, said):
    """One line, exit code 2, nothing printed as a result, and all files as they were."""
    before = contents()
    refused_in_one_line(capsys, said, *arguments, "--quiet")
    assert contents() == before


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_trained_on(capsys, case):
    name, contents, said = FILES[case]
    Path(name).write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    refused(capsys, ["supervised", name, *TRAIN], said)


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_half_a_file_of_columns(capsys, kind):
    frame = pl.read_csv(GOOD.encode())
    (frame.write_parquet if kind == "parquet" else frame.write_ipc)(f"t.{kind}")
    truncate(Path(f"t.{kind}"))
    refused(capsys, ["supervised", f"t.{kind}", *TRAIN], f"must be a {kind} file")


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("case", WORDS)
def test_words_that_do_not_fit_the_file(capsys, case):
    words, said = WORDS[case]
    Path("t.csv").write_text(GOOD)
    Path("half.yaml").write_text("target: [y\n")
    Path("colour.yaml").write_text("colour: red\n")
    Path("norm.yaml").write_text("max_grad_norm: 1.0\n")
    refused(capsys, ["supervised", "t.csv", *TRAIN, *words], said)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "t.csv").write_text(GOOD)
    arguments = ["supervised", str(folder / "t.csv"), "--target", "y", *OF_TABLES, "--runs-dir", str(folder / "runs")]
    for _ in range(2):
        assert main(arguments) == 0
    return folder


@pytest.fixture
def copied(trained, in_an_empty_folder):
    """The experiments, to be spoilt."""
    shutil.copytree(trained / "runs", "runs")
    return trained


def _forge(path, change):
    Path(path).write_bytes(change(Path(path).read_bytes()))


MODEL, CONFIG = "runs/exp1/model.safetensors", "runs/exp1/config.yaml"
BEST, LATEST = "runs/exp1/checkpoints/model_best.pt", "runs/exp1/checkpoints/latest_checkpoint.pt"


def _spoil_weights():
    for path in Path("runs/exp1/checkpoints").glob("*.pt"):
        truncate(path)


DAMAGE = {
    "half a model file": (lambda: truncate(Path(MODEL)), "model.safetensors"),
    "an empty model file": (lambda: Path(MODEL).write_bytes(b""), "model.safetensors"),
    "a text as model file": (lambda: Path(MODEL).write_text("weights: yes\n" * 50), "model.safetensors"),
    "a forged weight": (lambda: _forge(MODEL, lambda bits: _flipped(bits, -5)), "model.safetensors"),
    "a forged header": (lambda: _forge(MODEL, lambda bits: bits.replace(b'"yes', b'"yse', 1)), "model.safetensors"),
    "a header that claims more": (lambda: _forge(MODEL, lambda bits: b"\xff" * 8 + bits[8:]), "model.safetensors"),
    "a model file that is a folder": (lambda: (os.remove(MODEL), os.mkdir(MODEL)), "model.safetensors"),
}


@pytest.mark.parametrize("command", ["predict", "export"])
@pytest.mark.parametrize("case", DAMAGE)
def test_a_model_file_that_is_not_what_was_written_answers_nothing(capsys, copied, case, command):
    DAMAGE[case][0]()
    _spoil_weights()
    file = [] if command == "export" else [f"{copied}/t.csv"]
    refused(capsys, [command, "exp1", *file, "--device", "cpu"], "exp1")


UNLIKE = {
    "a class unseen in training": (["evaluate"], GOOD.replace("yes", "maybe"), "maybe"),
    "a column missing": (["predict"], "\n".join(row.partition(",")[2] for row in GOOD.splitlines()), "missing: 'n'"),
    "text for numbers": (["predict"], GOOD.replace(ROWS[3].split(",")[2], "much", 1), "must hold numbers"),
    "no rows": (["predict"], HEADER + "\n", "must hold rows"),
    "a target without values": (["evaluate"], GOOD.replace("yes", "").replace(",no", ","), "'y'"),
    "a ragged row": (["report"], GOOD.replace(ROWS[9], "1,a", 1), "line 11 has 2"),
    "Latin-1": (["evaluate"], GOOD.replace(",a,", ",\xe4,").encode("latin-1"), "got the byte 0xe4"),
}


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("case", UNLIKE)
def test_new_rows_unlike_those_of_the_training(capsys, case):
    command, contents, said = UNLIKE[case]
    Path("new.csv").write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    refused(capsys, [*command, "exp1", "new.csv", "--device", "cpu"], said)


SINCE = {
    "one value": lambda text: text.replace(ROWS[3], ROWS[4], 1),
    "a row more": lambda text: text + ROWS[0] + "\n",
    "gone": None,
}


@pytest.mark.parametrize("case", SINCE)
@pytest.mark.parametrize("command", [["evaluate", "exp1"], ["predict", "exp1"], ["supervised", "--resume", "exp1"]])
def test_a_file_that_has_changed_since_training(capsys, copied, command, case):
    file = copied / "t.csv"
    if SINCE[case] is None:
        file.unlink()
    else:
        file.write_text(SINCE[case](GOOD))
    more = ["--epochs", "4"] if command[0] == "supervised" else []
    try:
        refused(capsys, [*command, *more], "t.csv")
    finally:
        file.write_text(GOOD)


ASKED = {
    "one to compare": (["compare", "exp1"], "must have at least two experiments; got runs/exp1"),
    "one twice": (["compare", "exp1", "runs/exp1"], "must have at least two experiments"),
    "a tag of none": (["compare", "--tag", "small"], "must have at least two experiments; got none"),
    "a metric of none": (["compare", "--metric", "val_f1"], "--metric must be one that every experiment has"),
    "another end": (["compare", "--mode", "up"], "--mode must be min or max; got 'up'"),
    "another picture": (["compare", "--output", "c.docx"], "--output must end in .png"),
    "nothing to show": (["show"], "experiment"),
    "no such experiment": (["show", "exp7"], "no experiment 'exp7' in 'runs'; there are: exp1, exp2"),
    "a way out": (["show", "../.."], "without a path; got '..'"),
    "another shell": (["completion", "fish"], "completion must be of bash or zsh; got 'fish'"),
    "a misspelt command": (["predct", "exp1"], "did you mean predict?"),
    "a misspelt option": (["predict", "exp1", "--otput", "p.csv"], "did you mean --output?"),
    "a fork of nobody": (["supervised", "--fork", "best"], "no experiment 'best'"),
}


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("case", ASKED)
def test_a_question_that_cannot_be_answered(capsys, case):
    refused(capsys, *ASKED[case])
