"""Clipping is torch's, to the bit; non-finite norms touch nothing; statistics are exact and never wait."""

import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Events
from torch import nn

from ignite_recipes import GradientClipCallback, GradientClipper, TrainEvents, clip_grad_norm

NORM_TYPES = (1.0, 2.0, math.inf)
SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=4)
law = settings(deadline=None, max_examples=60)


def parameters_with_gradients(shapes, seed=0, scale=1.0):
    draw = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = scale * torch.randn(parameter.shape, generator=draw)
    return parameters


def gradients(parameters):
    return [None if p.grad is None else p.grad.clone() for p in parameters]


def same(first, second):
    """To the bit, so that NaN equals NaN."""
    return all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in zip(first, second, strict=True))


drawn = given(
    shapes=SHAPES,
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    max_norm=st.floats(0.1, 10),
    norm_type=st.sampled_from(NORM_TYPES),
)


@law
@drawn
def test_clips_like_torch_to_the_bit(shapes, seed, scale, max_norm, norm_type):
    ours, torchs = (parameters_with_gradients(shapes, seed, scale) for _ in range(2))
    norm = clip_grad_norm(ours, max_norm, norm_type)
    assert torch.equal(norm, nn.utils.clip_grad_norm_(torchs, max_norm, norm_type))
    assert same(gradients(ours), gradients(torchs))


@law
@drawn
def test_the_clipped_norm_is_within_the_bound_and_the_direction_stays(shapes, seed, scale, max_norm, norm_type):
    parameters = parameters_with_gradients(shapes, seed, scale)
    before = torch.cat([g.flatten() for g in gradients(parameters)])
    clip_grad_norm(parameters, max_norm, norm_type)
    after = torch.cat([g.flatten() for g in gradients(parameters)])
    assert torch.linalg.vector_norm(after, norm_type) <= max_norm * (1 + 1e-5)
    torch.testing.assert_close(after * before.norm(), before * after.norm(), rtol=1e-4, atol=1e-6)


@law
@drawn
def test_clipping_twice_equals_once(shapes, seed, scale, max_norm, norm_type):
    parameters = parameters_with_gradients(shapes, seed, scale)
    clip_grad_norm(parameters, max_norm, norm_type)
    once = gradients(parameters)
    clip_grad_norm(parameters, max_norm, norm_type)
    torch.testing.assert_close(gradients(parameters), once, rtol=2e-5, atol=0)


@law
@drawn
def test_below_the_bound_nothing_changes(shapes, seed, scale, max_norm, norm_type):
    parameters = parameters_with_gradients(shapes, seed, scale)
    before = gradients(parameters)
    norm = clip_grad_norm(parameters, 1e9, norm_type).item()
    clip_grad_norm(parameters, norm * 1.001 + 1e-5, norm_type)
    assert same(gradients(parameters), before)


# The last bound is below the millionth that torch adds to the norm, which makes its factor less than 1.
@pytest.mark.parametrize(("norm_type", "max_norm"), [(1.0, 1.0), (2.0, 1.0), (math.inf, 1.0), (3.0, 1.0), (2.0, 1e-7)])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_nonfinite_norm_leaves_every_gradient_as_it_was(bad, norm_type, max_norm):
    parameters = parameters_with_gradients([(2, 2), (3,)], scale=10.0)
    parameters[0].grad[0, 0] = bad
    before = gradients(parameters)
    norm = clip_grad_norm(parameters, max_norm, norm_type)
    assert not norm.isfinite()
    assert same(gradients(parameters), before)


def a_module(parameters):
    return nn.ParameterList(parameters).parameters()


@pytest.mark.parametrize("pass_as", [list, tuple, iter, a_module, lambda ps: (p for p in ps)])
def test_takes_any_iterable_and_passes_over_parameters_without_a_gradient(pass_as):
    parameters = [*parameters_with_gradients([(2,), (3,)], scale=10.0), nn.Parameter(torch.zeros(2))]
    expected = torch.cat([g for g in gradients(parameters) if g is not None]).norm()
    torch.testing.assert_close(clip_grad_norm(pass_as(parameters), 1.0), expected)
    torch.testing.assert_close(torch.cat([p.grad for p in parameters[:2]]).norm(), torch.tensor(1.0))
    assert parameters[2].grad is None


