"""The tables of whole recipes have each with compile="step" too, and say when its program pays."""

import pytest

from benchmarks import mlp, step, steps, traffic, vae
from benchmarks.measuring import Figures


@pytest.mark.parametrize("workload", [mlp, vae, traffic], ids=lambda workload: workload.__name__)
def test_the_recipe_as_one_program_stands_after_the_recipe(workload):
    found = steps.programs(workload)
    names = list(found)
    place = names.index('**... `compile="step"`**')
    assert found[names[place - 1]] is workload.recipe
    program = found[names[place]]
    assert step._module(program.args[0]) is workload
    assert program.keywords == {"compile": "step"}
    assert [name for name in names if name != names[place]] == list(workload.PROGRAMS)


def test_a_program_pays_after_the_epochs_that_gain_what_it_has_cost(monkeypatch):
    seconds = iter([20.0, 2.0, 20.0, 2.0])
    monkeypatch.setattr(step, "WORKLOADS", {"quick": ("mlp", {}), "slow": ("mlp", {})})
    monkeypatch.setattr(step, "in_turns", lambda of, *args, **kw: {name: Figures([next(seconds)], 0, 0) for name in of})
    lines = step._making({"quick": 0.5, "slow": -0.1}).splitlines()
    assert lines[2:] == ["| quick | 20.0 | 2.0 | 40 | 4 |", "| slow | 20.0 | 2.0 | never | never |"]
