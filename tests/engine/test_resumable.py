"""An Engine with an update function of one's own resumes to the bit, with whatever it holds, or says what it cannot."""

import copy
import random
import re
import signal

import numpy as np
import pytest
import torch
from ignite.engine import DeterministicEngine, Engine, Events, create_supervised_trainer
from ignite.handlers import create_lr_scheduler_with_warmup
from ignite.handlers.param_scheduler import LinearCyclicalScheduler
from ignite.handlers.state_param_scheduler import LambdaStateScheduler
from ignite.metrics import Accuracy, Average, RunningAverage
from support.cuts import check_cuts
from support.equality import equal
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader
from torchmetrics import MeanAbsoluteError, MetricCollection, R2Score

from ignite_recipes import (
    CheckpointError,
    Checkpointing,
    EarlyStopping,
    EpochAverages,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NoiseAugmentation,
    NonFiniteError,
    NonFiniteGuard,
    Rollback,
    StopOnSignal,
    Stopped,
    TrainEvents,
    TrainingStability,
    Update,
    Validation,
    create_evaluator,
    describe,
    keep_state,
    load_checkpoint,
    make_resumable,
    restore_run,
    run_state,
    write_checkpoint,
)
from ignite_recipes.checkpoint.resume_check import first_difference

EPOCHS, ROWS = 2, 15


def data():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 3, generator=draw)
    return TensorDataset(x, x.sum(1, keepdim=True))


def loader(**settings):
    return DataLoader(data(), 4, shuffle=True, **settings)


def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))


def noisy(x):
    """Every generator that an update function may use."""
    return x + 0.1 * torch.randn_like(x) + 0.01 * random.random() + 0.01 * float(np.random.rand())


def plain(**parts):
    """A hand-written update, with what Ignite and torch offer."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)

    def update(engine, batch):
        model.train()
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(noisy(batch[0])), batch[1])
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    return make_resumable(Engine(update), {"model": model, "optimizer": optimizer, **parts}, seed=1)


def supervised(**settings):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    trainer = create_supervised_trainer(model, optimizer, nn.MSELoss(), **settings)
    return make_resumable(trainer, {"model": model, "optimizer": optimizer}, seed=1)


def accumulating(every):
    """Gradients that wait for their step over the places where the run may be left, and over the end of an epoch."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)

    def update(engine, batch):
        if engine.state.iteration % every == 1:
            optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(batch[0]), batch[1])
        loss.backward()
        if engine.state.iteration % every == 0:
            optimizer.step()

    return make_resumable(Engine(update), {"model": model, "optimizer": optimizer}, seed=1)


def scaled():
    """Automatic mixed precision as torch's pages have it, with a GradScaler of one's own."""
    model = net()
    optimizer, scaler = torch.optim.Adam(model.parameters(), 0.02), torch.amp.GradScaler("cpu", growth_interval=2)

    def update(engine, batch):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.mse_loss(model(batch[0]).float(), batch[1])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return make_resumable(Engine(update), {"model": model, "optimizer": optimizer, "scaler": scaler}, seed=1)


def with_everything():
    model = net()
    train = Update(torch.optim.Adam(model.parameters(), 0.02), name="train", accumulation_steps=2)

    def update(engine, batch):
        with train.autocast():
            loss = nn.functional.mse_loss(model(noisy(batch[0])), batch[1])
        train(engine, loss)
        return {"loss": loss.detach()}

    trainer = make_resumable(Engine(update), {"model": model, "train": train}, seed=1)
    evaluator = create_evaluator(model, lambda m, x, batch: {"loss": nn.functional.mse_loss(m(x), batch[1])})
    EpochAverages().attach(evaluator)
    EpochAverages("train_").attach(trainer)
    GradientClipper(0.5).attach(trainer)
    NonFiniteGuard("skip").attach(trainer)
    MixedPrecisionTrainer(device="cpu", dtype=torch.float16).attach(trainer)
    ExponentialMovingAverage(0.9).attach(trainer)
    Validation(evaluator, [data()[:6]]).attach(trainer)
    LearningRateScheduler(train.optimizer, "plateau", patience=0).attach(trainer)
    EarlyStopping(5, verbose=False).attach(trainer)
    History(["train_loss", "val_loss"]).attach(trainer)
    TrainingStability(every=1).attach(trainer)
    Rollback().attach(trainer)
    return trainer


def several_models():
    actor, critic = net(), nn.Linear(1, 1)
    optimizers = [torch.optim.Adam(m.parameters(), 0.02) for m in (actor, critic)]

    def update(engine, batch):
        guess = actor(batch[0])
        for optimizer, loss in zip(
            optimizers, (critic(guess).mean(), (critic(guess.detach()) - batch[1]).square().mean()), strict=True
        ):
            optimizer.zero_grad()
            loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    parts = {"actor": actor, "critic": critic, "actor_adam": optimizers[0], "critic_adam": optimizers[1]}
    return make_resumable(Engine(update), parts, seed=1)


