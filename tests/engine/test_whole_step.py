"""With ``compile="step"`` a run is the same run but for roundings: resumed to the bit, judged, saved, undisturbed.

Most tests run what is traced one operation after the other (support/interpreted.py); compiled ones are marked slow.
"""

import itertools
import logging
import math

import numpy as np
import pytest
import torch
from ignite.engine import Events
from support.cuts import check_cuts
from support.equality import equal, weights
from support.interpreted import interpreted
from support.models import perceptron
from support.runs import make_run, measured
from support.small_recipes import RECIPES, every_recipe
from support.whole_steps import BATCH_SIZE, loader_of, loss_fn, regression, regressor
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    EpochAverages,
    ExponentialMovingAverage,
    GradientClipper,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NoiseAugmentation,
    NonFiniteError,
    NonFiniteGuard,
    ProgramPart,
    TrainEvents,
    TrainingStability,
    Update,
    create_trainer,
)
from ignite_recipes.checkpoint.resume_check import first_difference
from ignite_recipes.checkpoint.run import run_state
from ignite_recipes.engine import step_program, whole_step
from ignite_recipes.engine.step import TrainingStep

BATCHES, EPOCHS = 6, 3
ROWS, TARGETS = regression(BATCHES)


@pytest.fixture(autouse=True)
def programs(monkeypatch, request):
    """How many programs were made; without a compiler, unless a test is marked ``slow``."""
    made = []

    def compile_for_host(graph, arguments):
        made.append(graph)
        return interpreted(graph, arguments)

    if "compiled" not in request.node.name:
        monkeypatch.setattr(step_program, "compile_for_host", compile_for_host)
    return made


def loader(rows=ROWS, **settings):
    return loader_of((rows, TARGETS), **settings)


def trainer_of(compile="step", *, attach=None, **settings):
    trainer = regressor(compile=compile, **settings)
    for handler in attach() if attach else []:
        handler.attach(trainer)
    return trainer


def said(caplog):
    return [record.message for record in caplog.records if "compile='step'" in record.message]


