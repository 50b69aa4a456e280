"""The two precisions are compared seed by seed, on what the commands' own logs say of their best epochs."""

import pytest

from benchmarks import precision as benchmark


def test_means_spreads_and_differences_are_of_the_best_epochs(tmp_path, monkeypatch):
    def log(command, kind, seed, folder):
        worse = 0.5 if kind == "bfloat16" else 0.0
        return {"val_loss": [9.0, 1.0 + seed + worse, 7.0], "val_accuracy": [10.0, 90.0 + 2 * seed - worse, 50.0]}

    monkeypatch.setattr(benchmark, "_log", log)
    lines = benchmark.precision(tmp_path, seeds=3).splitlines()
    assert lines[0] == "| best epoch, 3 seeds | float32 | bfloat16 | bfloat16 less float32, seed by seed |"
    assert lines[2] == "| VAE, nats per checklist | 2.000 ± 1.000 | 2.500 ± 1.000 | 0.500 ± 0.000 |"
    assert lines[4] == "| digits, accuracy in % | 92.000 ± 2.000 | 91.500 ± 2.000 | -0.500 ± 0.000 |"


def test_the_log_is_that_of_a_run_in_that_precision_and_a_failure_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(benchmark.COMMANDS, "classify", ["--model", "mlp", "--epochs", "1", "--batch-size", "256"])
    log = benchmark._log("classify", "bfloat16", 3, tmp_path)
    assert len(log["val_accuracy"]) == 1
    text = (tmp_path / "classify_bfloat16_3" / "exp1" / "config.yaml").read_text()
    assert "precision: bfloat16" in text
    assert "seed: 3" in text
    with pytest.raises(RuntimeError, match=r"classify .* failed: .*precision must be one of"):
        benchmark._log("classify", "float8", 3, tmp_path)
