"""``python -m ignite_recipes``: the same as the command ``ignite-recipes``."""

import sys

from ignite_recipes.optional import MissingPackageError, needs

__all__ = ["main"]


def main() -> int:
    """Run the command, if what it needs is installed; the exit code."""
    try:
        with needs("cli"):
            from ignite_recipes import cli
    except MissingPackageError as error:
        print(f"ignite-recipes: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
