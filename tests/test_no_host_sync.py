"""Nothing in a step makes the host wait for an accelerator: no handler alone, nor all of them as recipes use them.

Where there is no CUDA, one is emulated (support/fake_accelerator.py); where there is, torch's own alarm is set.
"""

import io
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from support import fake_accelerator as fake
from support.cuts import check_cuts
from support.handlers_table import HANDLERS
from torch import nn
from tqdm import tqdm

from ignite_recipes import (
    CheckpointManager,
    EarlyStopping,
    EpochAverages,
    ExperimentManager,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NoiseAugmentation,
    NonFiniteGuard,
    RowDataset,
    Trainer,
    TrainEvents,
    Update,
    Validation,
    VariationalAutoencoder,
    create_dataloaders,
    create_evaluator,
    create_trainer,
    getDefaultModelParams,
    handlers,
    make_resumable,
    make_traffic_windows,
    send_on_delta,
    train_model_advanced,
    train_variational_autoencoder,
    trainModel,
)
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.handlers import progress
from ignite_recipes.metrics import StepBuffer
from ignite_recipes.recipes import assembly, supervised, traffic, vae

EPOCHS, BATCHES = 2, 11
LAG = 8  # steps after which the guard asks whether one was finite
HAS_CUDA = torch.cuda.is_available()
emulated_only = pytest.mark.skipif(HAS_CUDA, reason="this machine has CUDA, which needs no emulation")
_skipped = pytest.mark.skipif(not HAS_CUDA, reason="this machine has no CUDA; the emulated accelerator stands in")


def needs_cuda(test):
    """Run it on a machine that has CUDA only, where ``-m cuda`` chooses it."""
    return pytest.mark.cuda(_skipped(test))


class Cuda:
    """As the emulated accelerator, but real: torch's own alarm is set in the steps, from the first or the second on.

    Mode "error" raises where the host waits, "warn" counts.
    """

    device = torch.device("cuda")
    attach, _watch_evaluators = fake.Accelerator.attach, fake.Accelerator._watch_evaluators

    def __init__(self, mode="error", *, spares_first=False):
        self.mode, self.spares_first, self.waits = mode, spares_first, []
        self._record = warnings.catch_warnings(record=True)

    def __enter__(self):
        self._caught = self._record.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *error):
        self._end_steps()
        self.waits = [str(one.message) for one in self._caught if "synchronizing CUDA" in str(one.message)]
        self._record.__exit__(*error)

    def _begin_step(self, engine):
        if not self.spares_first or engine.state.iteration > 0:
            torch.cuda.set_sync_debug_mode(self.mode)

    def _end_steps(self, *_):
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(autouse=True)
def _small_and_loud(monkeypatch):
    """What happens every 128 steps happens every two, the bar is drawn at every step, and no picture at the end."""
    monkeypatch.setattr(StepBuffer, "BLOCK", 2)
    monkeypatch.setattr(progress, "_bar", lambda **settings: tqdm(file=io.StringIO(), mininterval=0, **settings))
    monkeypatch.setattr(handlers.Curves, "__call__", lambda *_: None)
    # Of the kinds of device the recipes know those that have a fused Adam; this one has what CUDA has.
    for recipe in (vae, supervised, traffic):
        monkeypatch.setattr(recipe, "fused_adam", fused_adam)


def fused_adam(model, device, *settings):
    return assembly.fused_adam(model, torch.device("cuda"), *settings)


# What is trained, and with what.