OPTIMIZERS = {
    "sgd": lambda w: torch.optim.SGD(w, lr=0.05),
    "sgd, momentum": lambda w: torch.optim.SGD(w, lr=0.05, momentum=0.9, weight_decay=0.01),
    "sgd, nesterov": lambda w: torch.optim.SGD(w, lr=0.05, momentum=0.9, nesterov=True),
    "sgd, dampening, maximize": lambda w: torch.optim.SGD(w, lr=1e-4, momentum=0.5, dampening=0.3, maximize=True),
    "adam": lambda w: torch.optim.Adam(w, lr=0.02),
    "adam, fused": lambda w: torch.optim.Adam(w, lr=0.02, fused=True),
    "adam, decay, amsgrad": lambda w: torch.optim.Adam(w, lr=0.02, weight_decay=0.1, amsgrad=True),
    "adam, maximize": lambda w: torch.optim.Adam(w, lr=1e-3, maximize=True),
    "adamw": lambda w: torch.optim.AdamW(w, lr=0.02, betas=(0.8, 0.95), weight_decay=0.1),
    "adamw, amsgrad": lambda w: torch.optim.AdamW(w, lr=0.02, amsgrad=True),
    "rmsprop": lambda w: torch.optim.RMSprop(w, lr=0.01),
    "rmsprop, all": lambda w: torch.optim.RMSprop(w, lr=0.01, momentum=0.5, centered=True, weight_decay=0.01),
    "two groups": lambda w: torch.optim.Adam(
        [{"params": [next(w)], "lr": 0.1}, {"params": list(w), "weight_decay": 0.1}], lr=0.02
    ),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_a_run_is_that_of_the_eager_step(programs, make, accumulation_steps):
    def attach():
        noise = NoiseAugmentation(0.1, None, None)
        return [noise, GradientClipper(1.0), ExponentialMovingAverage(0.9), NonFiniteGuard(), EpochAverages("train_")]

    def run(compile):
        model = perceptron(3, 4, seed=3, activation=nn.Tanh, dropout=0.3).double()
        settings = {"optimizer": make, "attach": attach, "accumulation_steps": accumulation_steps}
        trainer = trainer_of(compile, model=model, **settings)
        trainer.run(DataLoader(TensorDataset(ROWS.double(), TARGETS.double()), BATCH_SIZE, shuffle=True), max_epochs=20)
        return trainer

    eager, whole = run(False), run("step")
    assert len(programs) == accumulation_steps
    first, second = run_state(eager), run_state(whole)
    # In float64, where 120 steps make of a rounding of 1e-16 less than 1e-10.
    for name in ("model_state_dict", "ema_model_state_dict", "optimizer_state_dict"):
        torch.testing.assert_close(second[name], first[name], rtol=1e-10, atol=1e-10)
    assert whole.progress.optimizer_steps == eager.progress.optimizer_steps
    assert whole.state.metrics == pytest.approx(eager.state.metrics, rel=1e-10)
    clipped = [trainer.parts["gradient_clipping"].get_stats() for trainer in (eager, whole)]
    assert clipped[0] == pytest.approx(clipped[1], rel=1e-10)


@pytest.mark.parametrize("bad", [None, 13])
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_in_float16_the_scale_and_what_is_dropped_are_those_of_the_eager_step(programs, accumulation_steps, bad):
    def attach():
        half = MixedPrecisionTrainer(device="cpu", dtype=torch.float16)
        return [half, GradientClipper(1.0), NonFiniteGuard("skip"), ExponentialMovingAverage(0.9)]

    def run(compile):
        model = perceptron(3, 4, seed=3, activation=nn.Tanh)
        trainer = trainer_of(compile, model=model, attach=attach, accumulation_steps=accumulation_steps)
        schedule = LearningRateScheduler(trainer.optimizer, "exp", gamma=0.9, per="step").attach(trainer)
        rows = ROWS if bad is None else with_bad(bad)
        trainer.run(DataLoader(TensorDataset(rows, TARGETS), BATCH_SIZE, shuffle=True), max_epochs=3)
        return trainer, schedule.get_lr()

    (eager, first_rate), (whole, second_rate) = run(False), run("step")
    assert len(programs) == accumulation_steps
    states = [run_state(trainer) for trainer in (eager, whole)]
    scalers = [trainer.updates.first.precision.state_dict()["scaler"] for trainer in (eager, whole)]
    assert scalers[0] == scalers[1]
    assert scalers[0]["scale"] < 65536  # it has overflown
    assert eager.progress.skipped_steps == whole.progress.skipped_steps > 0
    guards = [trainer.parts["nonfinite_guard"] for trainer in (eager, whole)]
    assert guards[0].num_skipped == guards[1].num_skipped == (0 if bad is None else 3)
    assert first_rate == second_rate
    for name in ("model_state_dict", "ema_model_state_dict"):
        torch.testing.assert_close(states[1][name], states[0][name], rtol=1e-3, atol=1e-4)  # float16 has 1e-3


def test_in_float16_statistics_of_a_step_that_has_overflown_are_put_back(programs):
    def run(compile):
        model = perceptron(3, 4, seed=3, batch_norm=True)
        trainer = trainer_of(
            compile, model=model, attach=lambda: [MixedPrecisionTrainer(device="cpu", dtype=torch.float16)]
        )
        trainer.run(loader(), max_epochs=2)
        (count,) = (value for name, value in model.named_buffers() if "num_batches" in name)
        return int(count), trainer.progress.optimizer_steps, trainer.progress.skipped_steps

    assert run(False) == run("step")
    count, taken, skipped = run("step")
    assert (count, taken + skipped) == (taken, 2 * BATCHES)
    assert skipped > 0


def assert_close(first, second):
    torch.testing.assert_close(second, first, rtol=2e-4, atol=2e-6)


class Looks:
    """A handler of one's own, without which steps are computed in blocks."""

    def __init__(self):
        self.losses = []

    def attach(self, trainer):
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, trainer):
        self.losses.append(trainer.state.output["loss"].item())


