"""On a real CUDA device: every recipe trains, in every precision, is resumed to the bit, and may change the device.

What must not make the host wait there is in test_no_host_sync.py. Run with ``pytest -m cuda``.
"""

import pytest
import torch
from ignite.engine import Events
from support.commands import run
from support.cuts import check_cuts
from support.stops import CutAfter, CutError
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    CheckpointManager,
    EpochAverages,
    ExperimentManager,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NoiseAugmentation,
    NonFiniteError,
    NonFiniteGuard,
    RowDataset,
    Trainer,
    TrainingStability,
    Validation,
    VariationalAutoencoder,
    check_resume,
    create_dataloaders,
    create_evaluator,
    create_trainer,
    getDefaultModelParams,
    make_traffic_windows,
    read_checkpoint,
    send_on_delta,
    train_model_advanced,
    train_variational_autoencoder,
    trainModel,
)
from ignite_recipes.checkpoint.newest import newest_checkpoint
from ignite_recipes.checkpoint.resume_check import COMPARED, first_difference
from ignite_recipes.checkpoint.run import run_state
from ignite_recipes.programs.cuda_program import CapturedStep

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA"),
]

DEVICE = torch.device("cuda")
PRECISIONS = ("float32", "bfloat16", "float16")
EPOCHS = 3


# What is trained: each recipe writes its latest checkpoint to a folder, and returns its training losses.


def birds(rows, device="cpu"):
    draw = torch.rand(rows, 50, generator=torch.Generator().manual_seed(rows))
    return RowDataset((draw < torch.linspace(0.02, 0.4, 50)).to(torch.uint8)).to(device)


def classes(rows):
    x = torch.randn(rows, 20, generator=torch.Generator().manual_seed(rows))
    return TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())


def vae(folder, precision="float32", epochs=EPOCHS, device=DEVICE, rows_on="cpu", **options):
    torch.manual_seed(0)
    loaders = create_dataloaders(birds(600, rows_on), birds(100, rows_on), batch_size=32)
    options = {"checkpoint_dir": folder, "seed": 1, "print_every": None, **options}
    history = train_variational_autoencoder(
        VariationalAutoencoder(50, 4, 32), *loaders, num_epochs=epochs, device=device, precision=precision, **options
    )
    return history["train_loss"]


def supervised(folder, precision="float32", epochs=EPOCHS, device=DEVICE, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3))
    loaders = DataLoader(classes(640), 32, shuffle=True, pin_memory=True), DataLoader(classes(128), 32)
    options = {"checkpoint_dir": folder, "seed": 1, "verbose": False, "use_augmentation": True, **options}
    result = train_model_advanced(model, *loaders, epochs=epochs, device=device, precision=precision, **options)
    return result["history"]["train_loss"]


def traffic(folder, precision="float32", epochs=EPOCHS, device=DEVICE, **options):
    walk = torch.sin(torch.arange(800) / torch.tensor([[9.0], [31.0]])).T / 2 + 0.5
    context, flags = send_on_delta(walk, 0.1, limits=([0.0, 0.0], [1.0, 1.0]))
    windows = make_traffic_windows(context, flags, 6, 3)
    p = getDefaultModelParams(6, 3, windows, batch_size=32)
    p |= {"hidden_size": 16, "num_epochs": epochs, "checkpoint_dir": str(folder), "seed": 1}
    _, histories, _ = trainModel(p, windows, windows, verbose=False, device=device, precision=precision, **options)
    return histories["train_loss"]


