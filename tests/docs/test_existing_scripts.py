"""Scripts of Ignite's users get clipping, an average, float16, a guard and exact resume by at most twelve lines."""

import difflib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from support.equality import equal
from support.examples import FOLDER, module

SCRIPTS = {"ignite_supervised": "digits", "ignite_update": "patients", "ignite_gan": "images"}
GAINED = (
    "GradientClipper",
    "NonFiniteGuard",
    "ExponentialMovingAverage",
    "Checkpointing",
    "StopOnSignal",
    "restore_newest",
)
# Ignite asks for CUDA's autocast on a CPU, too.
pytestmark = [
    pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda':UserWarning"),
    pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning"),
]


def data(name):
    found = getattr(module(name), SCRIPTS[name])()
    return [part[:200] for part in found] if isinstance(found, tuple) else [found[:200]]


def lines(name):
    code = (FOLDER / f"{name}.py").read_text().split('"""', 2)[2]
    return [line for line in code.splitlines() if line.strip()]


@pytest.mark.parametrize("name", SCRIPTS)
def test_at_most_twelve_lines_are_added(name):
    found = difflib.unified_diff(lines(f"{name}_before"), lines(name), n=0, lineterm="")
    added = [line for line in found if line.startswith("+") and not line.startswith("+++")]
    assert len(added) <= 12, added
    assert all(any(word in line for line in added) for word in GAINED)
    assert any("MixedPrecisionTrainer" in line or "amp_mode" in line for line in added)


@pytest.mark.parametrize("suffix", ["_before", ""])
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs(monkeypatch, capsys, tmp_path, name, suffix):
    monkeypatch.chdir(tmp_path)
    _, found = module(name + suffix).main(*data(name))
    assert found
    assert "epoch" in capsys.readouterr().out
    assert bool(list(tmp_path.glob("checkpoints/*.pt"))) == (not suffix)


class FailedError(Exception):
    pass


@pytest.mark.parametrize("fails_after", [1, 2, 3])
@pytest.mark.parametrize("name", SCRIPTS)
def test_what_an_error_cuts_is_resumed_to_the_bit(monkeypatch, tmp_path, name, fails_after):
    epochs = 20 if name == "ignite_update" else 4
    expected, _ = module(name).main(*data(name), epochs=epochs, folder=tmp_path / "whole")
    reports = iter(range(1, fails_after + 1))

    def report(*_):
        if next(reports, None) == fails_after:
            raise FailedError

    monkeypatch.setattr(module(name), "print", report, raising=False)
    try:
        module(name).main(*data(name), epochs=epochs, folder=tmp_path / "cut")
    except FailedError:
        assert fails_after <= epochs
    found, _ = module(name).main(*data(name), epochs=epochs, folder=tmp_path / "cut")
    assert equal(expected.state_dict(), found.state_dict())


PROGRAM = """
import sys, hashlib, importlib.util, warnings
warnings.simplefilter("ignore")
spec = importlib.util.spec_from_file_location("script", sys.argv[1])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
data = getattr(script, sys.argv[2])()
model, _ = script.main(*(data if isinstance(data, tuple) else [data]), folder=sys.argv[3])
print("weights", hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.state_dict().values())).hexdigest())
"""


def start(name, folder):
    command = [sys.executable, "-c", PROGRAM, str(FOLDER / f"{name}.py"), SCRIPTS[name], str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_killed_is_resumed_to_the_bit(tmp_path, name):
    expected = start(name, tmp_path / "whole").communicate(timeout=300)[0].splitlines()[-1]
    draw, kills = random.Random(0), 0
    while True:
        process = start(name, tmp_path / "killed")
        try:
            found = process.communicate(timeout=draw.uniform(3.5, 8) if kills < 4 else 300)[0].splitlines()[-1]
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()  # also closes what it wrote to
            kills += 1
    assert found == expected
    assert found.startswith("weights")
