"""``python -m ignite_recipes``: the same as the command ``ignite-recipes``."""

import sys

from ignite_recipes.cli import main

if __name__ == "__main__":
    sys.exit(main())
