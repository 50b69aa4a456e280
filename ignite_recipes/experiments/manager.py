"""Folders for experiments: runs/exp1, runs/exp2, ..., each with its settings and its results."""

import errno
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ignite_recipes.checkpoint.newest import best_weights
from ignite_recipes.devices import get_device
from ignite_recipes.exchange.ranks import join_ranks, on_rank_zero, rank
from ignite_recipes.experiments.labels import with_label
from ignite_recipes.files import flush_folder, lock_file, replace_file
from ignite_recipes.turns import current_run

__all__ = ["ExperimentBusyError", "ExperimentManager", "copy_experiment", "list_experiments"]

logger = logging.getLogger(__name__)

_package_logger = logging.getLogger("ignite_recipes")
# What is in an experiment's folder before a run has left a result.
_WITHOUT_RESULTS = {"checkpoints", "config.yaml", "initial_weights.pt", ".lock", "provenance.json", "run.log"}


class ExperimentBusyError(RuntimeError):
    """Another process trains the experiment; the message names both.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, second = ExperimentManager(folder), ExperimentManager(folder, resume_exp="exp1")
    ...     with first.lock():
    ...         try:
    ...             with second.lock():
    ...                 print("trains")
    ...         except ExperimentBusyError as error:
    ...             print("waits:", error)
    waits: ...exp1 must not be trained twice at the same time; process ... is at it. ...
    """