class Outside:
    """Engines whose state lies in other objects than the model and its optimizer."""

    @staticmethod
    def torch_schedule():
        trainer = plain()
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(trainer.optimizer, 20)
        keep_state(trainer, "schedule", schedule)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: schedule.step())
        return trainer

    @staticmethod
    def ignite_schedules():
        trainer = plain()
        cyclical = LinearCyclicalScheduler(trainer.optimizer, "lr", 0.01, 0.1, 5)
        warm = create_lr_scheduler_with_warmup(cyclical, 0.001, 4)
        trainer.add_event_handler(Events.ITERATION_STARTED, warm)
        keep_state(trainer, "warm", warm)
        return trainer

    @staticmethod
    def ignite_state_schedule():
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.02)

        def update(engine, batch):
            optimizer.zero_grad()
            (model(batch[0]) * (engine.state.weight or 1.0) - batch[1]).square().mean().backward()
            optimizer.step()

        engine = Engine(update)
        schedule = LambdaStateScheduler(lambda k: 1 / (1 + k), "weight", create_new=True)
        schedule.attach(engine, Events.EPOCH_COMPLETED)
        return make_resumable(engine, {"model": model, "optimizer": optimizer, "schedule": schedule}, seed=1)

    @staticmethod
    def ignite_metrics():
        trainer = plain()
        average = Average(output_transform=lambda output: output["loss"])
        running = RunningAverage(output_transform=lambda output: output["loss"].item())
        hits = Accuracy(output_transform=lambda output: (torch.ones(4), torch.ones(4)))
        for name, metric in (("average", average), ("running", running), ("hits", hits)):
            metric.attach(trainer, name)
            keep_state(trainer, name, metric)
        History(["average", "running", "hits"]).attach(trainer)
        return trainer

    @staticmethod
    def torchmetrics():
        metrics = MetricCollection({"error": MeanAbsoluteError(), "fit": R2Score()})
        trainer = plain(metrics=metrics)
        trainer.add_event_handler(Events.EPOCH_STARTED, lambda: metrics.reset())

        @trainer.on(Events.ITERATION_COMPLETED)
        def update(engine):
            with torch.no_grad():
                metrics.update(
                    engine.state.batch[0].sum(1, keepdim=True), engine.state.batch[1] + engine.state.output["loss"]
                )

        @trainer.on(Events.EPOCH_COMPLETED)
        def compute(engine):
            engine.state.metrics.update({name: value.item() for name, value in metrics.compute().items()})

        History(["error", "fit"]).attach(trainer)
        return trainer

    @staticmethod
    def state_attributes():
        trainer = plain()
        trainer.state.total, trainer.state.seen = torch.zeros(()), []

        @trainer.on(Events.ITERATION_COMPLETED)
        def count(engine):
            engine.state.total = engine.state.total + engine.state.output["loss"]
            engine.state.seen.append(engine.state.iteration)

        return trainer


def noisy_inputs(trainer):
    NoiseAugmentation(0.1, None, None).attach(trainer)
    return trainer


def handlers_around(trainer):
    GradientClipper(0.5).attach(trainer)
    NonFiniteGuard("skip").attach(trainer)
    ExponentialMovingAverage(0.9).attach(trainer)
    for optimizer in trainer.optimizers.values():
        LearningRateScheduler(optimizer, "cosine", T_max=20, per="step").attach(trainer)
    Rollback().attach(trainer)
    return trainer


ENGINES = {
    "a hand-written update": plain,
    "create_supervised_trainer": supervised,
    "and its accumulation": lambda: supervised(gradient_accumulation_steps=3),
    "and its mixed precision": lambda: supervised(device="cpu", amp_mode=None),
    "gradients over two batches": lambda: accumulating(2),
    "gradients over three batches": lambda: accumulating(3),
    "a GradScaler": scaled,
    "two models and optimizers": several_models,
    "everything": with_everything,
    "noise on its batches": lambda: noisy_inputs(plain()),
    "handlers around its own steps": lambda: handlers_around(plain()),
    "and around two optimizers": lambda: handlers_around(several_models()),
    "and around Ignite's": lambda: handlers_around(supervised(gradient_accumulation_steps=3)),
    **{name: getattr(Outside, name) for name in vars(Outside) if not name.startswith("_")},
}


@pytest.mark.parametrize("name", ENGINES)
def test_every_cut_is_exact(tmp_path, caplog, name):
    check_cuts(lambda: (ENGINES[name](), loader()), tmp_path, EPOCHS)
    assert "another batch" not in caplog.text


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata calls it in torch
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stateful_loader_is_put_back_by_its_own_state(tmp_path, num_workers):
    fetched = []

    class Counted(TensorDataset):
        def __getitem__(self, k):
            fetched.append(k)
            return super().__getitem__(k)

    def make():
        return plain(), StatefulDataLoader(Counted(*data().tensors), 4, shuffle=True, num_workers=num_workers)

    trainer, loading = make()
    files = []

    @trainer.on(TrainEvents.RESUME_POINT)
    def save(engine):
        files.append(write_checkpoint(run_state(engine), tmp_path / f"{engine.state.iteration}.pt"))

    trainer.run(loading, max_epochs=EPOCHS)
    for path in files[:-1]:
        resumed, loading = make()
        restore_run(resumed, path)
        fetched.clear()
        resumed.run(loading, max_epochs=EPOCHS)
        assert equal(trainer.model.state_dict(), resumed.model.state_dict()), path
        if num_workers == 0:  # none that was used already
            left = 8 - int(path.stem)
            assert len(fetched) <= 4 * left


