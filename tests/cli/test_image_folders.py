"""``classify --dataset FOLDER`` trains on images of one's own, resumes to the same bits, and answers in one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import latest, run, settings_of

from ignite_recipes.checkpoint.resume_check import first_difference

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")

SMALL = ["--device", "cpu", "--batch-size", "4", "--model", "mlp", "--epochs"]


@pytest.fixture(autouse=True)
def _images(in_an_empty_folder):
    draw = np.random.default_rng(0)
    for label, name in enumerate(("night", "day")):
        folder = Path("photos", name)
        folder.mkdir(parents=True)
        for k in range(10):
            Image.fromarray((draw.random((8, 10, 3)) * 100 + 120 * label).astype(np.uint8)).save(folder / f"{k}.png")


def classify(capsys, *arguments, dataset="photos"):
    return run(capsys, "classify", "--dataset", dataset, *SMALL, *arguments)


def test_it_trains_says_what_it_found_and_keeps_the_names_of_the_classes(capsys):
    code, out, err = classify(capsys, "3")
    assert (code, err) == (0, "")
    first = out.splitlines()[0]
    folder = Path("photos").resolve()
    assert first == (
        f"{folder}: 2 classes, 'day', 'night'; 16 images to train on and 4 to validate on, coloured, 8 x 10 pixels, "
        "kept in memory, 0 MiB"
    )
    assert first in Path("runs/exp1/run.log").read_text()
    assert settings_of("exp1")["dataset"] == str(folder)
    assert latest("exp1")["metadata"]["class_names"] == ["day", "night"]
    assert latest("exp1")["metadata"]["image_shape"] == [3, 8, 10]


def test_it_resumes_to_the_same_bits_from_anywhere(capsys, monkeypatch, tmp_path):
    assert classify(capsys, "4", "--reapply-transforms")[0] == 0
    assert classify(capsys, "2", "--reapply-transforms", "--stop-at-iteration", "6")[0] != 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    here = Path.cwd()
    monkeypatch.chdir(elsewhere)
    code, _, err = run(capsys, "classify", "--resume", str(here / "runs/exp2"), "--epochs", "4", "--stretch-schedule")
    assert code == 0, err
    monkeypatch.chdir(here)
    assert latest("exp2")["epoch"] == 4


def test_a_run_that_was_stopped_inside_an_epoch_is_the_same_run(capsys):
    assert classify(capsys, "3")[0] == 0
    assert classify(capsys, "3", "--stop-at-iteration", "6")[0] != 0
    assert run(capsys, "classify", "--resume", "exp2")[0] == 0
    assert first_difference(latest("exp1"), latest("exp2")) is None


def test_other_images_than_those_of_the_run_are_refused_on_a_resume(capsys):
    assert classify(capsys, "1")[0] == 0
    Path("photos/day/3.png").unlink()
    code, _, err = run(capsys, "classify", "--resume", "exp1", "--epochs", "2")
    assert code == 2
    assert "image_files is '19 files, " in err
    assert err.count("\n") == 1


def test_the_size_that_is_asked_for_is_taken_and_kept(capsys, caplog):
    assert classify(capsys, "1", "--image-size", "12")[0] == 0
    assert "20 of 20 images, of 8 x 10 pixels (height x width), are resized to 12 x 12" in caplog.text
    assert latest("exp1")["metadata"]["image_shape"] == [3, 12, 12]
    assert settings_of("exp1")["image_size"] == 12


MISTAKES = {
    "no such folder": (["nowhere/at/all"], "there is no folder nowhere/at/all"),
    "a file": (["photos/day/1.png"], "must be a folder"),
    "too high": (["."], "at least two classes; got 'photos' only: perhaps it is "),
    "too deep": (["photos/day"], "and no folder: sort them into folders"),
    "a root too": (["photos", "--data-root", "x"], "--data-root is for a data set that is read from files"),
    "a size for the digits": (["digits", "--image-size", "9"], "--image-size is for a data set in a folder of images"),
    "a size of none": (["photos", "--image-size", "0"], "image_size must be a whole number of pixels"),
    "a name like another": (["photo"], "must be one of digits"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_line_and_leaves_no_experiment(capsys, name):
    (dataset, *arguments), message = MISTAKES[name]
    code, out, err = classify(capsys, "1", *arguments, dataset=dataset)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not Path("runs").exists() or not [*Path("runs").iterdir()]


def test_a_broken_image_gets_one_line(capsys):
    path = Path("photos/day/3.png")
    path.write_bytes(path.read_bytes()[:70])
    code, _, err = classify(capsys, "1")
    assert (code, err.count("\n")) == (2, 1)
    assert "3.png must be an image; it cannot be decoded" in err
    shutil.rmtree("photos/night")
    assert "at least two classes" in classify(capsys, "1")[2]
