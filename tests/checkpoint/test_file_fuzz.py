"""Whatever a file holds: reading it gives what was written or CheckpointError, runs no code, half-loads no model.

``python tests/checkpoint/test_file_fuzz.py 2000`` tries so many files and counts what became of them.
"""

import builtins
import io
import logging
import os
import pickle
import random
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from ignite_recipes.checkpoint import (
    CheckpointError,
    CheckpointManager,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)

CASES = 150  # files that a test run tries


def model_of(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.125 * (seed + 1))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return model, optimizer


def originals(folder):
    """Three files: two of the same size and keys, and one with others."""
    manager = CheckpointManager(str(folder))
    manager.save_checkpoint(*model_of(1), 1, 0.5, 81.0, folder / "a", {"history": {"val_loss": [0.5, 0.25]}})
    manager.save_checkpoint(*model_of(2), 2, 0.7, 82.0, folder / "b", {"history": {"val_loss": [0.7, 0.75]}})
    save_checkpoint(*model_of(3), 3, 0.5, 0.6, folder / "c", metadata={"features": ["x", "y"]})
    assert (folder / "a").stat().st_size == (folder / "b").stat().st_size
    return [(folder / name).read_bytes() for name in "abc"]


# Damage: each makes of some sound files, and a source of chance, one that may not be


def cut(files, chance):
    data = bytearray(chance.choice(files))
    start, stop = sorted(chance.sample(range(len(data) + 1), 2))
    return bytes(
        chance.choice(
            [
                data[:start],
                data[start:],
                data[:start] + data[stop:],
                data[:start] + bytes(stop - start) + data[stop:],  # a hole, as after a power cut
                data + data[start:stop],
            ]
        )
    )


