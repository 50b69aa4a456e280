"""The VAE recipe learns, repeats itself, resumes exactly, and refuses what is wrong before it does harm."""

import logging
import random

import numpy as np
import pytest
import torch
from support.equality import equal, weights
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset

from ignite_recipes import (
    CheckpointError,
    NonFiniteError,
    TrainEvents,
    VariationalAutoencoder,
    create_dataloaders,
    load_checkpoint,
    load_digits_matrix,
    save_checkpoint,
    split_train_val,
    train_variational_autoencoder,
)

X = torch.rand(22, 6, generator=torch.Generator().manual_seed(0)).round()
V = torch.rand(9, 6, generator=torch.Generator().manual_seed(1)).round()
KEYS = ["train_loss", "train_recon_loss", "train_kl_loss", "val_loss", "val_recon_loss", "val_kl_loss"]


class Augmented(Dataset):
    """Rows flipped at random by every generator a data set may use, and one of its own."""

    def __init__(self):
        self.own = np.random.default_rng(3)

    def __len__(self):
        return len(X)

    def __getitem__(self, k):
        drawn = (random.random(), np.random.rand(), torch.rand(()).item(), self.own.random())
        return torch.tensor([abs(value - (d < 0.2)) for value, d in zip(X[k].tolist(), (*drawn, 1, 1), strict=True)])


def generator():
    return torch.Generator().manual_seed(7)


LOADERS = {
    "shuffled": lambda: DataLoader(X, 4, shuffle=True),
    "2 workers": lambda: DataLoader(Augmented(), 4, shuffle=True, num_workers=2),
    "persistent workers": lambda: DataLoader(Augmented(), 4, shuffle=True, num_workers=2, persistent_workers=True),
    "augmentation": lambda: DataLoader(Augmented(), 4, shuffle=True),
    "generator of the loader": lambda: DataLoader(X, 4, shuffle=True, generator=generator()),
    "generator of the sampler": lambda: DataLoader(
        Augmented(), 4, sampler=RandomSampler(X, replacement=True, generator=generator())
    ),
    "tuples": lambda: DataLoader(TensorDataset(X, torch.arange(22)), 4, shuffle=True),
    "ours": lambda: create_dataloaders(*split_train_val(X, val_size=4), batch_size=4)[0],
    "list": lambda: [X[:10], X[10:]],
}


def small(seed=0):
    torch.manual_seed(seed)
    return VariationalAutoencoder(6, 2, 8)


def train(model=None, loader=None, val=(V,), **settings):
    model = model or small()
    loader = LOADERS["shuffled"]() if loader is None else loader
    settings = {"num_epochs": 2, "seed": 5, **settings}
    return model, train_variational_autoencoder(model, loader, val, **settings)


def test_it_learns_the_digits():
    loaders = create_dataloaders(*split_train_val(load_digits_matrix()[0]))
    model = VariationalAutoencoder(64, 8, 64)
    history = train_variational_autoencoder(model, *loaders, num_epochs=12, seed=0, print_every=99)
    assert history["val_loss"][-1] < 28 < 33 < history["val_loss"][0]
    assert history["val_kl_loss"][-1] > 0.1  # the latent space is used


def test_the_history_has_a_float_for_each_documented_key_and_epoch():
    _, history = train(num_epochs=3)
    assert list(history) == KEYS
    assert all(isinstance(value, float) for values in history.values() for value in values)
    assert {len(values) for values in history.values()} == {3}
    for part in ("train", "val"):
        for k in range(3):
            parts = history[f"{part}_recon_loss"][k] + history[f"{part}_kl_loss"][k]
            assert history[f"{part}_loss"][k] == pytest.approx(parts)


def test_losses_are_means_over_vectors_not_over_batches():
    _, together = train(val=[V])
    _, apart = train(val=[V[:8], V[8:]])  # the KL divergence has no noise in it: equal if each row counts once
    assert together["val_kl_loss"] == pytest.approx(apart["val_kl_loss"], rel=1e-5)


@pytest.mark.parametrize("name", LOADERS)
def test_one_seed_gives_equal_histories_and_bit_equal_weights(name):
    (one, first), (two, second) = (train(loader=LOADERS[name](), num_epochs=2) for _ in range(2))
    assert first == second
    assert equal(weights(one), weights(two))


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADERS)
def test_stopped_at_epoch_3_of_6_and_resumed_it_equals_the_uninterrupted_run(tmp_path, name):
    whole, expected = train(loader=LOADERS[name](), num_epochs=6)
    train(loader=LOADERS[name](), num_epochs=3, checkpoint_dir=tmp_path)
    resumed, history = train(
        small(seed=9), LOADERS[name](), num_epochs=6, resume_from=tmp_path / "checkpoint_epoch_3.pt"
    )
    assert history == expected
    assert equal(weights(whole), weights(resumed))


