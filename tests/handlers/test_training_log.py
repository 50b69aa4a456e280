"""A log of rows that can be read at any moment, and that a resumed run continues as if it had never stopped."""

import math

import pytest
from ignite.engine import Engine, Events

from ignite_recipes import EpochAverages, TrainingLog, read_training_log, restore_run, run_state, write_checkpoint


def logged(task, path, **settings):
    trainer = task.trainer(**settings)
    EpochAverages("train_").attach(trainer)
    TrainingLog(path).attach(trainer)
    return trainer


def without_clock(path):
    log = read_training_log(path)
    return {name: values for name, values in log.items() if name not in ("seconds", "batches_per_second")}


def test_a_row_an_epoch_with_every_digit_and_the_time_of_day(task, tmp_path):
    trainer = logged(task, tmp_path / "deep" / "log.csv")
    losses = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: losses.append(trainer.state.metrics["train_loss"]))
    trainer.run(task.batches, max_epochs=3)
    log = read_training_log(tmp_path / "deep" / "log.csv")
    assert log["epoch"] == [1, 2, 3]
    assert log["train_loss"] == losses
    assert log["learning_rate"] == [0.1] * 3
    assert all(seconds > 0 for seconds in log["seconds"])
    assert all(speed > 0 for speed in log["batches_per_second"])
    lines = (tmp_path / "deep" / "log.csv").read_text().splitlines()
    assert lines[0] == "epoch,learning_rate,train_loss,seconds,batches_per_second,finished_at"
    assert all(line.rsplit(",", 1)[1].startswith("20") for line in lines[1:])


def test_it_can_be_read_while_the_run_continues(task, tmp_path):
    trainer = logged(task, tmp_path / "log.csv")
    seen = []
    path = tmp_path / "log.csv"
    trainer.add_event_handler(Events.EPOCH_STARTED(every=2), lambda: seen.append(read_training_log(path)))
    trainer.run(task.batches, max_epochs=4)
    assert [log["epoch"] for log in seen] == [[1], [1, 2, 3]]


LEFT_BY_A_KILL = {
    "nothing": b"",
    "the row of the next epoch": b"3,0.1,0.5,0.1,10,2026-01-01T00:00:00\n",
    "rows of many epochs": b"3,0.1,0.5,0.1,10,x\n4,0.1,0.5,0.1,10,x\n",
    "half a row": b"3,0.1,0.",
    "half a row that looks whole": b"3,0.1",
    "half a letter": b"3,\xc3",
    "other bytes": b"\x00\x00\x00\n",
}


@pytest.mark.parametrize("left", LEFT_BY_A_KILL.values(), ids=LEFT_BY_A_KILL)
def test_what_a_kill_left_after_the_checkpoint_is_replaced_on_a_resume(task, tmp_path, left):
    logged(task, tmp_path / "whole.csv").run(task.batches, max_epochs=4)
    first = logged(task, tmp_path / "log.csv")
    first.run(task.batches, max_epochs=2)
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    with open(tmp_path / "log.csv", "ab") as file:
        file.write(left)
    second = logged(task, tmp_path / "log.csv")
    restore_run(second, tmp_path / "run.pt")
    second.run(task.batches, max_epochs=4)
    assert without_clock(tmp_path / "log.csv") == without_clock(tmp_path / "whole.csv")
    assert (tmp_path / "log.csv").read_text().count("\n") == 5


def test_a_run_that_begins_anew_replaces_an_old_log(task, tmp_path):
    (tmp_path / "log.csv").write_text("epoch,colour,finished_at\n1,2.0,x\n")
    trainer = logged(task, tmp_path / "log.csv")
    trainer.run(task.batches, max_epochs=1)
    assert read_training_log(tmp_path / "log.csv")["epoch"] == [1]
    trainer.state.max_epochs = None
    trainer.run(task.batches, max_epochs=2)
    assert read_training_log(tmp_path / "log.csv")["epoch"] == [1, 2]


def test_the_speed_of_an_epoch_that_was_resumed_inside_is_left_empty(task, tmp_path):
    first = logged(task, tmp_path / "other.csv")
    first.add_event_handler(
        Events.ITERATION_COMPLETED(once=2),
        lambda: (write_checkpoint(run_state(first), tmp_path / "run.pt"), first.terminate()),
    )
    first.run(task.batches, max_epochs=2)
    second = logged(task, tmp_path / "log.csv")
    restore_run(second, tmp_path / "run.pt")
    second.run(task.batches, max_epochs=2)
    speeds = read_training_log(tmp_path / "log.csv")["batches_per_second"]
    assert math.isnan(speeds[0])
    assert speeds[1] > 0