def test_the_names_of_the_file_are_those_of_the_parts(tmp_path):
    trainer = several_models()
    trainer.run(loader(), max_epochs=1)
    state = run_state(trainer)
    assert {name.split(".")[0] for name in state["model_state_dict"]} == {"actor", "critic"}
    assert list(state["optimizer_state_dict"]) == ["actor_adam", "critic_adam"]
    path = write_checkpoint(run_state(plain()), tmp_path / "run.pt")
    load_checkpoint(path, net())  # the only model is there as it always was


def test_it_is_the_same_object_and_keeps_its_handlers_in_their_order():
    calls, model = [], net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    engine = Engine(lambda engine, batch: calls.append("update"))
    engine.register_events("my_event")
    engine.state.metrics["kept"] = 0.5
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: calls.append("first"))
    engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda engine: calls.append(engine.state.epoch))
    engine.add_event_handler("my_event", lambda: calls.append("mine"))
    trainer = make_resumable(engine, {"model": model, "optimizer": optimizer}, seed=0)
    assert trainer is engine
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: calls.append("second"))
    trainer.add_event_handler(Events.COMPLETED, lambda: trainer.fire_event("my_event"))
    trainer.run([0], max_epochs=2)
    assert calls == ["update", "first", "second"] * 2 + [2, "mine"]
    assert trainer.state.metrics["kept"] == 0.5


def test_a_run_that_is_over_trains_nothing_and_one_that_failed_repeats_its_batch():
    trainer, seen = plain(), []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(trainer.state.iteration))
    trainer.run(loader(), max_epochs=1)
    trainer.run(loader(), max_epochs=1)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_it(tmp_path, signum):
    whole = plain()
    whole.run(loader(), max_epochs=EPOCHS)
    trainer = plain()
    saves = Checkpointing(tmp_path, "last.pt").attach(trainer)
    StopOnSignal(saves.save).attach(trainer)
    trainer.add_event_handler(Events.ITERATION_STARTED(once=6), lambda: signal.raise_signal(signum))
    with pytest.raises(Stopped, match="resume from"):
        trainer.run(loader(), max_epochs=EPOCHS)
    resumed = plain()
    Checkpointing(tmp_path, "last.pt").attach(resumed)
    restore_run(resumed, tmp_path / "last.pt")
    resumed.run(loader(), max_epochs=EPOCHS)
    assert equal(whole.model.state_dict(), resumed.model.state_dict())


def test_what_only_looks_changes_nothing():
    alone, watched = plain(), plain()
    evaluator = create_evaluator(watched.model, lambda m, x, batch: {"loss": noisy(m(x)).mean()})
    EpochAverages().attach(evaluator)
    Validation(evaluator, loader()).attach(watched)
    for event in (Events.GET_BATCH_COMPLETED, Events.ITERATION_STARTED, Events.ITERATION_COMPLETED):
        watched.add_event_handler(event, lambda: torch.rand(3))
    for trainer in (alone, watched):
        trainer.run(loader(), max_epochs=EPOCHS)
    assert equal(alone.model.state_dict(), watched.model.state_dict())


def test_generators_are_left_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    plain_state = torch.get_rng_state()
    trainer = plain()
    torch.set_rng_state(plain_state)
    trainer.run(loader(), max_epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_handlers_are_drawn_in_order(capsys):
    describe(with_everything())
    described = capsys.readouterr().out
    places = [described.index(name) for name in ("GradientClipper", "NonFiniteGuard", "Validation", "History")]
    assert places == sorted(places)
    assert "name what is not resumed exactly" in described


# What cannot be exact is named when the run begins.

STEPS = 0


def global_counter(model, optimizer):
    def update(engine, batch):
        global STEPS
        STEPS += 1

    return update, "the variable STEPS"


def captured_counter(model, optimizer):
    total = 0.0

    def update(engine, batch):
        nonlocal total
        total += 1

    return update, "the variable total"


def other_model(model, optimizer):
    other = nn.Linear(1, 1)
    return lambda engine, batch: other(batch[0][:, :1]), r"other \(Linear\)"


def other_optimizer(model, optimizer):
    second = torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1)
    return lambda engine, batch: second.zero_grad(), r"second \(SGD\)"


def in_a_helper(model, optimizer):
    scaler = torch.amp.GradScaler("cpu")

    def scale(loss):
        return scaler.scale(loss)

    return lambda engine, batch: scale(batch[0].mean()), r"scaler \(GradScaler\)"


