"""A search: the same seed gives the same trials, a pruned one loses nothing, a cut one goes on, a file is shared."""

import json
import shutil
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
import torch
from support.equality import equal
from support.members import saved_weights
from support.small_recipes import INPUTS, LABELS, WINDOWS
from support.stops import StopAt
from torch import nn

from ignite_recipes import (
    Runs,
    Stopped,
    Trainer,
    VariationalAutoencoder,
    multilayer_perceptron,
    read_checkpoint,
    search_many,
    set_seed,
    train_many,
    train_model_advanced,
    train_on_table,
    train_variational_autoencoder,
    trainModel,
)
from ignite_recipes.many.search_space import read_range, read_search

PAIRS = (INPUTS, LABELS)
LATEST = "latest_checkpoint.pt"
SET_TRIAL_STATE_VALUES = 6  # in Optuna's journal
SEARCH = {"learning_rate": "loguniform:1e-4,1e-1", "width": "int:2,6"}
SETTINGS = {"epochs": 3, "device": "cpu", "batch_size": 22, "together": False, "early_stop_patience": None}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_model(width=4):
    return multilayer_perceptron(6, 2, width, dropout_rate=0.2)


def search(experiment="runs", **changes):
    settings = {"search": SEARCH, "trials": 4, "at_once": 2, **SETTINGS, **changes}
    return search_many(train_model_advanced, make_model, PAIRS, PAIRS, experiment=experiment, **settings)


def values_of(runs):
    return [(one.plan.trial, one.plan.settings) for one in runs.members]


class PruneAt(optuna.pruners.BasePruner):
    """Gives up these trials after this epoch, whatever they have reached."""

    def __init__(self, epoch, *numbers):
        self.epoch, self.numbers = epoch, numbers

    def prune(self, study, trial):
        return trial.number in self.numbers and trial.last_step == self.epoch


def test_a_trial_is_the_recipes_own_run_and_the_table_has_the_best_first(capsys):
    torch.manual_seed(8)
    before = torch.get_rng_state()
    runs = search(trials=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert "trial=2" in capsys.readouterr().out
    assert [one.state for one in runs.members] == ["finished"] * 3
    table = runs.table("val_loss")
    assert table["mean"].is_sorted()
    assert set(table.columns) >= set(SEARCH)
    best = runs.best_trial
    assert best.label == table["setting"][0] == runs.best_setting
    assert best.outcome.measured["val_loss"] == table["mean"][0]
    own = best.plan.settings
    set_seed(0)
    settings = {name: value for name, value in SETTINGS.items() if name != "together"}
    alone = {"learning_rate": own["learning_rate"], "seed": 0, "verbose": False, "experiment": "alone", **settings}
    train_model_advanced(make_model(own["width"]), PAIRS, PAIRS, **alone)
    assert equal(saved_weights(best.folder, LATEST), saved_weights("alone/exp1", LATEST))
    assert 1e-4 <= own["learning_rate"] <= 1e-1
    assert own["width"] in range(2, 7)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 4, 7])
def test_one_seed_gives_the_same_trials_whether_the_search_is_cut_or_not(monkeypatch, cut):
    settings = {"trials": 3, "batch_size": 11, "epochs": 2, "handlers": [StopAt()]}
    straight = search("straight", **settings)
    monkeypatch.setattr(StopAt, "count", 0)
    monkeypatch.setattr(StopAt, "cut", cut)
    with pytest.raises(Stopped):
        search("cut", **settings)
    runs = search("cut/exp1", **settings)
    assert values_of(runs) == values_of(straight)
    for one, other in zip(runs.members, straight.members, strict=True):
        assert one.outcome._replace(seconds=0) == other.outcome._replace(seconds=0)
        assert equal(saved_weights(one.folder, LATEST), saved_weights(other.folder, LATEST))


def test_another_seed_gives_other_trials():
    first, second = (search(trials=1, epochs=1, seed=seed) for seed in (0, 1))
    assert values_of(first) != values_of(second)


@pytest.mark.slow
def test_more_trials_are_added_and_those_that_have_ended_are_not_trained_again(capsys):
    first = search(trials=2)
    capsys.readouterr()
    more = search("runs/exp1", trials=3)
    assert values_of(more)[:2] == values_of(first)
    assert capsys.readouterr().out.startswith("3/3 trial=2")
    assert values_of(search("straight", trials=3)) == values_of(more)


