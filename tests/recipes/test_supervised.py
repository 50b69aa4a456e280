"""The supervised recipe learns with every feature alone and together, resumes exactly, and refuses what is wrong."""

import copy
import itertools

import numpy as np
import pytest
import torch
from support.equality import equal, weights
from support.models import perceptron
from support.stops import StopsAfter
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    FAST_TRAINING,
    MEMORY_CONSTRAINED_TRAINING,
    STABLE_TRAINING,
    CheckpointError,
    NonFiniteError,
    TrainEvents,
    load_checkpoint,
    load_digits_matrix,
    read_checkpoint,
    set_seed,
    train_model_advanced,
)

G = torch.Generator().manual_seed(0)
X = torch.randn(26, 4, generator=G)
Y = X @ torch.randn(4, 1, generator=G)
CLASSES = (Y[:, 0] > 0).long()
VX = torch.randn(10, 4, generator=G)
VY = VX.sum(1, keepdim=True)
SCHEDULERS = ["plateau", "cosine", "step", "exp", "onecycle"]
PRESETS = {"fast": FAST_TRAINING, "stable": STABLE_TRAINING, "memory": MEMORY_CONSTRAINED_TRAINING}


def net(outputs=1, seed=0):
    return perceptron(4, 8, outputs, seed=seed, batch_norm=True, dropout=0.1)


def loader(targets=Y, inputs=X, batch_size=4):
    return DataLoader(TensorDataset(inputs, targets), batch_size, shuffle=True)


def train(model=None, train_loader=None, val=(VX, VY), **settings):
    model = model or net()
    val_loader = None if val is None else [val]
    settings = {"epochs": 4, "seed": 3, "verbose": False, **settings}
    return model, train_model_advanced(model, train_loader or loader(), val_loader, **settings)


def classes(**settings):
    return train(net(2), loader(CLASSES), (VX, (VY[:, 0] > 0).long()), **settings)


def facts(result):
    return {name: value for name, value in result.items() if name != "training_time"}