def in_a_method(model, optimizer):
    class Program:
        def __init__(self):
            self.model, self.teacher = model, nn.BatchNorm1d(3)

        def update(self, engine, batch):
            return self.teacher(batch[0])

    return Program().update, r"teacher \(BatchNorm1d\)"


@pytest.mark.parametrize(
    "make", [global_counter, captured_counter, other_model, other_optimizer, in_a_helper, in_a_method]
)
def test_what_the_parts_do_not_hold_is_named_once(caplog, make):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    update, said = make(model, optimizer)
    trainer = make_resumable(Engine(update), {"model": model, "optimizer": optimizer}, seed=0)
    for epochs in (1, 2):
        trainer.run(loader(), max_epochs=epochs)
    named = [record.getMessage() for record in caplog.records if "cannot be exact" in record.getMessage()]
    assert len(named) == 1
    assert re.search(said, named[0])


@pytest.mark.parametrize("name", ENGINES)
def test_of_engines_that_resume_exactly_nothing_is_named(caplog, name):
    ENGINES[name]().run(loader(), max_epochs=1)
    assert "cannot be exact" not in caplog.text


def test_a_frozen_teacher_need_not_be_named(caplog):
    model, teacher = net(), net().eval().requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def update(engine, batch):
        optimizer.zero_grad()
        (model(batch[0]) - teacher(batch[0])).square().mean().backward()
        optimizer.step()

    make_resumable(Engine(update), {"model": model, "optimizer": optimizer}, seed=0).run(loader(), max_epochs=1)
    assert "cannot be exact" not in caplog.text


# What is refused.


def run_before(engine, parts):
    engine.run([0])
    make_resumable(engine, parts)


REFUSED = {
    "a trainer of ours": (
        lambda engine, parts: make_resumable(make_resumable(engine, parts), parts),
        TypeError,
        "resumes already",
    ),
    "an engine with a run of its own": (
        lambda engine, parts: make_resumable(DeterministicEngine(lambda e, b: None), parts),
        TypeError,
        "DeterministicEngine",
    ),
    "no engine": (lambda engine, parts: make_resumable(print, parts), TypeError, "must be an Engine"),
    "one that has run": (run_before, ValueError, "after 1 iterations"),
    "parts without names": (
        lambda engine, parts: make_resumable(engine, list(parts.values())),
        TypeError,
        "must be named",
    ),
    "no model": (
        lambda engine, parts: make_resumable(engine, {"optimizer": parts["optimizer"]}),
        ValueError,
        "got optimizer",
    ),
    "no optimizer": (lambda engine, parts: make_resumable(engine, {"model": parts["model"]}), ValueError, "got model"),
    "a part without a state": (
        lambda engine, parts: make_resumable(engine, {**parts, "number": 3}),
        TypeError,
        "state_dict and load_state_dict",
    ),
    "a name of two updates": (
        lambda engine, parts: make_resumable(
            engine,
            {
                "model": parts["model"],
                "a": Update(parts["optimizer"], name="step"),
                "b": Update(torch.optim.SGD(parts["model"].parameters(), 0.1), name="step"),
            },
        ),
        ValueError,
        "a name of its own",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_and_leaves_the_engine_as_it_was(name):
    call, error, said = REFUSED[name]
    model = net()
    engine = Engine(lambda engine, batch: None)
    with pytest.raises(error, match=said):
        call(engine, {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1)})
    if name not in ("a trainer of ours",):
        assert type(engine) is Engine


def test_an_update_without_a_name_has_that_of_its_part(tmp_path):
    model, critic = net(), net()
    parts = {"model": model, "critic": critic}
    for name, part in list(parts.items()):
        parts[f"{name}_update"] = Update(torch.optim.SGD(part.parameters(), 0.1))
    trainer = make_resumable(Engine(lambda engine, batch: None), parts, seed=0)
    assert (
        list(trainer.updates) == list(run_state(trainer)["optimizer_state_dict"]) == ["model_update", "critic_update"]
    )
    names = {"model": model, "a": Update(torch.optim.SGD(model.parameters(), 0.1), name="b")}
    with pytest.raises(ValueError, match="a name of its own"):
        make_resumable(Engine(print), {**names, "b": torch.optim.SGD(model.parameters(), 0.1)}, seed=0)


def test_gradients_are_left_alone_by_a_resume_that_fails(tmp_path):
    first, second = accumulating(3), accumulating(3)
    first.run(loader(), max_epochs=1)
    contents = run_state(first)
    assert contents["run"]["gradients"]
    contents["run"]["progress"]["epoch"] = "one"
    with pytest.raises(CheckpointError, match="epoch"):
        restore_run(second, write_checkpoint(contents, tmp_path / "run.pt"))
    assert all(parameter.grad is None for parameter in second.model.parameters())


def test_a_run_of_other_parts_is_refused(tmp_path):
    path = write_checkpoint(run_state(several_models()), tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="another architecture"):
        restore_run(plain(), path)
    model, critic = net(), nn.Linear(1, 1)
    one = torch.optim.Adam([*model.parameters(), *critic.parameters()])
    other = make_resumable(Engine(lambda e, b: None), {"actor": model, "critic": critic, "adam": one}, seed=1)
    before = copy.deepcopy(other.model.state_dict())
    with pytest.raises(CheckpointError, match="the optimizers of the run are actor_adam, critic_adam; got adam"):
        restore_run(other, path)
    assert equal(before, other.model.state_dict())


# The steps of optimizers that the update function calls itself.


def by_hand(bound, steps):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in batches(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        if nn.utils.clip_grad_norm_(model.parameters(), bound).isfinite():
            optimizer.step()
    return model.state_dict()


def batches(count, bad=None):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, 3, generator=draw)
    if bad is not None:
        x[bad] = float("nan")
    return list(zip(x, x.sum(2, keepdim=True), strict=True))


@pytest.fixture
def without_dropout(monkeypatch):
    monkeypatch.setitem(globals(), "net", without(net))


def without(make):
    def made():
        model = make()
        model[3] = nn.Identity()
        return model

    return made


def test_a_step_of_ignites_is_clipped_as_by_hand(without_dropout):
    trainer = supervised()
    for group in trainer.optimizer.param_groups:
        group.update(lr=0.1, momentum=0)
    clipper = GradientClipper(0.1).attach(trainer)
    trainer.run(batches(6), max_epochs=1)
    assert clipper.num_steps == clipper.get_stats()["num_clipped"] == 6
    expected = by_hand(0.1, 6)
    assert all(torch.allclose(expected[name], value, atol=1e-6) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("make", [plain, supervised, scaled])
def test_a_step_that_is_not_finite_is_not_taken(make):
    trainer, kept = make(), []
    guard = NonFiniteGuard("skip").attach(trainer)
    trainer.add_event_handler(
        Events.ITERATION_STARTED(once=3), lambda: kept.append(copy.deepcopy(trainer.model.state_dict()))
    )
    trainer.add_event_handler(TrainEvents.OPTIMIZER_STEP_SKIPPED, lambda: kept.append(trainer.state.iteration))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=3), lambda: kept.append(equal(kept[0], trainer.model.state_dict()))
    )
    trainer.run(batches(6, bad=2), max_epochs=1)
    if make is scaled:  # the GradScaler itself has dropped it
        assert (guard.num_skipped, trainer.progress.optimizer_steps) == (0, 5)
    else:
        assert (guard.num_skipped, trainer.progress.optimizer_steps, trainer.progress.skipped_steps) == (1, 5, 1)
        assert kept[1:] == [3, True]  # running statistics, too
    assert all(value.isfinite().all() for name, value in trainer.model.named_parameters())


