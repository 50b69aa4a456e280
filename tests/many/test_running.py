"""Members run one after another; one that fails costs the others nothing."""

import pytest

from ignite_recipes.many.running import run_members


def test_of_one_that_fails_its_error_stands_in_its_place():
    called = []

    def call(number):
        called.append(number)
        if number == 1:
            raise FloatingPointError("diverged")
        return number

    found = run_members([lambda number=number: call(number) for number in range(3)])
    assert called == [0, 1, 2]
    assert found[0] == 0
    assert found[2] == 2
    assert isinstance(found[1], FloatingPointError)


def test_an_interrupt_ends_at_once():
    called = []

    def stop():
        called.append("stop")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_members([stop, lambda: called.append("next")])
    assert called == ["stop"]
