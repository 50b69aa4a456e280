"""What is found by trying is found, and nothing is changed by it: not a bit, not a generator, not a file."""

import copy
import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.equality import equal
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    Checkpointing,
    EpochAverages,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    LearningRateScheduler,
    NonFiniteGuard,
    TensorBoardLog,
    Trainer,
    TrainEvents,
    create_trainer,
    find_batch_size,
    find_learning_rate,
    make_traffic_windows,
    recipe_trainer,
    run_state,
    train_model_advanced,
    train_on_table,
    trainModel,
)
from ignite_recipes.checkpoint.resume_check import first_difference
from ignite_recipes.cli import main
from ignite_recipes.finding import batch_size as module
from ignite_recipes.finding.learning_rate import summarise_rates

G = torch.Generator().manual_seed(0)
X = torch.randn(96, 4, generator=G)
Y = X @ torch.randn(4, 1, generator=G)


def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def trainer_of(folder=None, rates=(0.01, 0.002), **settings):
    model = net()
    groups = [{"params": model[0].parameters(), "lr": rates[0]}, {"params": [*model[1:].parameters()], "lr": rates[1]}]
    optimizer = torch.optim.Adam(groups)
    loss_fn = lambda model, x, batch: {"loss": (model(x) - batch[1]).square().mean()}  # noqa: E731
    trainer = create_trainer(model, optimizer, loss_fn, seed=5, **settings)
    GradientClipper(1.0).attach(trainer)
    NonFiniteGuard().attach(trainer)
    ExponentialMovingAverage(0.9).attach(trainer)
    EpochAverages("train_").attach(trainer)
    LearningRateScheduler(optimizer, "cosine", T_max=5).attach(trainer, "train_loss")
    History(["train_loss"]).attach(trainer)
    if folder is not None:
        Checkpointing(folder / "checkpoints").attach(trainer)
        TensorBoardLog(folder / "board").attach(trainer)
    return trainer


def loader(**settings):
    return DataLoader(TensorDataset(X, Y), 8, shuffle=True, **settings)


def generators():
    kind, keys, *rest = np.random.get_state()
    return random.getstate(), (kind, keys.tolist(), *rest), torch.get_rng_state().tolist()


