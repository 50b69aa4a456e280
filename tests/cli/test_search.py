"""A search by a command: trials that are experiments, shared with another process, continued, mistakes in one line."""

import json
from pathlib import Path

import pytest
import yaml
from support.commands import SMALL, refused_in_one_line, run, settings_of

from ignite_recipes import Runs

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")

RATE = ("--search", "learning_rate=loguniform:1e-4,1e-2")
SHORT = ("--epochs", "1", "--device", "cpu", "--together", "false")


def search(capsys, *arguments, recipe="supervised"):
    return run(capsys, recipe, *SMALL[recipe], *SHORT, *arguments)


def test_a_search_is_begun_shared_continued_and_shown(capsys):
    layers = ("--search", "num-layers=choice:1,2", "--trials", "2")
    code, out, err = search(capsys, *RATE, *layers, "--storage", "shared.log", "--name", "rates")
    assert code == 0, err
    assert "Best of 2 trials is trial=" in out
    code, _, err = search(capsys, *RATE, *layers, "--storage", "shared.log")
    assert code == 0, err
    assert [one.plan.trial for name in ("exp1", "exp2") for one in Runs(name).members] == [0, 1, 2, 3]
    code, out, err = run(capsys, "supervised", "--resume", "exp1", "--trials", "3")
    assert code == 0, err
    runs = Runs("exp1")
    assert [one.plan.trial for one in runs.members] == [0, 1, 4]
    assert settings_of("exp1")["search"] == ["learning_rate=loguniform:1e-4,1e-2", "num-layers=choice:1,2"]
    own = yaml.safe_load((runs.members[2].folder / "config.yaml").read_text())
    assert {name: own[name] for name in runs.search} == dict(runs.members[2].plan.settings)
    assert own["num_layers"] in (1, 2)
    assert "search" not in own
    code, out, _ = run(capsys, "show", "exp1")
    assert code == 0
    assert "3 of 3 ended" in out
    code, out, _ = run(capsys, "show", "exp1", "--json")
    assert json.loads(out)["search"] == {"learning_rate": "loguniform:0.0001,0.01", "num_layers": "choice:1,2"}
    code, out, _ = run(capsys, "list")
    assert "3/3 runs" in out


def test_what_is_better_is_the_commands_own(capsys):
    code, out, err = search(capsys, *RATE, "--trials", "1", recipe="classify")
    assert code == 0, err
    assert "val_accuracy" in out
    values = [json.loads(line) for line in Path("runs/exp1/search.log").read_text().splitlines()]
    assert any(entry.get("directions") == [2] for entry in values)  # as Optuna writes "maximize"


MISTAKES = {
    "no kind": (["--search", "learning_rate=1e-4,1e-2"], "must be one of"),
    "no setting": (["--search", "loguniform:1e-4,1e-2"], "--search must be a setting and its values"),
    "nothing said": (["--search", "learning_rate="], "--search must be a setting and its values"),
    "an unknown setting": (["--search", "learning_rat=uniform:0,1"], "learning"),
    "not of the training": (["--search", "device=choice:cpu,cuda"], "device is not one"),
    "the seed": (["--search", "seed=int:0,9"], "seed is not one"),
    "a setting twice": ([*RATE, *RATE], "learning_rate twice"),
    "numbers for a whole number": (["--search", "num_layers=uniform:1,3"], "num-layers"),
    "words for a number": (["--search", "learning_rate=choice:small,large"], "learning-rate"),
    "the end of a range": (["--search", "learning_rate=uniform:-1,1"], "learning"),
    "turned round": (["--search", "learning_rate=uniform:1,0.1"], "least value first"),
    "a logarithm of 0": (["--search", "learning_rate=loguniform:0,1"], "above 0"),
    "no trials": ([*RATE, "--trials", "0"], "trials must be"),
    "trials alone": (["--trials", "3"], "--trials is for --search"),
    "a storage alone": (["--storage", "a.log"], "--storage is for --search"),
    "with seeds": ([*RATE, "--seeds", "3"], "leave out --seeds"),
    "with a sweep": ([*RATE, "--sweep", "num_layers=1,2"], "leave out --sweep"),
    "with folds": ([*RATE, "--folds", "3"], "leave out --folds"),
    "no folder": ([*RATE, "--storage", "no/such.log"], "storage must be a file in a folder that exists"),
    "a file of another kind": ([*RATE, "--storage", "other.log"], "other.log is damaged, or another one"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_said_in_one_line_and_leaves_nothing(capsys, arguments, said):
    Path("other.log").write_text("some notes\nof somebody\n")
    refused_in_one_line(capsys, said, "supervised", *SMALL["supervised"], *SHORT, *arguments)
    assert not any(Path("runs").glob("exp*"))
    assert Path("other.log").read_text() == "some notes\nof somebody\n"


def test_a_search_is_not_changed_when_it_goes_on(capsys):
    assert search(capsys, *RATE, "--trials", "1")[0] == 0
    code, _, err = run(capsys, "supervised", "--resume", "exp1", "--search", "learning_rate=uniform:0,1")
    assert code == 2
    assert "search cannot be changed" in err
    code, _, err = run(capsys, "supervised", "--resume", "exp1", "--epochs", "2")
    assert code == 2
    assert "its epochs is 1, and not 2" in err
    code, _, err = run(capsys, "supervised", "--resume", "exp1", "--sweep", "num_layers=1,2")
    assert code == 2
    assert "leave out --sweep" in err
