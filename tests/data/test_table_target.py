"""What a target is: quantities or classes, found from its values; what a network's outputs say of it."""

import polars as pl
import pytest
import torch

from ignite_recipes.data.table_target import TableTarget

FOUND = {
    "floats": ([0.5, 1.5, 2.0] * 9, "regression", []),
    "text": (["b", "a", "c"], "classification", ["a", "b", "c"]),
    "text with spaces": (["a ", "a", " b"], "classification", ["a", "b"]),
    "booleans": ([True, False], "classification", [False, True]),
    "few whole numbers": ([3, 1, 2] * 9, "classification", [1, 2, 3]),
    "whole numbers as floats": ([1.0, 0.0] * 9, "classification", [0, 1]),
    "two numbers, few rows": ([0, 1], "classification", [0, 1]),
    "many whole numbers": (list(range(30)) * 9, "regression", []),
    "few rows of each": (list(range(10)), "regression", []),
}


@pytest.mark.parametrize(("values", "task", "classes"), FOUND.values(), ids=FOUND)
def test_the_task_is_found(values, task, classes):
    target = TableTarget(pl.Series("y", values))
    assert (target.task, target.classes) == (task, classes)
    assert target.num_outputs == (len(classes) or 1)


def test_it_can_be_said_otherwise():
    assert TableTarget(pl.Series("y", [1, 2, 3] * 9), "regression").task == "regression"
    assert TableTarget(pl.Series("y", list(range(30))), "classification").classes == list(range(30))


def test_numbers_are_scaled_by_those_that_are_trained_on_and_come_back():
    target = TableTarget(pl.Series("y", [0.5, 1.0, 7.0]))
    target.learn(pl.Series("y", [10.0, 30.0]))
    encoded = target.encode(pl.Series("y", [10.0, 30.0, 50.0]))
    assert torch.equal(encoded, torch.tensor([[-1.0], [1.0], [3.0]]))
    assert target.decode(encoded)["prediction"].to_list() == [10.0, 30.0, 50.0]


@pytest.mark.parametrize("values", [["x", "y", "z"], [3, 5, 9], [False, True]], ids=["text", "numbers", "booleans"])
def test_classes_come_back_with_their_probabilities(values):
    target = TableTarget(pl.Series("y", values * 9))
    encoded = target.encode(pl.Series("y", values))
    outputs = torch.nn.functional.one_hot(encoded).float() * 50
    decoded = target.decode(outputs)
    assert decoded["prediction"].to_list() == values
    assert list(decoded) == ["prediction", *(f"p_{value}" for value in values)]
    assert sum(column for name, column in decoded.items() if name != "prediction").to_list() == pytest.approx(
        [1.0] * len(values)
    )


@pytest.mark.parametrize("values", [["x", "y"], [0.5, 1.5, 2.5]])
def test_a_state_gives_the_same_target_back(values):
    target = TableTarget(pl.Series("y", values))
    target.learn(pl.Series("y", values))
    other = TableTarget.from_state(target.state_dict())
    assert vars(other) == vars(target)
    assert torch.equal(other.encode(pl.Series("y", values)), target.encode(pl.Series("y", values)))


REFUSED = {
    "constant": (["a", "a"], None, "must have at least two values; got 'a' in every row"),
    "missing": ([None, None], None, "must have at least two values; it is missing in every row"),
    "no such task": ([1, 2], "ranking", "task must be one of regression, classification.* got 'ranking'"),
    "text for numbers": (["a", "b"], "regression", "must hold numbers for regression; got 'a'"),
    "too many classes": ([str(k) for k in range(1001)], None, "at most 1000 classes; got 1001"),
}


@pytest.mark.parametrize(("values", "task", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_predicted_is_refused(values, task, said):
    with pytest.raises(ValueError, match=said):
        TableTarget(pl.Series("y", values), task)


def test_an_unknown_class_and_a_constant_part_are_refused():
    with pytest.raises(ValueError, match="must hold the classes of training"):
        TableTarget(pl.Series("y", ["a", "b"])).encode(pl.Series("y", ["c"]))
    with pytest.raises(ValueError, match="two values in the rows to train on; got 1 in all"):
        TableTarget(pl.Series("y", [1.0, 2.5])).learn(pl.Series("y", [1.0, 1.0]))
