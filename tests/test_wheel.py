"""The wheel, installed in an empty environment: the core trains with each recipe, and says what anything else needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment that has the wheel and what its core needs."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = ["-I", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    found = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([found, *pip, "install", "-c", ROOT / "constraints.txt", wheel], check=True)
    return found


def run(python, folder, *arguments):
    return subprocess.run([python, "-I", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_the_core_brings_no_package_of_an_extra(python, tmp_path):
    listed = run(python, tmp_path, "-m", "pip", "list", "--format", "freeze").stdout.lower()
    assert "torch==" in listed
    for name in ("pandas", "polars", "scipy", "scikit-learn", "matplotlib", "statsmodels", "jsonargparse", "optuna"):
        assert f"\n{name}==" not in listed


RECIPES = """
import numpy, torch
from torch.utils.data import DataLoader, TensorDataset
from ignite_recipes import *

x = torch.rand(64, 8)
target, labels = x.sum(1, keepdim=True), (x.sum(1) > 4).long()
kept = {"device": "cpu", "seed": 0, "verbose": False, "experiment": "runs"}

train_variational_autoencoder(
    VariationalAutoencoder(8, 2, 4), *create_dataloaders(*split_train_val(x)), num_epochs=1, experiment="runs"
)
load_model("runs/exp1/model.safetensors")

model = torch.nn.Linear(8, 1)
train_model_advanced(model, (x, target), (x, target), epochs=1, **kept)
kept["experiment"] = ExperimentManager("runs", resume_exp="exp2")
results = train_model_advanced(torch.nn.Linear(8, 1), (x, target), (x, target), epochs=2, **kept)
print("epochs", len(results["history"]["train_loss"]))

context = numpy.random.default_rng(0).normal(size=(90, 2))
train, val = split_in_time(context, send_on_delta(context, 0.3)[1], 10, 5, 60)
trainModel({**getDefaultModelParams(10, 5, train), "num_epochs": 1}, train, val)
"""


def test_it_trains_keeps_and_continues(python, tmp_path):
    done = run(python, tmp_path, "-c", RECIPES)
    assert done.returncode == 0, done.stderr
    assert "epochs 2" in done.stdout
    assert "training_curves.png was not drawn: matplotlib must be installed" in done.stderr


NEEDS = {
    "load_digits_matrix()": "scikit-learn must be installed for this, and is not: pip install 'ignite-recipes[cli]'",
    "train_on_table([[1.0, 2.0]], 1)": "pip install 'ignite-recipes[tables]'",
    "train_many(train_model_advanced, None, None)": "pip install 'ignite-recipes[tables]'",
    "search_many(train_model_advanced, None, None, search={}, trials=1)": "pip install 'ignite-recipes[search]'",
    "plot_history({'epoch': [1], 'train_loss': [1.0]})": "pip install 'ignite-recipes[report]'",
    "report('exp1')": "pip install 'ignite-recipes[report]'",
    "load_co2(5, 5)": "pip install 'ignite-recipes[traffic]', or pass a CSV file",
}


def test_what_needs_more_says_what_installs_it(python, tmp_path):
    lines = "".join(f"\ntry:\n    {call}\nexcept ModuleNotFoundError as error:\n    print(error)" for call in NEEDS)
    done = run(python, tmp_path, "-c", f"from ignite_recipes import *{lines}")
    for said, expected in zip(done.stdout.splitlines(), NEEDS.values(), strict=True):
        assert expected in said


def test_the_command_says_it_in_one_line(python, tmp_path):
    done = run(python, tmp_path, "-m", "ignite_recipes", "vae")
    line = "ignite-recipes: jsonargparse must be installed for this, and is not: pip install 'ignite-recipes[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr.splitlines(keepends=True)[-1]) == (2, "", line)
    assert done.stderr.count("\n") == 1
