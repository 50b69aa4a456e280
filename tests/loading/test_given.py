"""Data sets and arrays stand where loaders do; what is neither gets one short line."""

import inspect
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_matrix
from support.equality import equal, weights
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ignite_recipes import (
    CheckpointManager,
    EpochAverages,
    ExperimentManager,
    RowDataset,
    TrafficPredictor,
    Trainer,
    Validation,
    VariationalAutoencoder,
    create_dataloaders,
    create_evaluator,
    create_trainer,
    extract_embeddings,
    make_traffic_windows,
    read_checkpoint,
    train_model_advanced,
    train_one_epoch,
    train_variational_autoencoder,
    validate_model,
)
from ignite_recipes.data import TrafficDataset
from ignite_recipes.loading.arrays import ArrayDataset
from ignite_recipes.loading.given import as_loader, as_loaders

N, D = 90, 4
DRAW = torch.Generator().manual_seed(0)
X, Y = torch.rand(N, D, generator=DRAW), torch.rand(N, 1, generator=DRAW)
LABELS = torch.arange(N) % 3
NAMES = np.array(["cat", "dog", "emu"])[LABELS]
FRAME = pd.DataFrame(X.numpy(), columns=list("abcd"))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X.split(30))


class NoLength(Dataset):
    def __getitem__(self, index):
        return X[index]


class Rows(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, index):
        return X[index], Y[index]


PAIRS = {
    "tensors": (X, Y),
    "arrays": (X.numpy(), Y.numpy()),
    "a frame and a series": (FRAME, pd.Series(Y[:, 0].numpy())),
    "frames of polars": (pl.DataFrame(FRAME.to_dict("list")), pl.DataFrame({"y": Y[:, 0].numpy()})),
    "a CSR matrix": (csr_matrix(X.numpy()), Y),
    "a list of targets": (X, Y[:, 0].tolist()),
    "TensorDataset": TensorDataset(X, Y),
    "a data set of one's own": Rows(),
}


def net(outputs=1):
    torch.manual_seed(0)
    return nn.Linear(D, outputs)


def train(data, outputs=1, **settings):
    model = net(outputs)
    settings = {"epochs": 2, "device": "cpu", "verbose": False, "seed": 0, **settings}
    return model, train_model_advanced(model, data, **settings)


@pytest.mark.parametrize("name", PAIRS)
def test_a_recipe_trains_on_data_as_on_a_loader_of_them(name):
    expected, results = train(DataLoader(TensorDataset(X, Y), 40, shuffle=True))
    model, found = train(PAIRS[name], batch_size=40)
    assert equal(weights(model), weights(expected))
    assert found["history"] == results["history"]


@pytest.mark.parametrize(
    "data", [X, X.numpy(), FRAME, csr_matrix(X.numpy()), RowDataset(X), TensorDataset(X, Y), (X, LABELS)]
)
def test_the_vae_trains_on_data_as_on_a_loader_of_them(data):
    def weights_after(given, **settings):
        torch.manual_seed(0)
        model = VariationalAutoencoder(D, 2, 8)
        train_variational_autoencoder(model, given, given, 2, print_every=None, seed=0, **settings)
        return weights(model)

    # Validation comes in another order, which changes no weights.
    assert equal(weights_after(data, batch_size=40), weights_after(DataLoader(TensorDataset(X), 40, shuffle=True)))


def test_a_tuple_of_batches_is_still_a_loader_where_it_can_be_one():
    batches = X.split(30)
    assert as_loader(batches, shuffle=True, name="data") is batches
    assert as_loader(batches, shuffle=True, name="data", of="vectors") is batches
    rows = as_loader(batches, 10, shuffle=False, name="data")
    assert [len(batch) for batch in next(iter(rows))] == [10, 10, 10]
    for data in ([X, Y], [(X, Y)], Stream(), DataLoader(TensorDataset(X), 4), range(3)):
        assert as_loader(data, shuffle=True, name="data", of="pairs") is data


