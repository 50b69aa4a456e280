"""The manager writes the documented files, knows its best, and loads a whole model, what fits of it, or nothing."""

import inspect
import math
import os

import pytest
import torch
from support.damage import truncate
from torch import nn

from ignite_recipes.checkpoint import CheckpointError, CheckpointManager, save_checkpoint, write_checkpoint

DOCUMENTED = ["epoch", "model_state_dict", "optimizer_state_dict", "loss", "accuracy", "model_config"]


class Net(nn.Sequential):
    def __init__(self, width=4, classes=3, seed=0):
        torch.manual_seed(seed)
        super().__init__(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, classes))
        self.model_config = {"width": width, "classes": classes}


def trained(model=None, kind=torch.optim.Adam):
    model = model or Net()
    optimizer = kind(model.parameters(), lr=0.125)
    model(torch.randn(5, 2)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def fresh(kind=torch.optim.Adam, **sizes):
    model = Net(seed=1, **sizes)
    return model, kind(model.parameters())


def plain(value):
    if isinstance(value, torch.Tensor):
        return value.dtype, value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def state(*parts):
    """Everything that models and optimizers hold, to compare."""
    return [plain(part.state_dict()) for part in parts]


def read(path):
    return torch.load(path, weights_only=True)


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(str(tmp_path / "checkpoints"))


# What is written


def test_the_signatures_are_the_documented_ones():
    saved = ["model", "optimizer", "epoch", "loss", "accuracy"]
    for name, parameters in {
        "__init__": {"checkpoints_dir": ..., "save_frequency": 10},
        "save_checkpoint": dict.fromkeys([*saved, "filepath"], ...) | {"additional_info": None},
        "save_best_model": dict.fromkeys(saved, ...) | {"additional_info": None},
        "save_latest_checkpoint": dict.fromkeys(saved, ...) | {"additional_info": None},
        "save_epoch_checkpoint": dict.fromkeys(saved, ...) | {"additional_info": None},
        "load_checkpoint": {"filepath": ..., "model": ..., "optimizer": None, "strict": True},
    }.items():
        found = inspect.signature(getattr(CheckpointManager, name)).parameters
        defaults = {p.name: ... if p.default is p.empty else p.default for p in found.values()}
        assert defaults == {"self": ...} | parameters
        assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in found.values())


def test_each_file_holds_what_is_documented(manager, tmp_path):
    model, optimizer = trained()
    arguments = model, optimizer, 7, torch.tensor(0.5), torch.tensor(85.0)
    assert manager.save_checkpoint(*arguments, tmp_path / "deep" / "any.pt") is None
    assert manager.save_latest_checkpoint(*arguments) is None
    assert manager.save_epoch_checkpoint(*arguments) is None
    assert manager.save_best_model(*arguments) is True
    folder = tmp_path / "checkpoints"
    assert sorted(os.listdir(folder)) == ["best_model.pt", "epoch_7.pt", "latest_checkpoint.pt"]
    for path in (tmp_path / "deep" / "any.pt", *folder.iterdir()):
        contents = read(path)
        assert list(contents) == DOCUMENTED
        assert (contents["epoch"], contents["loss"], contents["accuracy"]) == (7, 0.5, 85.0)
        assert type(contents["loss"]) is type(contents["accuracy"]) is float
        assert contents["model_config"] == {"width": 4, "classes": 3}
        assert str(contents["model_state_dict"]) == str(model.state_dict())
        assert str(contents["optimizer_state_dict"]) == str(optimizer.state_dict())


def test_a_model_without_a_config_has_an_empty_one_and_the_optimizer_may_be_left_out(manager, tmp_path):
    manager.save_latest_checkpoint(nn.Linear(2, 1), None, 1, 0.5, 50.0)
    contents = read(tmp_path / "checkpoints" / "latest_checkpoint.pt")
    assert contents["model_config"] == {}
    assert contents["optimizer_state_dict"] is None