def test_a_pruned_trial_is_taken_up_to_the_bits_of_one_that_was_never_left(capsys):
    straight = search("straight", trials=2)
    pruned = search("pruned", trials=2, pruner=PruneAt(1, 0))
    assert [one.state for one in pruned.members] == ["pruned", "finished"]
    assert ", pruned" in capsys.readouterr().out
    left = pruned.members[0]
    assert (left.outcome.epochs_trained, left.outcome.epochs) == (1, 3)
    assert pruned.best_trial is pruned.members[1]
    assert len(pruned.table("val_loss")) == 2
    assert read_checkpoint(left.folder / "checkpoints/latest_checkpoint.pt")["epoch"] == 1
    study = optuna.load_study(study_name="search", storage=storage_of(pruned.folder / "search.log"))
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "COMPLETE"]
    assert list(study.trials[1].intermediate_values) == [1, 2, 3]
    capsys.readouterr()
    search("pruned/exp1", trials=2, pruner=PruneAt(1, 0))
    assert capsys.readouterr().out == ""  # it stays left
    own = dict(left.plan.settings)
    model = make_model(own.pop("width"))
    settings = {name: value for name, value in SETTINGS.items() if name != "together"}
    train_model_advanced(
        model, PAIRS, PAIRS, **own, **settings, seed=0, verbose=False, experiment=(copy := pruned.take_out(left.name))
    )
    taken = copy.experiment_dir
    for file in (LATEST, "best_model.pt"):
        assert equal(saved_weights(taken, file), saved_weights(straight.members[0].folder, file))


def test_a_trial_that_was_killed_after_it_was_judged_is_judged_the_same_again():
    search(trials=1, pruner=PruneAt(1, 0))
    left = Path("runs/exp1/members").iterdir().__next__()
    straight = search("straight", trials=1, pruner=PruneAt(1, 0))
    (left / "outcome.json").unlink()  # as if the process had died before it said what came of it
    path = Path("runs/exp1/search.log")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    runs = search("runs/exp1", trials=1, pruner=PruneAt(1, 0))
    assert runs.members[0].state == "pruned"
    assert runs.members[0].outcome._replace(seconds=0) == straight.members[0].outcome._replace(seconds=0)


@pytest.mark.slow
def test_what_a_process_has_left_that_died_while_it_wrote_does_no_harm():
    straight = search("straight", trials=3, epochs=1)
    search(trials=2, epochs=1)
    path = Path("runs/exp1/search.log")
    with path.open("a") as file:
        file.write('{"op_code": 4, "work')
    Path("runs/exp1/search.log.lock").symlink_to(path.absolute())  # as Optuna's lock is
    assert values_of(search("runs/exp1", trials=3, epochs=1)) == values_of(straight)


@pytest.mark.slow
def test_a_trial_that_was_asked_for_and_not_planned_is_taken_up():
    straight = search("straight", trials=4, epochs=1)
    search(trials=2, epochs=1)
    plan = Path("runs/exp1/members.json")
    before = plan.read_text()
    search("runs/exp1", trials=4, epochs=1)
    plan.write_text(before)  # as if the process had died before it wrote down which trials it had asked for
    path = Path("runs/exp1/search.log")
    told = [line for line in path.read_text().splitlines(keepends=True) if not is_end_of(line, 2, 3)]
    path.write_text("".join(told))
    shutil.rmtree(next(Path("runs/exp1/members").glob("trial=3*")))
    runs = search("runs/exp1", trials=4, epochs=1)
    assert values_of(runs) == values_of(straight)
    assert [one.state for one in runs.members] == ["finished"] * 4


def is_end_of(line, *numbers):
    """Whether a line of Optuna's journal says what one of these trials has reached."""
    entry = json.loads(line)
    return entry["op_code"] == SET_TRIAL_STATE_VALUES and entry["trial_id"] in numbers


def test_the_median_prunes_what_is_worse_than_half_of_the_ended_trials():
    words = {"learning_rate": "choice:0.05,1e-9"}
    runs = search(search=words, trials=10, at_once=5, epochs=2)
    left = [one for one in runs.members if one.state == "pruned"]
    assert left
    assert all(one.plan.trial >= 5 and one.plan.settings["learning_rate"] == 1e-9 for one in left)
    assert runs.best_trial.plan.settings["learning_rate"] == 0.05


def storage_of(path):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))


@pytest.mark.slow
def test_two_searches_on_one_file_share_their_trials():
    first = search("first", trials=2, storage="shared.log")
    second = search("second", trials=2, storage="shared.log")
    assert [one.plan.trial for one in (*first.members, *second.members)] == [0, 1, 2, 3]
    study = optuna.load_study(study_name="search", storage=storage_of("shared.log"))
    assert [trial.params for trial in study.trials] == [one.plan.settings for one in (*first.members, *second.members)]
    assert not Path("first/exp1/search.log").exists()
    again = search("first/exp1", trials=3)
    assert [one.plan.trial for one in again.members] == [0, 1, 4]
    with pytest.raises(ValueError, match=r"shared.log holds a search whose search is .*'int:2,6'.*, and not"):
        search("third", search={"width": "int:2,6"}, storage="shared.log")
    with pytest.raises(ValueError, match=r"shared.log holds a search whose epochs is 3, and not 4"):
        search("third", epochs=4, storage="shared.log")
    assert not any(Path("third").glob("*"))