@pytest.mark.parametrize("looks", [False, True])
def test_the_last_step_of_each_epoch_is_eager_and_the_others_are_programs(looks, programs, monkeypatch):
    trainer, eager = trainer_of(attach=lambda: [Looks()] if looks else []), []
    original = TrainingStep._update

    def update(self, *args):
        eager.append(trainer.state.iteration)
        return original(self, *args)

    monkeypatch.setattr(TrainingStep, "_update", update)
    trainer.run(loader(), max_epochs=2)
    assert eager == [6, 12]
    assert len(programs) == 1


@pytest.mark.parametrize("most", [3, 256])
def test_whether_somebody_looks_after_each_step_makes_no_difference(most, monkeypatch):
    monkeypatch.setattr(whole_step, "MOST_STEPS", most)

    def run(*handlers):
        attach = lambda: [GradientClipper(0.5), ExponentialMovingAverage(0.9), NonFiniteGuard(), *handlers]  # noqa: E731
        trainer = trainer_of(attach=attach)
        averages = EpochAverages("train_").attach(trainer)
        trainer.run(loader(), max_epochs=3)
        return run_state(trainer), averages.state_dict(), trainer.state.metrics

    looks = Looks()
    (one, sums, metrics), (other, other_sums, other_metrics) = run(), run(looks)
    assert len(looks.losses) == 18
    assert metrics == other_metrics
    for name in ("model_state_dict", "ema_model_state_dict", "optimizer_state_dict"):
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)
    assert first_difference(sums, other_sums) is None


def test_each_of_several_clippers_counts_its_own_norms():
    def run(compile):
        clippers = [GradientClipper(0.5), GradientClipper(0.2, float("inf"))]
        trainer = trainer_of(compile, attach=lambda: [*clippers, NonFiniteGuard()])
        trainer.run(loader(), max_epochs=3)
        return [clipper.get_stats() for clipper in clippers]

    for whole, eager in zip(run("step"), run(False), strict=True):
        assert whole == pytest.approx(eager, rel=1e-4)


class DropsSmall(ProgramPart):
    """Drops a step without computing a norm."""

    def attach(self, trainer):
        trainer.add_event_handler(TrainEvents.OPTIMIZER_STEP_STARTED, self)

    def in_program(self, values, carried, numbers):
        values.drop = (values.loss < 1.0).float()

    def after_program(self, engine, values):
        engine.state.update.veto = bool(values.drop)

    def __call__(self, engine):
        engine.state.update.veto = bool(engine.state.update.window.losses[-1] < 1.0)


def test_a_part_of_ones_own_may_drop_steps():
    def run(compile):
        trainer = trainer_of(compile, attach=lambda: [DropsSmall()])
        trainer.run(loader(), max_epochs=8)
        return trainer

    eager, whole = run(False), run("step")
    assert whole.progress.skipped_steps == eager.progress.skipped_steps > 5
    assert_close(run_state(eager)["model_state_dict"], run_state(whole)["model_state_dict"])


class HalvesWeights(ProgramPart):
    """Acts after the step, and does not know what a program has done."""

    def attach(self, trainer):
        trainer.add_event_handler(TrainEvents.OPTIMIZER_STEP_COMPLETED, self)

    def in_program(self, values, carried, numbers):
        raise AssertionError

    def __call__(self, engine):
        with torch.no_grad():
            engine.model[0].weight.mul_(0.9)


def test_what_is_done_after_a_step_is_done_once():
    def run(compile):
        trainer = trainer_of(compile, attach=lambda: [HalvesWeights()])
        trainer.run(loader(), max_epochs=3)
        return run_state(trainer)["model_state_dict"]

    assert_close(run(False), run("step"))


