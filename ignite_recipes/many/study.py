"""A search as Optuna keeps it: a study in a file, which several processes and machines may share."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignite_recipes.loading.randomness import derive_seed
from ignite_recipes.many.pruning import Judge
from ignite_recipes.many.search_space import Range
from ignite_recipes.optional import needs

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

__all__ = ["Search", "quiet_optuna"]

_STUDY = "search"
_OWNER = "ignite_recipes_experiment"
_ASKED = "ignite_recipes_search"


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna log nothing below errors in the block; this library logs the results of trials."""
    with needs("search"):
        from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


class Search:
    """Trials that are asked for, judged while they are trained, and reported when they have ended.

    Args:
        path: the path of the file; a new one is made. Its lock works on network file systems too.
        owner: of the trials that are asked for here; no other experiment has it.
        is_shared: whether others ask for trials too.
        space: where each setting is looked for.
        asked: what all that share the file must have in common, in JSON's types.
        mode: which end of what decides is better, ``"min"`` or ``"max"``.
        seed: the seed of the sampler: a trial's values are a function of the seed, its number and the trials before it.
        pruner: of Optuna; None is its ``MedianPruner``, which leaves trials that are worse than the median.

    Raises:
        ValueError: if the file holds another search, or none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        owner: str,
        space: Mapping[str, Range],
        asked: Mapping[str, Any],
        *,
        mode: str,
        seed: int,
        is_shared: bool = False,
        pruner: Any = None,
    ) -> None:
        with needs("search"):
            import optuna

        self.owner, self.mode, self.is_shared = owner, mode, is_shared
        self._distributions = {name: found.distribution() for name, found in space.items()}
        pruner = optuna.pruners.MedianPruner() if pruner is None else pruner
        if not isinstance(pruner, optuna.pruners.BasePruner):
            raise TypeError(f"pruner must be one of optuna.pruners; got {pruner!r:.80}")
        try:
            if not is_shared:
                _mend(Path(path))
            self._storage = _open(path)
            self.study = optuna.create_study(
                storage=self._storage,
                sampler=_seeded_sampler(seed),
                pruner=pruner,
                study_name=_STUDY,
                direction="maximize" if mode == "max" else "minimize",
                load_if_exists=True,
            )
            self._id = self._storage.get_study_id_from_name(_STUDY)
            known = self.study.user_attrs.get(_ASKED)
        except (ValueError, KeyError, UnicodeDecodeError, TypeError, AttributeError) as error:
            raise ValueError(f"storage must be the file of a search; {path} is damaged, or another one") from error
        asked = {**asked, "mode": mode, "search": {name: str(found) for name, found in space.items()}}
        if known is None:
            self.study.set_user_attr(_ASKED, asked)
        for name, value in asked.items():
            if known is not None and known.get(name) != value:
                raise ValueError(
                    f"{path} holds a search whose {name} is {known.get(name)!r}, and not {value!r}: give it the same, "
                    "or another storage"
                )

    def ask(self) -> tuple[int, dict[str, Any]]:
        """A new trial: its number, and its values."""
        trial = self.study.ask(fixed_distributions=self._distributions)
        self._own(trial.number)
        return trial.number, trial.params

    def numbers(self) -> set[int]:
        """Those of all trials of this owner."""
        trials = self.study.get_trials(deepcopy=False)
        return {trial.number for trial in trials if trial.user_attrs.get(_OWNER) == self.owner}

    def open_trials(self) -> list[tuple[int, dict[str, Any]]]:
        """The trials of this owner that have not ended, in the order of their numbers.

        One that a process was killed in asking for has no owner yet, or not all of its values: then it has failed.
        """
        with needs("search"):
            from optuna.trial import TrialState

        owners = (self.owner,) if self.is_shared else (self.owner, None)
        found = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        own = [trial for trial in found if trial.user_attrs.get(_OWNER) in owners]
        for trial in own:
            if _OWNER not in trial.user_attrs:
                self._own(trial.number)
        whole = [trial for trial in own if trial.params.keys() == self._distributions.keys()]
        for trial in own:
            if trial not in whole:
                self.tell(trial.number, None)
        return [(trial.number, dict(trial.params)) for trial in whole]

    def _own(self, number: int) -> None:
        self._storage.set_trial_user_attr(self._trial_id(number), _OWNER, self.owner)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def judge(self, number: int) -> Judge:
        """What a trial reports to while it is trained."""
        trial_id = self._trial_id(number)

        def report(epoch: int, value: float) -> None:
            self._storage.set_trial_intermediate_value(trial_id, epoch, value)

        def is_hopeless() -> bool:
            return self.study.pruner.prune(self.study, self._storage.get_trial(trial_id))

        def last_epoch() -> int | None:
            return self._storage.get_trial(trial_id).last_step

        return Judge(report, is_hopeless, last_epoch, self.mode)

    def tell(self, number: int, value: float | None, *, pruned: bool = False) -> None:
        """Say what a trial has reached; None, or what is not finite, says that it has failed."""
        with needs("search"):
            from optuna.trial import TrialState

        if pruned:
            self.study.tell(number, state=TrialState.PRUNED)
        elif value is None or not math.isfinite(value):
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, value)


def _mend(path: Path) -> None:
    """Take away what a process that has died has left of a file that is nobody else's: its lock, half a line."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if not path.is_file():
        return
    whole = path.read_bytes().rfind(b"\n") + 1
    if whole < path.stat().st_size:
        with path.open("rb+") as file:
            file.truncate(whole)


def _open(path: str | os.PathLike[str]) -> "BaseStorage":
    with needs("search"):
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock

    name = os.fspath(Path(path).absolute())
    # Links are made at once on all network file systems; Windows allows them to few users.
    lock = JournalFileOpenLock(name) if os.name == "nt" else JournalFileSymlinkLock(name)
    return JournalStorage(JournalFileBackend(name, lock_obj=lock))


def _seeded_sampler(seed: int) -> "BaseSampler":
    """Optuna's own sampler, started again for each trial: what it draws does not depend on what it has drawn before."""
    with needs("search"):
        from optuna.samplers import BaseSampler, TPESampler

    class SeededSampler(BaseSampler):
        def __init__(self) -> None:
            self._own: BaseSampler = TPESampler(seed=0)

        def before_trial(self, study: Any, trial: Any) -> None:
            self._own = TPESampler(seed=derive_seed(seed, "trial", trial.number) % 2**32)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._own.infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self._own.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self._own.sample_independent(study, trial, param_name, param_distribution)

    return SeededSampler()