def test_a_trial_that_fails_leaves_the_others_whole(caplog):
    def fails(width=4):
        if width == 3 and torch.initial_seed() == 0 and Path("go").exists():
            raise ValueError("no such width")
        Path("go").touch()
        return make_model(width)

    Path("go").touch()
    Path("go").unlink()
    settings = {"search": {"width": "choice:2,3"}, "trials": 6, **SETTINGS, "epochs": 1}
    with pytest.raises(ValueError, match="no such width"):  # found before anything is trained
        search_many(train_model_advanced, fails, PAIRS, PAIRS, **settings)
    assert not any(Path("runs").glob("*"))
    words = {"learning_rate": "choice:0.01,1e30"}
    runs = search(search=words, trials=4, at_once=4, epochs=2, non_finite="raise")
    assert {one.state for one in runs.members} == {"finished", "failed"}
    assert all((one.state == "failed") == (one.plan.settings["learning_rate"] == 1e30) for one in runs.members)
    assert "the others are complete" in caplog.text
    assert runs.best_trial.state == "finished"


BAD = {
    "no kind": ("1e-5,1e-2", "must be one of 'uniform', 'loguniform', 'int', 'choice'"),
    "a kind alone": ("uniform", "must be one of"),
    "an unknown kind": ("normal:0,1", "must be one of"),
    "nothing": ("", "must be one of"),
    "no values": ("uniform:", "must give each value"),
    "an empty value": ("choice:1,,2", "must give each value"),
    "one end": ("uniform:1", "must have two numbers"),
    "three ends": ("uniform:1,2,3", "must have two numbers"),
    "no number": ("uniform:a,b", "must have two numbers"),
    "not finite": ("uniform:0,inf", "must have two numbers"),
    "nan": ("uniform:nan,1", "must have two numbers"),
    "a half": ("int:1,2.5", "must have two whole numbers"),
    "turned round": ("uniform:2,1", "must have its least value first"),
    "the same ends": ("int:2,2", "must have its least value first"),
    "a logarithm of 0": ("loguniform:0,1", "must be of numbers above 0"),
    "a logarithm below": ("loguniform:-1,1", "must be of numbers above 0"),
    "a choice twice": ("choice:1,2,1", "must each be given once"),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD)
def test_words_that_say_nothing_are_refused_in_one_line(words, said):
    with pytest.raises(ValueError, match=said) as caught:
        read_range("rate", words)
    assert "\n" not in str(caught.value)
    assert "rate" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("uniform:0,0.5", (0.0, 0.5)),
        ("uniform:-1,1", (-1.0, 1.0)),
        (" loguniform : 1e-5 , 1e-2 ", (1e-5, 1e-2)),
        ("int:1,4", (1, 4)),
        ("choice:relu,gelu", ("relu", "gelu")),
        ("choice:1,2.5,true,null", (1, 2.5, True, None)),
        ("choice:one", ("one",)),
    ],
)
def test_words_are_read_and_written_back(words, values):
    found = read_range("rate", words)
    assert found.values == values
    assert list(map(type, found.values)) == list(map(type, values))
    assert read_range("rate", str(found)) == found


MISTAKES = {
    "no dict": ({"search": ["learning_rate"]}, TypeError, "search must be a dict"),
    "nothing searched": ({"search": {}}, ValueError, "must name at least one setting"),
    "no words": ({"search": {"learning_rate": 0.1}}, TypeError, "must say in words"),
    "no such setting": ({"search": {"learning_rat": "uniform:0,1"}}, ValueError, "did you mean 'learning_rate'"),
    "also given": ({"learning_rate": 0.1}, ValueError, "is swept, and given"),
    "the seed": ({"search": {"seed": "int:0,9"}}, ValueError, "seed cannot be"),
    "seeds": ({"seeds": 3}, ValueError, "seeds is not for search_many"),
    "folds": ({"folds": 3}, ValueError, "folds is not for search_many"),
    "no trials": ({"trials": 0}, ValueError, "trials must be"),
    "no round": ({"at_once": 0}, ValueError, "at_once must be"),
    "no folder": ({"storage": "no/such/file.log"}, FileNotFoundError, "storage must be a file in a folder"),
    "no path": ({"storage": 5}, TypeError, "storage must be the path of a file; got int"),
    "an empty path": ({"storage": ""}, ValueError, "is a folder"),
    "a width of nothing": ({"search": {"width": "int:-1,4"}}, ValueError, "at least 1"),
    "half a trial": ({"trials": 2.5}, ValueError, "trials must be a whole number"),
    "a folder": ({"storage": "."}, ValueError, "is a folder"),
    "a pruner": ({"pruner": "median"}, TypeError, "pruner must be one of optuna.pruners"),
    "an unknown direction": ({"direction": "up"}, ValueError, "direction must be 'minimize' or 'maximize'"),
    "another direction": ({"direction": "maximize"}, ValueError, "val_loss is better by 'min'"),
    "the end of a range": ({"search": {"learning_rate": "uniform:-1,1"}}, ValueError, "learning"),
}


