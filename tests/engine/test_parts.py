"""What has a state of its own is entered once, under a name, into any engine."""

import pytest
from ignite.engine import Engine

from ignite_recipes import History, keep_state, parts_of


class Counter:
    def __init__(self, count=0):
        self.count = count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def engine():
    return Engine(lambda engine, batch: None)


def test_states_go_out_and_come_back_by_name():
    first, second = engine(), engine()
    for count in (3, 5):
        keep_state(first, "counter", Counter(count))
    counters = [Counter(), Counter()]
    for counter in counters:
        keep_state(second, "counter", counter)
    parts_of(second).load_state_dict(parts_of(first).state_dict())
    assert [counter.count for counter in counters] == [3, 5]
    assert list(parts_of(second)) == ["counter", "counter_2"]


def test_a_part_without_a_saved_state_keeps_its_own():
    one, counter = engine(), Counter(4)
    keep_state(one, "counter", counter)
    parts_of(one).load_state_dict({"other": {}})
    assert counter.count == 4


def test_a_state_that_does_not_fit_is_named():
    one = engine()
    keep_state(one, "counter", Counter())
    with pytest.raises(ValueError, match=r"^counter: 'count'$"):
        parts_of(one).load_state_dict({"counter": {}})


def test_a_part_belongs_to_one_engine_only():
    counter = Counter()
    keep_state(engine(), "counter", counter)
    with pytest.raises(RuntimeError, match="attached to an engine already"):
        keep_state(engine(), "counter", counter)


def test_what_has_no_state_is_refused():
    with pytest.raises(TypeError, match="must have state_dict and load_state_dict; got 3"):
        keep_state(engine(), "number", 3)


def test_handlers_enter_themselves_on_an_engine_of_ones_own():
    one = engine()
    history = History(["loss"]).attach(one)
    one.state.metrics["loss"] = 0.5
    one.run([0], max_epochs=2)
    other, resumed = engine(), History(["loss"])
    resumed.attach(other)
    parts_of(other).load_state_dict(parts_of(one).state_dict())
    assert resumed.epochs == history.epochs == {"loss": [0.5, 0.5]}