def loss_fn(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


def regression(bad=None):
    """Batches of inputs and targets; the last one is short, and one may be bad."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(4 * BATCHES - 1, 3, generator=draw)
    targets = inputs.sum(1, keepdim=True)
    if bad is not None:
        inputs[4 * bad] = float("nan")
    return list(zip(inputs.split(4), targets.split(4), strict=True))


def run(accelerator, attach, folder, *, fused=True, bad=None, epochs=EPOCHS, **settings):
    """Train with validation, averages and a history, and what ``attach`` adds; the trainer."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.3), nn.Linear(4, 1))
    model = model.to(accelerator.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, fused=fused)
    trainer = create_trainer(model, optimizer, loss_fn, device=accelerator.device, seed=1, **settings)
    parts = SimpleNamespace(model=model, optimizer=optimizer, trainer=trainer, folder=folder)
    parts.task = SimpleNamespace(batches=regression()[:1], loss_fn=loss_fn)
    attach(parts)
    accelerator.attach(trainer)
    trainer.run(regression(bad), max_epochs=epochs)
    return trainer


def nothing(t):
    """A bare trainer."""


def measured(t):
    """Validation, averages, and a history: what handlers watch."""
    evaluator = create_evaluator(t.model, loss_fn, device=t.trainer.device)
    EpochAverages().attach(evaluator)
    Validation(evaluator, regression()[:2]).attach(t.trainer)
    EpochAverages("train_", skip_nonfinite=True).attach(t.trainer)
    History(["train_loss", "val_loss"]).attach(t.trainer)


def bfloat16(t):
    return MixedPrecisionTrainer(device=t.trainer.device, dtype=torch.bfloat16)


def validation(t):
    return Validation(create_evaluator(t.model, loss_fn, device=t.trainer.device), t.task.batches, prefix="other_")


BUILDS = {name: case.build for name, case in HANDLERS.items()}
BUILDS |= {"MixedPrecisionTrainer": bfloat16, "Validation": validation}  # the contract's are of the CPU


def alone(name):
    def attach(t):
        measured(t)
        BUILDS[name](t).attach(t.trainer)

    return attach


def together(t):
    measured(t)
    for name, build in BUILDS.items():
        if name != "SaveInside":  # which waits where it saves
            build(t).attach(t.trainer)


def schedule(kind, **settings):
    def attach(t):
        measured(t)
        LearningRateScheduler(t.optimizer, kind, **settings).attach(t.trainer)

    return attach


def as_recipes_do(t):
    """All that changes a step, in the order of the recipes."""
    NoiseAugmentation(0.1, None, None).attach(t.trainer)
    GradientClipper(0.5).attach(t.trainer)
    ExponentialMovingAverage(0.9).attach(t.trainer)
    NonFiniteGuard("skip").attach(t.trainer)
    measured(t)
    LearningRateScheduler(t.optimizer, "onecycle", T_max=EPOCHS * BATCHES).attach(t.trainer)
    EarlyStopping(2, verbose=False).attach(t.trainer)


def with_note_probabilities(t):
    handlers.DataAugmentation().attach(t.trainer, "note_probabilities", dropout_prob=0.2)


RUNS = {
    "a bare trainer": (nothing, {}),
    **{name: (alone(name), {}) for name in BUILDS},
    "note probabilities": (with_note_probabilities, {}),
    "a plateau schedule": (schedule("plateau", patience=0), {}),
    "a onecycle schedule": (schedule("onecycle", T_max=EPOCHS * BATCHES), {}),
    "all handlers together": (together, {}),
    "all together, a bad batch": (together, {"bad": 4}),
    "all together, accumulation": (together, {"accumulation_steps": 3}),
    "as recipes do, accumulation, a bad batch": (as_recipes_do, {"accumulation_steps": 2, "bad": 4}),
}


# The recipes, with all that they have.


def rows(n=26):
    return torch.rand(n, 6, generator=torch.Generator().manual_seed(0)).round()


def train_vae(accelerator, folder, *, on_device=False, **settings):
    data = list((rows().to(accelerator.device) if on_device else rows()).split(4))
    settings = {"checkpoint_dir": folder, "patience": 3, "max_grad_norm": 1.0, "ema_decay": 0.9, **settings}
    train_variational_autoencoder(
        VariationalAutoencoder(6, 2, 8), data, data[:2], EPOCHS, device=accelerator.device, seed=1, print_every=9,
        progress=True, handlers=[accelerator], **settings,
    )  # fmt: skip


def train_supervised(accelerator, folder, *, classes=False, on_device=False, **settings):
    targets = rows()[:, 0].long() if classes else rows()[:, :2]
    inputs, targets = (part.to(accelerator.device) if on_device else part for part in (rows(), targets))
    data = list(zip(inputs.split(4), targets.split(4), strict=True))
    settings = {"use_augmentation": True, "check_stability": True, "use_mixed_precision": False, **settings}
    train_model_advanced(
        nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), data, data[:2], epochs=EPOCHS,
        device=accelerator.device, checkpoint_dir=folder, verbose=False, seed=1, ema_decay=0.9, progress=True,
        handlers=[accelerator, *recorders(folder)], **settings,
    )  # fmt: skip


