"""What a program has as a constant is seen when it changes."""

import functools

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_recipes.programs.python_state import changed, has_hooks, holds_engine, python_state

GLOBAL_FACTOR = 1.0
SETTINGS = {"scale": 1.0}


def helper():
    return SETTINGS["scale"]


def with_global(model, inputs, batch):
    return GLOBAL_FACTOR * helper()


class Loss:
    def __init__(self):
        self.factor, self.weights, self.nested = 1.0, [1.0, 2.0], {"a": {"b": 1}}
        self.tensor = torch.zeros(1)

    def __call__(self, model, inputs, batch):
        return self.factor

    def method(self, model, inputs, batch):
        return self.factor


def closure_of(value):
    holder = [value]
    return (lambda model, inputs, batch: holder[0]), holder


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda loss: setattr(loss, "factor", 2.0), "factor"),
        (lambda loss: loss.weights.append(3.0), "weights"),
        (lambda loss: loss.nested["a"].update(b=2), "b"),
        (lambda loss: setattr(loss, "tensor", torch.zeros(1)), "tensor"),
        (lambda loss: setattr(loss, "new", "word"), "new"),
        (lambda loss: setattr(loss, "factor", float("nan")), "factor"),
    ],
)
@pytest.mark.parametrize(
    "form", [lambda loss: loss, lambda loss: loss.method, lambda loss: functools.partial(loss, x=1)]
)
def test_a_change_in_an_object_is_seen_and_named(change, name, form):
    loss = Loss()
    before = python_state([form(loss)])
    assert changed(before, python_state([form(loss)])) is None
    change(loss)
    assert name in changed(before, python_state([form(loss)]))


def test_a_change_in_a_closure_and_in_a_global_number_is_seen(monkeypatch):
    function, holder = closure_of(1.0)
    before = python_state([function, with_global])
    holder[0] = 2.0
    assert changed(before, python_state([function, with_global])) is not None
    holder[0] = 1.0
    monkeypatch.setitem(globals(), "GLOBAL_FACTOR", 3.0)
    assert "GLOBAL_FACTOR" in changed(before, python_state([function, with_global]))


def test_a_change_in_global_settings_is_seen_through_functions_of_the_same_file(monkeypatch):
    before = python_state([with_global])
    monkeypatch.setitem(SETTINGS, "scale", 2.0)
    assert "scale" in changed(before, python_state([with_global]))


@pytest.mark.parametrize("base", [Loss, nn.Linear], ids=["an object", "a module"])
def test_a_change_in_a_class_is_seen(base):
    class Own(base):
        factor_of_all = 1.0

    part = Own(2, 2) if base is nn.Linear else Own()
    before = python_state([part])
    Own.factor_of_all = 2.0
    assert "factor_of_all" in changed(before, python_state([part]))


def test_modes_and_settings_of_modules_are_seen_and_weights_are_not():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1), nn.BatchNorm1d(2))
    before = python_state([model])
    with torch.no_grad():
        model[0].weight.add_(1)
    model[0].weight.grad = torch.ones(2, 2)
    assert changed(before, python_state([model])) is None
    for change, name in ((lambda: setattr(model[1], "p", 0.2), "p"), (model[2].eval, "training")):
        change()
        assert name in changed(before, python_state([model]))
        before = python_state([model])


def test_a_tensor_that_is_changed_in_place_is_the_same():
    loss = Loss()
    before = python_state([loss])
    loss.tensor.add_(1)
    assert changed(before, python_state([loss])) is None


def test_engines_states_and_optimizers_are_found_and_not_searched():
    engine = Engine(lambda engine, batch: None)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    assert holds_engine([lambda: engine.state.iteration]) == "Engine"
    assert holds_engine([functools.partial(print, optimizer)]) == "SGD"
    assert holds_engine([Loss(), nn.Linear(1, 1)]) is None
    before = python_state([lambda: engine])
    engine.state.iteration = 7
    assert changed(before, python_state([lambda: engine])) is None


def test_hooks_are_found_wherever_they_are():
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1)))
    assert not has_hooks([model])
    handle = model[1][0].register_full_backward_hook(lambda *_: None)
    assert has_hooks([model])
    handle.remove()
    assert not has_hooks([model])


def test_long_data_and_cycles_take_no_time():
    loss = Loss()
    loss.data, loss.me = list(range(1_000_000)), loss
    assert len(python_state([loss])) < 1000
