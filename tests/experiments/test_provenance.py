"""Each start of a run is noted with its command, its data, versions and commit; a damaged note costs no run."""

import hashlib
import json
import subprocess

from ignite_recipes.experiments.provenance import note_start, read_provenance


def test_each_start_is_an_entry(tmp_path):
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    note_start(tmp_path, ["ignite-recipes", "vae"], tmp_path / "data.csv")
    note_start(tmp_path, ["ignite-recipes", "vae", "--resume", "exp1"])
    first, second = read_provenance(tmp_path)
    assert first["command"] == ["ignite-recipes", "vae"]
    assert first["data"] == {
        "path": str(tmp_path / "data.csv"),
        "size": 8,
        "sha256": hashlib.sha256(b"a,b\n1,2\n").hexdigest(),
    }
    assert second["data"] is None
    assert {"ignite-recipes", "python", "torch", "ignite"} <= set(second["versions"])


def test_the_commit_of_the_working_directory_and_whether_files_were_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    note_start(tmp_path, ["run"])
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "code.py").write_text("1\n")
    for words in (["init", "-q"], ["add", "code.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    note_start(tmp_path, ["run"])
    (tmp_path / "code.py").write_text("2\n")
    note_start(tmp_path, ["run"])
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert [entry["git"] for entry in read_provenance(tmp_path)] == [
        None,
        {"commit": commit, "changed": False},
        {"commit": commit, "changed": True},
    ]


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    note_start(tmp_path, ["run"])
    assert read_provenance(tmp_path)[0]["git"] is None


def test_what_another_version_has_written_is_left_out_and_stays_in_the_file(tmp_path):
    entry = {"command": "run", "git": ["x"], "versions": 3, "data": {"size": 8}, "started_at": "today"}
    (tmp_path / "provenance.json").write_text(json.dumps({"starts": [entry]}))
    assert read_provenance(tmp_path) == [{"data": {"size": 8}, "started_at": "today"}]
    note_start(tmp_path, ["run"])
    assert json.loads((tmp_path / "provenance.json").read_text())["starts"][0] == entry


def test_a_damaged_note_is_said_and_begun_again(tmp_path, caplog):
    for contents in (b"{", b"[]", b'{"starts": [3]}', b"\xff\xfe"):
        (tmp_path / "provenance.json").write_bytes(contents)
        assert read_provenance(tmp_path) == []
    assert all("cannot be read" in record.getMessage() for record in caplog.records)
    note_start(tmp_path, ["run"])
    assert len(read_provenance(tmp_path)) == 1