def test_the_gradients_of_an_epochs_last_step_are_there_at_its_end():
    stability = TrainingStability(every=1)
    trainer_of(attach=lambda: [stability]).run(loader(), max_epochs=2)
    assert stability.gradients["max_grad"] > 0


# Exact resumes.


def with_everything(schedule, *, half=False):
    def attach(trainer):
        NoiseAugmentation(0.1, None, None).attach(trainer)
        GradientClipper(0.5).attach(trainer)
        NonFiniteGuard("skip").attach(trainer)
        ExponentialMovingAverage(0.8).attach(trainer)
        measured(trainer)
        TrainingStability(every=1).attach(trainer)
        settings = {"T_max": 12} if schedule == "onecycle" else {}
        LearningRateScheduler(trainer.optimizer, schedule, **settings).attach(trainer)
        if half:
            MixedPrecisionTrainer(device="cpu", dtype=torch.float16).attach(trainer)

    return attach


CUTS = {(2, 5, "plateau")}


@pytest.mark.parametrize(
    ("accumulation_steps", "bad", "schedule"),
    [
        pytest.param(*case, marks=[] if case in CUTS else [pytest.mark.slow])
        for case in itertools.product([1, 2, 3], [None, 5], ["plateau", "onecycle"])
    ],
)
def test_a_run_cut_after_any_batch_is_resumed_to_the_bit(tmp_path, schedule, accumulation_steps, bad, programs):
    make = make_run(with_everything(schedule), accumulation_steps=accumulation_steps, bad=bad, compile="step")
    trainer = check_cuts(make, tmp_path, EPOCHS)
    assert programs
    assert trainer.progress.skipped_steps == (0 if bad is None else EPOCHS)


@pytest.mark.slow
def test_in_float16_a_run_cut_after_any_batch_is_resumed_to_the_bit(tmp_path, programs):
    make = make_run(with_everything("onecycle", half=True), bad=5, compile="step")
    assert check_cuts(make, tmp_path, 2).progress.skipped_steps > 2  # overflow, and what is not finite
    assert programs


def test_what_only_looks_changes_no_bit(tmp_path):
    def run(*, looks):
        def attach(trainer):
            NoiseAugmentation(0.1, None, None).attach(trainer)
            GradientClipper(0.5).attach(trainer)
            NonFiniteGuard().attach(trainer)
            if looks:
                measured(trainer)
                TrainingStability(every=1).attach(trainer)
                trainer.add_event_handler(TrainEvents.RESUME_POINT, lambda engine: seen.append(weights(engine.model)))

        seen = []
        trainer, data = make_run(attach, compile="step")()
        trainer.run(data, max_epochs=EPOCHS)
        return weights(trainer.model)

    assert equal(run(looks=False), run(looks=True))


def test_two_runs_of_one_seed_are_equal_and_of_two_are_not():
    def run(seed):
        model = perceptron(3, 4, seed=3, dropout=0.5)
        trainer = create_trainer(model, torch.optim.SGD(model.parameters(), 0.1), loss_fn, seed=seed, compile="step")
        trainer.run(loader(), max_epochs=2)
        return weights(model)

    assert equal(run(1), run(1))
    assert not equal(run(1), run(2))


# Numbers that are not finite.


def with_bad(k):
    rows = ROWS.clone()
    rows[k] = math.nan
    return rows