@pytest.mark.parametrize(("changes", "kind", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_before_anything_is_trained(changes, kind, said):
    with pytest.raises(kind, match=said):
        search(**changes)
    assert not any(Path("runs").glob("*"))


def test_a_search_is_continued_as_it_was_begun():
    search(trials=1, epochs=1)
    with pytest.raises(ValueError, match="its epochs is 1, and not 2"):
        search("runs/exp1", epochs=2)
    with pytest.raises(ValueError, match="its seed is 0, and not 4"):
        search("runs/exp1", epochs=1, seed=4)
    with pytest.raises(ValueError, match="would be left out"):
        train_many(train_model_advanced, make_model, PAIRS, experiment="runs/exp1", **SETTINGS)
    Path("runs/exp1/search.log").write_text("this is none\nof a search\n")
    with pytest.raises(ValueError, match=r"search.log is damaged, or another one"):
        search("runs/exp1", epochs=1)
    assert len(Runs("exp1").finished) == 1


def test_what_is_better_is_asked_of_the_recipe():
    runs = search(trials=1, epochs=1, monitor="val_accuracy", mode="max", metrics=["accuracy"])
    study = optuna.load_study(study_name="search", storage=storage_of("runs/exp1/search.log"))
    assert study.direction.name == "MAXIMIZE"
    assert study.trials[0].value == runs.best_trial.outcome.measured["val_accuracy"]


def new_optimizer(model, learning_rate=0.1):
    return torch.optim.SGD(model.parameters(), learning_rate)


SIZES = {"hidden_size": 8, "num_layers": 1, "num_epochs": 1, "batch_size": 8}
OTHERS = {
    "Trainer": (
        (Trainer, make_model, PAIRS, PAIRS, nn.CrossEntropyLoss(), new_optimizer, "cpu"),
        {"epochs": 1, "search": {"learning_rate": "loguniform:1e-3,1"}},
        "maximize",
    ),
    "autoencoder": (
        (train_variational_autoencoder, lambda hidden=8: VariationalAutoencoder(6, 2, hidden), INPUTS, INPUTS),
        {"num_epochs": 1, "search": {"hidden": "int:4,8"}},
        "minimize",
    ),
    "traffic": (
        (trainModel, SIZES, WINDOWS, WINDOWS),
        {"device": "cpu", "search": {"dropout_rate": "uniform:0,0.5"}},
        "minimize",
    ),
    "table": (
        (train_on_table, pd.DataFrame(INPUTS.numpy()).add_prefix("column").assign(kind=LABELS.numpy()), "kind"),
        {"device": "cpu", "epochs": 1, "search": {"hidden_dimension": "choice:4,8"}},
        "minimize",
    ),
}


@pytest.mark.parametrize(("args", "settings", "direction"), OTHERS.values(), ids=OTHERS)
def test_every_recipe_is_searched_and_says_what_is_better(args, settings, direction):
    runs = search_many(*args, trials=2, together=False, **settings)
    study = optuna.load_study(study_name="search", storage=storage_of("runs/exp1/search.log"))
    assert study.direction.name.lower() == direction
    assert [list(trial.intermediate_values) for trial in study.trials] == [[1], [1]]
    assert runs.best_trial.plan.trial == study.best_trial.number


def test_a_function_of_the_users_own_says_what_is_better():
    def own(*, learning_rate, seed, experiment):
        settings = {"epochs": 1, "monitor": "val_accuracy", "mode": "max", "metrics": ["accuracy"], "device": "cpu"}
        return train_model_advanced(
            make_model(), PAIRS, PAIRS, learning_rate=learning_rate, seed=seed, experiment=experiment, **settings
        )

    words = {"learning_rate": "uniform:0.01,0.1"}
    with pytest.raises(ValueError, match="pass direction='maximize'"):
        search_many(own, search=words, trials=1, together=False)
    runs = search_many(own, search=words, trials=1, direction="maximize", together=False)
    assert runs.best_trial.outcome.metric == "val_accuracy"


def test_without_optuna_a_line_says_how_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ignite-recipes\[search\]'"):
        search()


def test_a_search_of_several_settings_has_each_at_its_place():
    assert list(read_search(SEARCH)) == ["learning_rate", "width"]
