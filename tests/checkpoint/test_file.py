"""A checkpoint is the old one or the new one, never half of one; reading it runs nothing and breaks nothing."""

import enum
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.damage import truncate
from support.equality import equal, weights
from torch import nn

from ignite_recipes import (
    CheckpointError,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    write_checkpoint,
)


def model_of(width=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))


def trained(path, model=None):
    model = model or model_of()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    save_checkpoint(model, optimizer, 3, 1.5, 2.5, path, history={"train_loss": [2.0, 1.5]}, metadata={"a": 1})
    return model, optimizer


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "deep" / "folder" / "model.pt"
    model, optimizer = trained(path)
    fresh = model_of()
    fresh_optimizer = torch.optim.Adam(fresh.parameters())
    contents = load_checkpoint(path, fresh, fresh_optimizer)
    assert equal(weights(model), weights(fresh))
    assert str(fresh_optimizer.state_dict()) == str(optimizer.state_dict())
    assert {k: contents[k] for k in ("epoch", "train_loss", "val_loss", "metadata")} == {
        "epoch": 3,
        "train_loss": 1.5,
        "val_loss": 2.5,
        "metadata": {"a": 1},
    }
    assert contents["history"] == {"train_loss": [2.0, 1.5]}


def test_the_file_is_readable_by_torch_alone(tmp_path):
    trained(tmp_path / "m.pt")
    keys = {"epoch", "model_state_dict", "optimizer_state_dict", "train_loss", "val_loss", "history", "metadata"}
    assert set(torch.load(tmp_path / "m.pt", weights_only=True)) == keys


def test_the_optimizer_may_be_left_out(tmp_path):
    save_checkpoint(model_of(), None, 1, 0.5, None, tmp_path / "m.pt")
    assert load_checkpoint(tmp_path / "m.pt", model_of())["optimizer_state_dict"] is None
    fresh = model_of()
    with pytest.raises(CheckpointError, match="no optimizer state"):
        load_checkpoint(tmp_path / "m.pt", fresh, torch.optim.Adam(fresh.parameters()))


def test_no_file_holds_the_names_of_a_compiled_model(tmp_path):
    save_checkpoint(torch.compile(model_of()), None, 1, 0.5, None, tmp_path / "m.pt")
    load_checkpoint(tmp_path / "m.pt", model_of())
    load_checkpoint(tmp_path / "m.pt", torch.compile(model_of()))


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@given(plain_values)
def test_plain_values_come_back_as_they_were(value):
    buffer = io.BytesIO()
    from ignite_recipes.checkpoint.file import _plain

    torch.save(_plain(value, "value"), buffer)
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True) == value


def test_numpy_numbers_and_paths_are_saved_as_pythons(tmp_path):
    contents = {"model_state_dict": {}, "a": np.float64(1.5), "b": np.int64(2), "c": Path("x") / "y"}
    write_checkpoint(contents, tmp_path / "c.pt")
    read = read_checkpoint(tmp_path / "c.pt")
    assert (read["a"], read["b"], read["c"]) == (1.5, 2, os.path.join("x", "y"))


def test_a_modules_versions_survive(tmp_path):
    write_checkpoint({"model_state_dict": model_of().state_dict()}, tmp_path / "m.pt")
    state = read_checkpoint(tmp_path / "m.pt")["model_state_dict"]
    assert isinstance(state, OrderedDict)
    assert state._metadata["1"] == {"version": 2}


@pytest.mark.parametrize("value", [object(), np.zeros(2), lambda: None], ids=["object", "array", "function"])
def test_what_could_not_be_read_back_is_refused_and_the_old_file_is_kept(tmp_path, value):
    trained(tmp_path / "m.pt")
    before = (tmp_path / "m.pt").read_bytes()
    with pytest.raises(TypeError, match=r"checkpoint\['metadata'\]\['deep'\]\[0\] must be"):
        save_checkpoint(model_of(), None, 1, 0.0, 0.0, tmp_path / "m.pt", metadata={"deep": [value]})
    assert (tmp_path / "m.pt").read_bytes() == before
    assert os.listdir(tmp_path) == ["m.pt"]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    trained(tmp_path / "m.pt")
    before = (tmp_path / "m.pt").read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, full)
            with pytest.raises(OSError, match="No space left"):
                trained(tmp_path / "m.pt")
        assert (tmp_path / "m.pt").read_bytes() == before
        assert os.listdir(tmp_path) == ["m.pt"]