def train_traffic(accelerator, folder, **settings):
    walk = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
    context, flags = send_on_delta(walk, 0.3, limits=([0.0, 0.0], [1.0, 1.0]))
    data = make_traffic_windows(context, flags, 6, 3)
    p = getDefaultModelParams(6, 3, data, batch_size=8)
    p |= {"hidden_size": 8, "num_layers": 1, "num_epochs": EPOCHS, "checkpoint_dir": str(folder)}
    p |= {"use_mixed_precision": False, **settings}
    trainModel(
        p, data, data, verbose=False, device=accelerator.device, ema_decay=0.9, progress=True,
        handlers=[accelerator, *recorders(folder)],
    )  # fmt: skip


def train_classifier(accelerator, folder, *, scheduler="plateau", **settings):
    data = list(zip(rows().split(4), rows()[:, 0].long().split(4), strict=True))
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(accelerator.device)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    experiment = ExperimentManager(base_dir=str(folder))
    trainer = Trainer(
        model, data, data[:2], nn.CrossEntropyLoss(), optimizer, accelerator.device, experiment,
        CheckpointManager(experiment.checkpoints_dir), LearningRateScheduler(optimizer, scheduler, mode="max"),
        patience=3, seed=1, max_grad_norm=1.0, ema_decay=0.9, progress=True, handlers=[accelerator], **settings,
    )  # fmt: skip
    trainer.train(EPOCHS)


METRICS = {
    "f1": "f1",
    "auroc": "auroc",
    "balanced_accuracy": "balanced_accuracy",
    "per_sample": lambda outputs, targets: outputs.float().sum(1),
    "per_batch": lambda outputs, targets: outputs.float().mean(),
}
"""In a step of an evaluation, too, nothing is read; those that do not fit a recipe are not computed to their end."""


def recorders(folder):
    return [handlers.TrainingLog(folder / "log.csv"), handlers.TensorBoardLog(folder)]


RECIPES = {
    "vae": (train_vae, {}),
    "vae, data on the device": (train_vae, {"on_device": True}),
    "vae, bfloat16, accumulation": (train_vae, {"precision": "bfloat16", "accumulation_steps": 2}),
    "vae, rollback": (train_vae, {"non_finite": "rollback"}),
    "supervised": (train_supervised, {}),
    "supervised, data on the device": (train_supervised, {"on_device": True}),
    "supervised, classes on the device": (train_supervised, {"classes": True, "on_device": True}),
    "supervised, classes, skip": (train_supervised, {"classes": True, "non_finite": "skip"}),
    "supervised, bfloat16, onecycle": (train_supervised, {"precision": "bfloat16", "scheduler_type": "onecycle"}),
    "vae, metrics": (train_vae, {"on_device": True, "metrics": METRICS}),
    "supervised, metrics": (train_supervised, {"on_device": True, "metrics": {**METRICS, "mae": "mae", "r2": "r2"}}),
    "classification, metrics": (train_classifier, {"metrics": {**METRICS, "f1": "f1"}, "monitor": "val_f1"}),
    "traffic": (train_traffic, {}),
    "classification": (train_classifier, {}),
    "classification, bfloat16, accumulation": (
        train_classifier,
        {"precision": "bfloat16", "accumulation_steps": 2, "non_finite": "skip"},
    ),
}


# Each run of these checks the labels of its first batch on the device: until then it does not know the classes.
CHECKS_FIRST_LABELS = {name for name in RECIPES if "classes" in name or "classification" in name}


def is_check_of_first_labels(line):
    return line.startswith("iteration 1, the step itself, ") and "at recipes/supervised_loss.py:" in line


@pytest.fixture
def accelerator():
    with fake.Accelerator() as device:
        yield device


def said(waits):
    counted = Counter(waits)
    return "the host waited in a step:\n" + "\n".join(f"{count} x {line}" for line, count in counted.items())


