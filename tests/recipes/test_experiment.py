"""A run in Python keeps with experiment= what a command keeps, resumes exactly, and loses nothing of another run."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from ignite.engine import Events
from support.equality import equal
from support.experiments import FILES, files_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    CheckpointManager,
    ExperimentBusyError,
    ExperimentManager,
    Stopped,
    Trainer,
    VariationalAutoencoder,
    describe,
    evaluate,
    list_experiments,
    load_model,
    make_traffic_windows,
    multilayer_perceptron,
    predict,
    read_checkpoint,
    read_training_log,
    report,
    set_seed,
    train_model_advanced,
    train_on_table,
    train_variational_autoencoder,
    trainModel,
)
from ignite_recipes.checkpoint.resume_check import first_difference
from ignite_recipes.cli import main
from ignite_recipes.handlers.training_log import CLOCK_COLUMNS

G = torch.Generator().manual_seed(0)
X = torch.rand(24, 4, generator=G)
LABELS = (X.sum(1) > 2).long()
WINDOWS = make_traffic_windows(torch.rand(40, 1, generator=G), torch.ones(40), 10, 5)
EPOCHS = 3


def loaders():
    return DataLoader(TensorDataset(X, LABELS), 8, shuffle=True), DataLoader(TensorDataset(X, LABELS), 24)


def net():
    set_seed(5)
    return multilayer_perceptron(4, 2, 8)


def supervised(epochs=EPOCHS, **options):
    return train_model_advanced(net(), *loaders(), epochs=epochs, device="cpu", verbose=False, seed=3, **options)


def table(epochs=EPOCHS, **options):
    rows = {"a": X[:, 0].numpy(), "b": X[:, 1].numpy(), "kind": LABELS.numpy()}
    sizes = {"hidden_dimension": 8, "batch_size": 8}
    return train_on_table(rows, "kind", epochs=epochs, device="cpu", verbose=False, seed=3, **sizes, **options)


def vae(epochs=EPOCHS, **options):
    set_seed(5)
    model = VariationalAutoencoder(4, 2, 8)
    return train_variational_autoencoder(model, *loaders(), epochs, print_every=None, seed=3, **options)


def traffic(epochs=EPOCHS, **options):
    parameters = {"num_epochs": epochs, "hidden_size": 8, "batch_size": 8, "use_scheduler": False}
    return trainModel(parameters, WINDOWS, WINDOWS, False, device="cpu", **options)


def classify(epochs=EPOCHS, **options):
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    return Trainer(model, *loaders(), nn.CrossEntropyLoss(), optimizer, "cpu", seed=3, **options).train(epochs)


RECIPES = {f.__name__: f for f in (supervised, table, vae, traffic, classify)}
NAMES = {
    "supervised": "train_model_advanced",
    "table": "train_on_table",
    "vae": "train_variational_autoencoder",
    "traffic": "trainModel",
    "classify": "Trainer",
}
every_recipe = pytest.mark.parametrize("name", RECIPES)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class SignalIn:
    """Ask the process to end, in a certain iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def attach(self, trainer):
        trainer.add_event_handler(Events.ITERATION_STARTED(once=self.iteration), self)

    def __call__(self):
        signal.raise_signal(signal.SIGTERM)


