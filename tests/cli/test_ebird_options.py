"""The command ``vae`` takes a download of eBird with its filters, and reports what each step left."""

import json
import re
from pathlib import Path

import pytest
from support.commands import refused_in_one_line, run
from support.ebird_downloads import CHECKLIST, download, sampling_text

from ignite_recipes.checkpoint import read_checkpoint
from ignite_recipes.data import write_example_ebd

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")
SHORT = ["--epochs", "1", "--hidden-dimension", "8", "--latent-dimension", "2", "--min-species-observations", "3"]
EMPTY = [
    {CHECKLIST: f"S3{n:08d}", "OBSERVATION TYPE": "Stationary", "ALL SPECIES REPORTED": "1", "DURATION MINUTES": str(n)}
    for n in range(1, 9)
]


@pytest.fixture
def archive(tmp_path):
    plain = write_example_ebd(tmp_path / "e.txt", 120)
    return download(tmp_path, "zip", plain.read_text(encoding="utf-8"), sampling_text(plain, *EMPTY))


def vae(capsys, *words):
    return run(capsys, "vae", *SHORT, *map(str, words))


def table(name="exp1"):
    """The steps and their checklists in a run's log."""
    log = Path("runs", name, "run.log").read_text(encoding="utf-8")
    lines = re.findall(r"^(\S.*\S) +\d+ +(\d+) +\d+$", log.partition("left after each step:\n")[2], re.MULTILINE)
    return {step: int(checklists) for step, checklists in lines}


def test_an_archive_is_trained_on_with_its_empty_checklists_and_its_filters(capsys, archive):
    code, _, _ = vae(capsys, archive, "--best-practices", "--max-duration-minutes", "60", "--months", "1,2,3,4,5,6")
    assert code == 0
    steps = table()
    assert list(steps) == [
        "all that was read", "taxon_rank=species", "protocols=Traveling, Stationary", "complete_only=True",
        "months=1, 2, 3, 4, 5, 6", "max_duration_minutes=60.0", "max_distance_km=10.0", "max_speed_km_per_hour=100.0",
        "max_observers=10", "shared checklists once", "min_species_observations=3",
    ]  # fmt: skip
    assert steps["all that was read"] == 120 + len(EMPTY)
    code, out, _ = run(capsys, "evaluate", "exp1", "--json")
    assert code == 0
    assert json.loads(out)


@pytest.mark.slow
def test_a_resumed_run_reads_the_same_checklists(capsys, archive):
    words = ["--months", "1,2,3,4", "--bounding-box=74,8,78,13", "--seed", "3", "--answers", "false"]
    vae(capsys, archive, *words, "--epochs", "2")
    vae(capsys, archive, *words)
    run(capsys, "vae", "--resume", "exp2", "--epochs", "2")
    whole, resumed = (read_checkpoint(f"runs/{name}/checkpoints/latest_checkpoint.pt") for name in ("exp1", "exp2"))
    assert len(whole["history"]["val_loss"]) == 2
    assert whole["history"] == resumed["history"]
    assert table("exp1") == table("exp2")


@pytest.mark.slow
def test_a_file_of_sampling_events_may_lie_elsewhere(capsys, tmp_path):
    plain = write_example_ebd(tmp_path / "e.txt", 60)
    (tmp_path / "s.txt").write_text(sampling_text(plain, *EMPTY), encoding="utf-8")
    code, _, _ = vae(capsys, plain, "--sampling", tmp_path / "s.txt", "--shared-checklists", "all")
    assert code == 0
    assert table()["all that was read"] == 60 + len(EMPTY)


@pytest.mark.slow
def test_each_member_of_a_sweep_has_its_own_steps(capsys, archive):
    code, _, _ = vae(capsys, archive, "--sweep", "max_duration_minutes=30,100", "--together=false")
    assert code == 0
    steps = [table(f"exp1/members/{folder.name}") for folder in sorted(Path("runs/exp1/members").iterdir())]
    found = {step for one in steps for step in one if "duration" in step}
    assert found == {"max_duration_minutes=30.0", "max_duration_minutes=100.0"}
    assert [len(one) for one in steps] == [7, 7]


@pytest.mark.slow
def test_predictions_are_of_every_checklist_of_another_download(capsys, archive):
    vae(capsys, archive, "--taxon-rank", "genus", "--months", "1,2,3,4,5,6")
    code, _, _ = run(capsys, "predict", "exp1", str(archive), "--output", "out.csv")
    assert code == 0
    rows = Path("out.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith(f"{CHECKLIST},z1,z2")
    assert {row["SAMPLING EVENT IDENTIFIER"] for row in EMPTY} <= {row.partition(",")[0] for row in rows}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--months", "13"], "months must be"),
        (["--bounding-box", "1,2,3"], "bounding_box must be west, south, east and north"),
        (["--taxon-rank", "order"], "taxon_rank must be one of"),
        (["--region", "US"], "loosen 'region=US'"),
        (["--nrows", "5", "--sampling", "s.txt"], "leave one of the two out"),
        (["--sampling", "s.txt"], "there is no eBird file"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line(capsys, archive, words, message):
    refused_in_one_line(capsys, message, "vae", *SHORT, str(archive), *words)
