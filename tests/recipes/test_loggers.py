"""Loggers of Ignite's attach to every recipe as they are: real ones; only what stands for their services is not."""

import sys
from functools import partial
from types import ModuleType
from unittest.mock import MagicMock

import pytest
import torch
from ignite import handlers as ignite_handlers
from ignite.engine import Events
from ignite.handlers import MLflowLogger, ProgressBar, TensorboardLogger, WandBLogger
from ignite.metrics import ConfusionMatrix
from support.models import perceptron
from torch import nn

from ignite_recipes import (
    ExperimentManager,
    NonFiniteError,
    Trainer,
    TrainEvents,
    VariationalAutoencoder,
    create_trainer,
    getDefaultModelParams,
    make_traffic_windows,
    train_model_advanced,
    train_on_table,
    train_variational_autoencoder,
    trainModel,
)
from ignite_recipes.recipes.assembly import attach_last

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")

X = torch.rand(24, 6, generator=torch.Generator().manual_seed(0)).round()
CLASSES = X[:, 0].long()
EPOCHS = 2


class Service(ModuleType):
    """What MLflow and Weights & Biases have of functions, as far as Ignite's loggers call them."""

    def __init__(self, name):
        super().__init__(name)
        self.logged, self.closed = [], 0
        self.active_run, self.start_run, self.init = (lambda: None), (lambda: "a run"), (lambda **_: None)
        self.validate_param_and_metric_name = lambda name: True

    def log_metrics(self, metrics, step):
        self.logged.append((step, metrics))

    log = log_metrics

    def end_run(self):
        self.closed += 1

    finish = end_run


@pytest.fixture
def service(monkeypatch):
    found = Service("service")
    for name in ("mlflow", "mlflow.utils", "mlflow.utils.validation", "wandb"):
        monkeypatch.setitem(sys.modules, name, found)
    return found


def supervised(handlers, **settings):
    data = list(zip(X.split(6), CLASSES.split(6), strict=True))
    settings = {"epochs": EPOCHS, "verbose": False, "seed": 0, "device": "cpu", **settings}
    return train_model_advanced(perceptron(6, 4, 2), data, data, handlers=handlers, **settings)


def vae(handlers):
    data = list(X.split(6))
    train_variational_autoencoder(
        VariationalAutoencoder(6, 2, 4), data, data, EPOCHS, print_every=None, handlers=handlers
    )


def table(handlers):
    train_on_table(X, CLASSES, epochs=EPOCHS, verbose=False, device="cpu", seed=0, handlers=handlers)


def traffic(handlers):
    windows = make_traffic_windows(torch.rand(40, 1), torch.ones(40), 10, 5)
    p = getDefaultModelParams(10, 5, windows) | {"num_epochs": EPOCHS, "hidden_size": 4, "save_checkpoints": False}
    trainModel(p, windows, windows, False, device="cpu", handlers=handlers)