FEATURES = {
    "clipping": {"max_grad_norm": 0.5},
    "accumulation": {"accumulation_steps": 4},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "early stopping": {"patience": 2, "learning_rate": 0.1},
    "no validation": {"val": None},
    "no noise": {"noise_std": 0.0},
    "no seed": {"seed": None},
    "everything": {"max_grad_norm": 0.5, "accumulation_steps": 2, "precision": "float16", "patience": 3},
}


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_resumes_exactly(tmp_path, name):
    def run(**settings):
        torch.manual_seed(2)  # for "no seed"
        return train(loader=LOADERS["augmentation"](), **FEATURES[name], **settings)

    whole, expected = run(num_epochs=6)
    run(num_epochs=3, checkpoint_dir=tmp_path)
    resumed, history = run(num_epochs=6, resume_from=tmp_path / "checkpoint_epoch_3.pt", model=small(seed=9))
    assert history == expected
    assert equal(weights(whole), weights(resumed))


@pytest.mark.parametrize("name", ["shuffled", "2 workers", "generator of the sampler"])
def test_a_validation_set_does_not_change_the_training(name):
    shuffled = DataLoader(Augmented(), 2, shuffle=True)
    with_val, history = train(loader=LOADERS[name](), val=shuffled, num_epochs=3)
    without, bare = train(loader=LOADERS[name](), val=None, num_epochs=3)
    assert equal(weights(with_val), weights(without))
    assert history["train_loss"] == bare["train_loss"]
    assert bare["val_loss"] == bare["val_recon_loss"] == bare["val_kl_loss"] == []


def test_neither_printing_nor_saving_nor_a_progress_bar_changes_the_training(tmp_path, capsys):
    plain, _ = train(num_epochs=3)
    busy, _ = train(num_epochs=3, print_every=2, checkpoint_dir=tmp_path, save_every=1, progress=True)
    assert equal(weights(plain), weights(busy))
    capsys.readouterr()


def test_the_global_generators_are_left_alone_but_for_the_draw_of_a_seed():
    model, loader = small(), LOADERS["augmentation"]()
    for seed, draws in ((5, 0), (None, 1)):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        for _ in range(draws):
            torch.empty((), dtype=torch.int64).random_()
        expected = torch.rand(2).tolist(), np.random.rand(), random.random()
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        train(model, loader, seed=seed)
        assert (torch.rand(2).tolist(), np.random.rand(), random.random()) == expected


def test_the_model_ends_with_its_last_weights_or_with_patience_its_best(tmp_path):
    settings = {"learning_rate": 0.3, "num_epochs": 8, "checkpoint_dir": tmp_path, "save_every": 1}
    last, history = train(**settings)
    load_checkpoint(tmp_path / "checkpoint_epoch_8.pt", other := small(1))
    assert equal(weights(last), weights(other))
    stopped, short = train(**settings, patience=2)
    best = short["val_loss"].index(min(short["val_loss"]))
    assert len(short["val_loss"]) == best + 3 < 8
    assert short["val_loss"] == history["val_loss"][: best + 3]
    load_checkpoint(tmp_path / f"checkpoint_epoch_{best + 1}.pt", other)
    assert equal(weights(stopped), weights(other))


def test_a_stopped_run_that_is_resumed_trains_nothing_and_gives_its_best_weights(tmp_path):
    settings = {"learning_rate": 0.3, "patience": 2, "checkpoint_dir": tmp_path}
    stopped, history = train(num_epochs=8, **settings)
    file = tmp_path / f"checkpoint_epoch_{len(history['val_loss'])}.pt"
    resumed, again = train(small(9), num_epochs=20, resume_from=file, **settings)
    assert again == history
    assert equal(weights(stopped), weights(resumed))


def test_a_finished_run_that_is_resumed_returns_its_result(tmp_path):
    model, history = train(num_epochs=3, checkpoint_dir=tmp_path)
    resumed, again = train(small(9), num_epochs=3, resume_from=tmp_path / "checkpoint_epoch_3.pt")
    assert again == history
    assert equal(weights(model), weights(resumed))


def test_checkpoints_are_written_every_few_epochs_and_at_the_end_with_the_documented_keys(tmp_path):
    model, history = train(num_epochs=5, checkpoint_dir=tmp_path, save_every=2, metadata={"site": "Kerala"})
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"checkpoint_epoch_{n}.pt" for n in (2, 4, 5)]
    contents = torch.load(tmp_path / "checkpoint_epoch_5.pt", weights_only=True)
    assert contents["epoch"] == 5
    assert contents["history"] == history
    assert contents["train_loss"] == history["train_loss"][-1]
    assert contents["val_loss"] == history["val_loss"][-1]
    expected = {"latent_dim": 2, "hidden_dim": 8, "noise_std": 0.1, "site": "Kerala"}
    assert expected.items() <= contents["metadata"].items()
    assert equal(weights(model), contents["model_state_dict"].values())