def test_more_can_be_added_but_nothing_documented_replaced(manager, tmp_path):
    path = tmp_path / "checkpoints" / "latest_checkpoint.pt"
    manager.save_latest_checkpoint(*trained(), 1, 0.5, 50.0, {"history": {"val_loss": [0.5]}, "run": None})
    assert list(read(path)) == [*DOCUMENTED, "history", "run"]
    before = path.read_bytes()
    for name in DOCUMENTED:
        with pytest.raises(ValueError, match=f"must not replace '{name}'"):
            manager.save_latest_checkpoint(*trained(), 2, 0.5, 50.0, additional_info={"fine": 1, name: 2})
        with pytest.raises(ValueError, match="must not replace"):
            manager.save_best_model(*trained(), 2, 0.5, 50.0, {name: 2})
    assert path.read_bytes() == before
    assert manager.best_accuracy == -math.inf


@pytest.mark.parametrize("save_frequency", [0, -1])
def test_a_frequency_below_one_is_refused(tmp_path, save_frequency):
    with pytest.raises(ValueError, match=f"a whole number of epochs, at least 1; got {save_frequency}"):
        CheckpointManager(str(tmp_path), save_frequency)


def test_an_epoch_is_due_every_so_often(tmp_path):
    assert [n for n in range(1, 31) if CheckpointManager(str(tmp_path)).should_save_epoch(n)] == [10, 20, 30]
    assert all(CheckpointManager(str(tmp_path), 1).should_save_epoch(n) for n in range(1, 5))


# The best


def test_only_a_higher_accuracy_is_better_and_nan_never_is(manager, tmp_path):
    model, optimizer = trained()
    accuracies = [math.nan, 0.0, 50.0, 50.0, math.nan, 49.0, 50.5]
    saved = [manager.save_best_model(model, optimizer, n, 1.0, a) for n, a in enumerate(accuracies)]
    assert saved == [False, True, True, False, False, False, True]
    assert manager.best_accuracy == read(tmp_path / "checkpoints" / "best_model.pt")["accuracy"] == 50.5
    assert manager.save_best_model(model, optimizer, 9, 1.0, torch.tensor(60.0))
    assert type(manager.best_accuracy) is float


def test_a_new_manager_on_an_old_folder_knows_its_best(manager, tmp_path, monkeypatch):
    model, optimizer = trained()
    manager.save_best_model(model, optimizer, 3, 1.0, 70.0)
    again = CheckpointManager(str(tmp_path / "checkpoints"))
    monkeypatch.setattr("ignite_recipes.checkpoint.manager.read_checkpoint", None)  # it was read once and for all
    assert again.best_accuracy == 70.0
    assert not again.save_best_model(model, optimizer, 4, 1.0, 69.0)
    assert read(tmp_path / "checkpoints" / "best_model.pt")["epoch"] == 3
    assert again.save_best_model(model, optimizer, 5, 1.0, 71.0)


def damaged(path):
    CheckpointManager(path.parent).save_best_model(*trained(), 1, 0.5, 90.0)
    truncate(path)


NO_BEST = {
    "damaged": damaged,
    "of another kind": lambda path: path.write_text("not a checkpoint"),
    "without an accuracy": lambda path: save_checkpoint(Net(), None, 1, 0.5, 0.5, path),
    "with an accuracy that is no number": lambda path: CheckpointManager(path.parent / "x").save_checkpoint(
        *trained(), 1, 0.5, math.nan, path
    ),
}


@pytest.mark.parametrize("make", NO_BEST.values(), ids=NO_BEST)
def test_a_best_model_that_cannot_be_one_is_reported_and_replaced_by_the_next(tmp_path, caplog, make):
    path = tmp_path / "best_model.pt"
    make(path)
    manager = CheckpointManager(str(tmp_path))
    assert manager.best_accuracy == -math.inf
    assert [(r.name, r.levelname) for r in caplog.records] == [("ignite_recipes.checkpoint.manager", "WARNING")]
    assert "best_model.pt is ignored" in caplog.text
    assert str(path) in caplog.text
    assert manager.save_best_model(*trained(), 2, 0.5, 1.0)
    assert read(path)["accuracy"] == 1.0


def test_an_empty_or_missing_folder_is_no_reason_to_warn(tmp_path, caplog):
    assert CheckpointManager(str(tmp_path)).best_accuracy == -math.inf
    assert CheckpointManager(str(tmp_path / "missing")).best_accuracy == -math.inf
    assert not caplog.records
    assert not (tmp_path / "missing").exists()