@emulated_only
@pytest.mark.parametrize("name", RUNS)
def test_a_step_never_waits(accelerator, tmp_path, name):
    attach, settings = RUNS[name]
    trainer = run(accelerator, attach, tmp_path, **settings)
    assert not accelerator.waits, said(accelerator.waits)
    assert trainer.state.iteration == EPOCHS * BATCHES


def two_updates(device, way, dtype=torch.bfloat16):
    """A trainer of two models, each with a fused optimizer, and all that acts on an update."""
    torch.manual_seed(3)
    models = nn.ModuleDict({"actor": nn.Linear(3, 2), "critic": nn.Linear(2, 1)}).to(device)
    optimizers = {name: torch.optim.Adam(model.parameters(), 0.02, fused=True) for name, model in models.items()}

    def critic_loss(m, x, batch):
        return {"loss": (m["critic"](m["actor"](x)) - batch[1]).square().mean()}

    def actor_loss(m, x, batch):
        return {"loss": m["critic"](m["actor"](x)).tanh().mean()}

    if way == "ours":
        updates = [
            Update(optimizers["critic"], critic_loss, name="critic", accumulation_steps=2),
            Update(optimizers["actor"], actor_loss, name="actor", every=2),
        ]
        trainer = create_trainer(models, updates=updates, device=device, seed=1)
    else:
        critic, actor = (Update(optimizers[name], name=name) for name in ("critic", "actor"))

        def update(engine, batch):
            x, y = (tensor.to(device, non_blocking=True) for tensor in batch)
            loss = critic(engine, lambda: critic_loss(models, x, (x, y))["loss"])
            return {"critic_loss": loss, "actor_loss": actor(engine, lambda: actor_loss(models, x, (x, y))["loss"])}

        trainer = make_resumable(Engine(update), {"models": models, "c": critic, "a": actor}, seed=1)
    MixedPrecisionTrainer(device=device, dtype=dtype).attach(trainer)
    GradientClipper(0.5).attach(trainer)
    GradientClipper(0.1).attach(trainer.updates["actor"])
    NonFiniteGuard("skip").attach(trainer)
    ExponentialMovingAverage(0.9).attach(trainer.updates["actor"])
    LearningRateScheduler(optimizers["critic"], "cosine", T_max=20, per="step").attach(trainer)
    EpochAverages().attach(trainer)
    return trainer


@emulated_only
@pytest.mark.parametrize("way", ["ours", "by hand"])
def test_a_step_of_several_updates_never_waits(accelerator, way):
    trainer = two_updates(accelerator.device, way)
    accelerator.attach(trainer)
    trainer.run(regression(), max_epochs=EPOCHS)
    assert not accelerator.waits, said(accelerator.waits)
    assert trainer.progress.optimizer_steps == (23 if way == "ours" else 2 * EPOCHS * BATCHES)


@pytest.mark.slow
@emulated_only
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", ["ours", "by hand"])
def test_several_updates_resume_to_the_bit_on_the_device(accelerator, tmp_path, way, dtype):
    check_cuts(lambda: (two_updates(accelerator.device, way, dtype), regression()), tmp_path, EPOCHS)


@emulated_only
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_step_never_waits(accelerator, tmp_path, name):
    recipe, settings = RECIPES[name]
    recipe(accelerator, tmp_path, **settings)
    waits = accelerator.waits
    if name in CHECKS_FIRST_LABELS:
        waits = [line for line in waits if not is_check_of_first_labels(line)]
    assert not waits, said(waits)
    assert accelerator.outside > 0  # epochs do read


@needs_cuda
@pytest.mark.parametrize("name", RUNS)
def test_a_step_never_waits_for_cuda(tmp_path, name):
    attach, settings = RUNS[name]
    with Cuda() as accelerator:
        trainer = run(accelerator, attach, tmp_path, **settings)
    assert trainer.state.iteration == EPOCHS * BATCHES


@needs_cuda
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_step_never_waits_for_cuda(tmp_path, name):
    recipe, settings = RECIPES[name]
    with Cuda(spares_first=name in CHECKS_FIRST_LABELS) as accelerator:
        recipe(accelerator, tmp_path, **settings)


# What has a price.


def float16(t):
    MixedPrecisionTrainer(device=t.trainer.device, dtype=torch.float16).attach(t.trainer)
    GradientClipper(0.5).attach(t.trainer)
    measured(t)