FINDERS = {
    "rate": lambda trainer, data: find_learning_rate(trainer, data, num_steps=20),
    "size": lambda trainer, data: find_batch_size(trainer, data, until_full=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("finder", FINDERS)
@pytest.mark.parametrize("trained", [0, 2], ids=["new", "trained"])
def test_everything_is_as_it_was(tmp_path, finder, trained):
    trainer, other, data = (
        trainer_of(tmp_path),
        trainer_of(tmp_path),
        loader(generator=torch.Generator().manual_seed(9)),
    )
    for each in (trainer, other):
        if trained:
            each.run(loader(), max_epochs=trained)
    trainer.model[0].weight.grad = torch.ones_like(trainer.model[0].weight)
    state, groups = (
        copy.deepcopy(run_state(trainer)),
        copy.deepcopy([dict(g, params=0) for g in trainer.optimizer.param_groups]),
    )
    metrics, mode = dict(trainer.state.metrics), trainer.model.training
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    before, own = generators(), data.generator.get_state()

    FINDERS[finder](trainer, data)

    assert first_difference(state, run_state(trainer)) is None
    assert [dict(group, params=0) for group in trainer.optimizer.param_groups] == groups
    assert generators() == before
    assert torch.equal(data.generator.get_state(), own)
    assert trainer.model[0].weight.grad.eq(1).all()
    assert (dict(trainer.state.metrics), trainer.model.training) == (metrics, mode)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    trainer.model[0].weight.grad = None
    for each in (trainer, other):
        each.run(loader(), max_epochs=trained + 2)
    assert equal(dict(trainer.model.state_dict()), dict(other.model.state_dict()))


class Noisy(TensorDataset):
    """Rows with noise of a generator of its own."""

    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.noise = np.random.default_rng(4)

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + self.noise.normal(), y

    __getitems__ = None


@pytest.mark.slow
@pytest.mark.parametrize("finder", FINDERS)
def test_the_generators_that_a_data_set_holds_are_as_they_were(finder):
    data = Noisy(X, Y)
    before = copy.deepcopy(data.noise.bit_generator.state)
    FINDERS[finder](trainer_of(), DataLoader(data, 8))
    assert data.noise.bit_generator.state == before


@pytest.mark.parametrize("finder", FINDERS)
def test_so_it_is_after_an_error(finder):
    trainer = trainer_of()
    state, before = copy.deepcopy(run_state(trainer)), generators()

    class Broken(TensorDataset):
        def __getitem__(self, index):
            if index == 50:
                raise OSError("no such row")
            return super().__getitem__(index)

        __getitems__ = None

    with pytest.raises(OSError, match="no such row"):
        FINDERS[finder](trainer, DataLoader(Broken(X, Y), 8))
    assert first_difference(state, run_state(trainer)) is None
    assert generators() == before


def quadratic(curvature, rate=0.1):
    """A loss whose descent is known: a step makes w (1 - rate * curvature) times as large."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    loss_fn = lambda model, x, batch: {"loss": curvature / 2 * model(x).square().mean()}  # noqa: E731
    return create_trainer(model, optimizer, loss_fn, seed=0)


@pytest.mark.parametrize("curvature", [0.1, 1.0, 100.0])
def test_of_a_parabola_the_rates_are_those_of_theory(curvature):
    found = find_learning_rate(quadratic(curvature), [torch.ones(1, 1)], start_lr=1e-6, end_lr=100.0, num_steps=200)
    assert found.diverged == (curvature > 0.1)
    assert found.suggestion < 2 / curvature
    assert found.suggestion > 1e-3 / curvature
    steps = [math.log(b / a) for a, b in zip(found.rates, found.rates[1:], strict=False)]
    assert steps == pytest.approx([math.log(1e8) / 199] * len(steps))
    w = 1.0
    for rate, loss in zip(found.rates[:60], found.losses, strict=False):
        assert loss == pytest.approx(curvature / 2 * w * w, rel=1e-4)
        w *= 1 - rate * curvature


def test_groups_keep_their_proportions_and_windows_have_one_rate():
    trainer, seen = trainer_of(accumulation_steps=3), []

    @trainer.on(TrainEvents.BACKWARD_COMPLETED)
    def look():
        seen.append([group["lr"] for group in trainer.optimizer.param_groups])

    found = find_learning_rate(trainer, loader(), num_steps=10, end_lr=1e-3)
    assert len(found.rates) == 10
    assert len(seen) == 30
    assert [first for first, _ in seen[::3]] == pytest.approx(found.rates)
    assert all(a == b == c for a, b, c in zip(seen[::3], seen[1::3], seen[2::3], strict=True))
    assert all(second == pytest.approx(first / 5) for first, second in seen)


@given(seed=st.integers(0, 10_000), noise=st.floats(0.0, 0.3))
def test_the_noise_of_the_first_batches_suggests_nothing(seed, noise):
    """The loss of a step depends on the rate from 0.001 on; before, only the batches differ."""
    rates = np.geomspace(1e-7, 10, 100)
    true = 1 - 0.8 / (1 + (5e-3 / rates) ** 2)
    losses = true * (1 + noise * np.random.default_rng(seed).normal(size=100).clip(-2, 2))
    found = summarise_rates(rates.tolist(), losses.tolist(), diverged=False)
    assert found.suggestion > 5e-4


def test_a_loss_that_never_falls_has_no_suggestion():
    rates = np.geomspace(1e-6, 1, 30).tolist()
    found = summarise_rates(rates, [1.0 + k for k in range(30)], diverged=False)
    assert (found.suggestion, found.minimum) == (None, None)
    found.plot()


def test_the_picture_marks_what_was_found():
    found = find_learning_rate(quadratic(1.0), [torch.ones(1, 1)])
    (axes,) = found.plot().axes
    labels = axes.get_legend_handles_labels()[1]
    assert f"steepest descent: {found.suggestion:.2g}" in labels
    low, high = axes.get_ylim()
    assert low < min(found.losses) < max(found.losses[:20]) < high


BAD = {
    "no data": (lambda: find_learning_rate(trainer_of()), TypeError, "data to train on must be given"),
    "no trainer": (lambda: find_learning_rate(net(), loader()), TypeError, "trainer must be one of"),
    "a range that falls": (
        lambda: find_learning_rate(trainer_of(), loader(), start_lr=1.0, end_lr=0.1),
        ValueError,
        "below",
    ),
    "from nothing": (lambda: find_learning_rate(trainer_of(), loader(), start_lr=0.0), ValueError, "positive"),
    "to infinity": (lambda: find_learning_rate(trainer_of(), loader(), end_lr=math.inf), ValueError, "below end_lr"),
    "nan": (lambda: find_learning_rate(trainer_of(), loader(), start_lr=math.nan), ValueError, "positive"),
    "few steps": (lambda: find_learning_rate(trainer_of(), loader(), num_steps=3), ValueError, "at least 10"),
    "too high at once": (
        lambda: find_learning_rate(quadratic(1.0), [torch.ones(1, 1)], start_lr=1e30, end_lr=1e31),
        RuntimeError,
        "start with a lower start_lr",
    ),
    "no samples": (
        lambda: find_batch_size(trainer_of(), [(X, Y)]),
        TypeError,
        "number is known; got list",
    ),
    "size 0": (lambda: find_batch_size(trainer_of(), loader(), smallest=0), ValueError, "at least 1"),
    "a largest below": (lambda: find_batch_size(trainer_of(), loader(), largest=4), ValueError, "at least 8"),
    "too few samples": (lambda: find_batch_size(trainer_of(), loader(), smallest=97), ValueError, "at most the 96"),
    "no memory": (lambda: find_batch_size(trainer_of(), loader(), memory=0), ValueError, "positive number of bytes"),
    "no recipe": (lambda: recipe_trainer(lambda **options: None), TypeError, "one that trains when it is called"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_told_in_one_line(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def speeds(monkeypatch, of):
    tried = []

    def speed(trainer, data, size):
        tried.append(size)
        found = of(size)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(module, "_speed", speed)
    return tried


@pytest.mark.slow
def test_the_search_ends_where_size_brings_no_more_speed(monkeypatch):
    tried = speeds(monkeypatch, lambda size: min(size, 32) / (1 + size / 100))
    found = find_batch_size(trainer_of(), loader(), smallest=2)
    assert (found.sizes, found.suggestion, found.ended_by) == (tried, 32, "data")
    found = find_batch_size(trainer_of(), TensorDataset(X.repeat(9, 1), Y.repeat(9, 1)), smallest=2)
    assert (found.largest, found.suggestion, found.ended_by) == (128, 32, "speed")


@pytest.mark.slow
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["cuda", "cpu"])
def test_a_size_that_does_not_fit_ends_the_search_and_nothing_else(monkeypatch, error):
    speeds(monkeypatch, lambda size: error if size > 16 else size)
    found = find_batch_size(trainer_of(), loader())
    assert (found.sizes, found.largest, found.suggestion, found.ended_by) == ([8, 16], 16, 16, "memory")
    speeds(monkeypatch, lambda size: error)
    with pytest.raises(RuntimeError, match="not even batches of 8 fit"):
        find_batch_size(trainer_of(), loader())
    speeds(monkeypatch, lambda size: RuntimeError("shapes"))
    with pytest.raises(RuntimeError, match="shapes"):
        find_batch_size(trainer_of(), loader())


def test_on_a_cpu_a_size_that_would_need_too_much_is_not_tried(monkeypatch):
    tried = speeds(monkeypatch, float)
    peak = iter([0.0, *(100.0 * size for size in (8, 16, 32))])
    monkeypatch.setattr(module, "_peak", lambda: next(peak))
    found = find_batch_size(trainer_of(), loader(), memory=3500.0)
    assert (tried, found.ended_by) == ([8, 16, 32], "memory")


def test_recipes_and_the_classifier_give_their_trainers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = (Y[:, 0] > 0).long()
    rows = {"a": X[:, 0].numpy(), "y": Y[:, 0].numpy()}
    windows = make_traffic_windows(torch.rand(60, 1), torch.ones(60), 10, 5)
    calls = [
        (train_model_advanced, net(), loader()),
        (train_on_table, rows, "y"),
        (trainModel, {"hidden_size": 8, "batch_size": 8}, windows, windows),
    ]
    for recipe, *arguments in calls:
        trainer, data = recipe_trainer(recipe, *arguments, verbose=False, device="cpu")
        assert find_learning_rate(trainer, data, num_steps=12).rates
    model = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    data = DataLoader(TensorDataset(X, labels), 8)
    classifier = Trainer(model, data, data, nn.CrossEntropyLoss(), optimizer, "cpu", experiment="runs", seed=0)
    assert find_learning_rate(classifier, num_steps=12).rates
    assert find_batch_size(classifier, largest=16).sizes == [8, 16]
    assert classifier.train(1)["epochs_trained"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_the_command_suggests_a_rate_and_keeps_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--device", "cpu", "--num_steps=20", "--picture", "lr.png", "--learning-rate", "1"]
    assert main(["find-lr", "supervised", *words]) == 0
    said = capsys.readouterr().out
    assert "The loss fell fastest at" in said
    assert "ignite-recipes supervised --device cpu --learning-rate" in said
    assert "--picture" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["lr.png"]


def test_the_commands_own_options_are_like_all_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text("num_steps: 12\nend_lr: 0.001\npicture: none\nlatent_dimension: 2\n")
    options = ["--config", "settings.yaml", "--start_lr=1e-6", "--picture", "none", "--device", "cpu", "--json"]
    assert main(["find-lr", "vae", *options]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (len(facts["rates"]), facts["rates"][0], facts["picture"]) == (12, pytest.approx(1e-6), None)
    with pytest.raises(SystemExit):
        main(["find-lr", "vae", "--help"])
    assert {"--num-steps", "--latent-dimension"} <= {*capsys.readouterr().out.split()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "find-lr RECIPE: one of vae, classify"),
        (["list"], "got 'list'"),
        (["vae", "--resume", "exp1"], "leave out --resume"),
        (["vae", "--num-steps", "2"], "at least 10"),
        (["vae", "--num-steps", "many"], "--num-steps must be a whole number; got 'many'"),
        (["vae", "--num-step", "20"], "did you mean --num-steps?"),
        (["vae", "--start-lr", "5", "--end-lr", "1"], "below end_lr"),
        (["vae", "--picture", "lr.txt"], "ends in .png"),
        (["vae", "--picture", "no/lr.png"], "in a folder that exists"),
        (["vae", "--nonsense"], "nonsense"),
        (["supervised", "no.csv", "--target", "y"], "no.csv"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["find-lr", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not [*tmp_path.iterdir()]
