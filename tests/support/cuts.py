"""Cut a run wherever it may be left, resume it there, and compare what comes of it with the uninterrupted run."""

from ignite_recipes import TrainEvents, restore_run, run_state, write_checkpoint
from ignite_recipes.checkpoint.resume_check import first_difference


class SaveEverywhere:
    """Writes the run down wherever it may be left: a file for each place, at its first visit."""

    def __init__(self, folder):
        self.folder, self.files = folder, {}

    def attach(self, trainer):
        trainer.add_event_handler(TrainEvents.RESUME_POINT, self)

    def __call__(self, trainer):
        place = (trainer.progress.epoch, trainer.progress.position)
        if place not in self.files:
            self.files[place] = self.folder / f"{len(self.files)}.pt"
            write_checkpoint(run_state(trainer), self.files[place])

    def after(self, cut):
        """The file of the first place that is not before the cut: inside an accumulation window, of its end."""
        return self.files[min(place for place in self.files if place >= cut)]


def check_cuts(make, folder, epochs, cuts=None):
    """As check_resume, but one run writes the files of all cuts, and each file is resumed from once.

    Args:
        make: makes a trainer and its loader, as a new process would.
        folder: for the files.
        epochs: of each run.
        cuts: (epoch, batch); None is wherever the run may be left, but for its end.
    """
    (whole, loader), saves = make(), SaveEverywhere(folder)
    whole.run(loader, max_epochs=epochs)
    saving, loader = make()
    saves.attach(saving)
    saving.run(loader, max_epochs=epochs)
    expected = run_state(whole)
    assert first_difference(expected, run_state(saving)) is None
    paths = list(saves.files.values())[:-1] if cuts is None else {saves.after(cut): cut for cut in cuts}
    assert paths
    for path in paths:
        resumed, loader = make()
        restore_run(resumed, path)
        resumed.run(loader, max_epochs=epochs)
        assert first_difference(expected, run_state(resumed)) is None, path
    return whole