def classify(folder, precision="float32", epochs=EPOCHS, device=DEVICE, resume_from=None, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    loaders = DataLoader(classes(640), 32, shuffle=True, num_workers=2), DataLoader(classes(128), 32)
    experiment = ExperimentManager(base_dir=str(folder), resume_exp=None if resume_from is None else "exp1")
    trainer = Trainer(
        model, *loaders, nn.CrossEntropyLoss(), optimizer, device, experiment,
        CheckpointManager(experiment.checkpoints_dir), LearningRateScheduler(optimizer, "cosine", T_max=100),
        precision=precision, seed=1, **options,
    )  # fmt: skip
    return trainer.train(epochs)["history"]["train_loss"]


RECIPES = {"vae": vae, "supervised": supervised, "traffic": traffic, "classify": classify}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
every_precision = pytest.mark.parametrize("precision", PRECISIONS)


def latest(folder):
    """The newest checkpoint of the run in a folder."""
    return newest_checkpoint(next(iter(folder.glob("exp1/checkpoints")), folder))


def saved(folder):
    """What must be equal to the bit."""
    contents = read_checkpoint(latest(folder))
    return {key: contents[key] for key in COMPARED if key in contents}


# It trains.


@every_recipe
def test_a_recipe_learns_and_half_precision_learns_the_same(recipe, tmp_path):
    losses = {precision: recipe(tmp_path / precision, precision) for precision in PRECISIONS}
    for history in losses.values():
        assert history[-1] < history[0]
        # A factor in bfloat16 is off by 2**-9 at most; a loss is a mean over thousands of products, of either sign.
        # float16 drops its first steps, until the scale of its loss fits: it is a few of 57 steps late.
        late = history is losses["float16"]
        assert history == pytest.approx(losses["float32"], rel=0.15 if late else 0.03)


@every_precision
@every_recipe
def test_one_seed_gives_equal_bits(recipe, precision, tmp_path):
    for name in ("one", "two"):
        recipe(tmp_path / name, precision)
    assert first_difference(saved(tmp_path / "one"), saved(tmp_path / "two")) is None


# It is resumed.


@every_precision
@every_recipe
def test_a_run_that_is_cut_inside_an_epoch_is_resumed_to_the_bit(recipe, precision, tmp_path):
    options = {"ema_decay": 0.9, "accumulation_steps": 2, "save_every_iterations": 4}
    recipe(tmp_path / "whole", precision, **options)
    cut = tmp_path / "cut"
    with pytest.raises(CutError):
        recipe(cut, precision, **options, handlers=[CutAfter(31)])
    recipe(cut, precision, **options, resume_from=latest(cut))
    assert first_difference(saved(tmp_path / "whole"), saved(cut)) is None


def test_a_run_is_resumed_to_the_bit_after_200_steps(tmp_path):
    options = {"epochs": 15, "deterministic": True, "save_every_iterations": 100}
    vae(tmp_path / "whole", **options)
    cut = tmp_path / "cut"
    with pytest.raises(CutError):
        vae(cut, **options, handlers=[CutAfter(201)])
    vae(cut, **options, resume_from=latest(cut))
    assert first_difference(saved(tmp_path / "whole"), saved(cut)) is None


@every_precision
def test_with_everything_on_every_cut_is_resumed_to_the_bit(precision):
    def loss_fn(model, x, batch):
        return {"loss": nn.functional.cross_entropy(model(x), batch[1])}

    def make_run():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3))
        model = model.to(DEVICE)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
        trainer = create_trainer(model, optimizer, loss_fn, device=DEVICE, seed=1)
        if precision != "float32":
            MixedPrecisionTrainer(device=DEVICE, dtype=getattr(torch, precision)).attach(trainer)
        NoiseAugmentation(0.1).attach(trainer)
        GradientClipper(0.5).attach(trainer)
        NonFiniteGuard("skip").attach(trainer)
        LearningRateScheduler(optimizer, "cosine", T_max=20).attach(trainer)
        ExponentialMovingAverage(0.9).attach(trainer)
        evaluator = create_evaluator(model, loss_fn, device=DEVICE)
        EpochAverages().attach(evaluator)
        Validation(evaluator, DataLoader(classes(64), 32)).attach(trainer)
        TrainingStability().attach(trainer)
        EpochAverages("train_").attach(trainer)
        History(["train_loss", "val_loss"]).attach(trainer)
        return trainer, DataLoader(classes(150), 32, shuffle=True)

    report = check_resume(make_run, max_epochs=2)
    assert report.is_exact, str(report)


def test_a_run_changes_the_device_and_says_that_its_bits_may_differ(tmp_path, caplog):
    whole = vae(tmp_path / "whole", epochs=4)
    for first, second in (("cuda", "cpu"), ("cpu", "cuda")):
        folder = tmp_path / first
        vae(folder, epochs=2, device=first)
        caplog.clear()
        history = vae(folder, epochs=4, device=second, resume_from=latest(folder))
        assert "its last bits may differ" in caplog.text
        assert history == pytest.approx(whole, rel=0.05)


