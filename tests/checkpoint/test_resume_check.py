"""A check that finds every run that does not resume exactly, and says which state differs first."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    EpochAverages,
    ExponentialMovingAverage,
    History,
    LearningRateScheduler,
    NoiseAugmentation,
    check_resume,
    create_trainer,
)
from ignite_recipes.checkpoint.resume_check import choose_cuts, first_difference

INPUTS = torch.rand(22, 3, generator=torch.Generator().manual_seed(0))


def make(loss=None, prepare=None, accumulation_steps=1, loader=None):
    def make_run():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

        def loss_fn(m, x, batch):
            value = m(x).square().mean()
            return {"loss": value if loss is None else loss(value)}

        trainer = create_trainer(model, optimizer, loss_fn, seed=1, accumulation_steps=accumulation_steps)
        NoiseAugmentation(0.1, None, None).attach(trainer)
        LearningRateScheduler(optimizer, "exp").attach(trainer)
        EpochAverages("train_").attach(trainer)
        ExponentialMovingAverage(0.9).attach(trainer)
        History(["train_loss"]).attach(trainer)
        if prepare is not None:
            prepare(trainer)
        return trainer, loader() if loader else DataLoader(TensorDataset(INPUTS), 5, shuffle=True)

    return make_run


@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_a_run_with_everything_is_exact_at_every_cut(accumulation_steps):
    cuts = [(epoch, batch) for epoch in (1, 2, 3) for batch in range(1, 6)][:-1]
    report = check_resume(make(accumulation_steps=accumulation_steps), 3, cuts)
    assert report.is_exact
    assert list(report.differences) == cuts
    assert set(report.differences.values()) == {None}
    assert str(report).count("equal") == len(cuts) + 1


def test_a_state_that_no_checkpoint_holds_is_found_and_the_first_difference_named():
    class Drift:
        def __init__(self):
            self.steps = 0

        def __call__(self, loss):
            self.steps += 1
            return loss * (1 + self.steps)

    report = check_resume(lambda: make(loss=Drift())())
    assert not report.is_exact
    assert report.repeated is None
    assert all("model_state_dict['0.weight']" in found for found in report.differences.values())
    assert "numbers differ, by at most" in str(report)


def test_a_run_that_is_not_even_repeatable_is_told_from_one_that_does_not_resume():
    counter = iter(range(1, 100))

    def unrepeatable():
        factor = next(counter)
        return make(loss=lambda value: value * factor)()

    report = check_resume(unrepeatable, cuts=[(1, 2)])
    assert report.repeated
    assert not report.is_exact


def test_the_cuts_are_the_first_and_the_last_batch_of_every_epoch_and_some_between():
    assert choose_cuts(1, 3) == [(1, 1), (2, 1)]
    assert choose_cuts(2, 1) == [(1, 1)]
    assert choose_cuts(100, 2) == [(1, 1), (1, 34), (1, 67), (1, 100), (2, 1), (2, 34), (2, 67)]
    with pytest.raises(ValueError, match="length"):
        choose_cuts(None, 2)


def test_a_cut_after_the_run_is_refused():
    with pytest.raises(ValueError, match="must lie inside the run"):
        check_resume(make(), 1, [(2, 1)])


DIFFERENCES = {
    "equal": ({"a": torch.tensor([1.0, float("nan")])}, {"a": torch.tensor([1.0, float("nan")])}, None),
    "the last bit": (
        torch.tensor([1.0, 2.0]),
        torch.tensor([1.0, 2.0000002]),
        "1 of 2 numbers differ, by at most 2.4e-07",
    ),
    "shapes": (torch.zeros(2), torch.zeros(3), r"(2,) torch.float32 and (3,)"),
    "dtypes": (torch.zeros(2), torch.zeros(2).double(), "torch.float64"),
    "keys": ({"a": 1}, {"b": 1}, "holds a and b"),
    "lengths": ([1], [1, 2], "is [1] and [1, 2]"),
    "deep": ({"a": [0, {"b": 1.0}]}, {"a": [0, {"b": 2.0}]}, "x['a'][1]['b'] is 1.0 and 2.0"),
    "nan": (float("nan"), float("nan"), None),
    "kinds": (1, 1.0, "is 1 and 1.0"),
}


@pytest.mark.parametrize(("first", "second", "found"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_difference_is_said_with_its_place(first, second, found):
    difference = first_difference(first, second, "x")
    assert difference is None if found is None else found in difference
