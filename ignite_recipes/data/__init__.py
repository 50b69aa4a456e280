"""Data for the recipes: eBird checklists, their simulated example, digits, and loaders of rows."""

import ignite_recipes.data.idx_folder  # enters its data set in the registry
import ignite_recipes.data.image_folder  # and its
import ignite_recipes.data.mnist  # noqa: F401  # and its
from ignite_recipes.data.deadband import learn_limits, send_on_delta
from ignite_recipes.data.deadband_curve import deadband_curve
from ignite_recipes.data.digits import load_digits_matrix
from ignite_recipes.data.ebird import create_species_matrix, load_ebird_data, read_species_matrix
from ignite_recipes.data.ebird_checklists import read_checklists
from ignite_recipes.data.ebird_example import write_example_ebd
from ignite_recipes.data.ebird_filters import BEST_PRACTICES, ChecklistFilters
from ignite_recipes.data.ebird_matrix import SpeciesMatrix
from ignite_recipes.data.effort import effort_and_season
from ignite_recipes.data.images import BaseDataset, DatasetRegistry
from ignite_recipes.data.loaders import create_dataloaders
from ignite_recipes.data.preprocessing import TablePreprocessor
from ignite_recipes.data.rows import RowDataset
from ignite_recipes.data.spatial import spatial_blocks
from ignite_recipes.data.split import split_train_val
from ignite_recipes.data.traffic import TrafficArrays, TrafficDataset, make_traffic_windows
from ignite_recipes.data.traffic_flags import TransmissionCounts, expected_transmissions, flag_threshold
from ignite_recipes.data.traffic_report import baseline_reports, traffic_report
from ignite_recipes.data.traffic_series import load_co2, load_traffic_csv, split_in_time
from ignite_recipes.data.transforms import RandomAffine

__all__ = [
    "BEST_PRACTICES",
    "BaseDataset",
    "ChecklistFilters",
    "DatasetRegistry",
    "RandomAffine",
    "RowDataset",
    "SpeciesMatrix",
    "TablePreprocessor",
    "TrafficArrays",
    "TrafficDataset",
    "TransmissionCounts",
    "baseline_reports",
    "create_dataloaders",
    "create_species_matrix",
    "deadband_curve",
    "effort_and_season",
    "expected_transmissions",
    "flag_threshold",
    "learn_limits",
    "load_co2",
    "load_digits_matrix",
    "load_ebird_data",
    "load_traffic_csv",
    "make_traffic_windows",
    "read_checklists",
    "read_species_matrix",
    "send_on_delta",
    "spatial_blocks",
    "split_in_time",
    "split_train_val",
    "traffic_report",
    "write_example_ebd",
]