def test_what_a_killed_write_left_is_removed_by_the_next(tmp_path):
    (tmp_path / ".m.pt.tmp").write_bytes(b"half")
    trained(tmp_path / "m.pt")
    assert os.listdir(tmp_path) == ["m.pt"]


class RunsCode:
    def __reduce__(self):
        return os.mkdir, (os.environ["HOSTILE_FOLDER"],)


def _flipped(path):
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = next(e for e in archive.infolist() if e.filename.endswith("data/0"))
    name_length, extra_length = struct.unpack_from("<HH", data, entry.header_offset + 26)
    data[entry.header_offset + 30 + name_length + extra_length] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "truncated": truncate,
    "one bit flipped": _flipped,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a checkpoint"),
    "a zip of something else": lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"),
    "a list": lambda path: torch.save([1, 2], path),
    "weights alone": lambda path: torch.save(model_of().state_dict(), path),
    "a whole pickled model": lambda path: torch.save(model_of(), path),
    "a pickle that runs code": lambda path: torch.save({"model_state_dict": RunsCode()}, path),
    "a bare pickle that runs code": lambda path: path.write_bytes(pickle.dumps(RunsCode())),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of zipfile, on what is no archive
def test_a_damaged_foreign_or_hostile_file_is_refused_and_changes_nothing(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("HOSTILE_FOLDER", str(tmp_path / "code was run"))
    path = tmp_path / "m.pt"
    trained(path)
    DAMAGE[damage](path)
    model = model_of()
    optimizer = torch.optim.Adam(model.parameters())
    before = weights(model)
    with pytest.raises(CheckpointError, match=r"m\.pt"):
        load_checkpoint(path, model, optimizer)
    assert equal(before, weights(model))
    assert not optimizer.state
    assert not (tmp_path / "code was run").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        load_checkpoint(tmp_path / "none.pt", model_of())


def test_another_architecture_is_refused_and_neither_model_nor_optimizer_is_touched(tmp_path):
    trained(tmp_path / "m.pt")
    for other in (model_of(5), nn.Sequential(nn.Linear(3, 4)), nn.Linear(3, 4)):
        optimizer = torch.optim.Adam(other.parameters())
        before = weights(other)
        with pytest.raises(CheckpointError, match="another architecture"):
            load_checkpoint(tmp_path / "m.pt", other, optimizer)
        assert equal(before, weights(other))
        assert not optimizer.state


def test_another_optimizer_is_refused_and_the_model_is_not_touched(tmp_path):
    trained(tmp_path / "m.pt")
    model = model_of()
    before = weights(model)
    groups = [{"params": [p]} for p in model.parameters()]
    with pytest.raises(CheckpointError, match="another optimizer"):
        load_checkpoint(tmp_path / "m.pt", model, torch.optim.Adam(groups))
    assert equal(before, weights(model))


class Color(enum.IntEnum):
    RED = 1


def test_members_of_enumerations_are_saved_as_their_values(tmp_path):
    write_checkpoint({"model_state_dict": {}, "color": Color.RED}, tmp_path / "c.pt")
    assert read_checkpoint(tmp_path / "c.pt")["color"] == 1


def test_every_bit_flip_is_found_or_harmless(tmp_path):
    path = tmp_path / "m.pt"
    write_checkpoint({"model_state_dict": {"w": torch.arange(4.0)}, "epoch": 7}, path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        try:
            contents = read_checkpoint(path)
        except CheckpointError:
            continue
        assert contents["epoch"] == 7
        assert torch.equal(contents["model_state_dict"]["w"], torch.arange(4.0))


def test_a_folder_is_no_checkpoint_and_what_it_holds_is_named(tmp_path):
    for name in ("b.pt", "a.pt", "log.csv"):
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=r"is a folder; name one of the checkpoints in it: a\.pt, b\.pt$"):
        read_checkpoint(tmp_path)
