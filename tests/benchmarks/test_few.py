"""The benchmark on few checklists measures what it says, of the worlds that it says."""

import re

from benchmarks import few


def test_each_variant_is_measured_and_the_files_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(few, "NUM_CHECKLISTS", 400)
    monkeypatch.setattr(few, "NUM_TEST", 60)
    monkeypatch.setattr(few, "SAMPLES", 5)
    variants = {
        "one": {"num_epochs": 1},
        "two": {"num_epochs": 1, "as_torch": True, "batch_size": 64, "input_dropout": 0.5},
    }
    text = few.few_checklists(tmp_path, seeds=2, variants=variants)
    rows = re.findall(r"\| (.+?) \| ([\d.]+) ± ([\d.]+) \| ([\d.]+) ± ([\d.]+) \|", text)
    assert [row[0] for row in rows] == ["prevalence of each species, no model", "one", "two"]
    assert all(float(nll) <= float(bound) for _, nll, _, bound, _ in rows)
    assert list(tmp_path.iterdir()) == []
