"""The cache of programs gives back what was written under a key, or has it made; nothing damaged, nothing foreign."""

import os
import subprocess
import sys
import threading
import time

import pytest

from ignite_recipes.programs import cache as cache_module
from ignite_recipes.programs.cache import ProgramCache, cache_folder


@pytest.fixture
def cache(tmp_path):
    return ProgramCache(tmp_path / "programs")


def writes(content=b"program", calls=None):
    def make(path):
        if calls is not None:
            calls.append(path)
        path.write_bytes(content)

    return make


def test_a_program_is_made_once(cache):
    calls = []
    paths = [cache.get("key", writes(b"first", calls)) for _ in range(3)]
    assert len(calls) == 1
    assert {path.read_bytes() for path in paths} == {b"first"}
    assert ProgramCache(cache.folder).get("key", writes(b"second", calls)).read_bytes() == b"first"
    assert cache.get("another", writes(b"third")).read_bytes() == b"third"


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "another content": lambda path: path.write_bytes(b"qrogram"),
    "gone": lambda path: path.unlink(),
    "no digest": lambda path: (path.parent / "sha256").unlink(),
    "a digest that is no text": lambda path: (path.parent / "sha256").write_bytes(b"\xff\xfe"),
    "a link to another file": lambda path: _linked(path),
}


def _linked(path):
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_made_again_and_said(cache, damage, caplog):
    damage(cache.get("key", writes()))
    assert cache.get("key", writes(b"again")).read_bytes() == b"again"
    assert "is damaged, or another user's" in caplog.text
    assert cache.find("key") is not None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no users")
def test_what_belongs_to_another_user_is_made_again(cache, monkeypatch):
    cache.get("key", writes())
    monkeypatch.setattr(cache_module.os, "getuid", lambda: os.geteuid() + 1)
    assert cache.find("key") is None


def test_a_failure_leaves_nothing(cache):
    def fail(path):
        path.write_bytes(b"half")
        raise RuntimeError("the compiler has failed")

    with pytest.raises(RuntimeError, match="compiler"):
        cache.get("key", fail)
    assert list(cache.folder.iterdir()) == []


def test_where_the_folder_cannot_be_made_programs_are_temporary(tmp_path, caplog):
    (tmp_path / "file").touch()
    cache = ProgramCache(tmp_path / "file" / "programs")
    assert cache.get("key", writes()).read_bytes() == b"program"
    assert "cannot be kept" in caplog.text


def test_the_entries_that_were_used_last_are_kept_and_what_killed_processes_left_is_removed(cache):
    for k in range(3):
        entry = cache.get(f"key{k}", writes(bytes(1000))).parent
        os.utime(entry, (time.time() - 100 + k,) * 2)
    cache.max_bytes = 3000
    left, making = cache.folder / ".making-old", cache.folder / ".making-new"
    left.mkdir()
    making.mkdir()
    os.utime(left, (0, 0))
    assert cache.find("key0") is not None  # used just now
    cache.get("key3", writes(bytes(1000)))
    assert {path.name for path in cache.folder.iterdir()} == {"key0", "key3", ".making-new"}


def test_several_at_once_get_the_same_program(cache):
    """All make it, one of them is kept, and everybody gets a whole one."""
    barrier, found = threading.Barrier(4), []

    def make(path):
        barrier.wait(10)
        path.write_bytes(b"program" * 1000)

    threads = [threading.Thread(target=lambda: found.append(cache.get("key", make).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"program" * 1000] * 4
    assert len([path for path in cache.folder.iterdir() if not path.name.startswith(".")]) == 1


def test_the_folder_is_the_users_own_and_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("IGNITE_RECIPES_CACHE", "~/programs")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "programs"
    monkeypatch.delenv("IGNITE_RECIPES_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "ignite_recipes" / "programs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "ignite_recipes" / "programs"


def test_nobody_else_may_read_or_write_it(cache):
    cache.get("key", writes())
    assert cache.folder.stat().st_mode & 0o777 == 0o700


PROCESS = """
import sys
from pathlib import Path
from ignite_recipes.programs.cache import ProgramCache
for k in range(40):
    ProgramCache(Path(sys.argv[1])).get(f"key{k % 5}", lambda path: path.write_bytes(bytes([k % 5]) * 50_000))
"""


@pytest.mark.slow
def test_processes_that_are_killed_while_they_write_leave_no_half_program(tmp_path):
    processes = [subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)]) for _ in range(3)]
    time.sleep(0.2)
    for process in processes[:2]:
        process.kill()
    assert [process.wait() for process in processes][2] == 0
    cache = ProgramCache(tmp_path)
    for k in range(5):
        path = cache.get(f"key{k}", lambda path: pytest.fail(f"{path} had to be made"))
        assert path.read_bytes() == bytes([k]) * 50_000