@pytest.fixture(scope="module")
def digits():
    from sklearn.model_selection import train_test_split

    images, labels = load_digits_matrix()
    parts = train_test_split(range(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    train_set, val_set = (TensorDataset(images[part], labels[part]) for part in parts)
    return DataLoader(train_set, 32, shuffle=True), DataLoader(val_set, 512)


def accuracy_on_digits(digits, name, seed, epochs):
    set_seed(seed)
    layers = (nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    result = train_model_advanced(nn.Sequential(*layers), *digits, epochs=epochs, verbose=False, **PRESETS[name])
    return result["history"]["val_accuracy"][result["best_epoch"] - 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_reaches_97_percent_on_the_digits(digits, name):
    accuracies = [accuracy_on_digits(digits, name, seed, epochs=20) for seed in range(5)]
    assert sum(accuracies) / 5 >= 97, accuracies


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_reaches_94_percent_on_the_digits_in_few_epochs(digits, name):
    assert accuracy_on_digits(digits, name, seed=0, epochs=6) >= 94


def test_the_result_has_the_documented_keys():
    _, result = train()
    keys = ["best_val_loss", "best_epoch", "epochs_trained", "stopped_early", "training_time", "history"]
    assert list(result) == keys
    assert list(result["history"]) == ["train_loss", "val_loss", "learning_rate"]
    assert {len(values) for values in result["history"].values()} == {4}
    assert result["epochs_trained"] == 4
    assert not result["stopped_early"]
    assert result["training_time"] > 0
    assert result["best_val_loss"] == min(result["history"]["val_loss"])
    assert result["history"]["val_loss"][result["best_epoch"] - 1] == result["best_val_loss"]


def test_accuracy_is_that_of_the_model_in_percent_and_over_samples():
    labels = (VY[:, 0] > 0).long()
    seen = []

    class Look:
        def attach(self, trainer):
            model = trainer.model
            trainer.add_event_handler(
                TrainEvents.METRICS_READY,
                lambda: seen.append((model.eval()(VX).argmax(1) == labels).float().mean().item() * 100),
            )

    _, result = train(net(2), loader(CLASSES), (VX, labels), handlers=[Look()])
    assert result["history"]["val_accuracy"] == pytest.approx(seen)


@pytest.mark.parametrize("val", [(VX, VY), None], ids=["validation", "no validation"])
@pytest.mark.parametrize("scheduler", [*SCHEDULERS, None])
def test_the_model_is_handed_back_with_its_best_weights_and_so_is_the_file(tmp_path, val, scheduler):
    settings = {"learning_rate": 0.3, "use_scheduler": scheduler is not None, "scheduler_type": scheduler or "step"}
    model, result = train(val=val, epochs=6, checkpoint_dir=tmp_path, model_name="net", **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net_best.pt", "net_latest.pt"]
    contents = load_checkpoint(tmp_path / "net_best.pt", other := net(seed=1))
    assert contents["epoch"] == result["best_epoch"]
    assert equal(weights(model), weights(other))
    assert load_checkpoint(tmp_path / "net_latest.pt", other)["epoch"] == 6
    if result["best_epoch"] < 6:
        assert not equal(weights(model), weights(other))


def torchs_rates(make, steps_per_epoch, epochs, per_step, losses):
    optimizer = torch.optim.Adam(net().parameters(), 0.001)
    scheduler = make(optimizer)
    rates = []
    for loss in losses:
        rates.append(optimizer.param_groups[0]["lr"])
        for _ in range(steps_per_epoch):
            optimizer.step()
            if per_step:
                scheduler.step()
        if not per_step:
            scheduler.step(loss) if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) else (
                scheduler.step()
            )
    return rates


@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_every_schedule_is_torchs_own_stepped_where_torch_says(accumulation_steps):
    schedulers = torch.optim.lr_scheduler
    steps = -(-7 // accumulation_steps)
    references = {
        "plateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=5, factor=0.5),
        "cosine": lambda o: schedulers.CosineAnnealingLR(o, 12),
        "step": lambda o: schedulers.StepLR(o, 10, 0.5),
        "exp": lambda o: schedulers.ExponentialLR(o, 0.95),
        "onecycle": lambda o: schedulers.OneCycleLR(o, 0.001, 12 * steps),
    }
    for name, make in references.items():
        settings = {"scheduler_type": name, "accumulation_steps": accumulation_steps, "early_stop_patience": None}
        _, result = train(epochs=12, **settings)
        history = result["history"]
        expected = torchs_rates(make, steps, 12, name == "onecycle", history["val_loss"])
        assert history["learning_rate"] == pytest.approx(expected, rel=1e-12), name


def test_early_stopping_counts_from_the_best_epoch_and_none_means_never():
    settings = {"learning_rate": 0.5, "use_scheduler": False, "epochs": 25}
    _, stopped = train(early_stop_patience=2, **settings)
    assert stopped["stopped_early"]
    assert stopped["epochs_trained"] == stopped["best_epoch"] + 2 < 25
    _, whole = train(early_stop_patience=None, **settings)
    assert whole["epochs_trained"] == 25
    assert whole["history"]["val_loss"][: stopped["epochs_trained"]] == stopped["history"]["val_loss"]


COMBINATIONS = list(
    itertools.product(
        ["plateau", "onecycle", None], [None, 1.0], ["float32", "float16", "bfloat16"], [False, True], [1, 3]
    )
)


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_features_work_in_any_combination(combination, tmp_path):
    scheduler, clip, precision, augment, accumulate = combination
    model, result = classes(
        epochs=2,
        use_scheduler=scheduler is not None,
        scheduler_type=scheduler or "plateau",
        gradient_clip=clip,
        precision=precision,
        use_augmentation=augment,
        accumulation_steps=accumulate,
        check_stability=True,
        checkpoint_dir=tmp_path,
    )
    assert result["epochs_trained"] == 2
    assert all(value.isfinite().all() for value in weights(model) if value.is_floating_point())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_stopped_and_resumed_equals_the_uninterrupted_run(tmp_path, scheduler, accumulation_steps):
    settings = {
        "epochs": 9,
        "scheduler_type": scheduler,
        "accumulation_steps": accumulation_steps,
        "use_augmentation": True,
        "learning_rate": 0.1,
        "early_stop_patience": 4,
    }
    whole, expected = train(**settings)
    with pytest.raises(InterruptedError):
        train(checkpoint_dir=tmp_path, handlers=[StopsAfter(3)], **settings)
    resumed, result = train(net(seed=8), resume_from=tmp_path / "model_latest.pt", **settings)
    assert facts(result) == facts(expected)
    assert equal(weights(whole), weights(resumed))


def test_a_run_that_stopped_early_trains_nothing_when_it_is_resumed(tmp_path):
    settings = {"learning_rate": 0.5, "use_scheduler": False, "epochs": 25, "early_stop_patience": 2}
    model, result = train(checkpoint_dir=tmp_path, **settings)
    resumed, again = train(net(seed=8), resume_from=tmp_path / "model_latest.pt", **settings)
    assert facts(again) == facts(result)
    assert equal(weights(model), weights(resumed))


def test_same_seed_equal_results_and_bit_equal_weights():
    (one, first), (two, second) = train(use_augmentation=True), train(use_augmentation=True)
    assert facts(first) == facts(second)
    assert equal(weights(one), weights(two))


def test_stability_checks_and_printing_do_not_change_the_training(capsys):
    plain, _ = train(epochs=11)
    looked, _ = train(epochs=11, check_stability=True, verbose=True, progress=True)
    assert equal(weights(plain), weights(looked))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("Epoch 1/11 | train loss ")


@pytest.mark.parametrize("shape", [(6,), (3, 12, 20), (12, 20)], ids=["vectors", "channels", "spectrograms"])
def test_augmentation_fits_the_input(shape):
    inputs, seen = torch.ones(8, *shape), []

    class Look:
        def attach(self, trainer):
            trainer.add_event_handler(TrainEvents.LOSSES_READY, lambda: seen.append(trainer.state.inputs))

    size = inputs[0].numel()
    model = nn.Sequential(nn.Flatten(), nn.Linear(size, 1))
    train(model, [(inputs, torch.zeros(8, 1))], None, epochs=1, use_augmentation=True, handlers=[Look()])
    assert seen[0].shape == inputs.shape
    assert not torch.equal(seen[0], inputs)
    assert bool((seen[0] == 0).any()) == (len(shape) > 1)
    train(model, [(inputs, torch.zeros(8, 1))], None, epochs=1, use_augmentation=lambda x: 3 * x, handlers=[Look()])
    assert torch.equal(seen[-1], 3 * inputs)


def test_a_criterion_of_ones_own_is_used_and_moved_with_the_model():
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
    _, ours = classes(criterion=criterion)
    _, default = classes()
    assert ours["history"]["train_loss"] != default["history"]["train_loss"]
    assert "val_accuracy" in ours["history"]


def test_ignored_labels_are_no_mistake():
    targets = CLASSES.clone()
    targets[::5] = -100
    train(net(2), loader(targets), None, epochs=1)


class Learned(nn.Module):
    """The loss of a regression, weighted by an uncertainty that is learned too (arXiv:1705.07115)."""

    def __init__(self):
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(()))

    def forward(self, outputs, targets):
        return (outputs - targets).square().mean() * torch.exp(-self.log_variance) + self.log_variance


def test_a_criterions_own_parameters_are_trained_saved_and_resumed(tmp_path):
    def trained(folder, epochs, **options):
        model, criterion = nn.Linear(4, 1, bias=False), Learned()
        nn.init.zeros_(model.weight)
        data = [(torch.ones(4, 4), torch.full((4, 1), 3.0))] * 3
        settings = {"device": "cpu", "verbose": False, "seed": 1, "learning_rate": 0.1, "use_scheduler": False}
        settings |= {"criterion": criterion, "epochs": epochs, "checkpoint_dir": folder}
        train_model_advanced(model, data, data, **settings, **options)
        return criterion.log_variance.item()

    whole = trained(tmp_path / "whole", 4)
    assert abs(whole) > 0.1
    trained(tmp_path / "cut", 2)
    assert trained(tmp_path / "cut", 4, resume_from=tmp_path / "cut" / "model_latest.pt") == whole


def test_numbers_of_numpy_are_whole_numbers_too(tmp_path):
    model, data = nn.Linear(4, 1), [(torch.ones(4, 4), torch.ones(4, 1))] * 3
    numbers = {"epochs": np.int64(2), "seed": np.int32(1), "early_stop_patience": np.int16(3)}
    numbers |= {"accumulation_steps": np.uint8(2), "save_every_iterations": np.int64(1)}
    result = train_model_advanced(model, data, data, device="cpu", verbose=False, checkpoint_dir=tmp_path, **numbers)
    assert result["epochs_trained"] == 2
    assert read_checkpoint(tmp_path / "model_latest.pt")["run"]["progress"]["seed"] == 1


BAD_SETTINGS = [
    {"epochs": 0},
    {"learning_rate": 0.0},
    {"learning_rate": float("nan")},
    {"device": "abacus"},
    {"scheduler_type": "cosin"},
    {"gradient_clip": -1.0},
    {"early_stop_patience": 0},
    {"accumulation_steps": 0},
    {"precision": "int8"},
    {"non_finite": "ignore"},
]


@pytest.mark.parametrize("setting", BAD_SETTINGS, ids=str)
def test_a_setting_out_of_range_is_refused_and_nothing_is_touched(tmp_path, setting):
    model = net()
    before = weights(model)
    (value,) = setting.values()
    with pytest.raises(ValueError, match=str(value).replace(".", "[.]")):
        train(model, checkpoint_dir=tmp_path, **setting)
    assert equal(before, weights(model))
    assert not list(tmp_path.iterdir())


def test_an_unknown_scheduler_names_the_nearest_known_one():
    with pytest.raises(ValueError, match=r"got 'cosin'; did you mean 'cosine'\?"):
        train(scheduler_type="cosin")


@pytest.mark.parametrize(
    ("model", "batch", "error", "message"),
    [
        (net(2), (X, CLASSES + 1), ValueError, "class labels must be from 0 to 1.*got 1 to 2|got 0 to 2"),
        (net(2), (X, CLASSES - 1), ValueError, "class labels must be from 0 to 1"),
        (net(1), (X, Y[:9]), ValueError, r"must have one shape.*\(26, 1\) and \(9, 1\)"),
        (net(1), X, ValueError, r"must be \(inputs, targets\)"),
        (net(1), (X,), ValueError, r"must be \(inputs, targets\)"),
        (net(1), (X * float("nan"), Y), NonFiniteError, "epoch 1, iteration 1: the loss is nan"),
    ],
    ids=["label too large", "label negative", "shapes", "no pair", "no targets", "nan"],
)
def test_wrong_data_is_refused_and_the_weights_are_as_they_were(model, batch, error, message):
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(error, match=message):
        train(model, [batch], None)
    assert equal(before, list(model.parameters()))


@pytest.mark.parametrize(
    "criterion", [nn.MSELoss(reduction="none"), lambda outputs, targets: 1.0], ids=["a tensor", "a float"]
)
def test_a_criterion_that_gives_no_scalar_is_refused(criterion):
    with pytest.raises(TypeError, match="criterion must give a single number"):
        train(criterion=criterion)


def test_labels_of_later_batches_are_checked_too():
    batches = [(X, CLASSES), (X, CLASSES + 5)]
    with pytest.raises(ValueError, match="class labels must be from 0 to 1"):
        train(net(2), batches, None)


def test_onecycle_must_know_its_length():
    class Endless:
        def __iter__(self):
            return iter([(X, Y)])

    with pytest.raises(ValueError, match="onecycle must know its length"):
        train(net(), Endless(), scheduler_type="onecycle")


def test_a_resume_with_other_settings_or_from_something_else_is_refused(tmp_path):
    train(checkpoint_dir=tmp_path)
    latest = tmp_path / "model_latest.pt"
    other = net(2)
    before = weights(other)
    with pytest.raises(CheckpointError, match="another architecture"):
        train(other, resume_from=latest)
    assert equal(before, weights(other))
    for setting, message in (
        ({"scheduler_type": "exp"}, "scheduler is 'exp', the run's is 'plateau'"),
        ({"gradient_clip": 2.0}, "gradient_clip"),
        ({"epochs": 3}, "at least 4"),
        ({"seed": 4}, "seed must be that of the run"),
        ({"train_loader": loader(batch_size=5)}, "7 batches an epoch"),
    ):
        with pytest.raises(ValueError, match=message):
            train(resume_from=latest, **setting)


def test_nothing_is_warned_about_on_a_cpu_by_default():
    train(use_mixed_precision=True)


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x)[:, 0]


BROUGHT = {
    "float64": (net, (X.double(), Y.double()), "the inputs are float64 and the model is float32"),
    "targets without a last axis": (net, (X, Y[:, 0]), r"the targets are (N,) and the outputs (N, 1)"),
    "targets with one more": (Flat, (X, Y), r"the targets are (N, 1) and the outputs (N,)"),
    "labels in a column": (lambda: net(2), (X, CLASSES[:, None]), "the labels are a column (N, 1)"),
    "labels that are booleans": (lambda: net(2), (X, CLASSES.bool()), "False is class 0, True is class 1"),
    "labels of few bits": (lambda: net(2), (X, CLASSES.to(torch.uint8)), None),
}


@pytest.mark.parametrize(("make", "batch", "said"), BROUGHT.values(), ids=BROUGHT)
@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_people_bring_is_trained_on_as_what_it_means_and_it_is_said_once(make, batch, said, compile, caplog):
    plain = (X, CLASSES if not batch[1].is_floating_point() else Y)
    models = make(), net(2) if plain[1].dtype == torch.int64 else net()
    results = [
        train(model, [data, data], data, epochs=2, compile=compile)[1]
        for model, data in zip(models, (batch, plain), strict=True)
    ]
    assert results[0]["history"] == results[1]["history"]
    assert equal(weights(models[0]), weights(models[1]))
    told = [record.getMessage() for record in caplog.records if record.name.startswith("ignite_recipes")]
    assert [text for text in told if said and said in text] == ([] if said is None else told[:1])
    assert len(told) == (said is not None)


@pytest.mark.parametrize(
    "criterion", [None, nn.CrossEntropyLoss(), nn.MSELoss()], ids=["default", "classes", "numbers"]
)
def test_a_model_in_float64_is_trained_in_float64(criterion):
    """One step by hand gives the same bits: neither outputs nor targets lose digits on their way to the loss."""
    numbers = isinstance(criterion, nn.MSELoss)
    x = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.linspace(0, 1, 16, dtype=torch.float64).reshape(8, 2) if numbers else torch.arange(8) % 2
    torch.manual_seed(0)
    model = nn.Linear(3, 2, dtype=torch.float64)
    by_hand = copy.deepcopy(model)
    loss = (criterion or nn.CrossEntropyLoss())(by_hand(x), y)
    loss.backward()
    torch.optim.Adam(by_hand.parameters(), lr=1e-3).step()
    loader = DataLoader(TensorDataset(x, y), batch_size=8)
    results = train_model_advanced(
        model, loader, loader, criterion, epochs=1, gradient_clip=None, use_scheduler=False, device="cpu"
    )
    assert all(map(torch.equal, model.state_dict().values(), by_hand.state_dict().values()))
    assert results["history"]["train_loss"] == pytest.approx([loss.item()], rel=1e-12)