def flipped(files, chance):
    data = bytearray(chance.choice(files))
    for _ in range(chance.choice([1, 1, 2, 8])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def spliced(files, chance):
    first, second = chance.sample(files, 2)
    here, there = chance.randrange(len(first)), chance.randrange(len(second))
    return chance.choice(
        [
            first[:here] + second[here:],
            first[:here] + second[there:],
            first[:here] + second,
            first + second[there:],
            first[:here] + second[here : here + 512] + first[here + 512 :],
        ]
    )


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def evil(marker, chance):
    command = f"touch {marker}"
    return chance.choice(
        [
            Evil(os.system, (command,)),
            Evil(eval, (f"__import__('os').system({command!r})",)),
            Evil(exec, (f"open({marker!r}, 'w').close()",)),
            Evil(Path(marker).touch, ()),
            Evil(subprocess.check_call, (["touch", marker],)),
            Evil(getattr, (Evil(builtins.__import__, ("os",)), "system")),
            Evil(torch._tensor._rebuild_from_type_v2, (os.system, torch.Tensor, (command,), {})),
            Evil(torch.serialization.load, (marker,)),
        ]
    )


def hostile(files, chance, marker):
    contents = torch.load(io.BytesIO(chance.choice(files)), weights_only=True)
    bad = evil(marker, chance)
    places = [contents, contents["model_state_dict"], contents["optimizer_state_dict"]["param_groups"][0]]
    place = chance.choice(places)
    place[chance.choice([*place, "more"])] = bad
    file = io.BytesIO()
    form = chance.randrange(4)
    if form == 0:
        return pickle.dumps(contents["model_state_dict"] and bad, chance.randrange(6))  # a bare pickle
    torch.save(contents, file, pickle_protocol=chance.randrange(2, 6), _use_new_zipfile_serialization=form > 1)
    if form == 2:  # the pickle by hand, of any protocol, in a zip that torch would read
        return repacked(file.getvalue(), lambda name, data: pickle.dumps(bad, chance.randrange(6)), "data.pkl")
    return file.getvalue()


def repacked(data, change, only=""):
    """The archive with the contents of its entries changed, and with the checksums that belong to them."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry, change(entry.filename, content) if entry.filename.endswith(only) else content)
    return file.getvalue()


def forged(files, chance):
    """A sound archive of a damaged pickle, byte order or version."""

    def change(name, content):
        data = bytearray(content)
        for _ in range(chance.choice([1, 1, 2, 4])):
            place = chance.randrange(len(data) or 1)
            data[place : place + chance.choice([0, 1, 1])] = chance.randbytes(chance.choice([0, 1, 1]))
        return bytes(data)

    return repacked(chance.choice(files), change, chance.choice(["data.pkl", "data.pkl", "byteorder", "version"]))


# The readers, and what they promise


def same(one, other):
    """Equal in kind, value and type, to the bit."""
    if isinstance(one, torch.Tensor):
        return (
            isinstance(other, torch.Tensor)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.contiguous().view(-1).numpy().tobytes() == other.contiguous().view(-1).numpy().tobytes()
        )
    if isinstance(one, dict):
        return type(one) is type(other) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


def copied(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return type(value)((key, copied(item)) for key, item in value.items())
    return type(value)(map(copied, value)) if isinstance(value, (list, tuple)) else value


def state(*parts):
    return [copied(part.state_dict()) for part in parts]


def try_to_load(path, load, expected):
    """Load into a model; True if it was, False if the file was refused, anything but all or nothing fails.

    ``expected`` are the possible contents, None if the file may be another, whole one.
    """
    model, optimizer = model_of()
    before = state(model, optimizer)
    try:
        load(path, model, optimizer)
    except CheckpointError:
        assert same(state(model, optimizer), before)
        return False
    weights, optimized = state(model, optimizer)
    if expected is None:
        contents = read_checkpoint(path)["model_state_dict"]
        of_the_file = [same(value, contents.get(name)) for name, value in weights.items()]
        as_before = [same(value, before[0][name]) for name, value in weights.items()]
        assert all(map(max, of_the_file, as_before))
    else:
        wanted = [(e["model_state_dict"], e["optimizer_state_dict"]) for e in expected]
        assert any(same(weights, w) and same(optimized, o) for w, o in wanted)
    return True


def try_to_read(path, expected):
    try:
        contents = read_checkpoint(path)
    except CheckpointError:
        return False
    assert expected is None or any(same(contents, e) for e in expected)
    return True


def partly(path, model, optimizer):
    CheckpointManager("nowhere").load_checkpoint(path, model, optimizer, strict=False)


READERS = [load_checkpoint, CheckpointManager("nowhere").load_checkpoint, partly]
DAMAGE = [cut, flipped, spliced, hostile, forged]


def fuzz(cases, folder):
    """How many files of each kind of damage were refused, and how many loaded."""
    files = originals(folder)
    whole = [torch.load(io.BytesIO(file), weights_only=True) for file in files]
    return Counter(fuzz_one(number, folder, files, whole) for number in range(cases))


def fuzz_one(number, folder, files, whole):
    chance = random.Random(number)
    path, marker = folder / "best_model.pt", folder / "marker"
    damage = DAMAGE[number % len(DAMAGE)]
    path.write_bytes(damage(files, chance, str(marker)) if damage is hostile else damage(files, chance))
    expected = None if damage is forged else [] if damage is hostile else whole
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zipfile and torch, on what is no archive of theirs
        is_read = try_to_read(path, expected)
        loaded = [try_to_load(path, load, expected) for load in READERS]
        CheckpointManager(str(folder))  # looks for its best model
    assert not marker.exists()
    assert is_read or not any(loaded)
    if expected is not None:
        assert loaded == [is_read] * len(READERS)
    return damage.__name__, "loaded" if loaded[0] else "refused"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    return fuzz(CASES, folder)


def test_every_file_was_read_as_it_was_written_or_refused(outcomes):
    assert outcomes.total() == CASES


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_each_kind_of_damage_is_found(outcomes, damage):
    name = damage.__name__
    assert outcomes[name, "refused"] > (CASES // len(DAMAGE)) / 2
    assert damage is not hostile or not outcomes[name, "loaded"]


def test_the_originals_are_sound(tmp_path):
    for data in originals(tmp_path):
        (tmp_path / "m.pt").write_bytes(data)
        contents = [torch.load(io.BytesIO(data), weights_only=True)]
        assert try_to_read(tmp_path / "m.pt", contents)
        assert all(try_to_load(tmp_path / "m.pt", load, contents) for load in READERS)


def test_an_entry_that_is_marked_as_a_folder_is_found(tmp_path):
    # A single bit: torch then leaves the memory of that entry's tensor as it finds it, and says nothing.
    data = originals(tmp_path)[0]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [entry.filename.encode() for entry in archive.infolist()]
    for name in names:
        flipped = bytearray(data)
        flipped[data.rindex(name) - 8] ^= 0x10  # in the table of contents the attributes stand before the name
        (tmp_path / "m.pt").write_bytes(flipped)
        assert not try_to_read(tmp_path / "m.pt", [])


def test_the_hostile_files_do_run_code_where_they_are_read_without_care(tmp_path):
    files, marker, ran = originals(tmp_path), tmp_path / "marker", 0
    for number in range(20):
        chance = random.Random(number)
        data = hostile(files, chance, str(marker))
        with suppress(Exception):  # some run their code and then turn out to be no checkpoint
            torch.load(io.BytesIO(data), weights_only=False)
        ran += marker.exists()
        marker.unlink(missing_ok=True)
    assert ran > 10


def main(cases):
    logging.disable()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = fuzz(cases, Path(folder))
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:10} {outcome:10} {count}")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
