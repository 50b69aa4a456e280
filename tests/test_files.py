"""A file is the old one or the new one, whatever fails; a lock lives as long as its process and no longer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ignite_recipes import files
from ignite_recipes.files import lock_file, replace_file

# For other processes; the module imports nothing of the package, so they need not wait for torch.
PRELUDE = f"""
import os, signal, sys, time
sys.path.append({str(Path(files.__file__).parent)!r})
from files import lock_file, replace_file
"""


def command(code, *arguments):
    return [sys.executable, "-c", PRELUDE + code, *map(str, arguments)]


class BrokenError(Exception):
    pass


def fail(*args):
    raise BrokenError


def new_contents(file):
    file.write(b"the new")
    file.write(b" contents")


def fail_at_once(file):
    fail()


def fail_half_way(file):
    file.write(b"half")
    fail()


def fail_half_way_on_the_disk(file):
    file.write(b"half")
    file.flush()
    fail()


def fail_at_the_end(file):
    new_contents(file)
    fail()


def interrupt(file):
    file.write(b"half")
    raise KeyboardInterrupt


def close_too_early(file):
    new_contents(file)
    file.close()


WRITERS = [fail_at_once, fail_half_way, fail_half_way_on_the_disk, fail_at_the_end, interrupt, close_too_early]


@pytest.mark.parametrize("old", [b"the old", None], ids=["over an old file", "where there is none"])
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_a_write_that_fails_changes_nothing(tmp_path, write, old):
    path = tmp_path / "a.bin"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises((BrokenError, KeyboardInterrupt, ValueError)):
        replace_file(path, write)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({} if old is None else {"a.bin": old})


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_disk_that_fails_changes_nothing(tmp_path, monkeypatch, function):
    (tmp_path / "a.bin").write_bytes(b"the old")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(BrokenError):
            replace_file(tmp_path / "a.bin", new_contents)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.bin": b"the old"}


def test_a_folder_that_cannot_be_flushed_is_reported_and_holds_the_new_file(tmp_path, monkeypatch):
    (tmp_path / "a.bin").write_bytes(b"the old")
    monkeypatch.setattr(files, "flush_folder", fail)
    with pytest.raises(BrokenError):
        replace_file(tmp_path / "a.bin", new_contents)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.bin": b"the new contents"}


def test_what_is_on_the_disk_is_complete_before_it_gets_its_name(tmp_path, monkeypatch):
    flushed, whole = [], len(b"the new contents")
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle):
        flushed.append(os.fstat(handle).st_size)
        real_fsync(handle)

    def replace(source, target):
        assert flushed == [whole]
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    assert replace_file(str(tmp_path / "deep" / "a.bin"), new_contents) == tmp_path / "deep" / "a.bin"
    assert len(flushed) == 2  # the folder, so that the name is there after a power cut too


def test_the_file_gets_the_permissions_that_any_new_file_gets(tmp_path):
    replace_file(tmp_path / "a", new_contents)
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


KILLED = """
def write(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
for name in ("a.bin", "b.bin"):
    if os.fork() == 0:
        replace_file(os.path.join(sys.argv[1], name), write)
    os.wait()
"""


def test_what_a_killed_write_left_is_removed_by_the_next_of_the_same_file(tmp_path):
    subprocess.run(command(KILLED, tmp_path), check=True)
    mine = [".a.bin.notes.tmp", "a.bin.tmp", ".aXbin.0123abcd.tmp"]  # names that only look alike
    for name in mine:
        (tmp_path / name).write_bytes(b"")
    left = set(os.listdir(tmp_path)) - set(mine)
    assert sorted(name[:7] for name in left) == [".a.bin.", ".b.bin."]
    replace_file(tmp_path / "a.bin", new_contents)
    of_b = {name for name in left if name.startswith(".b")}
    assert set(os.listdir(tmp_path)) == {"a.bin", *mine, *of_b}


def test_what_somebody_else_is_writing_is_left_alone(tmp_path):
    path = tmp_path / "a.bin"

    def write_while_another_writes(file):
        file.write(b"the last to finish")
        replace_file(path, new_contents)
        assert path.read_bytes() == b"the new contents"

    replace_file(path, write_while_another_writes)
    assert path.read_bytes() == b"the last to finish"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_file_that_is_taken_for_a_leftover_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    real, taken = files._flock, []

    def flock(file):
        if not taken:
            taken.append(file.name)
            os.unlink(file.name)
        return real(file)

    monkeypatch.setattr(files, "_flock", flock)
    replace_file(tmp_path / "a.bin", new_contents)
    assert taken
    assert (tmp_path / "a.bin").read_bytes() == b"the new contents"


@pytest.mark.parametrize("missing", ["the module", "the locks"])
def test_without_locks_files_are_replaced_all_the_same_and_leftovers_stay(tmp_path, monkeypatch, missing):
    def no_locks(*args):
        raise OSError(38, "Function not implemented")

    if missing == "the module":
        monkeypatch.setattr(files, "fcntl", None)
    else:
        monkeypatch.setattr(files.fcntl, "flock", no_locks)
    (tmp_path / ".a.bin.0123abcd.tmp").write_bytes(b"perhaps alive")
    replace_file(tmp_path / "a.bin", new_contents)
    assert sorted(os.listdir(tmp_path)) == [".a.bin.0123abcd.tmp", "a.bin"]


# A process that holds the lock, with a child that outlives it.
HOLDER = """
with lock_file(sys.argv[1], "holder"):
    child = os.fork()
    if child == 0:
        time.sleep(600)
    print(child, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(command(HOLDER, tmp_path / "lock"), stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    yield process, child
    process.kill()
    process.wait()
    process.stdout.close()
    os.kill(child, signal.SIGKILL)


def test_a_killed_process_leaves_no_lock_though_its_children_live(tmp_path, holder):
    process, child = holder
    with pytest.raises(BlockingIOError) as refused, lock_file(tmp_path / "lock", "me"):
        pass
    assert refused.value.strerror.startswith(f"{process.pid} on ")
    process.kill()
    process.wait()
    os.kill(child, 0)  # it lives
    with lock_file(tmp_path / "lock", "me"):
        assert (tmp_path / "lock").read_text().startswith(f"{os.getpid()} on ")


def take(path, owner="owner"):
    with lock_file(path, owner):
        pass


def can_be_taken_elsewhere(path):
    took = subprocess.run(command("with lock_file(sys.argv[1], 'owner'): pass", path), capture_output=True, text=True)
    assert took.returncode == 0 or "BlockingIOError" in took.stderr
    return took.returncode == 0


def fail_inside(path):
    with lock_file(path, "owner"):
        raise BrokenError


def test_the_lock_is_its_owners_alone_and_ends_with_the_outer_block(tmp_path):
    path = tmp_path / "lock"
    with lock_file(path, "owner"):
        take(path)
        with pytest.raises(BrokenError):
            fail_inside(path)
        with pytest.raises(BlockingIOError, match=f"{os.getpid()} on .*, this one"):
            take(path, "another")
        with pytest.raises(BlockingIOError):
            take(tmp_path / ".." / tmp_path.name / "lock", "another")  # by another name
        assert not can_be_taken_elsewhere(path)
    take(path, "another")
    assert can_be_taken_elsewhere(path)


def test_an_exception_ends_the_lock(tmp_path):
    with pytest.raises(BrokenError):
        fail_inside(tmp_path / "lock")
    take(tmp_path / "lock", "another")
    assert can_be_taken_elsewhere(tmp_path / "lock")


FORKED = """
with lock_file(sys.argv[1], "owner"):
    child = os.fork()
    try:
        with lock_file(sys.argv[1], "owner"):
            code = 0
    except BlockingIOError:
        code = 7
    if child == 0:
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert code == 0
"""


def test_a_forked_child_of_the_owner_is_not_the_owner(tmp_path):
    subprocess.run(command(FORKED, tmp_path / "lock"), check=True)


def test_where_the_system_has_no_locks_only_this_process_is_kept_out(tmp_path, monkeypatch, caplog):
    def no_locks(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(files.fcntl, "lockf", no_locks)
    with lock_file(tmp_path / "lock", "owner"):
        with pytest.raises(BlockingIOError):
            take(tmp_path / "lock", "another")
        assert can_be_taken_elsewhere(tmp_path / "lock")
    assert "only this process is kept out" in caplog.text


ON_WINDOWS = """
import time
import files
files.fcntl = None
with lock_file(sys.argv[1], "owner"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_as_on_windows_another_process_is_kept_out_and_told_by_whom(tmp_path, monkeypatch):
    """There is no ``fcntl`` there; the other package's lock is that of this system here."""
    monkeypatch.setattr(files, "fcntl", None)
    path = tmp_path / "lock"
    with subprocess.Popen(command(ON_WINDOWS, path), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            with pytest.raises(BlockingIOError, match=f"{process.pid} on "):
                take(path)
        finally:
            process.kill()
    take(path)
    take(path, "another")
