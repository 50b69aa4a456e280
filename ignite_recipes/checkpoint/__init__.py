"""Checkpoints: the file, a run's whole state in it, how a run is resumed from it, and whether that is exact."""

from ignite_recipes.checkpoint.file import CheckpointError, read_checkpoint, write_checkpoint
from ignite_recipes.checkpoint.manager import CheckpointManager
from ignite_recipes.checkpoint.model_file import load_checkpoint, save_checkpoint
from ignite_recipes.checkpoint.newest import restore_newest
from ignite_recipes.checkpoint.resume_check import ResumeReport, check_resume
from ignite_recipes.checkpoint.run import restore_run, run_state
from ignite_recipes.checkpoint.trial import preserve_run

__all__ = [
    "CheckpointError",
    "CheckpointManager",
    "ResumeReport",
    "check_resume",
    "load_checkpoint",
    "preserve_run",
    "read_checkpoint",
    "restore_newest",
    "restore_run",
    "run_state",
    "save_checkpoint",
    "write_checkpoint",
]
