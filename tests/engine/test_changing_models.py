"""A model that changes during its run: what can follow it does, what no longer fits is said, nothing crashes."""

import pytest
import torch
from ignite.engine import Events
from torch import nn
from torch.nn.utils import prune

from ignite_recipes import (
    EarlyStopping,
    EpochAverages,
    ExponentialMovingAverage,
    GradientClipper,
    NonFiniteGuard,
    TrainEvents,
    TrainingStability,
    Validation,
    create_evaluator,
    create_trainer,
    train_model_advanced,
)

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
DATA = list(zip(X.split(8), X.sum(1, keepdim=True).split(8), strict=True))


def loss_fn(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


def a_run(model):
    trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.01), loss_fn, seed=0)
    GradientClipper(1.0).attach(trainer)
    NonFiniteGuard("skip").attach(trainer)
    average = ExponentialMovingAverage(0.5).attach(trainer)
    evaluator = create_evaluator(model, loss_fn)
    EpochAverages().attach(evaluator)
    Validation(evaluator, DATA).attach(trainer)
    stopping = EarlyStopping(9, 0.0, verbose=False).attach(trainer)
    TrainingStability(every=1).attach(trainer)
    return trainer, average, stopping


def set_head(model, optimizer, head):
    model[1] = head
    optimizer.add_param_group({"params": list(head.parameters())})


def deeper():
    return nn.Sequential(nn.Linear(8, 3), nn.Linear(3, 1))


CHANGES = {
    "another head": lambda model, optimizer: set_head(model, optimizer, nn.Linear(8, 1)),
    "a deeper head": lambda model, optimizer: set_head(model, optimizer, deeper()),
    "pruned": lambda model, optimizer: prune.l1_unstructured(model[0], "weight", amount=0.5),
    "parametrised": lambda model, optimizer: nn.utils.parametrizations.weight_norm(model[0]),
    "another buffer": lambda model, optimizer: model.register_buffer("extra", torch.zeros(3)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_average_and_the_best_weights_follow_the_model(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    trainer, average, _ = a_run(model)

    @trainer.on(Events.EPOCH_STARTED)
    def change():
        if trainer.state.epoch == 3:
            CHANGES[name](model, trainer.optimizer)

    trainer.run(DATA, max_epochs=5)
    assert trainer.state.epoch == 5
    averaged = average.state_dict()["weights"]
    assert {key: value.shape for key, value in averaged.items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }


def test_best_weights_of_a_model_that_was_another_are_left_out_and_it_is_said(caplog):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    trainer, _, stopping = a_run(model)
    last = {}

    @trainer.on(Events.EPOCH_STARTED)
    def change():
        if trainer.state.epoch == 3:
            head = deeper()
            nn.init.constant_(head[1].bias, 100.0)  # a bad one
            set_head(model, trainer.optimizer, head)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: last.update(average=model[0].weight.clone()))
    trainer.run(DATA, max_epochs=4)
    assert stopping.best_epoch == 2
    assert "the model was changed after epoch 2" in caplog.text
    assert torch.equal(model[0].weight, last["average"])  # the average, which the run would end with anyway


def test_a_replaced_layer_begins_an_average_of_its_own():
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    average = ExponentialMovingAverage(0.9, warmup=False)
    average.set_model(model)
    model[0] = nn.Linear(4, 1, bias=False)
    assert torch.equal(average.state_dict()["weights"]["0.weight"], model[0].weight)


def test_a_layer_that_is_replaced_inside_an_epoch_is_averaged_and_protected_from_the_next_step_on():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.0), loss_fn, seed=0)
    NonFiniteGuard("skip").attach(trainer)
    average = ExponentialMovingAverage(0.5, warmup=False).attach(trainer)

    @trainer.on(Events.ITERATION_COMPLETED(once=2))
    def replace():
        set_head(model, trainer.optimizer, nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 1)))

    @trainer.on(Events.ITERATION_COMPLETED(once=3))
    def move():
        nn.init.constant_(model[1][1].bias, 1.0)

    bad = (DATA[0][0] * float("nan"), DATA[0][1])
    before = {}
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda: before.update(bias=model[1][1].bias.clone()))
    trainer.run([*DATA[:3], bad], max_epochs=1)
    assert trainer.progress.skipped_steps == 1
    assert model[1][0].running_mean.isfinite().all()
    assert model[1][0].num_batches_tracked == 1
    assert average.state_dict()["weights"]["1.1.bias"].isfinite().all()


LAZY = {
    "recipe": {},
    "average": {"ema_decay": 0.9},
    "rollback": {"non_finite": "rollback"},
    "skip": {"non_finite": "skip"},
}


@pytest.mark.parametrize("name", LAZY)
def test_lazy_layers_are_sized_before_anything_looks_at_them(name, tmp_path):
    model = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(1))
    result = train_model_advanced(
        model, DATA, DATA, epochs=3, device="cpu", verbose=False, seed=0, checkpoint_dir=tmp_path, **LAZY[name]
    )
    assert result["history"]["train_loss"][-1] < result["history"]["train_loss"][0]
    assert model[1].num_batches_tracked == 3 * len(DATA) or name == "average" or result["best_epoch"] < 3


@pytest.mark.parametrize("accumulation_steps", [1, 2, 3])
@pytest.mark.parametrize("stop", [1, 3, 5])
@pytest.mark.parametrize("by", ["max_iters", "an error"])
def test_batches_that_are_trained_again_count_once_in_running_statistics(accumulation_steps, stop, by):
    def a_trainer():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        return create_trainer(model, optimizer, loss_fn, seed=0, accumulation_steps=accumulation_steps)

    whole, cut = a_trainer(), a_trainer()
    whole.run(DATA, max_epochs=2)
    if by == "max_iters":
        cut.run(DATA, max_iters=stop)
    else:
        causes = [ArithmeticError("once")]

        @cut.on(TrainEvents.LOSSES_READY)
        def fail():
            if cut.state.iteration == stop and causes:
                raise causes.pop()

        with pytest.raises(ArithmeticError, match="once"):
            cut.run(DATA, max_epochs=2)
    cut.run(DATA, max_epochs=2)
    for expected, value in zip(whole.model.state_dict().values(), cut.model.state_dict().values(), strict=True):
        assert torch.equal(expected, value)


class Centred(nn.Module):
    """Running statistics that are put in the place of the old ones."""

    def __init__(self, grows=False):
        super().__init__()
        self.linear, self.grows = nn.Linear(4, 1), grows
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            if self.grows:
                self.seen = torch.cat([self.seen, x.detach().mean()[None]])
        return self.linear(x - self.mean)


@pytest.mark.parametrize("grows", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_a_dropped_step_leaves_no_trace_in_statistics_that_are_reassigned(grows, fused):
    models = []
    for data in (DATA, [DATA[0], (DATA[0][0] * float("nan"), DATA[0][1]), *DATA[1:]]):
        torch.manual_seed(0)
        model = Centred(grows)
        trainer = create_trainer(model, torch.optim.Adam(model.parameters(), fused=fused), loss_fn, seed=0)
        trainer.updates.first.veto_lag = 4 if fused else 0  # as on an accelerator
        NonFiniteGuard("skip").attach(trainer)
        trainer.run(data, max_epochs=2)
        assert trainer.progress.skipped_steps == (0 if data is DATA else 2)
        models.append(model)
    for clean, spoilt in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        torch.testing.assert_close(clean, spoilt, rtol=0, atol=0)