class ExperimentManager:
    """The folder of one experiment: a new one, ``expN`` with the next number, or an existing one.

    Args:
        base_dir: holds the experiments; made if missing.
        resume_exp: the name of the experiment to resume, e.g. ``"exp5"``, or the ``name`` in its settings, or a tag
            there that no other experiment has.
        fork_exp: the name of an experiment from which a new one takes its settings and its weights: those of
            ``best_model.pt``, or of the latest epoch there is if that one is missing or damaged.
        settings: the settings of a new experiment; they replace those of the one that is forked. Written to
            ``config.yaml``, complete before the folder appears.
        fork_dir: the folder of the experiment that is forked, if it is another one than ``base_dir``.
        new_exp: the name of the new experiment's folder, in place of the next number.

    Attributes:
        experiment_dir, checkpoints_dir, log_file, plot_file, config_file: paths in it, as strings.
        initial_weights: the checkpoint to start with, also when a forked experiment is resumed later; None
            if it was not forked, or its source had no checkpoint yet.
        resume_exp, fork_exp: as given.

    Raises:
        ValueError: for a name that leaves ``base_dir``, for both names at once, or if the settings to fork
            are damaged.
        FileExistsError: if there is an experiment ``new_exp`` already.
        FileNotFoundError: if there is no such experiment to resume or to fork.
        CheckpointError: if the experiment to fork has checkpoints, and none is sound.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = ExperimentManager(folder, settings={"epochs": 20, "seed": 1})
    ...     second = ExperimentManager(folder, fork_exp="exp1", settings={"epochs": 50})
    ...     print(list_experiments(folder), second.settings())
    ['exp1', 'exp2'] {'epochs': 50, 'seed': 1, 'forked_from': 'exp1'}
    """

    def __init__(
        self,
        base_dir: str | os.PathLike[str] = "runs",
        resume_exp: str | None = None,
        fork_exp: str | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        fork_dir: str | os.PathLike[str] | None = None,
        new_exp: str | None = None,
    ) -> None:
        join_ranks(get_device())  # one folder for all of them
        base = Path(base_dir).expanduser()
        if resume_exp is not None and fork_exp is not None:
            raise ValueError(f"resume_exp or fork_exp, not both; got {resume_exp!r} and {fork_exp!r}")
        if new_exp is not None:
            _check_folder(new_exp)
        if resume_exp is not None:
            folder = _find(base, resume_exp)
        elif fork_exp is not None:
            source_dir = base if fork_dir is None else Path(fork_dir).expanduser()
            source = _find(source_dir, fork_exp)
            inherited = _read_settings(source / "config.yaml")
            merged = {**inherited, **(settings or {}), "forked_from": _name_of(source, base)}
            weights = best_weights(source / "checkpoints")
            if weights is None:
                logger.warning("%s has no checkpoint yet: its fork starts with its own weights", source)
            folder = on_rank_zero(lambda: _create(base, merged, weights, new_exp))
        else:
            folder = on_rank_zero(lambda: _create(base, settings or {}, None, new_exp))
        self.resume_exp, self.fork_exp = resume_exp, fork_exp
        self.experiment_dir = str(folder)
        self.checkpoints_dir = str(folder / "checkpoints")
        self.log_file = str(folder / "training_log.csv")
        self.plot_file = str(folder / "training_curves.png")
        self.config_file = str(folder / "config.yaml")
        first = folder / "initial_weights.pt"
        self.initial_weights = str(first) if first.is_file() else None

    def settings(self) -> dict[str, Any]:
        """What ``config.yaml`` holds.

        Raises:
            ValueError: if it is missing, or not a mapping of settings.
        """
        return _read_settings(Path(self.config_file))

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Replace the settings in ``config.yaml``, at once or not at all."""
        on_rank_zero(lambda: _write_settings(Path(self.config_file), settings))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from training this experiment while the block runs.

        The lock dies with the process, however that ends, and is not inherited by data loaders' workers. This
        object may take it again inside the block; another one may not, in this process or in any other. Where
        the system has no record locks (Windows, some network folders), only this process is kept out.

        Raises:
            ExperimentBusyError: if somebody else holds it.
        """
        with ExitStack() as stack:
            on_rank_zero(lambda: self._take_lock(stack))
            yield

    def _take_lock(self, stack: ExitStack) -> None:
        try:
            stack.enter_context(lock_file(Path(self.experiment_dir, ".lock"), self))
        except BlockingIOError as busy:
            raise ExperimentBusyError(
                f"{self.experiment_dir} must not be trained twice at the same time; process {busy.strerror} is at "
                "it. Wait for its end or stop it, or start an experiment of your own with fork_exp"
            ) from None

    @contextmanager
    def log_to_file(self, earlier: Iterable[logging.LogRecord] = ()) -> Iterator[None]:
        """Append what the package logs in the block to ``run.log``, with the time; no level is changed.

        Args:
            earlier: what it logged before, which comes first.
        """
        path = os.path.abspath(os.path.join(self.experiment_dir, "run.log"))
        is_open = any(getattr(handler, "baseFilename", None) == path for handler in _package_logger.handlers)
        if is_open or rank():
            yield  # a block inside another one: once is enough
            return
        to_file = logging.FileHandler(path, encoding="utf-8", delay=True, errors="backslashreplace")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        # Python prints warnings only as long as there is no handler at all; they are to be seen as before.
        printer = None if _package_logger.hasHandlers() else logging.lastResort
        handlers = [handler for handler in (to_file, printer) if handler is not None]
        if (run := current_run()) is not None:  # of several that take turns
            to_file.addFilter(lambda record: current_run() is run)
        for record in earlier:
            to_file.handle(record)
        for handler in handlers:
            _package_logger.addHandler(handler)
        try:
            yield
        finally:
            for handler in handlers:
                _package_logger.removeHandler(handler)
            to_file.close()

    def has_results(self) -> bool:
        """Whether a run has left a result in the folder."""
        return not {path.name for path in Path(self.experiment_dir).rglob("*")} <= _WITHOUT_RESULTS

    def discard_unused(self) -> None:
        """Remove the folder if no run has left a result in it, and nobody else is training it."""
        folder = Path(self.experiment_dir)
        if rank():
            return
        with suppress(ExperimentBusyError), ExitStack() as stack:  # alone: another process may have been lost
            self._take_lock(stack)
            if not self.has_results():
                shutil.rmtree(folder)


