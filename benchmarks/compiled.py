"""What ``compile=True`` brings: the first run of a process, and those after it."""

import statistics
from functools import partial
from typing import Any

from benchmarks import mlp, plain, traffic, vae
from benchmarks.measuring import Program, in_turns, ratio, table


def supervised(**settings: Any) -> Any:
    from ignite_recipes import train_model_advanced

    train = plain.batched_loader(mlp.make_data(), mlp.BATCH, True)
    val = plain.batched_loader(mlp.make_data(mlp.VAL_ROWS), mlp.BATCH, False)
    return lambda: train_model_advanced(
        mlp.make_model(), train, val, epochs=mlp.EPOCHS, seed=0, verbose=False, **settings
    )


RECIPES: dict[str, Program] = {
    "train_variational_autoencoder": vae.recipe,
    "train_model_advanced": supervised,
    "trainModel": traffic.recipe,
}


def compiled(rounds: int) -> str:
    """Each recipe with and without; a run includes the compilation, which torch's cache on disk can shorten."""
    rows = []
    for name, recipe in RECIPES.items():
        pair = {"without": recipe, "with": partial(recipe, compile=True)}
        first = in_turns(pair, rounds=1, warm_up=0)
        figures = in_turns(pair, rounds)
        later = ratio(figures["with"], figures["without"])[0]
        ahead = statistics.median(first["with"].seconds) - statistics.median(figures["without"].seconds)
        rows.append([name, f"{later:.2f}", f"{ahead:.1f}"])
    return table(["recipe", "later runs, of those without", "seconds lost in the first run"], rows)