@pytest.mark.parametrize("fused", [False, True])
def test_under_a_grad_scaler_handlers_see_the_true_size(fused):
    model, norms = net(), []
    optimizer = torch.optim.Adam(model.parameters(), 0.02, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def update(engine, batch):
        optimizer.zero_grad()
        scaler.scale(nn.functional.mse_loss(model(batch[0]), batch[1])).backward()
        scaler.step(optimizer)
        scaler.update()

    trainer = make_resumable(Engine(update), {"model": model, "optimizer": optimizer, "scaler": scaler}, seed=0)
    GradientClipper(1e9).attach(trainer)
    trainer.add_event_handler(TrainEvents.OPTIMIZER_STEP_STARTED, lambda: norms.append(trainer.state.grad_norm.item()))
    trainer.run(loader(), max_epochs=1)
    assert len(norms) == 4
    assert max(norms) < 50


def test_averages_and_schedules_follow_the_steps_and_not_the_batches():
    trainer = accumulating(2)
    ema = ExponentialMovingAverage(0.9).attach(trainer)
    schedule = LearningRateScheduler(trainer.optimizer, "cosine", T_max=20, per="step").attach(trainer)
    trainer.run(loader(), max_epochs=3)
    assert ema.num_updates == schedule.scheduler.last_epoch == trainer.progress.optimizer_steps == 6


def test_several_optimizers_are_told_apart():
    trainer = several_models()
    both, one = GradientClipper(1.0).attach(trainer), GradientClipper(1.0).attach(trainer.updates["critic_adam"])
    trainer.run(loader(), max_epochs=1)
    assert (both.num_steps, one.num_steps) == (8, 4)
    assert {"learning_rate", "actor_adam_learning_rate", "critic_adam_learning_rate"} <= trainer.state.metrics.keys()


def test_steps_that_are_none_of_the_runs_fire_nothing():
    trainer, fired = plain(), []
    trainer.add_event_handler(TrainEvents.GRADIENTS_READY, lambda: fired.append(0))
    trainer.optimizer.step()
    assert not fired
    trainer.run(loader(), max_epochs=1)
    trainer.optimizer.step()
    assert len(fired) == 4


def test_who_fires_the_events_is_not_helped():
    model, clips = net(), []
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def update(engine, batch):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
        engine.fire_event(TrainEvents.GRADIENTS_READY)
        optimizer.step()

    engine = Engine(update)
    engine.register_events(TrainEvents.GRADIENTS_READY)
    trainer = make_resumable(engine, {"model": model, "optimizer": optimizer}, seed=0)
    GradientClipper(1.0).attach(trainer, model)
    trainer.add_event_handler(TrainEvents.GRADIENTS_READY, lambda: clips.append(0))
    trainer.run(loader(), max_epochs=1)
    assert len(clips) == 4


def test_running_statistics_count_a_batch_that_failed_once():
    def run(fails):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        failing = iter([True] if fails else [])

        def update(engine, batch):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(batch[0]), batch[1])
            if engine.state.iteration == 2 and next(failing, False):
                raise RuntimeError("broken")
            loss.backward()
            optimizer.step()

        trainer = make_resumable(Engine(update), {"model": model, "optimizer": optimizer}, seed=0)
        if fails:
            with pytest.raises(RuntimeError, match="broken"):
                trainer.run(loader(), max_epochs=1)
        trainer.run(loader(), max_epochs=1)
        return model.state_dict()

    assert equal(run(False), run(True))


