"""Several runs at once: the steps of all as one program."""

from ignite_recipes.together.company import run_together

__all__ = ["run_together"]