def guarded(t):
    GradientClipper(0.5).attach(t.trainer)
    NonFiniteGuard("skip").attach(t.trainer)
    measured(t)


def guarded_float16(t):
    MixedPrecisionTrainer(device=t.trainer.device, dtype=torch.float16).attach(t.trainer)
    guarded(t)


COSTS = {  # how often the host waits in a step
    "not fused, unguarded": (measured, False, 0),
    "not fused, guarded": (guarded, False, 1),
    "float16": (float16, True, 1),
    "float16, not fused": (float16, False, 2),  # one for each
    "float16, guarded": (guarded_float16, True, 1),
    "float16, not fused, guarded": (guarded_float16, False, 2),
}
every_cost = pytest.mark.parametrize(("attach", "fused", "cost"), COSTS.values(), ids=COSTS)


@emulated_only
@every_cost
def test_what_has_a_price_costs_that_in_every_step(accelerator, tmp_path, attach, fused, cost):
    run(accelerator, attach, tmp_path, fused=fused)
    expected = {n: cost for n in range(1, EPOCHS * BATCHES + 1) if cost}
    assert per_iteration(accelerator.waits) == expected, said(accelerator.waits)


@needs_cuda
@every_cost
def test_what_has_a_price_costs_that_on_cuda(tmp_path, attach, fused, cost):
    with Cuda("warn") as accelerator:
        run(accelerator, attach, tmp_path, fused=fused)
    assert len(accelerator.waits) == cost * EPOCHS * BATCHES


@emulated_only
@pytest.mark.parametrize("recipe", [train_supervised, train_traffic])
def test_a_recipe_in_float16_as_is_its_default_waits_once_a_step(accelerator, tmp_path, recipe):
    recipe(accelerator, tmp_path, use_mixed_precision=True)
    assert set(per_iteration(accelerator.waits).values()) == {1}, said(accelerator.waits)


def per_iteration(waits):
    """How often the host waited in which iteration."""
    return dict(Counter(int(line.split(",")[0].removeprefix("iteration ")) for line in waits))


@emulated_only
@pytest.mark.parametrize(
    ("steps", "saves_at"), [(1, [3, 6, 9, 12, 15, 18, 21]), (2, [4, 6, 10, 13, 15, 19, 21])], ids=["1", "accumulation"]
)
def test_a_run_that_saves_inside_its_epochs_waits_only_where_it_does(accelerator, tmp_path, steps, saves_at):
    def attach(t):
        together(t)
        handlers.Checkpointing(tmp_path, "latest.pt", every_iterations=3).attach(t.trainer)

    run(accelerator, attach, tmp_path, accumulation_steps=steps)
    assert list(per_iteration(accelerator.waits)) == saves_at, said(accelerator.waits)
    assert all("RESUME_POINT, SaveInside(" in line for line in accelerator.waits), said(accelerator.waits)


# The guard decides on the device.


@emulated_only
def test_a_step_that_is_not_finite_is_dropped_on_the_device_and_counted_when_the_host_hears_of_it(
    accelerator, tmp_path
):
    skipped, weights = [], []

    def attach(t):
        guarded(t)
        t.trainer.add_event_handler(
            TrainEvents.OPTIMIZER_STEP_SKIPPED, lambda: skipped.append(t.trainer.state.iteration)
        )
        t.trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda: weights.append([p.detach().clone() for p in t.model.parameters()])
        )

    trainer = run(accelerator, attach, tmp_path, bad=1)
    assert not accelerator.waits, said(accelerator.waits)
    assert trainer.updates.first.veto_lag == LAG
    assert skipped == [2 + LAG, 2 + BATCHES + LAG]
    before, at, after = weights[:3]
    assert all(one.inner.equal(other.inner) for one, other in zip(before, at, strict=True))
    assert not all(one.inner.equal(other.inner) for one, other in zip(at, after, strict=True))
    assert all(one.inner.isfinite().all() for one in weights[-1])


