"""Data for the recipes: eBird checklists, their simulated example, digits, and loaders of rows."""

from ignite_recipes.data.digits import load_digits_matrix
from ignite_recipes.data.ebird import create_species_matrix, load_ebird_data
from ignite_recipes.data.ebird_example import write_example_ebd
from ignite_recipes.data.rows import RowDataset, create_dataloaders, split_train_val

__all__ = [
    "RowDataset",
    "create_dataloaders",
    "create_species_matrix",
    "load_digits_matrix",
    "load_ebird_data",
    "split_train_val",
    "write_example_ebd",
]