def test_engines_validation_and_embeddings_take_data_sets_and_with_a_batch_size_arrays():
    def loss_fn(model, x, batch):
        return {"loss": (model(x) - batch[1]).square().mean()}

    def trained(data, **settings):
        trainer = create_trainer(model := net(), torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, seed=0)
        evaluator = create_evaluator(model, loss_fn)
        EpochAverages().attach(evaluator)
        Validation(evaluator, data, **settings).attach(trainer)
        trainer.run(data, max_epochs=2, **settings)
        assert evaluator.run(data, **settings).metrics["loss"] == pytest.approx(trainer.state.metrics["val_loss"])
        return [trainer.state.iteration, *weights(model)]

    results = [trained(data, batch_size=45) for data in ((X, Y), (X.numpy(), Y), TensorDataset(X, Y), Rows())]
    assert results[0][0] == 4
    for other in results[1:]:
        assert equal(results[0][1:], other[1:])
    assert trained(TensorDataset(X, Y))[0] == 2 * 3  # 32 rows a batch, as few as they are

    model = VariationalAutoencoder(D, 2, 8)
    assert torch.equal(extract_embeddings(model, (X, LABELS)), extract_embeddings(model, X))
    windows = make_traffic_windows(torch.rand(40, 2, generator=DRAW), torch.ones(40), 6, 3)
    predictor = TrafficPredictor(input_size=2, output_size=3, hidden_size=4, len_source=6)
    assert validate_model(predictor, windows) == validate_model(predictor, TrafficDataset(windows))
    assert train_one_epoch(predictor, windows, torch.optim.SGD(predictor.parameters(), lr=0.0))["loss"] > 0


def test_names_of_classes_are_numbered_said_once_kept_and_the_same_for_validation(tmp_path, caplog):
    order = torch.arange(N - 1, 9, -1)
    frame = FRAME.iloc[order.numpy()]
    model, results = train(
        (FRAME, pd.Series(NAMES, dtype="category")),
        3,
        val_loader=(frame, NAMES[order].tolist()),
        batch_size=40,
        checkpoint_dir=tmp_path,
        early_stop_patience=None,
        use_scheduler=False,
    )
    assert results["class_names"] == ["cat", "dog", "emu"]
    assert read_checkpoint(tmp_path / "model_best.pt")["metadata"]["class_names"] == ["cat", "dog", "emu"]
    assert [record.getMessage() for record in caplog.records if "names" in record.getMessage()] == [
        "the targets are names: they are numbered in their order, 'cat', 'dog', 'emu'"
    ]
    again, _ = train(
        (X, LABELS), 3, batch_size=40, early_stop_patience=None, use_scheduler=False, val_loader=(X, LABELS)
    )
    assert equal(weights(model), weights(again))
    with pytest.raises(ValueError, match=r"class_names"):
        train((X, np.char.upper(NAMES)), 3, resume_from=tmp_path / "model_latest.pt", epochs=3)


