"""Gradients of every kind are measured and scaled alike: dense, sparse, in half precision, of several types at once."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_recipes import (
    GradientClipper,
    MixedPrecisionTrainer,
    NonFiniteGuard,
    TrainEvents,
    TrainingStability,
    clip_grad_norm,
    create_trainer,
)
from ignite_recipes.engine.gradients import gradients_of, total_norm

X, Y = torch.randint(0, 10, (30, 2)), torch.randn(30, 1)


def words(sparse):
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(10, 4, sparse=sparse), nn.Flatten(), nn.Linear(8, 1))


def loss_fn(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_sparse_gradients_train_as_dense_ones_do_with_all_that_looks_at_gradients(accumulation_steps):
    results = []
    for sparse in (False, True):
        model = words(sparse)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer = create_trainer(model, optimizer, loss_fn, seed=0, accumulation_steps=accumulation_steps)
        clipper = GradientClipper(0.5).attach(trainer)
        NonFiniteGuard("skip").attach(trainer)
        TrainingStability(every=1).attach(trainer)
        trainer.run(list(zip(X.split(8), Y.split(8), strict=True)), max_epochs=3)
        results.append([*model.state_dict().values(), torch.tensor(clipper.get_stats()["mean_norm"])])
    for dense, sparse in zip(*results, strict=True):
        torch.testing.assert_close(dense, sparse)


def test_a_sparse_gradient_that_is_not_finite_is_named():
    model = words(sparse=True)
    trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, seed=0)
    NonFiniteGuard("skip").attach(trainer)
    data = [(X[:8], Y[:8]), (X[8:16], torch.full((8, 1), float("inf")))]
    trainer.run(data, max_epochs=1)
    assert trainer.progress.skipped_steps == 1
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("others", [[], [torch.float32]], ids=["alone", "among others"])
def test_finite_gradients_in_half_precision_have_a_finite_norm_and_are_clipped_to_it(dtype, others):
    parameters = [nn.Parameter(torch.zeros(100, dtype=kind)) for kind in (dtype, *others)]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 2e4)
    expected = 2e4 * (100 * len(parameters)) ** 0.5
    assert expected > torch.finfo(torch.float16).max
    norm = clip_grad_norm(parameters, max_norm=1.0)
    assert norm.item() == pytest.approx(expected, rel=1e-2)
    assert total_norm(gradients_of(parameters)).item() == pytest.approx(1.0, rel=1e-2)


def test_parameters_that_are_added_to_the_optimizer_are_clipped():
    model = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
    trainer = create_trainer(model, optimizer, lambda m, x, batch: {"loss": 1000 * m(x).square().mean()}, seed=0)
    GradientClipper(1.0).attach(trainer)
    norms = []

    @trainer.on(TrainEvents.EPOCH_TRAINED)
    def thaw():
        if trainer.state.epoch == 1:
            optimizer.add_param_group({"params": list(model[0].requires_grad_(True).parameters())})

    trainer.add_event_handler(
        TrainEvents.OPTIMIZER_STEP_STARTED, lambda: norms.append(total_norm(gradients_of(model.parameters())).item())
    )
    trainer.run([torch.randn(8, 4)] * 3, max_epochs=2)
    assert len(optimizer.param_groups) == 2
    assert max(norms) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("with_gradients", [True, False])
def test_a_step_without_any_gradient_is_taken_as_torch_takes_it(with_gradients):
    precision = MixedPrecisionTrainer(device="cpu", dtype=torch.float16)
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    if with_gradients:
        precision.scale_loss(parameter.sum()).backward()
    precision.unscale_gradients(optimizer)
    assert precision.step_optimizer(optimizer)
    assert parameter.item() == (0.0 if with_gradients else 1.0)


@pytest.mark.parametrize("policy", ["skip", "raise"])
def test_on_an_engine_of_ones_own_the_scale_finds_its_size_and_the_guard_drops_what_is_bad(policy):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
    precision = MixedPrecisionTrainer(device="cpu", dtype=torch.float16)

    def update(engine, batch):
        optimizer.zero_grad()
        with precision.autocast():
            loss = (model(batch).float() * 30).square().mean()
        precision.scale_loss(loss).backward()
        precision.unscale_gradients(optimizer)
        engine.fire_event(TrainEvents.GRADIENTS_READY)
        taken.append(precision.step_optimizer(optimizer))

    engine, taken = Engine(update), []
    engine.register_events(*TrainEvents)
    guard = NonFiniteGuard(policy).attach(engine, model, precision=precision)
    data = [torch.ones(4, 2)] * 30
    if policy == "skip":
        data[20] = torch.full((4, 2), float("nan"))
    engine.run(data)
    assert not taken[0]  # the first scale is too large
    assert taken[19]
    assert taken.count(False) == taken.index(True) + (policy == "skip")
    assert guard.num_skipped == 0  # the scaler drops and counts
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_gradients_that_are_freed_after_unscaling_are_a_dropped_step():
    precision = MixedPrecisionTrainer(device="cpu", dtype=torch.float16)
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.25)
    taken = []
    for freed in (True, False):
        optimizer.zero_grad()
        precision.scale_loss(parameter.sum()).backward()
        precision.unscale_gradients(optimizer)
        if freed:
            optimizer.zero_grad()
        taken.append(precision.step_optimizer(optimizer))
    assert taken == [False, True]
    assert parameter.item() == 0.75


def test_an_optimizer_that_is_unscaled_and_steps_every_other_time_only_holds_nobody_up():
    precision, parameters, optimizers = two_optimizers()
    for number in range(4):
        if number:
            for optimizer in optimizers:
                optimizer.zero_grad()
            precision.scale_loss(2 * parameters[0].sum() + 3 * parameters[1].sum()).backward()
        for optimizer in optimizers:
            precision.unscale_gradients(optimizer)
        assert precision.step_optimizer(optimizers[0])
        if number % 2:
            assert precision.step_optimizer(optimizers[1])
    assert [parameter[0].item() for parameter in parameters] == [1 - 4 * 2.0, 1 - 2 * 3.0]


def two_optimizers():
    parameters = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizers = [torch.optim.SGD([parameter], lr=1.0) for parameter in parameters]
    precision = MixedPrecisionTrainer(device="cpu", dtype=torch.float16)
    precision.scale_loss(2 * parameters[0].sum() + 3 * parameters[1].sum()).backward()
    return precision, parameters, optimizers


@pytest.mark.parametrize("bad", [None, 0, 1])
@pytest.mark.parametrize("in_turn", [False, True], ids=["all unscaled, then all stepped", "one after the other"])
def test_two_optimizers_share_one_scale_and_each_is_unscaled_once(in_turn, bad):
    precision, parameters, optimizers = two_optimizers()
    scale = precision.scaler.get_scale()
    if bad is not None:
        parameters[bad].grad.fill_(float("inf"))
    taken = []
    for optimizer in [] if in_turn else optimizers:
        precision.unscale_gradients(optimizer)
    for optimizer in optimizers:
        if in_turn:
            precision.unscale_gradients(optimizer)
        taken.append(precision.step_optimizer(optimizer))
    assert taken == [bad != 0, bad != 1]
    expected = [1.0 if bad == k else 1.0 - slope for k, slope in enumerate((2.0, 3.0))]
    assert [parameter[0].item() for parameter in parameters] == expected
    assert precision.scaler.get_scale() == (scale if bad is None else scale / 2)
