"""Elements are counted, sizes are over the finite ones, and the report is printed only when asked for."""

import logging
import math

import pytest
import torch
from ignite.engine import Events
from torch import nn

from ignite_recipes import TrainingStability

NAN, INF = math.nan, math.inf
CASES = [  # what, values of two parameters, largest, mean, NaN elements, infinite elements
    ("plain", [[1.0, -3.0], [2.0, 0.0]], 3.0, 1.5, 0, 0),
    ("NaN among numbers", [[NAN, -3.0], [1.0, 2.0]], 3.0, 2.0, 1, 0),
    ("both infinities", [[INF, -INF], [1.0, NAN]], 1.0, 1.0, 1, 2),
    ("nothing finite", [[NAN, NAN], [INF, NAN]], 0.0, 0.0, 3, 1),
    ("zeros", [[0.0, 0.0], [-0.0, 0.0]], 0.0, 0.0, 0, 0),
]
CHECKS = {"grad": TrainingStability.check_gradients, "weight": TrainingStability.check_weights}
every_check = pytest.mark.parametrize("what", CHECKS)


def a_model(what, values, dtype=torch.float32):
    """Two parameters whose gradients or weights are these; the first is a matrix."""
    first, second = (torch.tensor(row, dtype=dtype) for row in values)
    parameters = nn.ParameterList([first.reshape(1, -1).clone(), second.clone()])
    if what == "grad":
        for parameter in parameters:
            parameter.grad = parameter.detach().clone()
            parameter.data.fill_(100.0)
    return parameters


@every_check
@pytest.mark.parametrize(
    ("values", "largest", "mean", "nans", "infs"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_report(what, values, largest, mean, nans, infs, dtype):
    report = CHECKS[what](a_model(what, values, dtype))
    assert report == {f"max_{what}": largest, f"mean_{what}": mean, f"nan_{what}s": nans, f"inf_{what}s": infs}
    assert [type(value) for value in report.values()] == [float, float, int, int]


def test_the_mean_is_over_elements_and_not_over_parameters():
    model = nn.ParameterList([torch.ones(9), torch.full((1,), 11.0)])
    assert TrainingStability.check_weights(model)["mean_weight"] == 2.0


def test_parameters_without_a_gradient_are_passed_over():
    model = a_model("grad", [[1.0, 2.0], [9.0, 9.0]])
    model[1].grad = None
    assert TrainingStability.check_gradients(model) == {
        "max_grad": 2.0,
        "mean_grad": 1.5,
        "nan_grads": 0,
        "inf_grads": 0,
    }


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.Identity()], ids=["no gradients", "no parameters"])
def test_without_any_gradient_all_is_zero(model):
    assert set(TrainingStability.check_gradients(model).values()) == {0}


@every_check
def test_numbers_that_only_float64_can_hold_are_finite(what):
    report = CHECKS[what](a_model(what, [[1e300, 1e300], [1e300, 1e300]], torch.float64))
    assert report == {f"max_{what}": 1e300, f"mean_{what}": 1e300, f"nan_{what}s": 0, f"inf_{what}s": 0}


def test_more_elements_than_float32_can_count_are_counted():
    model = nn.ParameterList([torch.full((2**24 + 1,), NAN)])
    assert TrainingStability.check_weights(model)["nan_weights"] == 2**24 + 1


@every_check
def test_the_mean_of_large_finite_numbers_is_finite(what):
    assert CHECKS[what](a_model(what, [[3e38, 3e38], [3e38, 3e38]]))[f"mean_{what}"] == pytest.approx(3e38)


@every_check
@pytest.mark.parametrize("verbose", [True, False])
def test_verbose_prints_exactly_one_line(capsys, what, verbose):
    CHECKS[what](a_model(what, [[NAN, -3.0], [1.0, 2.0]]), verbose=verbose)
    out = capsys.readouterr().out
    assert out.count("\n") == verbose
    assert ("largest 3, mean 2, 1 NaN, 0 infinite" in out) is verbose


@pytest.mark.parametrize("every", [1, 2, 10])
def test_attached_it_checks_every_so_many_epochs_and_changes_nothing(task, caplog, every):
    trainer, plain = task.trainer(), task.trainer()
    stability = TrainingStability(every).attach(trainer)
    last = []

    @trainer.on(Events.EPOCH_COMPLETED(every=every))
    def report(engine):
        last.append((TrainingStability.check_gradients(engine.model), TrainingStability.check_weights(engine.model)))

    with caplog.at_level(logging.INFO, "ignite_recipes.handlers"):
        trainer.run(task.batches, max_epochs=4)
    plain.run(task.batches, max_epochs=4)
    assert len(caplog.records) == 2 * (4 // every)
    assert (stability.gradients, stability.weights) == (last[-1] if last else ({}, {}))
    assert task.same(task.weights(trainer.model), task.weights(plain.model))


@pytest.mark.parametrize(("bad", "level"), [(False, logging.INFO), (True, logging.WARNING)])
def test_attached_it_warns_only_where_something_is_not_finite(task, caplog, bad, level):
    trainer = task.trainer()
    TrainingStability(1).attach(trainer)
    with caplog.at_level(logging.INFO, "ignite_recipes.handlers"):
        trainer.run([task.nan_batch if bad else task.batches[0]], max_epochs=1)
    assert [record.levelno for record in caplog.records] == [level, level]
    assert all("epoch 1" in message for message in caplog.messages)


def test_on_an_engine_of_ones_own_it_checks_the_named_model(task):
    model = task.model()
    engine = task.own_engine(model, torch.optim.SGD(model.parameters(), lr=0.1), events=False)
    stability = TrainingStability(1).attach(engine, model)
    engine.run(task.batches, max_epochs=1)
    assert stability.gradients == TrainingStability.check_gradients(model)
    assert stability.gradients["max_grad"] > 0
    with pytest.raises(RuntimeError, match=r"attach\(trainer, model\)"):
        TrainingStability().attach(engine)


@pytest.mark.parametrize("every", [0, -1])
def test_an_impossible_rhythm_is_refused(every):
    with pytest.raises(ValueError, match=f"a whole number of epochs, at least 1; got {every}"):
        TrainingStability(every)
