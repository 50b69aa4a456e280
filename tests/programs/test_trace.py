"""A trace is faithful: it computes what the function computes, with the same random numbers, and refuses the rest."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from support.interpreted import interpreted
from torch import nn
from torch.nn.functional import dropout, gumbel_softmax

from ignite_recipes.programs.host_program import compile_for_host
from ignite_recipes.programs.trace import TraceError, draws_so_far, trace

ROWS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def run(function, *arguments, make=interpreted):
    """The outputs of the traced function."""
    traced = trace(function, arguments)
    inputs = [*arguments, *(draw() for draw in traced.draws), *traced.constants]
    return make(traced.graph, inputs)(list(inputs))


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
    program = interpreted(traced.graph, [])
    assert torch.equal(program([ROWS, *traced.constants])[0], ROWS * 2)
    factor.fill_(3.0)
    assert torch.equal(program([ROWS, *traced.constants])[0], ROWS * 3)


@pytest.mark.slow  # torch's compiler
def test_a_compiled_program_reads_them_too():
    factor = torch.tensor(2.0)
    traced = trace(lambda x: [x * factor], [ROWS])
    program = compile_for_host(traced.graph, [ROWS, factor])
    factor.fill_(3.0)
    assert torch.equal(program([ROWS, factor])[0], ROWS * 3)


DRAWS = {
    "rand": lambda x: torch.rand(2, 3),
    "randn in float64": lambda x: torch.randn(4, dtype=torch.float64),
    "randn_like": lambda x: torch.randn_like(x) + x,
    "dropout": lambda x: dropout(x, 0.25),
    "bernoulli in place": lambda x: torch.empty(7).bernoulli_(0.25),
    "randint": lambda x: torch.randint(2, 12, (5,)),
    "permutation": lambda x: x[torch.randperm(5)],
    "uniform in place, then changed": lambda x: torch.empty(5).uniform_(-1, 3).mul_(2),
    "normal in place": lambda x: torch.empty(5).normal_(2.0, 3.0),
    "gumbel": lambda x: gumbel_softmax(x, tau=0.5),
    "of a transposed tensor": lambda x: torch.rand_like(x.T),
    "dropout of a transposed tensor": lambda x: dropout(x.T.exp(), 0.25),
    "two": lambda x: torch.rand(3) + torch.randn(3),
}


def seeded(function):
    torch.manual_seed(7)
    return function()


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_random_numbers_are_those_of_the_function_after_the_same_seed(draw):
    check_draws(draw, interpreted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dropout", "uniform in place, then changed", "gumbel", "of a transposed tensor"])
def test_compiled_random_numbers_are_those_of_the_function_too(name):
    check_draws(DRAWS[name], compile_for_host)


def check_draws(draw, make):
    expected = [seeded(lambda: draw(ROWS)), draw(ROWS)]
    traced = trace(lambda x: [draw(x)], [ROWS])
    program = make(traced.graph, [ROWS, *(each() for each in traced.draws), *traced.constants])

    def drawn():
        return program([ROWS, *(each() for each in traced.draws), *traced.constants])[0].clone()

    for found, value in zip([seeded(drawn), drawn()], expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-6, atol=1e-6)
    assert not torch.equal(*expected)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_numbers_that_are_drawn_into_a_tensor_are_the_same(draw):
    for each in trace(lambda x: [draw(x)], [ROWS]).draws:
        place = torch.empty(2, *each.shape, dtype=each.dtype)[1]
        expected = seeded(each).clone()
        seeded(partial(each.into, place))
        assert torch.equal(place, expected)


@given(probability=st.floats(0, 1), size=st.integers(1, 70), seed=st.integers(0, 2**64 - 1))
@example(probability=0.5, size=3, seed=0)  # torch's default
@example(probability=1.0, size=3, seed=0)
@example(probability=0.0, size=3, seed=0)
def test_zeros_and_ones_are_those_that_torch_draws_and_leave_its_generator_as_it_does(probability, size, seed):
    def function(x):
        return [torch.empty(size, 2).bernoulli_(probability), torch.rand(1)]

    traced = trace(function, [ROWS])
    torch.manual_seed(seed)
    expected = function(ROWS)
    torch.manual_seed(seed)
    found = interpreted(traced.graph, [])([ROWS, *(each() for each in traced.draws)])
    assert traced.draws[0].dtype == torch.int64  # words of the generator
    assert all(map(torch.equal, found, expected))


def test_draws_are_counted_where_the_function_asks():
    counts = []

    def function(x):
        first = torch.rand(3) * dropout(x, 0.5)
        counts.append(draws_so_far())
        return [first + torch.rand(3)]

    assert len(trace(function, [ROWS]).draws) == 3
    assert counts == [2]
    assert draws_so_far() == 0


def test_a_number_that_is_read_is_read_in_each_run():
    traced = trace(lambda x: [x * x.sum().item()], [ROWS])
    for rows in (ROWS, 2 * ROWS):
        assert torch.equal(interpreted(traced.graph, [])([rows])[0], rows * rows.sum())


REFUSED = {
    "a seed": (lambda x: [torch.manual_seed(3) and torch.rand(3)], "sets torch's generator itself"),
    "a state of the generator": (lambda x: [torch.set_rng_state(torch.get_rng_state()) or x], "sets torch's generator"),
    "a value decides": (lambda x: [x if x.sum() > 0 else -x], "GuardOnDataDependent|data-dependent|bool"),
    "Python's generator": (lambda x: [x * random.random()], "Python's or NumPy's generator"),
    "NumPy's generator": (lambda x: [x * np.random.rand()], "Python's or NumPy's generator"),
    "its own generator": (lambda x: [x + torch.rand(3, generator=torch.Generator())], "own generator"),
    "a distribution that is computed": (lambda x: [torch.bernoulli(x.sigmoid())], "is computed in the step"),
    "... in place": (lambda x: [torch.empty(5, 3).bernoulli_(x.sigmoid())], "is computed in the step"),
    "a choice": (lambda x: [torch.multinomial(x.exp(), 1)], "is computed in the step"),
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
    assert len(trace(lambda x: [layer(x)], [ROWS]).draws) == 1
    layer.eval()
    assert trace(lambda x: [layer(x)], [ROWS]).draws == []


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