def test_half_a_row_is_passed_over_and_an_empty_file_has_no_rows(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,train_loss,finished_at\n1,0.5,x\n2,0.25,x\n3,0.1")
    assert read_training_log(path) == {"epoch": [1, 2], "train_loss": [0.5, 0.25]}
    path.write_text("")
    assert read_training_log(path) == {}
    path.write_text("epoch,train_lo")
    assert read_training_log(path) == {}


def test_comments_and_empty_lines_are_passed_over(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(
        b"\xef\xbb\xbf# of the large model\r\n\r\nepoch,train_loss,finished_at\r\n1,0.5,x\r\n  # lower rate \xff\r\n"
        b" \r\n,,\r\n2,0.25,x\r\n#\n3,0.1"
    )
    assert read_training_log(path) == {"epoch": [1, 2], "train_loss": [0.5, 0.25]}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_comments_stay_where_they_are_when_a_run_is_resumed(task, tmp_path, newline):
    path = tmp_path / "log.csv"
    logged(task, tmp_path / "whole.csv").run(task.batches, max_epochs=4)
    first = logged(task, path)
    first.run(task.batches, max_epochs=2)
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    header, one, two = path.read_text().splitlines()
    kept = ["# before, with a byte that is no text: \udcff", "", header, one, "# between", two, "", "# lower rate"]
    written = [*kept, f"3{two[1:]}", "# of the epoch that is trained again", "3,0."]
    path.write_bytes(newline.join(written).encode(errors="surrogateescape"))
    second = logged(task, path)
    restore_run(second, tmp_path / "run.pt")
    second.run(task.batches, max_epochs=4)
    assert without_clock(path) == without_clock(tmp_path / "whole.csv")
    left = path.read_bytes().decode(errors="surrogateescape").splitlines()
    assert left[: len(kept)] == kept
    assert [line.partition(",")[0] for line in left[len(kept) :]] == ["3", "4"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", r"must be a log, whose first line begins with epoch; it is 'a,b': put that line back"),
        ("1,2\n", r"whose first line begins with epoch; it is '1,2'"),
        ("# one\nepoch,train_loss\n\n1,many\n", r"line 4 must hold a number for train_loss; got 'many': correct"),
        ("epoch,train_loss\n1\n2,3\n", r"line 2 must have a cell for train_loss; it has 1 cells: correct"),
        ("epoch,train_loss\n1.5,2\n", r"line 2 must hold a whole number for epoch; got '1.5': correct"),
        ("epoch,train_loss\n,2\n", r"line 2 must hold a whole number for epoch; got '': correct"),
        ("epoch,train_loss\ninf,2\n", r"line 2 must hold a whole number for epoch; got 'inf': correct"),
        (f"epoch,train_loss\n1,{'9' * 200_000}\n", r"field larger than"),
    ],
    ids=["other columns", "no header", "no number", "short", "half an epoch", "no epoch", "no end", "long"],
)
def test_another_file_is_refused_by_name(tmp_path, text, said):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(ValueError, match=said) as told:
        read_training_log(tmp_path / "log.csv")
    assert "log.csv" in str(told.value)
    assert "\n" not in str(told.value)
    with pytest.raises(FileNotFoundError, match=r"other\.csv"):
        read_training_log(tmp_path / "other.csv")


def test_metrics_that_are_no_numbers_are_left_out_and_later_ones_get_a_column_when_they_come(tmp_path):
    engine = Engine(lambda engine, batch: None)
    engine.state.metrics = {"matrix": object(), "loss": 0.5}
    TrainingLog(tmp_path / "log.csv").attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: engine.state.metrics.update({"late, or not": 1.0}))
    engine.run([0], max_epochs=3)
    log = read_training_log(tmp_path / "log.csv")
    assert list(log) == ["epoch", "loss", "late, or not", "seconds", "batches_per_second"]
    assert str(log["late, or not"]) == "[nan, 1.0, 1.0]"
    assert log["loss"] == [0.5, 0.5, 0.5]
    assert log["epoch"] == [1, 2, 3]
