"""The benchmark of the presets trains each of them with every seed, and compares them."""

import re

from benchmarks import presets


def test_each_preset_has_its_mean_and_is_compared_with_the_best(tmp_path, monkeypatch):
    kept = {name: presets.PRESETS[name] for name in ("defaults", "nothing on")}
    monkeypatch.setattr(presets, "PRESETS", kept)
    monkeypatch.setenv("IGNITE_RECIPES_CACHE", str(tmp_path / "cache"))
    text = presets.presets(tmp_path / "runs", seeds=2, epochs=1)
    rows = re.findall(r"\| ([a-z ]+?) \| ([\d.]+) \([-\d.]+ to [\d.]+\) \| ([\d.]+) \(", text)
    assert [row[0] for row in rows] == list(kept)
    assert all(1 < float(accuracy) <= 100 for _, accuracy, _ in rows)
    assert len(re.findall(r"better|told apart", text)) == 1