def test_takes_a_single_tensor():
    (parameter,) = parameters_with_gradients([(3,)], scale=10.0)
    clip_grad_norm(parameter, 1.0)
    torch.testing.assert_close(parameter.grad.norm(), torch.tensor(1.0))


@pytest.mark.parametrize("parameters", [[], [nn.Parameter(torch.zeros(2))]], ids=["no parameters", "no gradients"])
def test_without_any_gradient_the_norm_is_zero(parameters):
    assert clip_grad_norm(parameters, 1.0) == 0
    assert GradientClipper().clip(parameters) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_error_if_nonfinite_raises_before_anything_changes(bad):
    for clip in (
        lambda ps: clip_grad_norm(ps, 1.0, error_if_nonfinite=True),
        GradientClipper(error_if_nonfinite=True).clip,
    ):
        parameters = parameters_with_gradients([(2,), (1,)], scale=10.0)
        parameters[1].grad[0] = bad
        before = parameters[0].grad.clone()
        with pytest.raises(RuntimeError, match="non-finite"):
            clip(parameters)
        assert torch.equal(parameters[0].grad, before)


BAD_VALUES = [("max_norm", value) for value in (0.0, -1.0, math.nan)]
BAD_VALUES += [("norm_type", value) for value in (0.0, -2.0, math.nan)]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
@pytest.mark.parametrize("make", [lambda **kw: clip_grad_norm([], **kw), GradientClipper, GradientClipCallback])
def test_bad_values_are_refused_by_name(make, name, value):
    with pytest.raises(ValueError, match=f"{name} must be positive.*got {value}"):
        make(**{name: value})


# Statistics. The norm of a single gradient is its absolute value, so that a plain list knows them all.

NORMS = [[0.5, 3.0, math.nan, 1.0, math.inf, 0.25, 7.0 + step / 100][step % 7] for step in range(700)]
MAX_NORM = 1.0


def clip_norms(clipper, norms):
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    for norm in norms:
        parameter.grad = torch.tensor([norm], dtype=torch.float64)
        clipper.clip([parameter])


@pytest.mark.parametrize("count", [0, 1, 4, 5, 255, 256, 257, 700])
def test_statistics_are_those_of_a_plain_list(count):
    clipper = GradientClipper(MAX_NORM)
    clip_norms(clipper, NORMS[:count])
    finite = [norm for norm in NORMS[:count] if math.isfinite(norm)]
    clipped = sum(norm > MAX_NORM for norm in finite)
    assert clipper.get_stats() == pytest.approx(
        {
            "num_steps": count,
            "num_clipped": clipped,
            "clip_ratio": clipped / count if count else 0.0,
            "mean_norm": math.fsum(finite) / len(finite) if finite else 0.0,
            "max_norm": max(finite, default=0.0),
            "last_norm": NORMS[count - 1] if count else 0.0,
        },
        rel=1e-12,
        nan_ok=True,
    )


def test_counts_are_whole_numbers():
    stats = GradientClipper().get_stats()
    assert [type(value) for value in stats.values()] == [int, int, float, float, float, float]


@pytest.mark.parametrize("cut", [0, 1, 255, 256, 300, 699])
def test_saving_and_loading_anywhere_changes_no_statistic(task, cut):
    whole, first, second = (GradientClipper(MAX_NORM) for _ in range(3))
    clip_norms(whole, NORMS)
    clip_norms(first, NORMS[:cut])
    second.load_state_dict(task.filed(first.state_dict()))
    clip_norms(second, NORMS[cut:])
    assert task.same(second.get_stats(), whole.get_stats())


def test_statistics_do_not_grow_with_the_run():
    clipper = GradientClipper()
    clip_norms(clipper, NORMS * 2)
    assert clipper.state_dict()["buffer"]["values"].numel() < 256


# Attached.