# A number that is not finite, data on the device, and torch's compiler.


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_a_number_that_is_not_finite_does_not_reach_the_weights(policy):
    data = [list(part) for part in zip(*(t.split(32) for t in classes(320).tensors), strict=True)]
    data[4][0] = data[4][0].clone().fill_(float("nan"))
    torch.manual_seed(0)
    model = nn.Linear(20, 3)
    arguments = {"epochs": 2, "device": DEVICE, "verbose": False, "seed": 1, "non_finite": policy}
    if policy == "skip":
        result = train_model_advanced(model, data, data[:2], **arguments)
        assert result["history"]["skipped_steps"] == [1, 2]
    else:
        with pytest.raises(FloatingPointError, match="iteration 5"):
            train_model_advanced(model, data, data[:2], **arguments)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_rows_on_the_device_give_the_bits_of_rows_on_the_host(tmp_path):
    vae(tmp_path / "host")
    vae(tmp_path / "device", rows_on="cuda")
    assert first_difference(saved(tmp_path / "host"), saved(tmp_path / "device")) is None


@pytest.mark.parametrize("mode", [True, "reduce-overhead"])
def test_compiled_it_learns_the_same_and_is_resumed_within_rounding(mode, tmp_path):
    eager = vae(tmp_path / "eager")
    options = {"compile": mode, "save_every_iterations": 4}
    assert vae(tmp_path / "whole", **options) == pytest.approx(eager, rel=0.02)  # other noise is drawn
    cut = tmp_path / "cut"
    with pytest.raises(CutError):
        vae(cut, **options, handlers=[CutAfter(31)])
    vae(cut, **options, resume_from=latest(cut))
    # Not to the bit: the compiler measures again which kernel is the fastest, and kernels sum in different orders.
    whole, resumed = (read_checkpoint(latest(folder)) for folder in (tmp_path / "whole", cut))
    assert resumed["history"]["train_loss"] == pytest.approx(whole["history"]["train_loss"], rel=1e-5)
    for name, value in whole["model_state_dict"].items():
        torch.testing.assert_close(resumed["model_state_dict"][name], value, rtol=1e-4, atol=1e-5)


# The commands.

COMMANDS = {
    "vae": ["--hidden-dimension", "16", "--latent-dimension", "3"],
    "classify": ["--model", "mlp"],
    "supervised": [],
    "traffic": [],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")
def test_a_command_trains_and_is_resumed(command, capsys):
    code, _, err = run(capsys, command, *COMMANDS[command], "--epochs", "1", "--device", "cuda")
    assert (code, err) == (0, "")
    code, out, err = run(capsys, command, "--resume", "exp1", "--epochs", "2")
    assert (code, err) == (0, "")
    assert "runs/exp1" in out


# A whole step as a CUDA graph.


class OnDevice:
    """Batches whose rows are on the device, in an order that is drawn there."""

    def __init__(self, batches=40, bad=None):
        draw = torch.Generator().manual_seed(0)
        self.x = torch.randn(batches * 16, 8, generator=draw).to(DEVICE)
        self.y = (self.x.sum(1) > 0).long()
        self.batches, self.bad = batches, bad

    def __len__(self):
        return self.batches

    def __iter__(self):
        order = torch.randperm(len(self.x), device=DEVICE)
        for number, rows in enumerate(order.split(16), 1):
            x = self.x[rows]
            yield (x * float("nan") if number == self.bad else x), self.y[rows]


def whole(compile="step", *, accumulation_steps=1, policy="raise", optimizer=torch.optim.AdamW, half=False):
    torch.manual_seed(0)
    layers = [nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2)]
    model = nn.Sequential(*layers).to(DEVICE)

    def loss_fn(model, inputs, batch):
        return {"loss": nn.functional.cross_entropy(model(inputs), batch[1])}

    trainer = create_trainer(
        model, optimizer(model.parameters(), lr=0.01, fused=True), loss_fn, device=DEVICE, seed=1, compile=compile,
        accumulation_steps=accumulation_steps,
    )  # fmt: skip
    for handler in (
        NoiseAugmentation(0.1, None, None),
        GradientClipper(0.5),
        ExponentialMovingAverage(0.9),
        NonFiniteGuard(policy),
        EpochAverages("train_"),
        LearningRateScheduler(trainer.optimizer, "cosine", T_max=60, per="step"),
    ):
        handler.attach(trainer)
    if half:
        MixedPrecisionTrainer(device=DEVICE, dtype=torch.float16).attach(trainer)
    return trainer


