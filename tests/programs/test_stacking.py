"""A step that is stacked computes for each run what it computes for one, whatever their number."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.interpreted import interpreted
from torch import nn

from ignite_recipes.programs import host_program
from ignite_recipes.programs.stacking import stack_program
from ignite_recipes.programs.trace import TraceError, trace


def losses(x, w):
    hidden = torch.nn.functional.layer_norm(x @ w, (4,)).relu()
    return [nn.functional.cross_entropy(hidden, x.argmax(1)), hidden.clamp(0, 0.5).sum(0)]


def changes(x, w):
    w.mul_(0.5).clamp_(min=-0.1)
    return [(x @ w).square().mean()]


def gathers(x, w):
    order = x.argsort(1)
    return [(x @ w).gather(1, order[:, :2]), torch.cat([x, x.flip(0)])[1:4]]


FUNCTIONS = {"losses": losses, "changes in place": changes, "gathers": gathers}
EXAMPLE = [torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.randn(3, 4)]
GRAPHS = {}


def stacked(name):
    if name not in GRAPHS:
        GRAPHS[name] = stack_program(trace(FUNCTIONS[name], EXAMPLE, decompose=False), EXAMPLE)
    return interpreted(GRAPHS[name], [])


@pytest.mark.parametrize("name", FUNCTIONS)
@given(runs=st.integers(2, 9), seed=st.integers(0, 9))
def test_each_run_has_what_it_has_alone(name, runs, seed):
    draw = torch.Generator().manual_seed(seed)
    xs, ws = torch.randn(runs, 5, 3, generator=draw), torch.randn(runs, 3, 4, generator=draw)
    alone = [w.clone() for w in ws]
    expected = [FUNCTIONS[name](x, w) for x, w in zip(xs, alone, strict=True)]
    found = stacked(name)([xs, ws])
    for k, of_run in enumerate(expected):
        for one, other in zip(found, of_run, strict=True):
            torch.testing.assert_close(one[k], other, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ws[k], alone[k], rtol=1e-6, atol=1e-7)


def test_what_torch_cannot_stack_is_refused_in_one_line():
    traced = trace(lambda x: [torch.histc(x, 4)], [EXAMPLE[0]], decompose=False)
    with pytest.raises(TraceError, match="cannot be stacked, aten::histc hit") as told:
        stack_program(traced, [EXAMPLE[0]])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Upsample(scale_factor=2)])
def test_operations_over_images_are_refused_since_their_compiled_programs_are_wrong(layer):
    image = torch.rand(2, 1, 8, 8)
    traced = trace(lambda x: [layer(x)], [image], decompose=False)
    with pytest.raises(TraceError, match="it has an operation over images, "):
        stack_program(traced, [image])


def test_a_program_that_is_right_for_its_own_number_of_runs_only_is_refused():
    graph = stack_program(trace(lambda x, w: [(x @ w).sum()], EXAMPLE, decompose=False), EXAMPLE)
    four = [torch.stack([tensor] * 4) for tensor in EXAMPLE]
    host_program._check_numbers(interpreted(graph, []), graph, four)
    wrong = lambda inputs: [output * (1 if len(output) == 4 else 1.2) for output in graph(*inputs)]  # noqa: E731
    with pytest.raises(host_program.CompileError, match="computes wrong numbers"):
        host_program._check_numbers(wrong, graph, four)