def test_a_bad_step_raises_names_its_iteration_and_leaves_weights_and_state_as_they_were():
    trainer = trainer_of(
        attach=lambda: [GradientClipper(1.0), NonFiniteGuard()], model=perceptron(3, 4, batch_norm=True)
    )
    kept = []
    trainer.add_event_handler(
        TrainEvents.RESUME_POINT, lambda engine: kept.append((engine.state.iteration, weights(engine.model)))
    )
    with pytest.raises(NonFiniteError, match="iteration") as error:
        trainer.run(DataLoader(TensorDataset(with_bad(17), TARGETS), BATCH_SIZE), max_epochs=1)
    assert "epoch 1, iteration 5: the loss is nan" in str(error.value)
    assert kept[-1][0] == 4
    assert equal(weights(trainer.model), kept[-1][1])
    assert all(value.isfinite().all() for value in run_state(trainer)["optimizer_state_dict"]["state"][0].values())


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_a_bad_step_is_skipped_and_counted_and_schedules_wait_for_it(accumulation_steps):
    schedules = []

    def attach():
        return [NonFiniteGuard("skip"), ExponentialMovingAverage(0.9)]

    def run(compile):
        trainer = trainer_of(compile, attach=attach, accumulation_steps=accumulation_steps)
        schedules.append(LearningRateScheduler(trainer.optimizer, "exp", gamma=0.9, per="step").attach(trainer))
        trainer.run(DataLoader(TensorDataset(with_bad(13), TARGETS), BATCH_SIZE), max_epochs=3)
        return trainer

    eager, whole = run(False), run("step")
    assert eager.progress.skipped_steps == whole.progress.skipped_steps == 3
    assert schedules[0].get_lr() == schedules[1].get_lr()
    assert_close(run_state(eager)["model_state_dict"], run_state(whole)["model_state_dict"])
    assert_close(run_state(eager)["ema_model_state_dict"], run_state(whole)["ema_model_state_dict"])


# What may change between epochs.


def test_numbers_of_the_loss_function_that_a_handler_changes_take_effect(programs):
    class Weighted:
        factor = 1.0

        def __call__(self, model, inputs, batch):
            return {"loss": self.factor * loss_fn(model, inputs, batch)["loss"]}

    def run(compile):
        loss = Weighted()
        loss.factor = 1.0
        trainer = trainer_of(compile, loss=loss)

        @trainer.on(TrainEvents.CHECKPOINT_READY)
        def halve():
            loss.factor /= 2

        trainer.run(loader(), max_epochs=3)
        return run_state(trainer)["model_state_dict"]

    assert_close(run(False), run("step"))
    assert len(programs) == 3


def test_a_tensor_of_the_loss_function_that_a_handler_changes_in_place_takes_effect(programs):
    def run(compile):
        factor = torch.ones(())
        trainer = trainer_of(compile, loss=lambda m, x, b: {"loss": factor * loss_fn(m, x, b)["loss"]})
        trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, lambda: factor.mul_(0.5))
        trainer.run(loader(), max_epochs=3)
        return run_state(trainer)["model_state_dict"]

    assert_close(run(False), run("step"))
    assert len(programs) == 1


def test_layers_that_are_frozen_and_thawed_and_groups_that_are_added():
    def run(compile):
        model = perceptron(3, 4, seed=3)
        model[0].requires_grad_(False)
        trainer = trainer_of(
            compile, model=model, optimizer=lambda w: torch.optim.Adam(model[-1].parameters(), lr=0.02)
        )

        @trainer.on(TrainEvents.CHECKPOINT_READY(once=2))
        def thaw():
            model[0].requires_grad_(True)
            trainer.optimizer.add_param_group({"params": list(model[0].parameters()), "lr": 0.01})

        trainer.run(loader(), max_epochs=4)
        return run_state(trainer)["model_state_dict"]

    assert_close(run(False), run("step"))


# What cannot be a program is said in one line, and computed as ever.


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(3, 1), 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) * (1 + 0.1 * self.calls)


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x):
        return self.layer(x) if x.mean() > 0 else -self.layer(x)


def hooked():
    model = perceptron(3, 4, seed=3)
    model[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def hooked_weight():
    model = perceptron(3, 4, seed=3)
    model[0].weight.register_hook(lambda gradient: 2 * gradient)
    return model


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, x):
        return checkpoint(self.layers, x, use_reentrant=False)


class DrawsFromNumPy(nn.Linear):
    def forward(self, x):
        return super().forward(x) * np.random.rand()


