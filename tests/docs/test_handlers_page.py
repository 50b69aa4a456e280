"""The table of handlers has each of them, and its lines run."""

from pathlib import Path

import pytest
import torch

import ignite_recipes

PAGE = (Path(__file__).parents[2] / "docs" / "handlers.md").read_text(encoding="utf-8")
TABLE = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines()]
HANDLERS = {row[0].strip("`"): row for row in TABLE if len(row) == 5 and row[0].startswith("`")}


@pytest.mark.filterwarnings("ignore:mixed precision does nothing")  # on a CPU
def test_every_handler_is_in_the_table_as_it_is_used(tmp_path, monkeypatch):
    """The lines of both columns, run with what they name."""
    monkeypatch.chdir(tmp_path)
    kinds = [
        value for value in map(vars(ignite_recipes).get, ignite_recipes.handlers.__all__) if isinstance(value, type)
    ]
    assert set(HANDLERS) == {kind.__name__ for kind in kinds if hasattr(kind, "attach")}
    for by_hand, attached in (row[3:] for row in HANDLERS.values()):
        names = _what_the_lines_name()
        if by_hand:
            exec(by_hand.split("`")[1], names)
        exec(attached.strip("`"), names)


def _what_the_lines_name():
    names = {name: getattr(ignite_recipes, name) for name in ignite_recipes.__all__}
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, labels = torch.rand(3, 4), torch.tensor([0, 1, 1])
    outputs = model(x)

    def loss_fn(model, inputs, batch):
        return {"loss": torch.nn.functional.cross_entropy(model(inputs), labels)}

    loss = torch.nn.functional.cross_entropy(outputs, labels)
    loss.backward(retain_graph=True)
    clipper, callback = ignite_recipes.GradientClipper(), ignite_recipes.GradientClipCallback()
    stopping, ema = ignite_recipes.EarlyStopping(verbose=False), ignite_recipes.ExponentialMovingAverage()
    for handler in (callback, stopping, ema):
        handler.set_model(model)
    history = {"train_loss": [2.0, 1.0], "val_loss": [2.0, 1.5]}
    return names | {
        "torch": torch,
        "model": model,
        "optimizer": optimizer,
        "x": x,
        "labels": labels,
        "outputs": outputs,
        "loss": loss,
        "val_loss": 1.5,
        "epoch": 1,
        "history": history,
        "flip": lambda x: x.flip(0),
        "val_loader": [x],
        "clipper": clipper,
        "callback": callback,
        "stopping": stopping,
        "ema": ema,
        "guard": ignite_recipes.NonFiniteGuard(),
        "precision": ignite_recipes.MixedPrecisionTrainer(enabled=False),
        "scheduler": ignite_recipes.LearningRateScheduler(optimizer, "plateau"),
        "metrics": ignite_recipes.MetricsTracker(),
        "saving": ignite_recipes.Checkpointing("saved"),
        "evaluator": ignite_recipes.create_evaluator(model, loss_fn),
        "trainer": ignite_recipes.create_trainer(model, optimizer, loss_fn),
    }