@emulated_only
def test_an_error_of_the_guard_comes_late_and_names_the_step_that_it_belongs_to(accelerator, tmp_path):
    iterations = []

    def attach(t):
        NonFiniteGuard("raise").attach(t.trainer)
        t.trainer.add_event_handler(Events.ITERATION_STARTED, lambda: iterations.append(t.trainer.state.iteration))

    with pytest.raises(handlers.NonFiniteError, match="epoch 1, iteration 2: the loss"):
        run(accelerator, attach, tmp_path, bad=1)
    assert iterations[-1] == 2 + LAG
    assert len(accelerator.waits) <= 1  # the error may cost something


# The watch can see.


class Reads:
    """A handler that looks at the loss in every step, in some way."""

    def __init__(self, look):
        self.look = look

    def __repr__(self):
        return "Reads()"

    def attach(self, trainer):
        trainer.add_event_handler(TrainEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine):
        loss = (
            engine.updates.first.window.losses[-1]
            if isinstance(engine, TrainingEngine)
            else engine.state.output["loss"]
        )
        with torch.no_grad():
            self.look(loss, torch.ones(3, device=engine.device))


WAITS = {
    "item": lambda loss, x: loss.item(),
    "float": lambda loss, x: float(loss),
    "int": lambda loss, x: int(loss),
    "format": lambda loss, x: f"{loss:.3f}",
    "bool": lambda loss, x: bool(loss),
    "comparison": lambda loss, x: max(loss, loss),
    "repr": lambda loss, x: repr(loss),
    "tolist": lambda loss, x: x.tolist(),
    "cpu": lambda loss, x: loss.cpu(),
    "to": lambda loss, x: x.to("cpu"),
    "copy_": lambda loss, x: torch.empty(3).copy_(x),
    "copy_, not pinned": lambda loss, x: torch.empty(3).copy_(x, non_blocking=True),
    "equal": lambda loss, x: torch.equal(x, x),
    "allclose": lambda loss, x: torch.allclose(x, x),
    "nonzero": lambda loss, x: x.nonzero(),
    "one argument's where": lambda loss, x: torch.where(x > 0),
    "unique": lambda loss, x: x.unique(),
    "mask": lambda loss, x: x[x > 0],
    "masked_select": lambda loss, x: x.masked_select(x > 0),
    "assignment by a mask": lambda loss, x: x.__setitem__(x > 0, x.clone()),
    "indices of the host": lambda loss, x: x[torch.tensor([0, 1])],
    "a number to the device": lambda loss, x: torch.tensor(1.0, device=x.device),
    "a batch to the device": lambda loss, x: torch.ones(3).to(x.device),
    "where with a number of the host": lambda loss, x: torch.where(x > 0, x, torch.tensor(0.0)),
    "masked_fill with one of the device": lambda loss, x: x.masked_fill(x > 0, loss),
    "adding by indices": lambda loss, x: x.index_put_((x.long(),), x.clone(), accumulate=True),
    "inverse": lambda loss, x: torch.linalg.inv(x.diag()),
    "synchronize": lambda loss, x: torch.get_device_module(x.device).synchronize(),
    "an event of now": lambda loss, x: recorded(x).synchronize(),
}
UNHEARD = {  # torch's alarm for CUDA is silent about these, or not the same in all of its versions
    "copy_, not pinned",
    "indices of the host",
    "where with a number of the host",
    "masked_fill with one of the device",
    "adding by indices",
    "inverse",
    "synchronize",
    "an event of now",
    "equal",
}
FREE = {
    "arithmetic": lambda loss, x: (x * 2 + loss - torch.tensor(1.0)).sum().isfinite(),
    "where": lambda loss, x: x.where(x > 0, 0.0),
    "masked_fill": lambda loss, x: x.masked_fill(x > 0, 0.0),
    "assignment of a number by a mask": lambda loss, x: x.__setitem__(x > 0, 0.0),
    "indices of the device": lambda loss, x: x[x.long().clamp(0, 2)],
    "a batch to the device, not blocking": lambda loss, x: torch.ones(3).to(x.device, non_blocking=True),
    "copy_ to pinned memory": lambda loss, x: torch.empty(3, pin_memory=True).copy_(x, non_blocking=True),
    "to, not blocking": lambda loss, x: x.to("cpu", non_blocking=True),
    "a question to an event": lambda loss, x: recorded(x).query(),
    "a number of the host": lambda loss, x: torch.ones(()).item(),
    "its shape": lambda loss, x: (len(x), loss.dim(), x.numel(), x.dtype),
}