def contents(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def log(folder):
    columns = read_training_log(Path(folder, "training_log.csv"))
    return {name: values for name, values in columns.items() if name not in CLOCK_COLUMNS}


@every_recipe
def test_a_run_keeps_what_a_command_keeps_and_a_second_one_is_another_experiment(name):
    RECIPES[name](experiment="runs")
    folder = Path("runs/exp1")
    assert files_of(folder) == {*FILES, ".lock"}
    settings = yaml.safe_load(Path(folder, "config.yaml").read_text())
    assert (settings["recipe"], settings["epochs"], settings["accumulation_steps"]) == (NAMES[name], EPOCHS, 1)
    assert settings["seed"] == (42 if name == "traffic" else 3)
    (start,) = json.loads(Path(folder, "provenance.json").read_text())["starts"]
    assert start["command"][:4] == [NAMES[name], "called", "from", "Python"]

    before = contents(folder)
    RECIPES[name](experiment="runs")
    assert list_experiments("runs") == ["exp1", "exp2"]
    assert contents(folder) == before
    first, second = (read_checkpoint(f"runs/{exp}/checkpoints/latest_checkpoint.pt") for exp in ("exp1", "exp2"))
    assert first_difference(first, second) is None


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "classify"])
def test_to_be_kept_changes_no_bit_of_the_training(name):
    options = {} if name == "traffic" else {"checkpoint_dir": "plain"}
    RECIPES[name](**options)
    RECIPES[name](experiment="runs")
    kept = read_checkpoint("runs/exp1/checkpoints/latest_checkpoint.pt")
    (path,) = [*Path().glob("plain/*_latest.pt"), *Path().glob(f"*/checkpoint_epoch_{EPOCHS}.pt")]
    plain = read_checkpoint(path)
    assert equal(plain["model_state_dict"], kept["model_state_dict"])
    assert plain["history"] == kept["history"]


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("supervised", "manager"),
        ("classify", "manager"),
        ("vae", "checkpoint"),
        pytest.param("table", "checkpoint", marks=pytest.mark.slow),
        pytest.param("traffic", "checkpoint", marks=pytest.mark.slow),
        pytest.param("supervised", "checkpoint", marks=pytest.mark.slow),
        pytest.param("table", "manager", marks=pytest.mark.slow),
        pytest.param("vae", "manager", marks=pytest.mark.slow),
        pytest.param("traffic", "manager", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_stopped_is_continued_in_its_experiment_to_the_same_bits(name, way):
    RECIPES[name](experiment="whole")
    with pytest.raises(Stopped):
        RECIPES[name](experiment="runs", handlers=[SignalIn(5)])
    if way == "manager":
        RECIPES[name](experiment=ExperimentManager("runs", resume_exp="exp1"))
    else:
        RECIPES[name](experiment="runs", resume_from="runs/exp1/checkpoints/latest_checkpoint.pt")
    assert list_experiments("runs") == ["exp1"]
    first, second = (read_checkpoint(f"{runs}/exp1/checkpoints/latest_checkpoint.pt") for runs in ("whole", "runs"))
    assert first_difference(first, second) is None
    assert log("whole/exp1") == log("runs/exp1")
    whole, model = Path("whole/exp1/model.safetensors"), Path("runs/exp1/model.safetensors")
    assert whole.read_bytes()[-64:] == model.read_bytes()[-64:]
    assert len(json.loads(Path("runs/exp1/provenance.json").read_text())["starts"]) == 2


@pytest.mark.slow
@every_recipe
def test_a_cell_that_is_run_twice_on_one_manager_is_refused_with_the_line_to_write_and_loses_nothing(name):
    experiment = ExperimentManager("runs")
    RECIPES[name](experiment=experiment)
    before = contents("runs")
    for again in (experiment, "runs/exp1", "exp1", Path("runs/exp1")):
        with pytest.raises(ExperimentBusyError, match=r"ExperimentManager\(resume_exp='exp1'\)$"):
            RECIPES[name](experiment=again)
    assert {path: path.read_bytes() for path in before} == before
    RECIPES[name](EPOCHS + 1, experiment=ExperimentManager(resume_exp="exp1"))
    assert log("runs/exp1")["epoch"] == [1, 2, 3, 4]
    assert yaml.safe_load(Path("runs/exp1/config.yaml").read_text())["epochs"] == EPOCHS + 1


BAD = {
    "a number": ({"experiment": 5}, TypeError, "experiment must be an ExperimentManager, or a folder .*got 5"),
    "True": ({"experiment": True}, TypeError, "got True"),
    "an empty name": ({"experiment": ""}, TypeError, "got ''"),
    "its class": ({"experiment": ExperimentManager}, TypeError, "must be an ExperimentManager, or a folder"),
    "one that is not there": ({"experiment": "exp7"}, FileNotFoundError, "no experiment 'exp7' in 'runs'"),
    "a path that is not there": ({"experiment": "a/exp7"}, FileNotFoundError, "experiment='a'"),
    "a file": ({"experiment": "file"}, NotADirectoryError, "must be a folder of experiments; got the file"),
    "no such checkpoint": ({"experiment": "runs", "resume_from": "no.pt"}, FileNotFoundError, "no.pt"),
    "a handler that is none": ({"experiment": "runs", "handlers": [3]}, TypeError, "a handler must have"),
    "handlers that are none": ({"experiment": "runs", "handlers": 3}, TypeError, "handlers must be a list"),
    "no epochs": ({"experiment": "runs", "epochs": 0}, ValueError, "at least 1"),
    "an unknown precision": ({"experiment": "runs", "precision": "int3"}, ValueError, "precision must be"),
    "a monitor of nothing": ({"experiment": "runs", "monitor": "val_f9"}, ValueError, "monitor must be one of"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", ["supervised", "table", "vae", "traffic"])
def test_a_mistake_is_told_in_one_line_and_leaves_no_experiment(case, name):
    options, error, message = BAD[case]
    Path("file").write_text("text")
    with pytest.raises(error, match=message) as caught:
        RECIPES[name](**options)
    assert "\n" not in str(caught.value)
    assert list_experiments("runs") == []


@pytest.mark.parametrize("name", ["supervised", "table", "vae"])
def test_an_experiment_and_a_folder_of_checkpoints_are_not_both_taken(name):
    with pytest.raises(ValueError, match="has its own folder of checkpoints; got checkpoint_dir too"):
        RECIPES[name](experiment="runs", checkpoint_dir="here")
    assert not Path("here").exists()


def test_nor_a_folder_that_was_chosen_for_the_traffic_recipe_but_its_default():
    parameters = {"num_epochs": 1, "hidden_size": 8, "checkpoint_dir": "here"}
    with pytest.raises(ValueError, match=r'got parameters\["checkpoint_dir"\] too'):
        trainModel(parameters, WINDOWS, WINDOWS, False, experiment="runs")
    traffic(1, experiment="runs")
    assert not Path("checkpoints").exists()


def test_a_classifier_takes_its_experiment_once():
    model = net()
    given = (model, *loaders(), nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters()), "cpu")
    with pytest.raises(TypeError, match="experiment must be given: experiment='runs'"):
        Trainer(*given)
    with pytest.raises(ValueError, match="experiment brings its own experiment_manager"):
        Trainer(*given, ExperimentManager("runs"), experiment="runs")


def test_a_classifier_without_a_checkpoint_manager_says_once_what_is_not_saved(caplog):
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    trainer = Trainer(model, *loaders(), nn.CrossEntropyLoss(), optimizer, "cpu", ExperimentManager("runs"), seed=0)
    trainer.train(1)
    trainer.train(2)
    said = [message for message in caplog.messages if "no checkpoint is written" in message]
    assert len(said) == 1
    assert "experiment='runs'" in said[0]


def test_describe_takes_a_classifier(capsys):
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    trainer = Trainer(model, *loaders(), nn.CrossEntropyLoss(), optimizer, "cpu", experiment="runs")
    describe(trainer)
    first = capsys.readouterr().out
    describe(trainer.engine)
    assert capsys.readouterr().out == first
    assert "settings to config.yaml" in first


def test_data_that_are_wrong_leave_no_experiment():
    bad = [(X, LABELS + 5)]
    with pytest.raises(ValueError, match="class labels must be from 0 to 1"):
        train_model_advanced(net(), bad, bad, epochs=1, device="cpu", verbose=False, experiment="runs")
    assert list_experiments("runs") == []


def test_a_forked_experiment_begins_with_its_sources_weights():
    supervised(experiment="runs")
    best = read_checkpoint("runs/exp1/checkpoints/best_model.pt")["model_state_dict"]
    model = net()
    fork = ExperimentManager("runs", fork_exp="exp1")
    # A rate of next to nothing: the weights are those that the run began with.
    settings = {"epochs": 1, "learning_rate": 1e-30, "device": "cpu", "verbose": False, "use_scheduler": False}
    train_model_advanced(model, *loaders(), experiment=fork, **settings)
    torch.testing.assert_close(model.state_dict()["0.weight"], best["0.weight"], rtol=0, atol=0)
    written = fork.settings()
    assert (written["forked_from"], written["learning_rate"], written["epochs"]) == ("exp1", 1e-30, 1)


def test_settings_that_were_given_to_an_experiment_stay():
    supervised(experiment=ExperimentManager("runs", settings={"colour": "red"}))
    assert yaml.safe_load(Path("runs/exp1/config.yaml").read_text()) == {"colour": "red"}


@pytest.mark.slow
def test_every_recipe_answers_from_its_experiment(capsys):
    for recipe in RECIPES.values():
        recipe(experiment="runs")
    data = dict(zip(RECIPES, (X, None, X, WINDOWS, X), strict=True))
    data["table"] = {"a": X[:, 0].numpy(), "b": X[:, 1].numpy(), "kind": LABELS.numpy()}
    for number, name in enumerate(RECIPES, start=1):
        targets = LABELS if name in ("supervised", "classify") else None
        rows = len(WINDOWS.sources) if name == "traffic" else len(X)
        for model_file in ("there", "gone"):
            if model_file == "gone":
                Path(f"runs/exp{number}/model.safetensors").unlink()
            own = net() if targets is not None and model_file == "gone" else None
            assert len(predict(f"exp{number}", data[name], device="cpu", model=own)) == rows
            if own is None:
                assert evaluate(f"exp{number}", data[name], targets, device="cpu")
    page = report("exp3", data=X, device="cpu").read_text("utf-8")
    assert "train_variational_autoencoder" in page
    assert "given in Python" in page
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"exp{n}" in listed for n in range(1, 6))
    assert main(["supervised", "--resume", "exp1"]) == 2
    assert "was made in Python by 'train_model_advanced'" in capsys.readouterr().err


def test_a_file_that_was_trained_on_is_found_again_without_a_seed(tmp_path):
    lines = [f"{a:.3f},{b:.3f},{k}" for (a, b), k in zip(X[:, :2].tolist(), LABELS.tolist(), strict=True)]
    Path("table.csv").write_text("\n".join(["a,b,kind", *lines]))
    result = train_on_table("table.csv", "kind", epochs=2, device="cpu", verbose=False, experiment="runs")
    found = evaluate("exp1", device="cpu")
    assert found == pytest.approx(result["metrics"])
    (start,) = json.loads(Path("runs/exp1/provenance.json").read_text())["starts"]
    assert start["data"]["size"] == Path("table.csv").stat().st_size


def test_the_best_weights_of_a_vae_are_in_its_file_and_its_last_in_the_model():
    set_seed(5)
    model = VariationalAutoencoder(4, 2, 8)
    # Too high a rate: the loss rises in the end.
    train_variational_autoencoder(
        model, *loaders(), 6, learning_rate=0.5, print_every=None, seed=1, experiment="runs", monitor="train_loss",
        mode="min",
    )  # fmt: skip
    best = read_checkpoint("runs/exp1/checkpoints/best_model.pt")
    predictor = load_model("runs/exp1/model.safetensors")
    assert predictor.trained["epoch"] == best["epoch"]
    assert equal(dict(predictor.model.state_dict()), dict(best["model_state_dict"]))


SECOND = """
import sys
sys.path[:0] = {path!r}
from recipes.test_experiment import supervised
from ignite_recipes import ExperimentBusyError, ExperimentManager
try:
    supervised(experiment=ExperimentManager("runs", resume_exp="exp1"))
except ExperimentBusyError as error:
    print("busy:", error)
"""


def test_another_manager_is_kept_out_while_an_experiment_is_trained():
    said = []

    class Ask:
        def attach(self, trainer):
            trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), self)

        def __call__(self):
            with pytest.raises(ExperimentBusyError) as caught:
                supervised(4, experiment=ExperimentManager("runs", resume_exp="exp1"))
            said.append(str(caught.value))

    supervised(experiment="runs", handlers=[Ask()])
    assert said[0].startswith("runs/exp1 must not be trained twice at the same time")