def classifier(handlers):
    data = list(zip(X.split(6), CLASSES.split(6), strict=True))
    model = perceptron(6, 4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Trainer(
        model, data, data, nn.CrossEntropyLoss(), optimizer, "cpu", ExperimentManager(), seed=0, handlers=handlers
    ).train(EPOCHS)


@pytest.mark.parametrize("recipe", [supervised, vae, table, traffic, classifier])
def test_every_recipe_logs_each_epochs_numbers_and_closes_the_logger(recipe, service):
    recipe([MLflowLogger()])
    assert [step for step, _ in service.logged] == [1, 1, 1, 2, 2, 2]
    names = {name for _, metrics in service.logged for name in metrics}
    assert {"training loss", "validation loss", "run learning_rate"} <= names
    assert all(isinstance(value, float) for _, metrics in service.logged for value in metrics.values())
    assert service.closed == 1


def test_the_numbers_are_the_historys_and_what_is_no_number_is_left_out(service):
    result = supervised([WandBLogger()], metrics={"f1": "f1", "matrix": ConfusionMatrix(2)})
    logged = [metrics["validation/f1"] for _, metrics in service.logged if "validation/f1" in metrics]
    assert logged == result["history"]["val_f1"]
    assert not any("matrix" in name for _, metrics in service.logged for name in metrics)
    assert service.closed == 1


def test_its_own_methods_are_attached_by_partial(service):
    logger = WandBLogger()
    each_step = partial(
        logger.attach_output_handler,
        event_name=Events.ITERATION_COMPLETED(every=2),
        tag="step",
        output_transform=lambda losses: {"loss": losses["loss"]},
    )
    rates = partial(attach_rates, logger)
    supervised([each_step, rates])
    assert [step for step, metrics in service.logged if "step/loss" in metrics] == [2, 4, 6, 8]
    assert [metrics["rate/lr/group_0"] for _, metrics in service.logged if "rate/lr/group_0" in metrics] == [0.001] * 2
    assert service.closed == 1  # it belongs to a partial function of its own


def attach_rates(logger, trainer):
    logger.attach_opt_params_handler(trainer, Events.EPOCH_STARTED, optimizer=trainer.optimizer, tag="rate")


def test_it_is_closed_once_also_after_an_error_and_the_error_reaches_the_caller(service):
    logger = MLflowLogger()
    bad = list(zip(X.split(6), CLASSES.split(6), strict=True))
    bad[1] = (bad[1][0] * torch.nan, bad[1][1])
    again = partial(logger.attach_output_handler, event_name=Events.EPOCH_COMPLETED, tag="x", metric_names="all")
    with pytest.raises(NonFiniteError):
        train_model_advanced(
            perceptron(6, 4, 2), bad, None, epochs=2, verbose=False, device="cpu", handlers=[logger, again]
        )
    assert service.closed == 1


def test_it_is_closed_when_the_run_is_interrupted(service):
    class Interrupt:
        def attach(self, trainer):
            trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), self)

        def __call__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervised([MLflowLogger(), Interrupt()])
    assert service.closed == 1


def test_tensorboards_events_are_real(tmp_path):
    supervised([TensorboardLogger(log_dir=tmp_path / "events")])
    (file,) = (tmp_path / "events").iterdir()
    content = file.read_bytes()
    assert [content.count(name) for name in (b"training/loss", b"validation/accuracy", b"run/learning_rate")] == [2] * 3


@pytest.mark.parametrize(
    ("name", "modules", "arguments"),
    [
        (
            "ClearMLLogger",
            ["clearml", "clearml.binding", "clearml.binding.frameworks", "clearml.binding.frameworks.tensorflow_bind"],
            {},
        ),
        ("NeptuneLogger", ["neptune", "neptune.utils"], {}),
        ("PolyaxonLogger", ["polyaxon", "polyaxon.tracking"], {}),
        ("VisdomLogger", ["visdom"], {"num_workers": 0}),
    ],
)
def test_so_are_those_of_other_services(name, modules, arguments, monkeypatch):
    monkeypatch.delenv("CI", raising=False)  # with which ClearML's warns that it does nothing
    for module in modules:
        monkeypatch.setitem(sys.modules, module, MagicMock())
    logger = getattr(ignite_handlers, name)(**arguments)
    closed = []
    monkeypatch.setattr(logger, "close", lambda: closed.append(True))
    supervised([logger])
    assert closed == [True]


def test_ignites_progress_bar_attaches_as_ever(capsys):
    supervised([ProgressBar(persist=True)])
    assert "Epoch [2/2]" in capsys.readouterr().err


def test_a_logger_on_a_trainer_of_ones_own_has_events_of_ours(service):
    model = nn.Linear(6, 1)
    trainer = create_trainer(
        model, torch.optim.SGD(model.parameters(), 0.1), lambda m, x, b: {"loss": m(x).square().mean()}
    )
    logger = MLflowLogger()
    logger.attach_output_handler(trainer, TrainEvents.METRICS_READY, tag="epoch", metric_names="all")
    trainer.run(list(X.split(6)), max_epochs=2)
    assert [step for step, _ in service.logged] == [1, 2]
    attach_last(trainer, [])
    assert service.closed == 0  # it is its owner's