def test_the_classifier_takes_names_and_its_checkpoints_keep_them(tmp_path):
    experiment, model = ExperimentManager(tmp_path), net(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(
        *(model, (X, NAMES), (X, NAMES), nn.CrossEntropyLoss(), optimizer, "cpu", experiment),
        CheckpointManager(experiment.checkpoints_dir),
        seed=0,
        batch_size=45,
    )
    trainer.train(epochs=1)
    assert len(trainer.train_loader) == 2
    kept = read_checkpoint(f"{experiment.checkpoints_dir}/latest_checkpoint.pt")
    assert kept["metadata"]["class_names"] == ["cat", "dog", "emu"]


def test_a_run_on_arrays_that_was_cut_and_resumed_is_the_same_run(tmp_path):
    whole, results = train((X, NAMES), 3, epochs=4, batch_size=40, val_loader=(X, NAMES))
    train((X, NAMES), 3, epochs=2, batch_size=40, val_loader=(X, NAMES), checkpoint_dir=tmp_path)
    path = tmp_path / "model_latest.pt"
    model, again = train((X, NAMES), 3, epochs=4, batch_size=40, val_loader=(X, NAMES), resume_from=path)
    assert equal(weights(model), weights(whole))
    assert again["history"] == results["history"]


MANY = np.arange(1_000_000.0)
WRONG = {
    "an array alone": ({"data": MANY}, "(1000000,) alone: pass (inputs, targets)"),
    "a frame alone": ({"data": FRAME}, "DataFrame of shape (90, 4) alone"),
    "a file": ({"data": "data.csv"}, "got 'data.csv': train_on_table reads files"),
    "a long text": ({"data": "x" * 50_000}, "must be a loader"),
    "a number": ({"data": 3}, "got int"),
    "nothing": ({"data": None}, "got None"),
    "a dict": ({"data": {"x": MANY, "y": MANY}}, "got dict: pass a tuple"),
    "a class": ({"data": TensorDataset}, "got the class TensorDataset: make one"),
    "a model": ({"data": nn.Linear(2, 2)}, "got Linear"),
    "different lengths": ({"data": (X, Y[:7])}, "of one length, a row for each sample; got 90 and 7"),
    "no rows": ({"data": (X[:0], Y[:0])}, "at least one row"),
    "an empty data set": ({"data": TensorDataset(X[:0])}, "at least one row"),
    "a data set without a length": ({"data": NoLength()}, "knows its length"),
    "single numbers": ({"data": (torch.tensor(1.0), torch.tensor(1.0))}, "a row for each sample"),
    "text among the inputs": ({"data": (FRAME.assign(c="x"), Y)}, "no numbers in 'c'"),
    "names as inputs": ({"data": (NAMES, Y)}, "must hold numbers"),
    "times": ({"data": (X, pd.Series(pd.date_range("2024", periods=N)))}, "must hold numbers"),
    "complex numbers": ({"data": (X.numpy() * 1j, Y)}, "must hold numbers; got an array of complex64"),
    "numbers that are missing": ({"data": (FRAME.astype("Float32").mask(FRAME > 0.9), Y)}, "values that are missing"),
    "a name of pandas that is missing": (
        {"data": (X, pd.Series(NAMES).astype("string").mask(LABELS.numpy() == 1))},
        "30 of",
    ),
    "rows in two orders": ({"data": (FRAME.iloc[::-1], pd.Series(NAMES))}, "the same rows in the same order"),
    "a name that is missing": ({"data": (X, ["cat", None, *NAMES[2:]])}, "missing in 1 of 90"),
    "a loader and a batch size": ({"data": [(X, Y)], "batch_size": 3}, "batch_size is of a data set or of arrays"),
    "no batch size": ({"data": (X, Y), "batch_size": 0}, "batch_size must be a whole number"),
    "a batch size that is an array": ({"data": (X, Y), "batch_size": MANY}, "batch_size must be a whole number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_data_gets_one_line_of_bounded_length(name):
    settings, message = WRONG[name]
    with pytest.raises((TypeError, ValueError)) as error:
        as_loader(**{"batch_size": None, **settings}, shuffle=True, name="train_loader", of="pairs")
    text = str(error.value)
    assert message in text
    assert "\n" not in text
    assert len(text) < 400


def test_validation_must_hold_the_classes_that_are_trained_on():
    with pytest.raises(ValueError, match=r"val_loader must hold the classes.*got 'yak' too"):
        as_loaders((X, NAMES), (X[:2], ["cat", "yak"]), None, of="pairs")


class Named(Dataset):
    """Rows with the names of their classes, or with what ``number`` makes of them."""

    def __init__(self, number=str):
        self.number = number

    def __len__(self):
        return N

    def __getitem__(self, index):
        return X[index], self.number(NAMES[index])


def test_names_that_a_data_set_gives_are_refused_with_the_line_that_numbers_them():
    fit = partial(train_model_advanced, epochs=1, device="cpu", verbose=False)
    line = r"got names like 'cat': give numbers, names\.index\(label\) with names = sorted\(set\(labels\)\)"
    for data in (Named(), DataLoader(Named(), 9)):
        with pytest.raises(ValueError, match=line):
            fit(nn.Linear(D, 3), data)
    names = sorted(set(NAMES))
    assert len(fit(nn.Linear(D, 3), Named(names.index))["history"]["train_accuracy"]) == 1


@pytest.mark.parametrize("recipe", [train_model_advanced, train_variational_autoencoder, Trainer])
def test_a_batch_size_is_a_keyword_of_every_recipe_that_takes_a_loader(recipe):
    assert inspect.signature(recipe).parameters["batch_size"].kind is inspect.Parameter.KEYWORD_ONLY


def test_loaders_of_arrays_are_made_by_create_dataloaders_too():
    train, val = create_dataloaders((X.numpy(), LABELS), (X[:5].numpy(), LABELS[:5]), batch_size=40)
    assert [len(x) for x, _ in train] == [40, 40, 10]
    assert torch.equal(next(iter(val))[0], X[:5])
    with pytest.raises(ValueError, match=r"pass targets with their inputs, create_dataloaders\(\(X, y\)"):
        create_dataloaders(X, LABELS)


def test_rows_keep_their_types_and_a_named_tuple_its_own():
    windows = make_traffic_windows(torch.rand(40, 2, generator=DRAW), torch.ones(40), 6, 3)
    assert type(ArrayDataset(windows, name="data").__getitems__([1, 2])) is type(windows)
    pair = ArrayDataset((X.double().numpy(), LABELS > 0), name="data")
    assert [part.dtype for part in pair[3]] == [torch.float64, torch.bool]
    assert torch.equal(pair[-1][0], X[-1].double())
    assert ArrayDataset((X, LABELS.numpy().astype(np.uint16)), name="data")[4][1] == LABELS[4]
