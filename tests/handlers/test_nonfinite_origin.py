"""The report of a non-finite number says where it began, and looking for it changes nothing."""

import pytest
import torch
from torch import nn

from ignite_recipes import NonFiniteError, NonFiniteGuard
from ignite_recipes.handlers.nonfinite_origin import first_nonfinite_gradient, first_nonfinite_output


class Overflow(nn.Module):
    """Gives infinity for large numbers."""

    def forward(self, x):
        return {"scores": torch.exp(1000 * x), "same": x}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.inner = nn.Sequential(nn.BatchNorm1d(2), Overflow())

    def forward(self, x):
        return self.inner(self.first(x))["scores"]


def test_the_first_module_whose_output_is_not_finite_is_named_and_an_outer_one_is_not():
    torch.manual_seed(0)
    model = Net().eval()
    x = torch.full((3, 2), 1e6)
    assert first_nonfinite_output(model, lambda: model(x)) == "inner.1 (Overflow)"
    assert first_nonfinite_output(model, lambda: model(x * float("nan"))) == "first (Linear)"
    assert first_nonfinite_output(model, lambda: model(x * 0)) is None
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_are_removed_when_the_model_fails():
    model = Net()
    with pytest.raises(RuntimeError):
        first_nonfinite_output(model, lambda: model(torch.zeros(3, 5)))
    assert not any(module._forward_hooks for module in model.modules())


def test_the_first_parameter_whose_gradient_is_not_finite_is_named():
    model = Net()
    assert first_nonfinite_gradient(model) is None
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert first_nonfinite_gradient(model) is None
    model.inner[0].bias.grad[1] = float("inf")
    assert first_nonfinite_gradient(model) == "inner.0.bias"


CAUSES = {
    "the inputs": (lambda model, x: model(x * torch.tensor(1.0)), "nan", "its inputs are not finite"),
    "a module": (lambda model, x: model(x + 1e30), "ones", r"it began in the output of \w+ \(Linear\)"),
    "the loss function": (lambda model, x: model(x).log() * float("nan"), "ones", "the loss function's own numbers"),
}


@pytest.mark.parametrize(("forward", "inputs", "message"), CAUSES.values(), ids=CAUSES)
def test_the_error_says_where_it_began(task, forward, inputs, message):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.fill_(1e30)
    trainer = task.trainer(model, loss_fn=lambda m, x, batch: {"loss": forward(m, x).square().mean()})
    NonFiniteGuard().attach(trainer)
    batch = torch.ones(4, 3) * (float("nan") if inputs == "nan" else 1)
    with pytest.raises(NonFiniteError, match=message):
        trainer.run([batch], max_epochs=1)


def test_looking_for_it_is_done_once_and_changes_nothing(task, monkeypatch):
    def run(looks):
        torch.manual_seed(4)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None), nn.Dropout(0.5), nn.Linear(4, 1))
        calls = []

        def loss_fn(m, x, batch):
            calls.append(len(x))
            return task.loss_fn(m, x, batch)

        trainer = task.trainer(model, loss_fn=loss_fn)
        NonFiniteGuard("skip").attach(trainer)
        if not looks:
            monkeypatch.setattr("ignite_recipes.handlers.nonfinite.origin_of_nonfinite", lambda *_: "")
        bad = [(x, y / 0) for x, y in task.batches[:2]]
        trainer.run([*bad, *task.batches], max_epochs=2)
        return task.weights(model), len(calls)

    (looked, more), (blind, calls) = run(True), run(False)
    assert more == calls + 1
    assert task.same(looked, blind)
    assert blind["1.num_batches_tracked"] == 8  # a dropped step gives it back too
