"""A trainer of ours is an Ignite Engine: Ignite's own metrics, loggers, profilers and rate finder attach to it."""

import pytest
import torch
from ignite.engine import Events
from ignite.handlers import BasicTimeProfiler, FastaiLRFinder, HandlersTimeProfiler, TensorboardLogger
from ignite.metrics import RunningAverage

from ignite_recipes import EarlyStopping, EpochAverages, GradientClipper, create_trainer

X = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
BATCHES = X.split(16)


def a_trainer():
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return create_trainer(model, optimizer, lambda m, x, batch: {"loss": (m(x) - 1).square().mean()}, seed=0)


@pytest.fixture
def trained():
    """The weights of a run that nothing of Ignite's looks at."""
    trainer = a_trainer()
    trainer.run(BATCHES, max_epochs=3)
    return trainer.model.weight


def test_a_metric_over_the_steps_changes_nothing(trained):
    trainer, losses = a_trainer(), []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: losses.append(trainer.state.output["loss"].item()))
    RunningAverage(alpha=0.5, output_transform=lambda output: output["loss"]).attach(trainer, "running")
    running = trainer.run(BATCHES, max_epochs=3).metrics["running"]
    expected = losses[0]
    for loss in losses[1:]:
        expected = 0.5 * expected + 0.5 * loss
    assert running == pytest.approx(expected)
    assert torch.equal(trainer.model.weight, trained)


def test_profilers_time_every_handler(trained):
    trainer = a_trainer()
    EpochAverages("train_").attach(trainer)
    GradientClipper(1e9).attach(trainer)
    EarlyStopping(9, verbose=False).attach(trainer, "train_loss")
    whole, each = BasicTimeProfiler(), HandlersTimeProfiler()
    whole.attach(trainer)
    each.attach(trainer)
    trainer.run(BATCHES, max_epochs=3)
    assert whole.get_results()["processing_stats"]["total"] > 0
    timed = {row[0] for row in each.get_results()}
    assert {"start_epoch", "GradientClipper", "EpochAverages", "EarlyStopping"} <= {
        name.split(".")[0] for name in timed
    }
    assert torch.equal(trainer.model.weight, trained)


def test_a_logger_gets_every_step(trained, tmp_path):
    trainer = a_trainer()
    with TensorboardLogger(log_dir=tmp_path) as log:
        log.attach_output_handler(
            trainer, Events.ITERATION_COMPLETED, tag="step", output_transform=lambda output: output["loss"]
        )
        trainer.run(BATCHES, max_epochs=3)
    (file,) = tmp_path.iterdir()
    assert file.read_bytes().count(b"step/output") == 3 * len(BATCHES)
    assert torch.equal(trainer.model.weight, trained)


def test_the_learning_rate_finder_tries_rates_and_puts_everything_back():
    trainer, finder = a_trainer(), FastaiLRFinder()
    before = trainer.model.weight.clone()
    parts = {"model": trainer.model, "optimizer": trainer.optimizer}
    with finder.attach(
        trainer, parts, output_transform=lambda output: output["loss"].item(), num_iter=40, end_lr=10.0
    ) as trying:
        trying.run(BATCHES)
    assert 1e-6 < finder.lr_suggestion() < 10
    assert torch.equal(trainer.model.weight, before)
    assert trainer.optimizer.param_groups[0]["lr"] == 0.01
