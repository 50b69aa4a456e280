"""A loss's scale inside a program is that of torch's GradScaler, whatever happens to the gradients."""

import math

import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ignite_recipes.programs.loss_scale import LossScale
from ignite_recipes.programs.part import OVERFLOW, STOPPED, StepValues

CPU = torch.device("cpu")
GRADIENTS = st.sampled_from([0.5, -3.0, 0.0, 1e38, math.inf, -math.inf, math.nan])


def scaler_of(init_scale=8.0, growth=2.0, backoff=0.5, interval=2):
    return torch.amp.GradScaler(
        "cpu", init_scale=init_scale, growth_factor=growth, backoff_factor=backoff, growth_interval=interval
    )


def state(scaler):
    return scaler.state_dict()


@example(steps=[[0.5], [0.5]], init_scale=2.0**127, growth=2.0, backoff=0.5, interval=1)
@given(
    steps=st.lists(st.lists(GRADIENTS, min_size=1, max_size=3), max_size=12),
    init_scale=st.sampled_from([1e-3, 1.0, 65536.0, 2.0**127]),  # twice the last one is not finite
    growth=st.floats(1.01, 4.0),
    backoff=st.floats(0.1, 0.99),
    interval=st.integers(1, 3),
)
def test_it_is_the_scaler_for_any_gradients(steps, init_scale, growth, backoff, interval):
    theirs, ours = (scaler_of(init_scale, growth, backoff, interval) for _ in range(2))
    scale = LossScale(ours, CPU)
    for step in steps:
        weights = [torch.nn.Parameter(torch.zeros(2)) for _ in step]
        optimizer = torch.optim.SGD(weights, lr=0.0)
        loss = theirs.scale(torch.ones(()))
        torch.testing.assert_close(scale.scaled(torch.ones(()), scale.carried), loss, rtol=0, atol=0)
        for weight, value in zip(weights, step, strict=True):
            weight.grad = torch.tensor([1.0, value])
        values = StepValues(gradients=[weight.grad.clone() for weight in weights])
        theirs.unscale_(optimizer)
        theirs.step(optimizer)
        theirs.update()
        scale.unscale(values, scale.carried)
        scale.adapt(values, scale.carried)
        for weight, gradient in zip(weights, values.gradients, strict=True):
            torch.testing.assert_close(gradient, weight.grad, equal_nan=True, rtol=0, atol=0)
        assert (values.drop == OVERFLOW) == any(not math.isfinite(value) for value in step)
        assert state(ours) == state(theirs)


def test_a_step_after_one_that_was_dropped_leaves_the_scale_as_it_is():
    scaler = scaler_of(interval=1)
    scale = LossScale(scaler, CPU)
    before = state(scaler)
    for drop in (STOPPED, STOPPED + OVERFLOW):
        scale.adapt(StepValues(drop=torch.tensor(float(drop))), scale.carried)
    assert state(scaler) == before


def test_a_loss_that_is_not_finite_has_no_finite_gradient():
    scale = LossScale(scaler_of(), CPU)
    weight = torch.zeros((), requires_grad=True)
    scale.scaled(weight + math.inf, scale.carried).backward()
    assert weight.grad.isnan()