def test_precision_is_the_update_functions_own():
    with pytest.raises(RuntimeError, match="use Update"):
        MixedPrecisionTrainer(device="cpu", dtype=torch.bfloat16).attach(plain())


def test_lbfgs_by_hand_resumes_too(tmp_path):
    def make():
        model = nn.Linear(3, 1)
        nn.init.ones_(model.weight)
        nn.init.zeros_(model.bias)
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

        def update(engine, batch):
            def closure():
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(noisy(batch[0])), batch[1])
                loss.backward()
                return loss

            optimizer.step(closure)

        trainer = make_resumable(Engine(update), {"model": model, "optimizer": optimizer}, seed=0)
        ExponentialMovingAverage(0.5).attach(trainer)
        return trainer, loader()

    trainer = check_cuts(make, tmp_path, EPOCHS)
    assert trainer.progress.optimizer_steps == 8


def test_a_copy_would_train_the_models_of_the_original():
    with pytest.raises(TypeError, match="would train the models of the original"):
        copy.deepcopy(plain())


class Program:
    """An update function that is an object."""

    def __init__(self):
        self.model = net()
        self.optimizer = torch.optim.Adam(self.model.parameters(), 0.02)
        self.__name__ = "Program"

    def __call__(self, engine, batch):
        self.optimizer.zero_grad()
        nn.functional.mse_loss(self.model(batch[0]), batch[1]).backward()
        self.optimizer.step()


def test_an_object_that_holds_its_models_is_copied_with_them():
    program = Program()
    trainer = make_resumable(Engine(program), {"model": program.model, "optimizer": program.optimizer}, seed=0)
    GradientClipper(0.1).attach(trainer)
    copied = copy.deepcopy(trainer)
    for one in (copied, trainer):
        one.run(loader(), max_epochs=1)
    assert equal(copied.model.state_dict(), trainer.model.state_dict())
    assert copied.model is not trainer.model


# What an attack found.


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
@pytest.mark.parametrize("policy", ["skip", "raise"])
def test_a_closure_is_clipped_and_judged(kind, policy):
    model = nn.Linear(3, 1)
    make = {
        "adam": torch.optim.Adam,
        "lbfgs": lambda p: torch.optim.LBFGS(p, max_iter=4, line_search_fn="strong_wolfe"),
    }
    optimizer = make[kind](model.parameters())

    def update(engine, batch):
        def closure():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(batch[0]), batch[1])
            loss.backward()
            return loss

        optimizer.step(closure)

    trainer = make_resumable(Engine(update), {"model": model, "optimizer": optimizer}, seed=0)
    clipper = GradientClipper(0.1).attach(trainer)
    guard = NonFiniteGuard(policy).attach(trainer)
    kept = []
    trainer.add_event_handler(Events.ITERATION_STARTED(once=3), lambda: kept.append(copy.deepcopy(model.state_dict())))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=3), lambda: kept.append(equal(kept[0], model.state_dict()))
    )
    if policy == "raise":
        with pytest.raises(NonFiniteError):
            trainer.run(batches(5, bad=2), max_epochs=1)
        assert equal(kept[0], model.state_dict())
    else:
        trainer.run(batches(5, bad=2), max_epochs=1)
        assert (trainer.progress.optimizer_steps, trainer.progress.skipped_steps) == (4, 1)
        assert guard.num_skipped >= 1
        assert kept[1]
    assert clipper.num_steps >= 2
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_closure_that_is_bad_after_it_has_moved_leaves_weights_and_optimizer_as_they_were():
    model, calls, kept = nn.Linear(3, 1), [], []
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=6, line_search_fn="strong_wolfe")

    def update(engine, batch):
        def closure():
            optimizer.zero_grad()
            calls.append(engine.state.iteration)
            bad = calls.count(2) == 3 and calls[-1] == 2
            loss = nn.functional.mse_loss(model(batch[0]), batch[1]) * (float("nan") if bad else 1.0)
            loss.backward()
            return loss

        optimizer.step(closure)

    trainer = make_resumable(Engine(update), {"model": model, "optimizer": optimizer}, seed=0)
    NonFiniteGuard("skip").attach(trainer)

    def state():
        return copy.deepcopy((model.state_dict(), optimizer.state_dict()))

    trainer.add_event_handler(Events.ITERATION_STARTED(once=2), lambda: kept.append(state()))
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: kept.append(state()))
    trainer.run(batches(3), max_epochs=1)
    assert calls.count(2) >= 3
    assert first_difference(*kept, "state") is None
    assert (trainer.progress.optimizer_steps, trainer.progress.skipped_steps) == (2, 1)