def list_experiments(base_dir: str | os.PathLike[str]) -> list[str]:
    """The names of the experiments in a folder, exp2 before exp10; none if there is no such folder.

    >>> list_experiments("no such folder")
    []
    """
    names = [path.parent.name for path in Path(base_dir).expanduser().glob("[!.]*/config.yaml")]
    # split gives text, digits, text, ...: at one place of the lists there is always the same of the two
    return sorted(names, key=lambda name: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", name)])


def _read_settings(config_file: Path) -> dict[str, Any]:
    import yaml

    remedy = "put back a copy of it, or start a new experiment"
    try:
        content = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{config_file} must hold the settings of an experiment; there is no such file: {remedy}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = "it is not YAML" if mark is None else f"the mistake is in line {mark.line + 1}"
        raise ValueError(
            f"{config_file} must hold the settings of an experiment; it is damaged, {place}: correct it, {remedy}"
        ) from error
    if not isinstance(content, dict):
        got = "it is empty" if content is None else f"got {type(content).__name__}"
        raise ValueError(
            f"{config_file} must hold the settings of an experiment, as name: value; it is damaged, {got}: {remedy}"
        )
    return content


def _write_settings(config_file: Path, settings: Mapping[str, Any]) -> None:
    import yaml

    text = yaml.safe_dump(dict(settings), sort_keys=False)
    replace_file(config_file, lambda file: file.write(text.encode()))


def _create(base: Path, settings: Mapping[str, Any], weights: Path | None, name: str | None) -> Path:
    """Make the folder aside, complete, and rename it to ``name``, or to the first free number above all there are."""
    base.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=base))
    try:
        (aside / "checkpoints").mkdir()
        _write_settings(aside / "config.yaml", settings)
        if weights is not None:
            _link_or_copy(weights, aside / "initial_weights.pt")
        aside.chmod(0o755)
        target = _take_number(base, aside) if name is None else _take_name(base / name, aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    flush_folder(base)
    return target


def copy_experiment(source: str | os.PathLike[str], base_dir: str | os.PathLike[str]) -> Path:
    """A copy of an experiment with all its files, under the next number in ``base_dir``; it appears as a whole."""
    base = Path(base_dir).expanduser()
    base.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=base))
    try:
        shutil.copytree(source, aside, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))
        target = _take_number(base, aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    flush_folder(base)
    return target


def _take_number(base: Path, aside: Path) -> Path:
    while True:
        numbers = [int(name[3:]) for name in os.listdir(base) if re.fullmatch(r"exp[1-9]\d*", name)]
        target = base / f"exp{max(numbers, default=0) + 1}"
        try:
            return aside.rename(target)  # fails if another process took the number: its folder is not empty
        except OSError:
            if not target.exists():
                raise


def _take_name(target: Path, aside: Path) -> Path:
    if target.exists():  # an empty folder would be replaced by the rename
        raise FileExistsError(errno.EEXIST, "there is an experiment already", str(target))
    return aside.rename(target)


def _check_folder(name: str) -> None:
    if name.startswith(".") or "\0" in name or not name or Path(name).name != name:
        raise ValueError(f"an experiment is named like exp5, without a path; got {name!r}")


def _find(base: Path, name: str) -> Path:
    _check_folder(name)
    folder = base / name
    if not os.path.isdir(folder) and (labelled := with_label(_all_settings(base), name, base)) is not None:
        return base / labelled
    if not os.path.isdir(folder):
        known = ", ".join(list_experiments(base)) or "none"
        raise FileNotFoundError(f"no experiment {name!r} in {str(base)!r}; there are: {known}")
    return folder


def _all_settings(base: Path) -> dict[str, dict[str, Any]]:
    """The settings of the experiments where they can be read, by the names of their folders."""
    found = {}
    for name in list_experiments(base):
        with suppress(ValueError, OSError):
            found[name] = _read_settings(base / name / "config.yaml")
    return found


def _name_of(source: Path, base: Path) -> str:
    """An experiment's name, or its whole path if it is not one of ``base``."""
    return source.name if source.parent.resolve() == base.resolve() else str(source.resolve())


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for a checkpoint, at no cost: none is ever changed in place, only replaced."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        with source.open("rb") as data:
            replace_file(target, lambda file: shutil.copyfileobj(data, file))