def recorded(x):
    event = torch.Event(x.device)
    event.record()
    return event


@emulated_only
@pytest.mark.parametrize("way", WAITS)
def test_a_handler_that_makes_the_host_wait_is_reported_by_name(accelerator, tmp_path, way):
    run(accelerator, lambda t: Reads(WAITS[way]).attach(t.trainer), tmp_path, epochs=1)
    assert list(per_iteration(accelerator.waits)) == list(range(1, BATCHES + 1)), said(accelerator.waits)
    assert all("BACKWARD_COMPLETED, Reads(): " in line for line in accelerator.waits), said(accelerator.waits)
    assert all(f"at tests/{Path(__file__).name}:" in line for line in accelerator.waits), said(accelerator.waits)


@emulated_only
@pytest.mark.parametrize("way", FREE)
def test_what_costs_nothing_is_not_reported(accelerator, tmp_path, way):
    run(accelerator, lambda t: Reads(FREE[way]).attach(t.trainer), tmp_path, epochs=1)
    assert not accelerator.waits, said(accelerator.waits)


@needs_cuda
@pytest.mark.parametrize("way", [name for name in WAITS if name not in UNHEARD])
def test_what_the_emulation_calls_a_wait_is_one_on_cuda(tmp_path, way):
    with Cuda("warn") as accelerator:
        run(accelerator, lambda t: Reads(WAITS[way]).attach(t.trainer), tmp_path, epochs=1)
    assert accelerator.waits


@needs_cuda
@pytest.mark.parametrize("way", FREE)
def test_what_the_emulation_calls_free_is_so_on_cuda(tmp_path, way):
    with Cuda() as accelerator:
        run(accelerator, lambda t: Reads(FREE[way]).attach(t.trainer), tmp_path, epochs=1)


@emulated_only
def test_a_handler_that_waits_once_an_epoch_or_in_validation_is_told_apart(accelerator, tmp_path):
    def attach(t):
        t.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.output["loss"].item())
        validation = BUILDS["Validation"](t).attach(t.trainer)
        validation.evaluator.add_event_handler(Events.ITERATION_COMPLETED, Reads(WAITS["item"]))

    run(accelerator, attach, tmp_path)
    assert len(accelerator.waits) == EPOCHS
    assert all("ITERATION_COMPLETED, Reads(): " in line for line in accelerator.waits), said(accelerator.waits)


@emulated_only
@pytest.mark.parametrize(("lag", "epoch"), [(0, range(1, BATCHES + 1)), (1, [2, 4, 6, 8, 10]), (fake.LAG - 1, [4, 8])])
def test_a_guard_that_asks_too_early_is_reported(accelerator, tmp_path, lag, epoch):
    def attach(t):
        NonFiniteGuard().attach(t.trainer)
        t.trainer.updates.first.veto_lag = lag

    run(accelerator, attach, tmp_path)
    assert list(per_iteration(accelerator.waits)) == [*epoch, *(BATCHES + n for n in epoch)], said(accelerator.waits)
    assert all("OPTIMIZER_STEP_STARTED, NonFiniteGuard('raise')" in line for line in accelerator.waits)


@emulated_only
def test_a_guard_that_reads_before_the_device_has_written_is_reported(accelerator, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.Event, "synchronize", lambda self: None)
    with pytest.raises(AssertionError, match=r"has not written yet, at handlers/_late_flags\.py"):
        run(accelerator, lambda t: NonFiniteGuard().attach(t.trainer), tmp_path, epochs=1)


# Data that stay there.


@emulated_only
def test_rows_on_an_accelerator_are_fetched_there_and_by_no_worker(accelerator):
    dataset = RowDataset(torch.arange(8, dtype=torch.uint8).reshape(4, 2)).to(accelerator.device)
    loader, _ = create_dataloaders(dataset, None, batch_size=2, pin_memory=True)
    batches = list(loader)
    assert {batch.device.type for batch in batches} == {accelerator.device.type}
    assert {batch.dtype for batch in batches} == {torch.float32}
    with pytest.raises(ValueError, match="num_workers must be 0 for rows on an accelerator"):
        create_dataloaders(dataset, None, num_workers=2)
