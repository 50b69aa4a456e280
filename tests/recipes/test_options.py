"""An option of a run is defined once: signature, help, checks and the commands have it from there."""

import inspect
from typing import Annotated

import pytest

from ignite_recipes import Trainer, cli, train_model_advanced, train_on_table, train_variational_autoencoder, trainModel
from ignite_recipes.recipes import options as module
from ignite_recipes.recipes.options import Option, RunOptions, Unpack, command_options, takes_run_options

RECIPES = {
    "vae": (train_variational_autoencoder, set()),
    "supervised": (train_model_advanced, {"max_grad_norm"}),
    "traffic": (trainModel, {"max_grad_norm", "seed"}),
    "classify": (Trainer, {"resume_from"}),
}
ALL = {**RECIPES, "table": (train_on_table, {"max_grad_norm"})}
NAMES = list(RunOptions.__annotations__)


@pytest.mark.parametrize(("recipe", "instead"), ALL.values(), ids=ALL)
def test_every_recipe_takes_every_option_or_says_what_it_has_in_its_place(recipe, instead):
    parameters = inspect.signature(recipe).parameters
    assert [name for name in NAMES if name not in parameters] == [name for name in NAMES if name in instead]
    for name, (kind, option) in module.definitions().items():
        if name not in instead:
            assert (parameters[name].default, parameters[name].annotation) == (option.default, kind)
            assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
            assert f"    {name}: {option.text.split()[0]}" in inspect.getdoc(recipe)
    for name in instead:
        with pytest.raises(TypeError, match=f"has no option '{name}': it has .* in its place"):
            recipe(**{name: None})


@pytest.mark.parametrize(("recipe", "instead"), ALL.values(), ids=ALL)
def test_an_unknown_option_is_refused_with_the_nearest_name(recipe, instead):
    with pytest.raises(TypeError, match=r"has no option 'ema_dekay': did you mean 'ema_decay'\?"):
        recipe(ema_dekay=0.9)
    with pytest.raises(TypeError, match=r"has no option 'xyzzy': the options are .*accumulation_steps"):
        recipe(xyzzy=1)
    with pytest.raises(TypeError, match="has no option 'options'"):
        recipe(options={"ema_decay": 0.9})


@pytest.mark.parametrize("command", RECIPES)
def test_every_command_has_the_options_of_its_recipe(command):
    recipe, _ = RECIPES[command]
    shown = cli._COMMANDS[command].parser().format_help()
    assert len(command_options(recipe)) >= 5
    for name in (*command_options(recipe), "save_every_iterations"):
        assert f"--{name.replace('_', '-')}" in shown


@pytest.fixture
def _with_one_more(monkeypatch):
    class More(RunOptions, total=False):
        colour: Annotated[str, Option("red", "of the curves.", on_command=True)]

    monkeypatch.setattr(module, "RunOptions", More)


@pytest.mark.usefixtures("_with_one_more")
def test_one_definition_is_all_that_a_new_option_needs():
    @takes_run_options()
    def recipe(model, **options: Unpack[RunOptions]):
        """Train.

        Args:
            model: a model.
            **options: those of every recipe.
        """
        return options

    assert recipe(1)["colour"] == "red"
    assert recipe(1, colour="blue")["colour"] == "blue"
    assert inspect.signature(recipe).parameters["colour"].default == "red"
    assert "        colour: of the curves." in recipe.__doc__
    assert "colour" in command_options(recipe)


def test_values_are_checked_where_they_enter():
    with pytest.raises(ValueError, match="non_finite must be one of raise, skip, rollback; got 'ignore'"):
        train_variational_autoencoder(None, None, None, non_finite="ignore")
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, float16, auto; got 'float8'"):
        train_model_advanced(None, None, precision="float8")
