"""Folders for experiments: runs/exp1, runs/exp2, ..., each with its settings and its results."""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["ExperimentManager"]


class ExperimentManager:
    """The folder of one experiment: a new one, ``expN`` with the next number, or an existing one.

    Args:
        base_dir: holds the experiments; made if missing.
        resume_exp: the name of the experiment to go on with, e.g. ``"exp5"``.
        settings: of a new experiment; written to ``config.yaml``, complete before the folder appears.

    Attributes:
        experiment_dir, checkpoints_dir, log_file, plot_file, config_file: paths in it, as strings.

    Raises:
        ValueError: for a name that leaves ``base_dir``.
        FileNotFoundError: if there is no such experiment to go on with.
    """

    def __init__(
        self, base_dir: str = "runs", resume_exp: str | None = None, *, settings: Mapping[str, Any] | None = None
    ) -> None:
        base = Path(base_dir)
        folder = _create(base, settings or {}) if resume_exp is None else _find(base, resume_exp)
        self.experiment_dir = str(folder)
        self.checkpoints_dir = str(folder / "checkpoints")
        self.log_file = str(folder / "training_log.csv")
        self.plot_file = str(folder / "training_curves.png")
        self.config_file = str(folder / "config.yaml")

    def settings(self) -> dict[str, Any]:
        """What ``config.yaml`` holds.

        Raises:
            ValueError: if it is not a mapping of settings.
        """
        import yaml

        try:
            content = yaml.safe_load(Path(self.config_file).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, FileNotFoundError):
            content = None
        if not isinstance(content, dict):
            raise ValueError(f"{self.config_file} must hold the settings of an experiment; it is damaged")
        return content

    def discard_unused(self) -> None:
        """Remove the folder if a run has left nothing in it but its settings."""
        folder = Path(self.experiment_dir)
        if {path.name for path in folder.rglob("*")} <= {"checkpoints", "config.yaml"}:
            shutil.rmtree(folder)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Replace the settings in ``config.yaml``, at once or not at all."""
        temporary = Path(self.config_file).with_suffix(".tmp")
        temporary.write_text(_yaml(settings), encoding="utf-8")
        os.replace(temporary, self.config_file)


def _yaml(settings: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(settings), sort_keys=False))


def _create(base: Path, settings: Mapping[str, Any]) -> Path:
    """Make the folder aside, complete, and rename it to the first free number above all that are there."""
    base.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=base))
    try:
        (aside / "checkpoints").mkdir()
        (aside / "config.yaml").write_text(_yaml(settings), encoding="utf-8")
        aside.chmod(0o755)
        while True:
            numbers = [int(name[3:]) for name in os.listdir(base) if re.fullmatch(r"exp[1-9]\d*", name)]
            target = base / f"exp{max(numbers, default=0) + 1}"
            try:
                aside.rename(target)  # fails if another process took the number: its folder is not empty
                return target
            except OSError:
                if not target.exists():
                    raise
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _find(base: Path, name: str) -> Path:
    if name in ("", ".", "..") or Path(name).name != name:
        raise ValueError(f"an experiment is named like exp5, without a path; got {name!r}")
    folder = base / name
    if not folder.is_dir():
        known = sorted(p.name for p in base.glob("*") if p.is_dir() and not p.name.startswith("."))
        raise FileNotFoundError(f"no experiment {name!r} in {str(base)!r}; there are: {', '.join(known) or 'none'}")
    return folder