def test_files_of_an_earlier_run_are_neither_read_nor_removed(tmp_path):
    (tmp_path / "checkpoint_epoch_9.pt").write_text("of somebody else")
    first, _ = train(checkpoint_dir=tmp_path)
    again, _ = train(checkpoint_dir=tmp_path)
    assert equal(weights(first), weights(again))
    assert (tmp_path / "checkpoint_epoch_9.pt").read_text() == "of somebody else"


def test_progress_is_printed_every_few_epochs_and_at_the_end(capsys):
    train(num_epochs=5, print_every=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["Epoch 2/5", "Epoch 4/5", "Epoch 5/5"]
    assert "train" in lines[0]
    assert "val" in lines[0]


def test_without_print_every_nothing_is_printed(capsys):
    train(num_epochs=2, print_every=None)
    assert capsys.readouterr().out == ""


def test_the_noise_is_on_the_inputs_only_and_the_target_is_clean():
    seen = []

    class Spy:
        def attach(self, trainer):
            trainer.add_event_handler(
                TrainEvents.LOSSES_READY, lambda: seen.append((trainer.state.inputs, trainer.state.batch))
            )

    train(loader=[X], num_epochs=1, handlers=[Spy()], noise_std=0.3)
    (inputs, batch), *_ = seen
    assert torch.equal(batch, X)
    assert not torch.equal(inputs, X)
    assert inputs.ge(0).all()
    assert inputs.le(1).all()


class Probabilities(nn.Module):
    """A user's own VAE, as documented: it gives probabilities."""

    def __init__(self):
        super().__init__()
        self.inner = small()

    def forward(self, x):
        return self.inner(x)


def test_a_users_own_model_is_trained_on_its_probabilities():
    _, history = train(num_epochs=3)
    torch.manual_seed(0)
    _, other = train(Probabilities(), num_epochs=3)
    assert other["train_loss"] == pytest.approx(history["train_loss"], rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8, torch.bool])
def test_vectors_of_other_types_are_welcome(dtype):
    expected, _ = train(loader=[X])
    model, _ = train(loader=[X.to(dtype)], val=[V.to(dtype)])
    assert equal(weights(model), weights(expected))


def test_a_batch_without_finite_loss_is_skipped_when_asked_to():
    class Breaks:
        def attach(self, trainer):
            self.trainer = trainer
            trainer.add_event_handler(TrainEvents.INPUTS_READY(once=2), self.spoil)

        def spoil(self):
            self.trainer.state.inputs = self.trainer.state.inputs * float("nan")

    before = weights(small())
    model = small()
    with pytest.raises(NonFiniteError, match="epoch 1, iteration 2: the loss is nan"):
        train(model, [X[:11], X[11:]], handlers=[Breaks()])
    assert not equal(before, weights(model))
    assert all(value.isfinite().all() for value in weights(model))
    spy = Breaks()
    _, history = train(loader=[X[:11], X[11:]], handlers=[spy], non_finite="skip")
    assert spy.trainer.progress.skipped_steps == 1
    assert all(np.isfinite(history["train_loss"]))


def nan_at(row, feature):
    data = V.clone()
    data[row, feature] = float("nan")
    return data


@pytest.mark.parametrize("where", ["train", "validation"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (V + 0.5, r"must be in \[0, 1\]; got 1\.5"),
        (-V, r"must be in \[0, 1\]; got -1"),
        (nan_at(3, 2), r"must be in \[0, 1\]; got nan at row 3, feature 2"),
        (V / 0, r"must be in \[0, 1\]"),
        (V[:, :5], "must have the model's 6 features; got 5"),
        (V[0], r"shape \(N, D\).*got shape \(6,\)"),
        (V[:0], r"shape \(N, D\).*got shape \(0, 6\)"),
        ({"x": V}, "got dict"),
    ],
    ids=["too large", "too small", "nan", "inf", "features", "one vector", "no row", "dict"],
)
def test_wrong_data_is_refused_before_anything_is_computed_with_it(tmp_path, where, data, message):
    model = small()
    before = weights(model)
    loader, val = ([data], [V]) if where == "train" else ([X], [data])
    with pytest.raises(ValueError, match=message):
        train(model, loader, val, checkpoint_dir=tmp_path)
    assert equal(before, weights(model))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("position", ["train", "val"])
