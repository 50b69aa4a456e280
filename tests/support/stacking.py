"""Steps of several runs without a compiler, and how many of them each call computes."""

from ignite_recipes.together import stacked
from ignite_recipes.together.portions import Portions
from support.interpreted import interpreted


def note_calls(monkeypatch, note):
    """Without a compiler, and all runs at once; ``note`` is called with their number before each call of a program."""
    compute = stacked.StackedSteps.compute

    def counted(steps, members, pairs):
        before = steps._run

        def run(inputs):
            note(len(inputs[0]))
            return before(inputs)

        steps._run = run
        try:
            compute(steps, members, pairs)
        finally:
            steps._run = before

    monkeypatch.setattr(Portions, "_size", lambda portions, count: count)
    monkeypatch.setattr(stacked, "compile_for_host", interpreted)
    monkeypatch.setattr(stacked.StackedSteps, "compute", counted)