OBSTACLES = {
    "a user's handler of GRADIENTS_READY": (
        lambda: {"attach": lambda: [_OnEvent(TrainEvents.GRADIENTS_READY)]}, "GRADIENTS_READY"
    ),
    "a user's handler of LOSSES_READY": (
        lambda: {"attach": lambda: [_OnEvent(TrainEvents.LOSSES_READY)]}, "LOSSES_READY"
    ),
    "a model that counts its calls": (lambda: {"model": Counting()}, "calls changes in the forward pass"),
    "a model that looks at its inputs": (lambda: {"model": Deciding()}, "."),
    "a hook": (lambda: {"model": hooked()}, "hooks"),
    "a hook of a parameter": (lambda: {"model": hooked_weight()}, "hooks"),
    "a forward pass that is computed again": (lambda: {"model": Checkpointed()}, "sets torch's generator"),
    "NumPy's generator": (lambda: {"model": DrawsFromNumPy(3, 1)}, "NumPy"),
    "a clipper of other parameters": (
        lambda: {"attach": lambda: [_Attached(GradientClipper(1.0), [nn.Parameter(torch.ones(1))])]}, "clips other"
    ),
    "a clipper that raises": (lambda: {"attach": lambda: [GradientClipper(1.0, error_if_nonfinite=True)]}, "raises"),
    "a subclass that changes what it does": (lambda: {"attach": lambda: [_Halving(1.0)]}, "_Halving"),
}  # fmt: skip


class _OnEvent:
    def __init__(self, event):
        self.event = event

    def attach(self, trainer):
        trainer.add_event_handler(self.event, lambda engine: None)


class _Attached:
    def __init__(self, handler, *args):
        self.handler, self.args = handler, args

    def attach(self, trainer):
        self.args[0][0].grad = torch.ones(1)
        self.handler.attach(trainer, *self.args)


class _Halving(GradientClipper):
    def __call__(self, trainer):
        for gradient in trainer.state.update.gradients():
            gradient /= 2


@pytest.mark.parametrize(("make", "reason"), OBSTACLES.values(), ids=OBSTACLES)
def test_an_obstacle_is_said_in_one_line_and_the_steps_are_eager(make, reason, caplog, programs):
    def run(compile):
        torch.manual_seed(5)
        trainer = trainer_of(compile, **make())
        trainer.run(loader(), max_epochs=3)
        return weights(trainer.model)

    eager = run(False)
    with caplog.at_level(logging.WARNING):
        whole = run("step")
    (line,) = said(caplog)
    assert reason in line
    assert "\n" not in line
    assert len(line) < 400
    assert equal(eager, whole) or "calls" in reason


def test_a_loss_that_reads_the_engine_is_not_a_program(caplog):
    def loss(model, inputs, batch):
        return {"loss": loss_fn(model, inputs, batch)["loss"] / trainer.state.iteration}

    trainer = trainer_of(loss=loss)
    trainer.run(loader(), max_epochs=2)
    assert "holds TrainingEngine" in said(caplog)[0]


def test_another_optimizer_is_refused_naming_those_that_can_be():
    with pytest.raises(ValueError, match="SGD, Adam, AdamW, RMSprop; got Adagrad"):
        trainer_of(optimizer=lambda w: torch.optim.Adagrad(w))


def test_several_updates_are_eager(caplog):
    models = {"one": nn.Linear(3, 1), "two": nn.Linear(3, 1)}
    updates = [
        Update(torch.optim.SGD(model.parameters(), 0.1), lambda m, x, b, n=name: loss_fn(m[n], x, b), name=name)
        for name, model in models.items()
    ]
    create_trainer(models, updates=updates, compile="step").run(loader(), max_epochs=2)
    assert "several updates" in said(caplog)[0]


def test_without_a_compiler_one_line_says_so(caplog, monkeypatch):
    def none(traced, arguments):
        raise step_program.CompileError("there is no C++ compiler that is called 'g++'")

    monkeypatch.setattr(step_program, "compile_for_host", none)
    trainer = trainer_of()
    trainer.run(loader(), max_epochs=3)
    assert said(caplog) == [
        "compile='step': there is no C++ compiler that is called 'g++'. The steps run one operation after the other"
    ]