@pytest.mark.slow
def test_another_process_is_kept_out_while_an_experiment_is_trained():
    said = []

    class Ask:
        def attach(self, trainer):
            trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), self)

        def __call__(self):
            code = SECOND.format(path=sys.path)
            said.append(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    supervised(experiment="runs", handlers=[Ask()])
    assert said[0].startswith("busy: runs/exp1 must not be trained twice at the same time")
    assert log("runs/exp1")["epoch"] == [1, 2, 3]


def test_a_folder_of_checkpoints_that_is_used_twice_loses_nothing(caplog):
    supervised(checkpoint_dir="here")
    first = contents("here")
    supervised(2, checkpoint_dir="here")
    kept = {path: Path("here/earlier_1", path.name).read_bytes() for path in first}
    assert kept == first
    assert "were moved to here/earlier_1" in caplog.text
    assert len(read_checkpoint("here/model_latest.pt")["history"]["train_loss"]) == 2
    supervised(2, checkpoint_dir="here", resume_from="here/model_latest.pt")  # continues, and moves nothing
    assert not Path("here/earlier_2").exists()
    supervised(2, checkpoint_dir="here", model_name="another")
    assert not Path("here/earlier_2").exists()
    with pytest.raises(ValueError, match="class labels"):  # before anything is written
        train_model_advanced(net(), [(X, LABELS + 5)], epochs=1, device="cpu", verbose=False, checkpoint_dir="here")


def test_a_classifiers_files_of_an_earlier_run_are_moved_and_its_best_is_its_own():
    def run(epochs):
        model = net()
        optimizer = torch.optim.Adam(model.parameters())
        given = (ExperimentManager("runs"), CheckpointManager("here", 1))
        return Trainer(model, *loaders(), nn.CrossEntropyLoss(), optimizer, "cpu", *given, seed=3).train(epochs)

    run(3)
    before = contents("here")
    run(2)
    after = contents("here")
    moved = {path: Path("here/earlier_1", path.name) for path in before}
    assert all(contents in (after.get(path), after.get(moved[path])) for path, contents in before.items())
    assert {path.name for path in Path("here/earlier_1").iterdir()} >= {"best_model.pt", "latest_checkpoint.pt"}
    assert read_checkpoint("here/best_model.pt")["epoch"] <= 2