@pytest.mark.parametrize("accumulation_steps", [1, 2])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_a_graph_computes_the_bits_of_its_kernels_called_one_by_one(monkeypatch, optimizer, accumulation_steps):
    def called_one_by_one(self, function, batch, changed):
        self.batch, self.function = list(batch), function

    def call(self, batch):
        torch._foreach_copy_(self.batch, list(batch))
        return list(torch.stack([output.float() for output in self.function()]).unbind())

    settings = {"optimizer": optimizer, "accumulation_steps": accumulation_steps}
    graph = whole(**settings)
    graph.run(OnDevice(), max_epochs=2)
    assert graph.step.whole._programs
    monkeypatch.setattr(CapturedStep, "__init__", called_one_by_one)
    monkeypatch.setattr(CapturedStep, "__call__", call)
    eager = whole(**settings)
    eager.run(OnDevice(), max_epochs=2)
    assert first_difference(run_state(graph), run_state(eager)) is None


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_a_graph_is_the_eager_step_but_for_roundings(accumulation_steps):
    eager, graph = (whole(compile, accumulation_steps=accumulation_steps) for compile in (False, "step"))
    for trainer in (eager, graph):
        trainer.state.seed = 1
        trainer.run(OnDevice(), max_epochs=2)
    assert graph.progress.optimizer_steps == eager.progress.optimizer_steps
    # The noise has another key there, so that only what the losses come to is the same.
    assert graph.state.metrics["train_loss"] == pytest.approx(eager.state.metrics["train_loss"], rel=0.1)


@pytest.mark.parametrize("accumulation_steps", [1, 2])
@pytest.mark.parametrize("bad", [None, 7])
@pytest.mark.parametrize("half", [False, True])
def test_a_run_of_graphs_is_cut_and_resumed_to_the_bit(tmp_path, accumulation_steps, bad, half):
    def make():
        return whole(accumulation_steps=accumulation_steps, policy="skip", half=half), OnDevice(bad=bad)

    trainer = check_cuts(make, tmp_path, 2, [(1, 1), (1, 2), (1, 7), (1, 12), (1, 40), (2, 9), (2, 39)])
    assert trainer.step.whole._programs
    skipped = 0 if bad is None else 2
    assert trainer.progress.skipped_steps >= skipped if half else trainer.progress.skipped_steps == skipped


def test_in_float16_a_graph_drops_the_steps_that_the_eager_step_drops():
    found = []
    for compile in (False, "step"):
        trainer = whole(compile, half=True)
        precision = trainer.updates.first.precision
        trainer.run(OnDevice(), max_epochs=1)
        precision.load_state_dict({"scaler": {**precision.scaler.state_dict(), "scale": 2.0**40}})  # far too large
        trainer.run(OnDevice(), max_epochs=2)
        found.append((trainer.progress.skipped_steps, trainer.progress.optimizer_steps, precision.scaler.get_scale()))
    assert found[0][0] > 10
    assert found[0] == found[1]


def test_a_step_that_is_not_finite_is_dropped_in_the_graph_and_the_error_names_it():
    trainer = whole()
    with pytest.raises(NonFiniteError, match="epoch 1, iteration 7: the loss is not finite"):
        trainer.run(OnDevice(bad=7), max_epochs=1)
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())


@pytest.mark.parametrize("half", [False, True])
def test_no_step_of_a_graph_makes_the_host_wait(half):
    trainer = whole(half=half)
    trainer.run(OnDevice(), max_epochs=1)

    @trainer.on(Events.ITERATION_STARTED)
    def watch():
        torch.cuda.set_sync_debug_mode("error" if 1 < trainer.progress.position < 40 else "default")

    try:
        trainer.run(OnDevice(), max_epochs=2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
