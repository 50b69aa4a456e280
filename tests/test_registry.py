"""A registry hands out what was entered, by its name, and explains each mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite_recipes.registry import Registry


class Shape:
    def __init__(self, side=1, *, name="none"):
        self.side, self.name = side, name


def circle(radius):
    if radius < 0:
        raise TypeError("of its own")
    return radius


@pytest.fixture
def shapes():
    registry = Registry("shape")
    registry.register("square")(Shape)
    registry.register("circle")(circle)
    return registry


@given(st.dictionaries(st.text(min_size=1).filter(str.strip), st.integers()))
def test_everything_that_is_entered_comes_back_under_its_name(entries):
    registry = Registry("number")
    for name, value in entries.items():
        registry.register(name)(lambda value=value: value)
    assert registry.names() == tuple(sorted(entries))
    assert all(name in registry and registry.create(name) == value for name, value in entries.items())


def test_a_class_or_function_is_handed_back_as_it_is(shapes):
    assert shapes.register("box")(Shape) is Shape is shapes.get("box")
    assert shapes.get("circle") is circle


def test_settings_are_passed_on(shapes):
    assert shapes.create("circle", radius=3) == 3
    assert vars(shapes.create("square", side=2, name="a setting of this name")) == {
        "side": 2,
        "name": "a setting of this name",
    }


def test_what_is_made_is_shown_to_the_hook_with_its_name_and_settings():
    seen = []
    registry = Registry("shape", on_create=lambda *made: seen.append(made))
    registry.register("circle")(circle)
    registry.create("circle", radius=2)
    assert seen == [(2, "circle", {"radius": 2})]


def test_two_registries_share_nothing(shapes):
    assert Registry("shape").names() == ()
    assert shapes.names() == ("circle", "square")
    assert 3 not in shapes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("squar", r"the shape must be one of circle, square; got 'squar': did you mean 'square'\?"),
        ("Circle", r"did you mean 'circle'\?"),
        ("zzz", r"got 'zzz': enter your own with @register"),
        (None, r"circle, square; got None"),
        (["square"], r"got \['square'\]"),
    ],
    ids=str,
)
def test_an_unknown_name_is_told_the_known_ones(shapes, name, message):
    for look_up in (shapes.get, shapes.create):
        with pytest.raises(ValueError, match=message):
            look_up(name)


def test_an_empty_registry_says_so():
    with pytest.raises(ValueError, match="must be one of none yet; got 'a'"):
        Registry("shape").create("a")


def test_a_taken_name_is_refused_but_for_the_same_object(shapes):
    assert shapes.register("circle")(circle) is circle
    with pytest.raises(ValueError, match=r"shape 'circle' is taken, by <function circle.*choose another name"):
        shapes.register("circle")(Shape)
    assert shapes.get("circle") is circle


@pytest.mark.parametrize(("module", "replaced"), [("__main__", True), ("a_library", False)])
def test_a_cell_of_a_notebook_can_be_run_again(shapes, module, replaced):
    def defined():
        mine = type("Mine", (), {"__module__": module})
        return shapes.register("mine")(mine)

    first = defined()
    if replaced:
        assert defined() is shapes.get("mine") is not first
    else:
        with pytest.raises(ValueError, match="'mine' is taken"):
            defined()


def test_in_a_notebook_too_another_definition_does_not_take_the_name(shapes):
    first = shapes.register("mine")(type("Mine", (), {"__module__": "__main__"}))
    with pytest.raises(ValueError, match="'mine' is taken"):
        shapes.register("mine")(type("Other", (), {"__module__": "__main__"}))
    assert shapes.get("mine") is first


@pytest.mark.parametrize(
    ("name", "entry", "error", "message"),
    [
        pytest.param("", Shape, ValueError, "name of a shape must not be empty; got ''", id="empty"),
        pytest.param(" ", Shape, ValueError, "must not be empty", id="blank"),
        pytest.param(Shape, None, TypeError, r'write @register\("name"\)', id="no brackets"),
        pytest.param("a", 3, TypeError, "must be a class or a function that makes one; got 3", id="a number"),
    ],
)
def test_what_cannot_be_entered_says_why(shapes, name, entry, error, message):
    with pytest.raises(error, match=message):
        shapes.register(name)(entry)
    assert len(shapes.names()) == 2


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        pytest.param("square", {"sides": 4}, r"shape 'square' takes these settings: side=1, name='none'; .*'sides'"),
        pytest.param("circle", {}, r"'circle' takes these settings: radius; .*'radius'"),
    ],
    ids=["unknown", "missing"],
)
def test_wrong_settings_name_the_right_ones(shapes, name, settings, message):
    with pytest.raises(TypeError, match=message):
        shapes.create(name, **settings)


def test_an_error_from_within_keeps_its_own_words(shapes):
    with pytest.raises(TypeError, match=r"^of its own$"):
        shapes.create("circle", radius=-1)


def test_what_has_no_signature_is_called_all_the_same():
    registry = Registry("table")
    registry.register("dict")(dict)
    assert registry.create("dict", a=1) == {"a": 1}