def test_a_best_model_that_could_not_be_written_is_not_the_best(manager, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    model, optimizer = trained()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            manager.save_best_model(model, optimizer, 1, 1.0, 80.0)
    assert manager.save_best_model(model, optimizer, 2, 1.0, 80.0)


# Loading all of it


@pytest.mark.parametrize("strict", [True, False])
def test_a_whole_file_is_loaded_whole(manager, tmp_path, strict, caplog):
    model, optimizer = trained()
    manager.save_checkpoint(model, optimizer, 7, 0.5, 85.0, tmp_path / "c.pt")
    other, other_optimizer = fresh()
    info = manager.load_checkpoint(str(tmp_path / "c.pt"), other, other_optimizer, strict)
    assert info == {
        "epoch": 7,
        "loss": 0.5,
        "accuracy": 85.0,
        "fully_restored": True,
        "loaded_layers": 9,
        "total_layers": 9,
    }
    assert state(other, other_optimizer) == state(model, optimizer)
    other, untouched = fresh()
    before = state(untouched)
    assert manager.load_checkpoint(tmp_path / "c.pt", other, strict=strict)["fully_restored"]
    assert state(other) == state(model)
    assert state(untouched) == before
    assert not caplog.records


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("saved_compiled", [True, False])
@pytest.mark.parametrize("loaded_compiled", [True, False])
def test_compiled_or_plain_makes_no_difference(manager, tmp_path, strict, saved_compiled, loaded_compiled):
    model, optimizer = trained()
    saved = torch.compile(model) if saved_compiled else model
    manager.save_checkpoint(saved, optimizer, 1, 0.5, 85.0, tmp_path / "c.pt")
    contents = read(tmp_path / "c.pt")
    assert not any("_orig_mod" in name for name in contents["model_state_dict"])
    assert contents["model_config"] == model.model_config
    other, other_optimizer = fresh()
    into = torch.compile(other) if loaded_compiled else other
    info = manager.load_checkpoint(tmp_path / "c.pt", into, other_optimizer, strict)
    assert (info["fully_restored"], info["loaded_layers"], info["total_layers"]) == (True, 9, 9)
    assert state(other, other_optimizer) == state(model, optimizer)


def refused(manager, path, model, optimizer, strict, match):
    before = state(model, *([optimizer] if optimizer else []))
    with pytest.raises(CheckpointError, match=match):
        manager.load_checkpoint(path, model, optimizer, strict)
    assert state(model, *([optimizer] if optimizer else [])) == before


def test_strictly_another_architecture_or_optimizer_changes_nothing(manager, tmp_path):
    path = tmp_path / "c.pt"
    manager.save_checkpoint(*trained(), 7, 0.5, 85.0, path)
    refused(manager, path, *trained(Net(width=5)), True, "another architecture")
    refused(manager, path, *trained(Net(classes=10)), True, "another architecture")
    model, _ = fresh()
    groups = torch.optim.Adam([{"params": [p]} for p in model.parameters()])
    refused(manager, path, model, groups, True, "another optimizer")
    refused(manager, path, *trained(Net(), torch.optim.SGD), True, "another optimizer .*dampening, momentum")
    manager.save_checkpoint(Net(), None, 7, 0.5, 85.0, path)
    refused(manager, path, *trained(), True, "no optimizer state")


class Reluctant(nn.Linear):
    """Fails the first time it is asked to load."""

    asked = False

    def _load_from_state_dict(self, *args):
        if not self.asked:
            self.asked = True
            raise ZeroDivisionError("reluctant")
        super()._load_from_state_dict(*args)


@pytest.mark.parametrize("strict", [True, False])
def test_whatever_a_model_raises_while_it_loads_it_is_not_half_loaded(manager, tmp_path, strict):
    manager.save_checkpoint(*trained(), 7, 0.5, 85.0, tmp_path / "c.pt")
    model, optimizer = fresh()
    model[2] = Reluctant(4, 3)  # when it fails the others are loaded already
    optimizer = torch.optim.Adam(model.parameters())
    refused(manager, tmp_path / "c.pt", model, optimizer, strict, r"c\.pt' cannot be loaded .*reluctant")
    assert model[2].asked


@pytest.mark.parametrize("strict", [True, False])
def test_an_entry_that_is_no_tensor_changes_nothing(manager, tmp_path, strict):
    contents = {"model_state_dict": {"weight": torch.ones(1, 2), "bias": [1.0]}}
    write_checkpoint(contents, tmp_path / "c.pt")
    model = nn.Linear(2, 1)
    if strict:
        refused(manager, tmp_path / "c.pt", model, None, strict, "bias is a list, the model's is a tensor")
    else:
        bias = model.bias.clone()
        assert manager.load_checkpoint(tmp_path / "c.pt", model, strict=False)["loaded_layers"] == 1
        assert torch.equal(model.bias, bias)
        assert torch.equal(model.weight, torch.ones(1, 2))


# Loading what fits


def test_the_entries_that_fit_are_loaded_and_the_others_left_and_named(manager, tmp_path, caplog):
    model, optimizer = trained()
    manager.save_checkpoint(model, optimizer, 7, 0.5, 85.0, tmp_path / "c.pt")
    other, other_optimizer = fresh(classes=10)
    before, optimizer_before = other[2].weight.clone(), state(other_optimizer)
    info = manager.load_checkpoint(tmp_path / "c.pt", other, other_optimizer, strict=False)
    assert info == {
        "epoch": 7,
        "loss": 0.5,
        "accuracy": 85.0,
        "fully_restored": False,
        "loaded_layers": 7,
        "total_layers": 9,
    }
    assert state(other[0], other[1]) == state(model[0], model[1])
    assert torch.equal(other[2].weight, before)
    assert state(other_optimizer) == optimizer_before
    assert [(r.name, r.levelname) for r in caplog.records] == [("ignite_recipes.checkpoint.manager", "WARNING")] * 2
    first, second = (record.getMessage() for record in caplog.records)
    assert "c.pt was not loaded whole" in first
    assert "2.weight is (3, 4), the model's is (10, 4)" in first
    assert "2.bias" in first
    assert "more" not in first
    assert "optimizer was left as it was" in second
    other_optimizer.zero_grad()
    other(torch.randn(5, 2)).sum().backward()
    other_optimizer.step()  # moments of another shape would fail here


def test_at_most_five_names_are_given_then_a_count(manager, tmp_path, caplog):
    wide = nn.Sequential(*(nn.Linear(2, 2) for _ in range(5)))
    manager.save_checkpoint(wide, None, 1, 0.5, 85.0, tmp_path / "c.pt")
    model = nn.Sequential(nn.Linear(2, 2))
    info = manager.load_checkpoint(tmp_path / "c.pt", model, strict=False)
    assert (info["fully_restored"], info["loaded_layers"], info["total_layers"]) == (False, 2, 2)
    assert caplog.text.count("unknown to the model") == 5
    assert "and 3 more" in caplog.text


def test_a_buffer_that_is_missing_keeps_no_optimizer_from_its_state(manager, tmp_path, caplog):
    model, optimizer = trained()
    manager.save_checkpoint(model, optimizer, 7, 0.5, 85.0, tmp_path / "c.pt")
    contents = read(tmp_path / "c.pt")
    del contents["model_state_dict"]["1.running_mean"]
    write_checkpoint(contents, tmp_path / "c.pt")
    other, other_optimizer = fresh()
    info = manager.load_checkpoint(tmp_path / "c.pt", other, other_optimizer, strict=False)
    assert (info["fully_restored"], info["loaded_layers"]) == (False, 8)
    assert state(other_optimizer) == state(optimizer)
    assert "1.running_mean is missing" in caplog.text


UNFIT = {
    "is missing": (None, "holds no optimizer state"),
    "is of another optimizer": (trained(Net(), torch.optim.SGD)[1].state_dict(), "of another optimizer"),
    "has another number of parameters": (torch.optim.Adam(Net()[0].parameters()).state_dict(), "of another optimizer"),
    "is no state": ({"state": 3, "param_groups": "x"}, "of another optimizer"),
    "has no parts": ({}, "of another optimizer"),
    "is no dict": ([1], "of another optimizer"),
}


@pytest.mark.parametrize(("saved", "message"), UNFIT.values(), ids=UNFIT)
def test_an_optimizer_state_that_does_not_fit_leaves_the_optimizer_as_it_was(manager, tmp_path, caplog, saved, message):
    model, _ = trained()
    contents = {"model_state_dict": model.state_dict(), "optimizer_state_dict": saved, "epoch": 2}
    write_checkpoint(contents, tmp_path / "c.pt")
    refused(manager, tmp_path / "c.pt", *trained(Net(seed=5)), True, message)
    other, optimizer = trained(Net(seed=5))
    before = state(optimizer)
    info = manager.load_checkpoint(tmp_path / "c.pt", other, optimizer, strict=False)
    assert (info["fully_restored"], info["loaded_layers"], info["total_layers"]) == (False, 9, 9)
    assert state(optimizer) == before
    assert state(other) == state(model)
    assert "optimizer was left as it was" in caplog.text
    assert message in caplog.text
    assert manager.load_checkpoint(tmp_path / "c.pt", other, strict=False)["fully_restored"]


@pytest.mark.parametrize("other", [nn.Linear(2, 1), Net(width=8, classes=5)[0]], ids=["names", "shapes"])
def test_of_a_file_of_which_nothing_fits_nothing_is_loaded_without_strict_and_it_is_said(
    manager, tmp_path, other, caplog
):
    manager.save_checkpoint(*trained(), 7, 0.5, 85.0, tmp_path / "c.pt")
    write_checkpoint({"model_state_dict": {}}, tmp_path / "empty.pt")
    for path in (tmp_path / "c.pt", tmp_path / "empty.pt"):
        before = {name: value.clone() for name, value in other.state_dict().items()}
        info = manager.load_checkpoint(path, other, torch.optim.Adam(other.parameters()), strict=False)
        assert (info["fully_restored"], info["loaded_layers"]) == (False, 0)
        assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
        assert f"{path} was not loaded whole" in caplog.text


def test_the_versions_of_the_modules_are_those_of_the_file(manager, tmp_path):
    seen = []

    class Versioned(nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
            seen.append(local_metadata.get("version"))
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

        _version = 3

    manager.save_checkpoint(nn.Sequential(Versioned(2, 2), nn.Linear(1, 1)), None, 1, 0.5, 85.0, tmp_path / "c.pt")
    manager.load_checkpoint(tmp_path / "c.pt", nn.Sequential(Versioned(2, 2), nn.Linear(3, 1)), strict=False)
    assert seen == [3]


# Files of others


@pytest.mark.parametrize(
    ("contents", "epoch", "loss", "accuracy"),
    [
        ({"epoch": 4, "train_loss": 3.0, "val_loss": 2.0}, 4, 2.0, math.nan),
        ({"epoch": 4, "train_loss": 3.0, "val_loss": None}, 4, 3.0, math.nan),
        ({"epoch": 4, "loss": 1.0, "train_loss": 3.0, "val_loss": 2.0, "accuracy": 60}, 4, 1.0, 60.0),
        ({"loss": torch.tensor(1.0), "accuracy": torch.ones(2), "epoch": "four"}, 0, 1.0, math.nan),
        ({"loss": 10**400, "accuracy": torch.tensor(1j)}, 0, math.nan, math.nan),
        ({}, 0, math.nan, math.nan),
    ],
    ids=["a recipe's", "a recipe's without validation", "both", "tensors", "not numbers", "weights alone"],
)
@pytest.mark.parametrize("strict", [True, False])
def test_files_of_other_recipes_are_loaded_too(manager, tmp_path, contents, epoch, loss, accuracy, strict):
    model, _ = trained()
    write_checkpoint({"model_state_dict": model.state_dict(), **contents}, tmp_path / "c.pt")
    other, _ = fresh()
    info = manager.load_checkpoint(tmp_path / "c.pt", other, strict=strict)
    assert repr(info) == repr(
        {
            "epoch": epoch,
            "loss": loss,
            "accuracy": accuracy,
            "fully_restored": True,
            "loaded_layers": 9,
            "total_layers": 9,
        }
    )
    assert state(other) == state(model)


def test_a_missing_file_is_named(manager, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        manager.load_checkpoint(tmp_path / "none.pt", Net())
