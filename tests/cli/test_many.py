"""Many runs by a command: members that are experiments, a whole that is listed, shown, compared and resumed."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from support.commands import SMALL, every_recipe, refused_in_one_line, run, settings_of, train
from support.equality import equal
from support.members import saved_weights

from ignite_recipes import list_experiments

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")


@every_recipe
def test_a_member_is_the_commands_own_run(capsys, recipe):
    train(capsys, recipe, "--epochs", "1", "--seeds", "3,1")
    train(capsys, recipe, "--epochs", "1", "--seed", "1")
    assert equal(saved_weights("runs/exp1/members/seed=1"), saved_weights("runs/exp2"))
    own = yaml.safe_load(Path("runs/exp1/members/seed=1/config.yaml").read_text())
    assert own == settings_of("exp2")
    assert settings_of("exp1")["seeds"] == "3,1"


@every_recipe
def test_folds_are_of_every_commands_data_and_each_member_knows_its_own(capsys, recipe):
    train(capsys, recipe, "--epochs", "1", "--folds", "2")
    code, out, err = run(capsys, "evaluate", "runs/exp1/members/seed=0_fold=2", "--device", "cpu")
    assert code == 0, err
    log = pd.read_csv("runs/exp1/members/seed=0_fold=2/training_log.csv")
    if recipe == "vae":
        assert float(re.search(r"loss +([\d.]+)", out)[1]) == pytest.approx(log["val_loss"][0], rel=0.02)
    if recipe in ("classify", "supervised"):
        assert float(re.search(r"accuracy +([\d.]+)%", out)[1]) == pytest.approx(log["val_accuracy"][0], rel=1e-3)
        rows = pd.read_csv("runs/exp1/out_of_fold.csv")["row"]
        assert sorted(rows) == list(range(1797))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """One experiment that all tests look at which do not train."""
    from ignite_recipes.cli import main

    folder = tmp_path_factory.mktemp("swept")
    arguments = ["--seeds", "3", "--sweep", "learning_rate=1e-4,1e-2", "--sweep", "num_layers=1,2", "--epochs", "1"]
    options = [
        "--device",
        "cpu",
        "--quiet",
        "--runs-dir",
        str(folder),
        "--name",
        "grid",
        "--tag",
        "first",
        "--together",
        "false",
    ]
    assert main(["supervised", *SMALL["supervised"], *arguments, *options]) == 0
    return folder


@pytest.fixture
def runs(swept, in_an_empty_folder):
    shutil.copytree(swept, "runs")


@pytest.mark.usefixtures("runs")
def test_it_is_listed_and_shown(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert re.search(
        r"exp1 +supervised +12/12 runs +val_loss \S+ by learning_rate=0.01, num_layers=\d +grid; \[first\]", out
    )
    code, out, _ = run(capsys, "show", "exp1")
    assert "12 of 12 ended" in out
    assert re.search(r"learning_rate=0.01_num_layers=2_seed=1 +finished +1 of 1 +\d", out)
    code, out, _ = run(capsys, "show", "grid", "--json")
    facts = json.loads(out)
    assert len(facts["members"]) == 12
    assert facts["best_setting"].startswith("learning_rate=0.01")
    assert facts["settings"]["seeds"] == 3


@pytest.mark.usefixtures("runs")
def test_its_settings_are_compared_over_the_seeds_and_its_members_as_any_runs(capsys):
    code, out, _ = run(capsys, "compare", "exp1", "--metric", "val_loss")
    assert code == 0
    assert len(re.findall(r"learning_rate=0.0001, num_layers=\d +learning_rate=0.01, num_layers=\d +\+0", out)) == 2
    assert " is better" in out
    members = [f"runs/exp1/members/learning_rate=0.01_num_layers={n}_seed=0" for n in (1, 2)]
    code, out, _ = run(capsys, "compare", *members)
    assert code == 0
    assert "num_layers" in out
    assert "the luck of a seed" in out
    shutil.copytree("runs/exp1", "runs/exp2")
    code, out, _ = run(capsys, "compare", "exp1", "exp2", "--json")
    facts = json.loads(out)
    assert "caution" not in facts
    assert "luck" not in run(capsys, "compare", "exp1", "exp2")[1]
    pairs = {row["setting"]: row["difference"] for row in facts["comparisons"]}
    best = facts["best_setting"].split(": ")[1]
    assert pairs[f"exp2: {best}"] == 0
    code, _, err = run(capsys, "compare", "exp1", members[0])
    assert code == 2
    assert "is one run: compare it with members" in err


@pytest.mark.usefixtures("runs")
def test_its_ensemble_predicts(capsys):
    Path("rows.csv").write_text("\n".join([",".join(f"x{k}" for k in range(64)), ",".join(["0.5"] * 64)]))
    code, _, err = run(capsys, "predict", "exp1", "rows.csv", "--device", "cpu")
    assert code == 0, err
    mean = pd.read_csv("predictions.csv")
    facts = json.loads(Path("runs/exp1/summary.json").read_text())
    label = facts["best_setting"].replace(", ", "_")
    found = []
    for seed in range(3):
        run(capsys, "predict", f"runs/exp1/members/{label}_seed={seed}", "rows.csv", "--device", "cpu")
        found.append(pd.read_csv("predictions.csv")["p_3"][0])
    assert mean["p_3"][0] == pytest.approx(sum(found) / 3)
    code, _, err = run(capsys, "evaluate", "exp1")
    assert (code, err.count("\n")) == (2, 1)
    assert "holds many runs" in err


@pytest.mark.usefixtures("runs")
def test_it_is_resumed_with_more_seeds_and_values_and_its_members_stay(capsys):
    before = Path("runs/exp1/members/learning_rate=0.01_num_layers=1_seed=0/checkpoints/best_model.pt").read_bytes()
    more = ["--seeds", "4", "--sweep", "learning_rate=0.1"]
    code, out, err = run(capsys, "supervised", "--resume", "exp1", *more)
    assert code == 0, err
    assert len(list_experiments("runs/exp1/members")) == 4 * 3 * 2
    after = Path("runs/exp1/members/learning_rate=0.01_num_layers=1_seed=0/checkpoints/best_model.pt").read_bytes()
    assert before == after
    assert len([line for line in out.splitlines() if re.match(r"\d+/24 ", line)]) == 12
    assert settings_of("exp1")["seeds"] == 4


@pytest.mark.usefixtures("runs")
def test_a_member_is_forked_beside_the_whole_and_resumed_where_it_is(capsys):
    member = "runs/exp1/members/learning_rate=0.01_num_layers=1_seed=2"
    code, _, err = run(capsys, "supervised", "--fork", member, "--epochs", "2")
    assert code == 0, err
    assert list_experiments("runs") == ["exp1", "exp2"]
    assert settings_of("exp2")["forked_from"].endswith("learning_rate=0.01_num_layers=1_seed=2")
    code, _, err = run(capsys, "supervised", "--resume", member, "--epochs", "2")
    assert code == 0, err
    assert len(pd.read_csv(f"{member}/training_log.csv")) == 2


@pytest.fixture
def birds():
    rows = [f"{k},{k % 9},{'crow' if k % 9 > 3 else 'kite'},{k % 6}" for k in range(60)]
    Path("birds.csv").write_text("\n".join(["id,size,kind,site", *rows]))
    return ["supervised", "birds.csv", "--target", "kind", "--ignore", "id", "--device", "cpu", "--epochs", "2"]


def test_a_tables_folds_keep_groups_together_and_end_with_a_refit(capsys, birds):
    code, out, err = run(capsys, *birds, "--folds", "3", "--group", "site", "--refit", "--seeds", "2")
    assert code == 0, err
    found = pd.read_csv("runs/exp1/out_of_fold.csv")
    sites = pd.read_csv("birds.csv")["site"]
    of_fold = found.groupby("fold")["row"].apply(lambda rows: set(sites[rows]))
    assert not of_fold[1] & of_fold[2]
    assert not of_fold[1] & of_fold[3]
    assert sorted(found[found["seed"] == 1]["row"]) == list(range(60))
    assert found.sort_values(["seed", "row"])["truth"].tolist() == pd.read_csv("birds.csv")["kind"].tolist() * 2
    assert "refit: all on all rows" in out
    code, _, err = run(capsys, "predict", "runs/exp1/refit", "birds.csv", "--device", "cpu")
    assert code == 0, err
    code, out, err = run(capsys, "evaluate", "runs/exp1/members/seed=1_fold=2")  # finds its rows in the file again
    assert code == 0, err
    own = found[(found["seed"] == 1) & (found["fold"] == 2)]
    assert float(re.search(r"accuracy +([\d.]+)%", out)[1]) == pytest.approx(
        100 * (own["truth"] == own["prediction"]).mean(), abs=0.01
    )


MISTAKES = {
    "no seeds": (["--seeds", "0"], "seeds must be a whole number of at least 1; got 0"),
    "seeds that are none": (["--seeds", "x"], "--seeds must be a number of seeds, 8, or seeds with commas"),
    "half a bracket": (["--seeds", "[1"], "--seeds must be a number of seeds, 8, or seeds with commas"),
    "a seed twice": (["--seeds", "1,1"], "seeds must each be given once; got 1 twice"),
    "a sweep without values": (["--sweep", "learning_rate="], "--sweep must be a setting and its values"),
    "a sweep of nothing": (["--sweep", "learning_rate"], "--sweep must be a setting and its values"),
    "an unknown setting": (["--sweep", "learnin_rate=1"], "did you mean --learning-rate?"),
    "a value of another type": (
        ["--sweep", "learning_rate=1e-3,a"],
        "--learning-rate must be a finite number; got 'a'",
    ),
    "a value out of range": (["--sweep", "learning_rate=1e-3,-1"], "learning_rate must be a positive number"),
    "a value that is late": (["--sweep", "scheduler_type=plateau,x"], "scheduler_type must be one of"),
    "seeds in a sweep": (["--sweep", "seed=1,2"], "seed is not one: give --seeds 8"),
    "the file in a sweep": (["--sweep", "file=a,b"], "file is not one"),
    "one fold": (["--folds", "1"], "folds must be a whole number of at least 2"),
    "too many folds": (["--folds", "2000"], "2000 folds need at least as many rows; got 1797"),
    "refit alone": (["--refit"], "--refit needs --folds"),
    "refit of digits": (["--refit", "--folds", "2"], "--refit is for tables"),
    "a fork with seeds": (["--fork", "exp1", "--seeds", "2"], "--fork starts one run"),
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(capsys, words, said):
    refused_in_one_line(capsys, said, "supervised", "--epochs", "1", "--device", "cpu", *words)
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


RESUMED = {
    "fewer seeds": (["--resume", "exp1", "--seeds", "2"], "would be left out"),
    "other folds": (["--resume", "exp1", "--folds", "3"], "folds cannot be changed"),
    "another setting": (["--resume", "exp1", "--learning-rate", "3"], "learning_rate cannot be changed"),
    "a member with seeds": (
        ["--resume", "runs/exp1/members/learning_rate=0.01_num_layers=1_seed=0", "--seeds", "2"],
        "start many runs",
    ),
    "a fork of the whole": (["--fork", "exp1"], "fork one of its members"),
}


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(("words", "said"), RESUMED.values(), ids=RESUMED)
def test_a_whole_is_continued_as_it_was_begun(capsys, words, said):
    before = Path("runs/exp1/config.yaml").read_text()
    code, _, err = run(capsys, "supervised", *words)
    assert code == 2
    assert said in err
    assert Path("runs/exp1/config.yaml").read_text() == before
    assert list_experiments("runs") == ["exp1"]


def test_other_commands_have_no_use_for_many(capsys):
    code, _, err = run(capsys, "find-lr", "supervised", "--seeds", "2")
    assert code == 2
    assert "leave out --seeds" in err


def test_settings_are_printed_and_read_again(capsys):
    words = ["--seeds", "2", "--sweep", "learning_rate=1e-3,1e-2", "--epochs", "1", *SMALL["supervised"]]
    _, printed, _ = run(capsys, "supervised", *words, "--print-config")
    Path("many.yaml").write_text(printed)
    code, _, err = run(capsys, "supervised", "--config", "many.yaml", "--device", "cpu")
    assert code == 0, err
    assert len(list_experiments("runs/exp1/members")) == 4


def _epochs(base):
    """That its members have logged."""
    return sum(len(path.read_text().splitlines()) - 1 for path in Path(base).glob("exp1/members/*/training_log.csv"))


@pytest.mark.slow
def test_a_whole_that_is_killed_at_any_moment_ends_with_the_same_bits(tmp_path):
    """Four members: two settings, of which one stops early, and a fold of each is cut wherever the kill comes."""
    words = ["supervised", "--epochs", "8", "--folds", "2", "--sweep", "patience=1,8", "--device", "cpu"]
    words += [
        "--save-every-iterations",
        "3",
        "--learning-rate",
        "0.3",
        "--use-scheduler",
        "false",
        *SMALL["supervised"],
    ]
    command = [sys.executable, "-m", "ignite_recipes"]
    subprocess.run([*command, *words, "--runs-dir", "straight"], check=True, capture_output=True)
    for epochs in (0, 1, 6, 12):  # of all members, after which it is killed
        again = ["supervised", "--resume", "exp1"] if Path("cut/exp1/config.yaml").exists() else words
        process = subprocess.Popen(
            [*command, *again, "--runs-dir", "cut"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not Path("cut/exp1/members").exists() or _epochs("cut") < epochs:
            assert process.poll() is None  # it is not over before
            time.sleep(0.05)
        process.kill()
        process.wait()
    last = ["supervised", "--resume", "exp1"] if Path("cut/exp1/config.yaml").exists() else words
    done = subprocess.run([*command, *last, "--runs-dir", "cut"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = list_experiments("straight/exp1/members")
    assert len(names) == 4
    epochs = set()
    for name in names:
        folders = [f"{base}/exp1/members/{name}" for base in ("straight", "cut")]
        for file in ("best_model.pt", "latest_checkpoint.pt"):
            assert equal(*(saved_weights(folder, file) for folder in folders))
        logs = [pd.read_csv(f"{folder}/training_log.csv") for folder in folders]
        columns = ["epoch", "train_loss", "val_loss", "val_accuracy", "learning_rate"]
        assert logs[0][columns].equals(logs[1][columns])
        epochs.add(len(logs[0]))
    assert len(epochs) > 1  # one has stopped early
    tables = [Path(f"{base}/exp1/table.csv").read_text() for base in ("straight", "cut")]
    assert tables[0] == tables[1]