def test_an_empty_loader_is_refused(position):
    empty = DataLoader(TensorDataset(X[:0]), 4)
    loaders = {"loader": empty} if position == "train" else {"val": empty}
    with pytest.raises(ValueError, match="at least one batch"):
        train(**loaders)


@pytest.mark.parametrize(
    "setting",
    [
        {"num_epochs": 0},
        {"num_epochs": -1},
        {"num_epochs": 1.5},
        {"learning_rate": 0.0},
        {"learning_rate": -1e-3},
        {"learning_rate": float("nan")},
        {"save_every": 0},
        {"print_every": 0},
        {"print_every": -2},
        {"noise_std": -0.1},
        {"noise_std": float("nan")},
        {"patience": 0},
        {"max_grad_norm": 0.0},
        {"accumulation_steps": 0},
        {"precision": "int8"},
        {"non_finite": "ignore"},
        {"device": "abacus"},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused_by_name_and_nothing_is_touched(tmp_path, setting):
    model = small()
    before = weights(model)
    ((name, value),) = setting.items()
    spoken = {"max_grad_norm": "max_norm"}.get(name, name)
    with pytest.raises(ValueError, match=f"(?s){spoken} must .*{str(value).replace('.', '[.]')}"):
        train(model, checkpoint_dir=tmp_path, **setting)
    assert equal(before, weights(model))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_epochs": 2}, "must be at least 3"),
        ({"seed": 6}, "seed must be that of the run that is resumed, 5"),
        ({"noise_std": 0.2}, r"noise_std is 0\.2, the run's is 0\.1"),
        ({"learning_rate": 1.0}, "learning_rate"),
        ({"loader": [X]}, "must have the 6 batches an epoch"),
    ],
    ids=["an end in the past", "seed", "noise", "rate", "another batch size"],
)
def test_a_resume_with_other_settings_is_refused(tmp_path, setting, message):
    train(num_epochs=3, checkpoint_dir=tmp_path)
    settings = {"num_epochs": 6, "resume_from": tmp_path / "checkpoint_epoch_3.pt", **setting}
    model = small(9)
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        train(model, **settings)
    assert equal(before, weights(model))


def test_a_resume_from_something_else_is_refused_and_the_model_not_touched(tmp_path):
    train(num_epochs=3, checkpoint_dir=tmp_path)
    file = tmp_path / "checkpoint_epoch_3.pt"
    other = VariationalAutoencoder(6, 3, 8)
    before = weights(other)
    with pytest.raises(CheckpointError, match="another architecture"):
        train(other, resume_from=file)
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        train(other, resume_from=tmp_path / "none.pt")
    save_checkpoint(other, None, 1, 0.0, 0.0, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="not a whole run"):
        train(other, resume_from=tmp_path / "weights.pt")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"checkpoint_epoch_3\.pt"):
        train(other, resume_from=file)
    assert equal(before, weights(other))


def test_a_folder_that_cannot_be_made_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    model = small()
    before = weights(model)
    with pytest.raises(OSError, match="file"):
        train(model, checkpoint_dir=tmp_path / "file" / "deeper")
    assert equal(before, weights(model))


def test_a_users_handler_is_attached_after_the_recipes_own(tmp_path):
    seen = []

    class Mine:
        def attach(self, trainer):
            trainer.add_event_handler(TrainEvents.METRICS_READY, lambda: seen.append(dict(trainer.state.metrics)))

    _, history = train(handlers=[Mine()])
    assert [metrics["val_loss"] for metrics in seen] == history["val_loss"]


def test_nothing_is_logged_above_info_in_a_healthy_run(caplog, tmp_path):
    with caplog.at_level(logging.WARNING):
        train(num_epochs=3, checkpoint_dir=tmp_path)
        train(num_epochs=4, resume_from=tmp_path / "checkpoint_epoch_3.pt")
    assert not caplog.records


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        pytest.param([torch.ones(8, 6), torch.ones(3, 6)], "the same, with values from 1 to 1", id="ones"),
        pytest.param([torch.zeros(8, 6, dtype=torch.bool)], "the same, with values from 0 to 0", id="booleans, zeros"),
        pytest.param([X[:1].expand(5, 6), X[:1]], "the same, with values from 0 to 1", id="one vector again and again"),
        pytest.param([torch.ones(8, 6), torch.zeros(8, 6)], None, id="batches that differ"),
        pytest.param([torch.eye(6)], None, id="vectors that differ"),
    ],
)
def test_training_vectors_that_are_all_equal_are_warned_of_once(caplog, batches, message):
    train(loader=batches, num_epochs=3)
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == (message is not None)
    assert message is None or message in warnings[0]