def test_an_update_that_was_attached_before_hides_no_other_optimizer():
    first, second = net(), net()
    optimizer, step = (
        torch.optim.SGD(first.parameters(), 0.1),
        Update(torch.optim.SGD(second.parameters(), 0.1), name="s"),
    )

    def update(engine, batch):
        optimizer.zero_grad()
        nn.functional.mse_loss(first(batch[0]), batch[1]).backward()
        optimizer.step()
        step(engine, nn.functional.mse_loss(second(batch[0]), batch[1]))

    engine = Engine(update)
    step.attach(engine)
    trainer = make_resumable(engine, {"a": first, "b": second, "o": optimizer, "s": step}, seed=0)
    clipper = GradientClipper(1.0).attach(trainer)
    trainer.run(loader(), max_epochs=1)
    assert clipper.num_steps == 8


def test_a_model_stays_in_the_mode_in_which_the_user_left_it():
    def run(wrap):
        model = net().eval()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)

        def update(engine, batch):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
            optimizer.step()

        engine = Engine(update)
        if wrap:
            make_resumable(engine, {"model": model, "optimizer": optimizer}, seed=0)
        engine.run(batches(4), max_epochs=1)
        return model.state_dict()

    assert equal(run(False), run(True))


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_that_come_after_the_step_and_parameters_of_no_model_are_resumed(tmp_path, set_to_none):
    def make():
        model = net()
        temperature = nn.Parameter(torch.ones(()))
        optimizer = torch.optim.SGD([*model.parameters(), temperature], 0.01)

        def update(engine, batch):  # with the gradients of the batch before
            optimizer.step()
            optimizer.zero_grad(set_to_none)
            (temperature * nn.functional.mse_loss(model(batch[0]), batch[1])).backward()

        return make_resumable(Engine(update), {"model": model, "optimizer": optimizer}, seed=0), loader()

    check_cuts(make, tmp_path, EPOCHS)


def test_statistics_of_the_others_stay_where_one_step_is_dropped():
    first, second = net(), net()
    optimizers = [torch.optim.SGD(model.parameters(), 0.01) for model in (first, second)]

    def update(engine, batch):
        for model, optimizer, factor in zip((first, second), optimizers, (1.0, float("nan")), strict=True):
            optimizer.zero_grad()
            (factor * nn.functional.mse_loss(model(batch[0]), batch[1])).backward()
            optimizer.step()

    parts = {"a": first, "b": second, "x": optimizers[0], "y": optimizers[1]}
    trainer = make_resumable(Engine(update), parts, seed=0)
    NonFiniteGuard("skip").attach(trainer)
    with pytest.raises(NonFiniteError, match="epoch 1, y: none of its 4 steps"):
        trainer.run(batches(4), max_epochs=1)
    assert (first[1].num_batches_tracked, second[1].num_batches_tracked) == (4, 0)


class Assigning:
    """One that counts in attributes."""

    def __init__(self, model):
        self.model, self.count, self.others = model, 0, {"critic": nn.Linear(1, 1)}
        self.__name__ = "Assigning"

    def __call__(self, engine, batch):
        self.count += 1


def test_attributes_and_modules_in_containers_are_named(caplog):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    make_resumable(Engine(Assigning(model)), {"model": model, "optimizer": optimizer}, seed=0).run([0])
    assert "the attribute count" in caplog.text
    assert "others['critic'] (Linear)" in caplog.text


def test_a_variable_without_a_value_is_nothing(caplog):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def make():
        if optimizer is None:
            scaler = 1
        return lambda engine, batch: engine.state.iteration > 99 and scaler

    make_resumable(Engine(make()), {"model": model, "optimizer": optimizer}, seed=0).run([0])
    assert "cannot be exact" not in caplog.text


def test_a_refusal_leaves_the_engine_as_it_was():
    model = net()
    parts = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1)}
    engine = Engine(lambda engine, batch: None)
    with pytest.raises((TypeError, ValueError), match="seed"):
        make_resumable(engine, parts, seed="x")
    assert type(engine) is Engine
    make_resumable(engine, parts, seed=0).run([0])


@pytest.mark.parametrize("loss", [3.0, {"loss": 1}, torch.zeros(2), torch.zeros(())])
def test_what_is_no_loss_is_refused(loss):
    step = Update(torch.optim.SGD(net().parameters(), 0.1))
    with pytest.raises(TypeError, match="loss"):
        Engine(lambda engine, batch: step(engine, loss)).run([torch.zeros(3)])