def test_batches_of_another_shape_are_eager_wherever_they_come_and_said_once(programs, caplog):
    sizes = [4, 2, 4, 4, 3, 4]

    def make(compile="step"):
        batches = [(rows, rows.sum(1, keepdim=True)) for rows in ROWS[: sum(sizes)].split(sizes)]
        return trainer_of(compile), batches

    (eager, batches), (whole, _) = make(False), make()
    eager.run(batches, max_epochs=3)
    whole.run(batches, max_epochs=3)
    assert_close(run_state(eager)["model_state_dict"], run_state(whole)["model_state_dict"])
    assert len(programs) == 1
    assert [line[:38] for line in said(caplog)] == ["compile='step': 2 batches of an epoch "]


@pytest.mark.slow
def test_compiled_a_run_is_cut_and_resumed_to_the_bit(tmp_path):
    make = make_run(with_everything("onecycle"), accumulation_steps=2, bad=5, compile="step")
    trainer = check_cuts(make, tmp_path, EPOCHS)
    assert trainer.progress.skipped_steps == EPOCHS


COMPILED_OPTIMIZERS = ("sgd, nesterov", "adamw, amsgrad", "rmsprop, all")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED_OPTIMIZERS)
def test_compiled_a_run_is_the_eager_one_but_for_roundings(name):
    """In float32, over 120 steps: 2e-4 is some 3,000 roundings, of which each step makes several."""

    def run(compile):
        attach = lambda: [GradientClipper(1.0), ExponentialMovingAverage(0.9), NonFiniteGuard()]  # noqa: E731
        trainer = trainer_of(compile, optimizer=OPTIMIZERS[name], attach=attach)
        trainer.run(loader(), max_epochs=20)
        return run_state(trainer)

    eager, whole = run(False), run("step")
    for part in ("model_state_dict", "ema_model_state_dict"):
        torch.testing.assert_close(whole[part], eager[part], rtol=2e-4, atol=2e-5)


# The recipes.


@every_recipe
def test_a_recipe_trains_to_the_same_history_and_is_resumed_to_the_bit(tmp_path, monkeypatch, programs, recipe):
    monkeypatch.chdir(tmp_path)
    _, expected, _ = recipe(3)
    model, history, path = recipe(3, compile="step")
    assert programs
    assert history == flat_within(expected, 1e-4)
    monkeypatch.chdir(tmp_path)
    if recipe is not RECIPES["classification"]:  # whose resume is of an experiment
        _, _, path = recipe(2, compile="step")
        resumed, again, _ = recipe(3, compile="step", resume_from=path)
        assert equal(weights(resumed), weights(model))
        assert again == history


def flat_within(history, rel):
    return {
        name: flat_within(value, rel) if isinstance(value, dict) else pytest.approx(value, rel=rel)
        for name, value in history.items()
    }


def test_a_run_that_ends_and_continues_is_one_that_did_not_end():
    whole, parts = trainer_of(), trainer_of()
    whole.run(loader(), max_epochs=4)
    for epochs in (1, 3, 4):
        parts.run(loader(), max_epochs=epochs)
    assert first_difference(run_state(whole), run_state(parts)) is None


def test_outputs_and_targets_that_are_for_metrics_are_no_losses(programs):
    def loss_and_outputs(model, inputs, batch):
        outputs = model(inputs)
        return {"loss": (outputs - batch[1]).square().mean(), "outputs": outputs, "targets": batch[1]}

    found = []
    for compile in (False, "step"):
        model = perceptron(3, 4)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        trainer = create_trainer(model, optimizer, loss_and_outputs, seed=0, compile=compile)
        EpochAverages("train_").attach(trainer)
        trainer.run(list(zip(ROWS.split(BATCH_SIZE), TARGETS.split(BATCH_SIZE), strict=True)), max_epochs=2)
        assert list(trainer.state.output) == ["loss"]
        found.append(trainer.state.metrics["train_loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert programs