@pytest.mark.parametrize("make", [GradientClipper, GradientClipCallback])
def test_attached_it_bounds_every_step_of_the_optimizer(task, make):
    trainer = task.trainer(lr=1.0)
    clip = make(max_norm=0.01).attach(trainer)
    lengths, norms = [], []

    def flat():
        return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])

    @trainer.on(Events.ITERATION_STARTED)
    def remember(engine):
        lengths.append(flat())

    @trainer.on(TrainEvents.OPTIMIZER_STEP_COMPLETED)
    def measure(engine):
        lengths[-1] = (flat() - lengths[-1]).norm().item()
        norms.append(engine.state.grad_norm.item())

    trainer.run(task.batches, max_epochs=2)
    assert lengths == pytest.approx([0.01] * 8, rel=1e-3)
    stats = clip.get_stats()
    assert (stats["num_steps"], stats["num_clipped"], stats["clip_ratio"]) == (8, 8, 1.0)
    assert stats["mean_norm"] == pytest.approx(sum(norms) / 8, rel=1e-6)
    assert stats["max_norm"] == max(norms) > 0.01


def test_attached_to_a_part_it_clips_that_part_only(task):
    trainer = task.trainer()
    GradientClipper(max_norm=1e-3).attach(trainer, trainer.model[0])
    norms = {}

    @trainer.on(TrainEvents.OPTIMIZER_STEP_STARTED)
    def measure(engine):
        norms.update({name: p.grad.norm().item() for name, p in engine.model.named_parameters()})

    trainer.run(task.batches, max_epochs=1)
    assert norms["0.weight"] <= 1e-3 < norms["3.weight"]


@pytest.mark.parametrize("make", [GradientClipper, GradientClipCallback])
def test_on_an_engine_of_ones_own_it_clips_the_named_model(task, make):
    model = task.model()
    engine = task.own_engine(model, torch.optim.SGD(model.parameters(), lr=0.1))
    clip = make(max_norm=1e-3).attach(engine, model)
    engine.run(task.batches, max_epochs=2)
    assert clip.get_stats()["num_clipped"] == 8
    assert torch.cat([p.grad.flatten() for p in model.parameters()]).norm() <= 1e-3


@pytest.mark.parametrize("make", [GradientClipper, GradientClipCallback])
def test_an_engine_that_fires_no_event_or_names_no_model_is_refused_with_a_remedy(task, make):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match=r"GRADIENTS_READY.*clip\(model\) between backward\(\) and step\(\)"):
        make().attach(task.own_engine(model, optimizer, events=False), model)
    with pytest.raises(RuntimeError, match=r"attach\(trainer, model\)"):
        make().attach(task.own_engine(model, optimizer))


# The callback, as its document shows it.


def test_callback_by_hand_clips_the_model_it_was_given(task):
    model = task.model()
    grad_clip = GradientClipCallback(max_norm=0.01)
    grad_clip.set_model(model)
    task.loss_fn(model, task.batches[0][0], task.batches[0])["loss"].backward()
    before = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    torch.testing.assert_close(grad_clip.on_after_backward(), before)
    after = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    torch.testing.assert_close(after, torch.tensor(0.01), rtol=1e-3, atol=0)


def test_callback_without_a_model_says_set_model():
    with pytest.raises(RuntimeError, match="set_model"):
        GradientClipCallback().on_after_backward()


@pytest.mark.parametrize(("verbose", "lines"), [(True, 3), (False, 0)])
def test_callback_attached_logs_once_an_epoch(task, caplog, verbose, lines):
    trainer = task.trainer()
    GradientClipCallback(max_norm=1e-3, verbose=verbose).attach(trainer)
    with caplog.at_level(logging.INFO, "ignite_recipes.handlers"):
        trainer.run(task.batches, max_epochs=3)
    assert len(caplog.messages) == lines
    assert all(f"clipped {4 * n} of {4 * n}" in line for n, line in enumerate(caplog.messages, 1))


@pytest.mark.parametrize(("verbose", "calls"), [(True, [1, 10, 100, 1000, 2000]), (False, [])])
def test_callback_by_hand_logs_from_the_first_call_on_and_then_every_thousand(caplog, verbose, calls):
    model = nn.Linear(1, 1, bias=False)
    model.weight.grad = torch.ones(1, 1)
    grad_clip = GradientClipCallback(max_norm=0.5, verbose=verbose)
    grad_clip.set_model(model)
    with caplog.at_level(logging.INFO, "ignite_recipes.handlers"):
        for _ in range(2100):
            grad_clip.on_after_backward()
    assert len(caplog.messages) == len(calls)
    assert all(f"of {n} gradients" in line for n, line in zip(calls, caplog.messages, strict=True))