def test_the_state_of_another_kind_of_optimizer_is_refused(tmp_path):
    trainer = plain()
    trainer.run(loader(), max_epochs=1)
    path = write_checkpoint(run_state(trainer), tmp_path / "run.pt")
    model = net()
    parts = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1)}
    with pytest.raises(CheckpointError, match=r"it has no .*momentum"):
        restore_run(make_resumable(Engine(lambda engine, batch: None), parts, seed=1), path)


def test_parameters_of_no_model_are_put_back_by_a_resume_that_fails(tmp_path):
    def make():
        model, temperature = net(), nn.Parameter(torch.ones(()))
        optimizer = torch.optim.SGD([*model.parameters(), temperature], 0.01)

        def update(engine, batch):
            optimizer.zero_grad()
            (temperature * nn.functional.mse_loss(model(batch[0]), batch[1])).backward()
            optimizer.step()

        return make_resumable(Engine(update), {"model": model, "optimizer": optimizer}, seed=0), temperature

    first, trained = make()
    first.run(loader(), max_epochs=1)
    contents = run_state(first)
    assert contents["run"]["outside"]["optimizer"][0] == trained != 1
    second, temperature = make()
    for wrong in (
        {"outside": {"optimizer": [torch.zeros(2)]}},
        {"progress": {**contents["run"]["progress"], "epoch": ""}},
    ):
        path = write_checkpoint({**contents, "run": {**contents["run"], **wrong}}, tmp_path / "run.pt")
        with pytest.raises(CheckpointError, match="does not fit this run"):
            restore_run(second, path)
        assert temperature == 1
    restore_run(second, write_checkpoint(contents, tmp_path / "run.pt"))
    assert temperature == trained


def test_a_schedule_in_an_event_handler_that_is_no_part_is_named(caplog):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)

    def update(engine, batch):
        optimizer.zero_grad()
        model(batch[0]).square().mean().backward()
        optimizer.step()

    for parts in ({}, {"schedule": schedule}):
        caplog.clear()
        engine = make_resumable(Engine(update), {"model": model, "optimizer": optimizer, **parts}, seed=0)
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: schedule.step())
        engine.run([(torch.ones(4, 3), torch.ones(4, 1))] * 2, max_epochs=1)
        assert ("event handlers change schedule (StepLR)" in caplog.text) == (not parts)


def test_a_module_that_is_made_of_parts_is_not_named(caplog):
    encoder, head = nn.Linear(3, 4), nn.Linear(4, 1)
    both = nn.Sequential(encoder, head)
    optimizer = torch.optim.SGD(both.parameters(), 0.1)

    def update(engine, batch):
        optimizer.zero_grad()
        both(batch[0]).square().mean().backward()
        optimizer.step()

    engine = make_resumable(Engine(update), {"encoder": encoder, "head": head, "optimizer": optimizer}, seed=0)
    engine.run([(torch.ones(4, 3), torch.ones(4, 1))] * 2, max_epochs=1)
    assert "cannot be exact" not in caplog.text


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_dropped_step_leaves_the_graph_of_the_next_update_usable(by_hand):
    """One forward pass of the generator serves both updates, as in the tutorial on DCGAN."""
    torch.manual_seed(0)
    generator, critic = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), nn.Linear(3, 1)
    optimizers = [torch.optim.SGD(module.parameters(), 0.1) for module in (critic, generator)]
    updates = [
        Update(optimizer, name=name) for optimizer, name in zip(optimizers, ("critic", "generator"), strict=True)
    ]

    def step(engine, k, loss):
        if not by_hand:
            return updates[k](engine, loss)
        optimizers[k].zero_grad()
        loss.backward()
        return optimizers[k].step()

    def update(engine, real):
        made = generator(torch.randn(len(real), 4))
        step(engine, 0, critic(real).mean() - critic(made.detach()).mean())
        step(engine, 1, -critic(made).mean())

    parts = dict(zip(("critic_step", "generator_step"), optimizers if by_hand else updates, strict=True))
    trainer = make_resumable(Engine(update), {"generator": generator, "critic": critic, **parts}, seed=0)
    guard = NonFiniteGuard("skip").attach(trainer)
    trainer.run([torch.full((5, 3), float("nan")), torch.ones(5, 3)], max_epochs=2)
    assert guard.num_skipped == 2
    assert all(value.isfinite().all() for value in generator.state_dict().values())


def test_a_handler_that_was_attached_before_makes_no_warning_of_events_that_the_trainer_fires(caplog, tmp_path):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    engine = create_supervised_trainer(model, optimizer, nn.MSELoss())
    LearningRateScheduler(optimizer, "step", step_size=1).attach(engine)
    make_resumable(engine, {"model": model, "optimizer": optimizer}, seed=0)
    Checkpointing(tmp_path).attach(engine)
    engine.run([(torch.ones(4, 3), torch.ones(4, 1))] * 2, max_epochs=1)
    assert "has not fired" not in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_epoch_1.pt"]
