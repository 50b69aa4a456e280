"""A trace is faithful: it computes what the function computes, draws what its keys say, and refuses the rest."""

import random

import numpy as np
import pytest
import torch
from support.interpreted import interpreted
from torch import nn
from torch.nn.functional import dropout

from ignite_recipes.programs.host_program import compile_for_host
from ignite_recipes.programs.trace import TraceError, trace

ROWS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def run(function, *arguments, keys=(), make=interpreted):
    """The outputs of the traced function."""
    traced = trace(function, arguments)
    inputs = [*arguments, torch.tensor([*keys, 0], dtype=torch.int64), *traced.constants]
    return make(traced, inputs)(inputs)


def test_what_a_function_computes_and_changes_in_place():
    def function(x, total):
        total.add_(x.sum())
        return [x.square().mean(), total * 2]

    total = torch.tensor(1.0)
    mean, double = run(function, ROWS, total)
    assert mean == ROWS.square().mean()
    assert total == 1 + ROWS.sum()
    assert double == 2 * total


def test_gradients_are_part_of_it():
    def function(x, w):
        w = w.detach().requires_grad_()
        (gradient,) = torch.autograd.grad((x @ w).tanh().sum(), [w])
        return [gradient]

    weight = torch.ones(3)
    (found,) = run(function, ROWS, weight)
    torch.testing.assert_close(found, ((1 - (ROWS @ weight).tanh() ** 2)[:, None] * ROWS).sum(0))


def test_other_tensors_are_inputs_so_that_changes_of_them_count():
    factor = torch.tensor(2.0)
    traced = trace(lambda x: [x * factor], [ROWS])
    assert traced.constants == [factor]
    program = interpreted(traced, [])
    keys = torch.zeros(1, dtype=torch.int64)
    assert torch.equal(program([ROWS, keys, *traced.constants])[0], ROWS * 2)
    factor.fill_(3.0)
    assert torch.equal(program([ROWS, keys, *traced.constants])[0], ROWS * 3)


DRAWS = {
    "rand": (lambda x: torch.rand(200_000), 0.5, 12**-0.5),
    "randn_like": (lambda x: torch.randn_like(x.new_empty(200_000)), 0.0, 1.0),
    "dropout": (lambda x: dropout(torch.ones(200_000), 0.25), 1.0, (1 / 3) ** 0.5),
    "bernoulli": (lambda x: torch.bernoulli(torch.full((200_000,), 0.25)), 0.25, (3 / 16) ** 0.5),
    "bernoulli in place": (lambda x: torch.empty(200_000).bernoulli_(0.25), 0.25, (3 / 16) ** 0.5),
    "randint": (lambda x: torch.randint(2, 12, (200_000,)).float(), 6.5, (99 / 12) ** 0.5),
    "uniform in place": (lambda x: torch.empty(200_000).uniform_(-1, 3), 1.0, 4 / 12**0.5),
    "normal in place": (lambda x: torch.empty(200_000).normal_(2.0, 3.0), 2.0, 3.0),
    "exponential": (lambda x: torch.empty(200_000).exponential_(2.0), 0.5, 0.5),
    "gumbel": (lambda x: -torch.empty(200_000).exponential_().log(), 0.5772, 1.2825),
}


@pytest.mark.parametrize(("draw", "mean", "deviation"), DRAWS.values(), ids=DRAWS)
def test_draws_have_their_distribution_and_depend_on_their_key_only(draw, mean, deviation):
    check_draws(draw, mean, deviation, interpreted)


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "mean", "deviation"), DRAWS.values(), ids=DRAWS)
def test_compiled_draws_have_their_distribution_and_depend_on_their_key_only(draw, mean, deviation):
    check_draws(draw, mean, deviation, compile_for_host)


def check_draws(draw, mean, deviation, make):
    def function(x):
        return [draw(x)]

    traced = trace(function, [ROWS])
    assert traced.num_keys == 1
    inputs = [ROWS, torch.zeros(1, dtype=torch.int64), *traced.constants]
    program = make(traced, inputs)

    def drawn(key):
        torch.manual_seed(key)  # which must not matter
        return program([ROWS, torch.tensor([key]), *traced.constants])[0].clone()

    first, again, other = drawn(5), drawn(5), drawn(6)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    error = 5 * deviation / len(first) ** 0.5
    for values in (first, other):
        assert values.double().mean().item() == pytest.approx(mean, abs=error)
        assert values.double().std().item() == pytest.approx(deviation, rel=0.02)


def test_a_number_that_is_read_is_read_in_each_run():
    traced = trace(lambda x: [x * x.sum().item()], [ROWS])
    for rows in (ROWS, 2 * ROWS):
        assert torch.equal(interpreted(traced, [])([rows, torch.zeros(1, dtype=torch.int64)])[0], rows * rows.sum())


def test_two_draws_have_two_keys_and_nothing_of_torchs_generator_is_used():
    def function(x):
        return [torch.rand(1000), torch.rand(1000)]

    before = torch.default_generator.get_state()
    one, two = run(function, ROWS, keys=(1, 2))
    assert torch.equal(before, torch.default_generator.get_state())
    assert not torch.equal(one, two)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.15


REFUSED = {
    "a value decides": (lambda x: [x if x.sum() > 0 else -x], "GuardOnDataDependent|data-dependent|bool"),
    "Python's generator": (lambda x: [x * random.random()], "Python's or NumPy's generator"),
    "NumPy's generator": (lambda x: [x * np.random.rand()], "Python's or NumPy's generator"),
    "a generator of its own": (lambda x: [x + torch.rand(3, generator=torch.Generator())], "generator of its own"),
    "permutations": (lambda x: [x[torch.randperm(5)]], "in a way that a program does not know"),
}


@pytest.mark.parametrize(("function", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_traced_faithfully_is_refused_in_one_line(function, reason):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    with pytest.raises(TraceError, match=reason) as error:
        trace(function, [ROWS])
    assert "\n" not in str(error.value)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states


def test_dropout_in_a_module_is_one_draw_and_none_in_evaluation():
    layer = nn.Dropout(0.5)
    assert trace(lambda x: [layer(x)], [ROWS]).num_keys == 1
    layer.eval()
    assert trace(lambda x: [layer(x)], [ROWS]).num_keys == 0


@pytest.mark.slow
def test_compiled_it_computes_the_same():
    def function(x, total):
        total.add_(x.sum())
        return [x.square().mean(), total * 2]

    total = torch.tensor(1.0)
    mean, double = run(function, ROWS, total, make=compile_for_host)
    torch.testing.assert_close(mean, ROWS.square().mean())
    torch.testing.assert_close(total, 1 + ROWS.sum())
    torch.testing.assert_close(double, 2 * total)
