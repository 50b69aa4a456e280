"""Windows are the slices of the series and its memory; send-on-delta keeps its promise; a report is sklearn's."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, precision_score, recall_score
from torch.utils.data import DataLoader, Subset

from ignite_recipes.data.deadband import learn_limits, scale_context, send_on_delta
from ignite_recipes.data.traffic import (
    TrafficArrays,
    TrafficDataset,
    check_traffic_arrays,
    collate_traffic,
    make_traffic_windows,
)
from ignite_recipes.data.traffic_report import baseline_reports, traffic_report
from ignite_recipes.data.traffic_series import load_co2, load_traffic_csv, split_in_time

NAN = float("nan")


def windows(length=30, num_features=2, len_source=6, len_target=3, smoothed=None):
    generator = np.random.default_rng(0)
    context = generator.random((length, num_features), dtype=np.float32)
    return make_traffic_windows(context, generator.integers(0, 2, length), len_source, len_target, smoothed)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 12), st.integers(1, 3), st.booleans(), st.integers(0, 99))
def test_windows_are_the_slices_of_the_series(len_source, len_target, more, num_features, is_smoothed, seed):
    generator = np.random.default_rng(seed)
    length = len_source + len_target + more
    context = generator.random((length, num_features), dtype=np.float32)
    smoothed = context / 2 if is_smoothed else None
    flags = generator.integers(0, 2, length)
    made = make_traffic_windows(context, flags, len_source, len_target, smoothed)
    assert {len(array) for array in made} == {more + 1}
    for i in range(more + 1):
        now, end = i + len_source, i + len_source + len_target
        sent = np.flatnonzero(flags[:now])
        count = flags[now:end].sum()
        expected = TrafficArrays(
            (context if smoothed is None else smoothed)[i:now],
            context[now:end],
            context[[sent[-1] if len(sent) else 0]],
            [flags[i:now].sum() / len_source],
            [count / len_target],
            [count],
            flags[now:end],
            context[i:now],
        )
        for array, wanted in zip(made, expected, strict=True):
            np.testing.assert_array_equal(array[i], np.asarray(wanted, dtype=array.numpy().dtype))


def test_windows_share_the_memory_of_the_series():
    context, flags = torch.rand(1000, 3), torch.ones(1000)
    made = make_traffic_windows(context, flags, 20, 10)
    for array in (made.sources, made.targets, made.unsmoothed_sources):
        assert array.untyped_storage().data_ptr() == context.untyped_storage().data_ptr()
    assert made.transmissions.untyped_storage().data_ptr() == flags.untyped_storage().data_ptr()
    assert unique_bytes(made) < 3.5 * (context.nbytes + flags.nbytes)


def unique_bytes(arrays):
    return sum({a.untyped_storage().data_ptr(): a.untyped_storage().nbytes() for a in arrays}.values())


def test_smoothed_sources_leave_the_unsmoothed_ones_as_they_are():
    context, smoothed = torch.rand(20, 1), torch.rand(20, 1)
    made = make_traffic_windows(context, torch.ones(20), 5, 2, smoothed)
    assert torch.equal(made.sources[3], smoothed[3:8])
    assert torch.equal(made.unsmoothed_sources[3], context[3:8])
    assert made.sources.untyped_storage().data_ptr() == smoothed.untyped_storage().data_ptr()


def test_a_check_and_a_pickle_of_windows_copy_no_windows():
    made = make_traffic_windows(torch.rand(20_000, 2), torch.ones(20_000), 50, 10)
    dataset = TrafficDataset(made)
    assert dataset.arrays.sources.data_ptr() == made.sources.data_ptr()
    assert len(pickle.dumps(dataset)) < 12 * 20_000 * 2 * 4  # the windows take 170 times a series' 20,000 x 2 x 4


def test_a_batch_is_its_rows_in_every_loader():
    dataset = TrafficDataset(windows())
    batch = dataset.__getitems__([4, 0, 7])
    for name, array in batch._asdict().items():
        assert torch.equal(array, getattr(dataset.arrays, name)[[4, 0, 7]])
        assert torch.equal(array[1], getattr(dataset[0], name))
        assert array.dtype == (torch.int64 if name == "target_class" else torch.float32)
    for data in (dataset, Subset(dataset, range(len(dataset)))):
        loaded = list(DataLoader(data, batch_size=8, collate_fn=collate_traffic))
        assert all(isinstance(part, TrafficArrays) for part in loaded)
        for name, parts in zip(TrafficArrays._fields, zip(*loaded, strict=True), strict=True):
            assert torch.equal(torch.cat(parts), getattr(dataset.arrays, name))


KINDS = {
    "a list of arrays": lambda a: [x.numpy() for x in a],
    "arrays of float64": lambda a: [x.numpy().astype(np.float64) for x in a],
    "big-endian arrays": lambda a: [x.numpy().astype(">f4") for x in a],
    "arrays turned backwards twice": lambda a: [x.numpy()[::-1].copy()[::-1] for x in a],
    "a pickled data set's": lambda a: pickle.loads(pickle.dumps(TrafficDataset(a))).arrays,
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in KINDS.items()])
def test_every_kind_of_arrays_gives_the_same_batch(make):
    made = windows()
    for array, expected in zip(
        TrafficDataset(make(made)).__getitems__([2, 1]), TrafficDataset(made).__getitems__([2, 1]), strict=True
    ):
        assert array.dtype == expected.dtype
        assert torch.equal(array, expected)


def test_a_sliding_window_of_numpy_is_not_copied():
    series = np.random.default_rng(0).random((40, 2))
    view = np.lib.stride_tricks.sliding_window_view(series, 6, axis=0)[:28].transpose(0, 2, 1)
    made = windows(36)._replace(sources=view)
    assert TrafficDataset(made).arrays.sources.data_ptr() == series.ctypes.data


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 3), st.floats(0.01, 0.9), st.integers(0, 999))
def test_send_on_delta_is_never_further_off_than_the_deadband(length, num_features, deadband, seed):
    steps = np.random.default_rng(seed).normal(size=(length, num_features))
    scaled, flags = send_on_delta(steps.cumsum(axis=0), deadband, limits=(-100, 100))
    scaled = scaled.double()
    assert flags[0] == 1
    last = None
    for sample, flag in zip(scaled, flags, strict=True):
        off = 2.0 if last is None else (sample - last).abs().max()
        assert (off > deadband) == bool(flag)  # all that is needed, and no more
        last = sample if flag else last


def test_send_on_delta_continues_from_chunk_to_chunk(monkeypatch):
    context = np.random.default_rng(0).random((100, 2))
    expected = send_on_delta(context, 0.3)
    monkeypatch.setattr("ignite_recipes.data.deadband.CHUNK", 7)
    for got, wanted in zip(send_on_delta(context, 0.3), expected, strict=True):
        assert torch.equal(got, wanted)


def test_limits_are_learnt_with_a_margin_and_scale_to_the_unit_range():
    context = np.array([[0.0, 5.0], [10.0, 6.0]])
    low, high = learn_limits(context, margin=0.25)
    np.testing.assert_allclose([low, high], [[-2.5, 4.75], [12.5, 6.25]])
    torch.testing.assert_close(scale_context(context, (low, high)), torch.tensor([[1 / 6] * 2, [5 / 6] * 2]))


def test_a_trend_does_not_leave_the_range_unnoticed():
    context = np.arange(10.0)
    with pytest.warns(UserWarning, match=r"4 of 10 samples of feature level were outside \[-0.5, 5.5\].*wider limits"):
        scaled, _ = send_on_delta(context, 0.1, learn_limits(context[:6]), feature_names=["level"])
    assert scaled.max() == 1


def random_outputs(made, seed=0):
    torch.manual_seed(seed)
    n, t, _ = made.targets.shape
    return torch.rand(made.targets.shape), torch.rand(n, 1), torch.randn(n, t + 1), torch.randn(n, t)


@pytest.mark.parametrize("seed", range(3))
def test_a_report_is_what_sklearn_says(seed):
    made = windows()
    outputs = random_outputs(made, seed)
    classes, flags = outputs[2].argmax(1), (outputs[3] > 0).flatten()
    true_classes, true_flags = made.target_class.flatten(), made.transmissions.flatten()
    assert traffic_report(outputs, made) == pytest.approx(
        {
            "traffic_mse": float(((outputs[1] - made.target_traffic) ** 2).mean()),
            "accuracy": accuracy_score(true_classes, classes),
            "kappa": cohen_kappa_score(true_classes, classes, labels=range(4), weights="quadratic"),
            "precision": precision_score(true_flags, flags),
            "recall": recall_score(true_flags, flags),
            "f1": f1_score(true_flags, flags),
        }
    )


def test_a_report_of_one_class_and_no_flags_is_finite():
    made = make_traffic_windows(torch.rand(20), torch.zeros(20), 3, 2)
    never = torch.full((len(made.targets), 2), -1.0)
    outputs = (made.targets, made.target_traffic, torch.tensor([[1.0, 0, 0]]).expand(len(never), 3), never)
    assert traffic_report(outputs, made) == {
        "traffic_mse": 0, "accuracy": 1, "kappa": 0, "precision": 0, "recall": 0, "f1": 0
    }  # fmt: skip


def test_flags_are_predicted_above_the_threshold():
    made = windows(40)
    logits = torch.linspace(-3, 3, made.transmissions.numel()).reshape(made.transmissions.shape)
    classes = torch.zeros(len(logits), 4)
    outputs = (made.targets, made.target_traffic, classes, logits)
    above = (logits.sigmoid() > 0.8).float()
    sure = (made.targets, made.target_traffic, classes, 2 * above - 1)
    names = ("precision", "recall", "f1")
    found, expected = traffic_report(outputs, made, threshold=0.8), traffic_report(sure, made)
    assert [found[name] for name in names] == [expected[name] for name in names]
    for threshold in (0, 1, -0.5, float("nan")):
        with pytest.raises(ValueError, match="threshold must be a probability"):
            traffic_report(outputs, made, threshold)


def test_baselines_are_the_last_window_the_mean_and_always():
    train, val = windows(50), windows(40)
    reports = baseline_reports(train, val)
    truth = val.target_traffic
    assert reports["last window"]["traffic_mse"] == pytest.approx(float(((val.source_traffic - truth) ** 2).mean()))
    assert reports["mean"]["traffic_mse"] == pytest.approx(float(((train.target_traffic.mean() - truth) ** 2).mean()))
    nearest = (val.source_traffic * 3).round() == val.target_class
    assert reports["last window"]["accuracy"] == pytest.approx(float(nearest.float().mean()))
    assert reports["mean"]["kappa"] == 0
    always, share = reports["always transmit"], float(val.transmissions.mean())
    assert (always["recall"], always["precision"]) == (1, pytest.approx(share))
    assert always["accuracy"] == pytest.approx(float((val.target_class == 3).float().mean()))


def test_no_window_has_samples_of_both_sides():
    context = torch.arange(40.0)
    train, val = split_in_time(context, torch.ones(40), 5, 3, num_train=25)
    assert (train.sources.min(), train.targets.max()) == (0, 24)
    assert (val.sources.min(), val.targets.max()) == (25, 39)
    assert train.sources.untyped_storage().data_ptr() == val.sources.untyped_storage().data_ptr()


def test_a_window_to_validate_on_knows_what_was_transmitted_before_it():
    flags = torch.zeros(40)
    flags[22] = 1
    _, val = split_in_time(torch.arange(40.0), flags, 5, 3, num_train=25)
    assert val.last_transmitted.unique().tolist() == [22]


@pytest.fixture
def table():
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "time": pd.date_range("2020-01-01", periods=60, freq="h"),
            "warm": 20 + generator.random(60),
            "wet": generator.random(60),
            "sent": generator.integers(0, 2, 60),
        }
    )


def written(table, tmp_path):
    table.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def in_range(context, limits):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return scale_context(context, limits)


@pytest.mark.filterwarnings("ignore:.*are clamped:UserWarning")
def test_a_file_with_flags_is_scaled_by_its_training_rows(table, tmp_path):
    train, val, names = load_traffic_csv(written(table, tmp_path), 5, 2, flag_column="sent", time_column="time")
    context = table[["warm", "wet"]].to_numpy()
    scaled = in_range(context, learn_limits(context[:48]))
    assert names == ["warm", "wet"]
    for made, expected in zip((train, val), split_in_time(scaled, table["sent"].to_numpy(), 5, 2, 48), strict=True):
        for array, wanted in zip(made, expected, strict=True):
            torch.testing.assert_close(array, wanted)


@pytest.mark.filterwarnings("ignore:.*are clamped:UserWarning")
def test_a_file_without_flags_is_sent_on_delta(table, tmp_path):
    path = written(table.drop(columns="sent"), tmp_path)
    train, _, names = load_traffic_csv(path, 5, 2, deadband=0.5, time_column="time", val_size=0.5)
    context = table[names].to_numpy()
    _, flags = send_on_delta(in_range(context, learn_limits(context[:30])), 0.5, limits=(0, 1))
    assert torch.equal(train.transmissions[:, 0], flags[5 : 30 - 1])


def test_co2_stays_in_range_and_varies_on_both_sides():
    pytest.importorskip("statsmodels")
    train, val, names = load_co2()  # a warning of clamped samples would fail this test
    assert names == ["seasonal", "change"]
    for made in (train, val):
        assert TrafficDataset(made).arrays.sources.shape[1:] == (10, 2)
        assert 0.3 < made.transmissions.mean() < 0.5
        assert len(made.target_class.unique()) == 6


def replaced(**arrays):
    made = windows()
    for name, change in arrays.items():
        copied = getattr(made, name).clone()
        made = made._replace(**{name: change(copied)})
    return made


def put(value, *where):
    def change(array):
        array[where] = value
        return array

    return change


BAD = {
    f"nan in {name}": (replaced(**{name: put(NAN, 4)}), f"{name} must hold finite.*nan in row 4")
    for name in TrafficArrays._fields
    if name != "target_class"
}
BAD |= {
    "nan in the class": (replaced(target_class=lambda a: put(NAN, 4)(a.float())), "target_class.*finite.*row 4"),
    "infinity": (replaced(targets=put(float("inf"), 7, 1)), "targets must hold finite.*inf in row 7"),
    "a class too high": (replaced(target_class=put(4, 2)), "target_class must.*from 0 to 3.*4.0 in row 2"),
    "a class below 0": (replaced(target_class=put(-1, 2)), "target_class must.*-1.0 in row 2"),
    "half a class": (replaced(target_class=lambda a: put(0.5, 2)(a.float())), "target_class must.*0.5 in row 2"),
    "half a flag": (replaced(transmissions=put(0.5, 3, 1)), "transmissions must hold flags.*0.5 in row 3"),
    "unequal lengths": (replaced(source_traffic=lambda a: a[1:]), r"source_traffic must be.*\(22, 1\).*got \(21, 1\)"),
    "another length of target": (replaced(transmissions=lambda a: a[:, 1:]), r"transmissions must.*got \(22, 2\)"),
    "other features": (replaced(last_transmitted=lambda a: a[..., 1:]), r"last_transmitted must.*got \(22, 1, 1\)"),
    "flat sources": (replaced(sources=lambda a: a[..., 0]), r"sources and targets must.*got \(22, 6\)"),
    "no windows": (windows()[:0] + tuple(a[:0] for a in windows()), "at least one window"),
    "seven arrays": (windows()[:7], "arrays must be the eight.*got 7"),
    "text": (["a"] * 8, "sources must be an array of real numbers"),
}


@pytest.mark.parametrize(("arrays", "message"), [pytest.param(*case, id=name) for name, case in BAD.items()])
def test_bad_arrays_are_named(arrays, message):
    with pytest.raises(ValueError, match=message):
        TrafficDataset(arrays)


def in_counts(made):
    return made._replace(source_traffic=made.source_traffic * 6, target_traffic=made.target_traffic * 3)


def rarely_transmitting():
    flags = torch.zeros(30)
    flags[::10] = 1
    return make_traffic_windows(torch.rand(30, 2), flags, 6, 3)


UNITS = {
    "counts": (
        in_counts(windows()),
        r"source_traffic must be the part .* in \[0, 1\]; got \d in row \d: write source_traffic / 6 .* and "
        r"target_traffic / 3 .*, for training and validation alike",
    ),
    "counts of the source": (replaced(source_traffic=lambda a: a * 6), "source_traffic / 6"),
    "counts of the target": (replaced(target_traffic=lambda a: a * 3), "target_traffic / 3"),
    "counts that are never above 1": (
        in_counts(rarely_transmitting())._replace(source_traffic=rarely_transmitting().source_traffic),
        r"target_traffic must be the part .*; got 1 in row 2: write target_traffic / 3 ",
    ),
    "percent": (replaced(target_traffic=lambda a: a * 100), r"target_traffic / 100 \(the largest value"),
    "standard deviations": (replaced(target_traffic=lambda a: a * 3 - 1), r"write \(target_traffic - -1\) / 3 "),
    "classes of other windows": (
        replaced(target_class=lambda a: a.roll(1, 0)),
        r"target_class must be the number .*; got \d where \d of 3 flags are set, in row \d: .* write "
        r"target_class = transmissions.sum\(1, keepdims=True\)",
    ),
    "classes from 1 below": (replaced(target_class=lambda a: (a - 1).clamp(0)), "target_class must be the number"),
    "flags turned round": (replaced(transmissions=lambda a: 1 - a), "target_class must be the number"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "message"), [pytest.param(*case, id=name) for name, case in UNITS.items()])
def test_traffic_and_classes_in_other_units_are_refused_with_what_to_write(arrays, message):
    with pytest.raises(ValueError, match=message):
        TrafficDataset(arrays)
    with pytest.raises(ValueError, match=message):
        baseline_reports(windows(), arrays)
    with pytest.raises(ValueError, match=message):
        baseline_reports(arrays, windows())


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_what_the_messages_say_to_write_is_accepted(kind):
    made = TrafficArrays(*(kind(array) for array in in_counts(windows())))
    source, target, flags = made.source_traffic, made.target_traffic, made.transmissions
    mended = made._replace(
        source_traffic=source / 6, target_traffic=target / 3, target_class=flags.sum(1, keepdims=True)
    )
    for array, wanted in zip(TrafficDataset(mended).arrays, windows(), strict=True):
        torch.testing.assert_close(array, wanted, check_dtype=False)


def test_traffic_that_is_always_or_never_is_no_count():
    for flags in (torch.ones(30), torch.zeros(30)):
        assert len(TrafficDataset(make_traffic_windows(torch.rand(30, 2), flags, 6, 3))) == 22


def test_another_measure_of_traffic_in_the_unit_range_is_warned_of():
    with pytest.warns(
        UserWarning, match=r"target_traffic should be the part .*, [\d.]+ in row \d; got .* learnt as it is"
    ):
        TrafficDataset(replaced(target_traffic=lambda a: a * 0.8))


@pytest.mark.parametrize("row", [0, 3, 29])
def test_a_nan_in_views_is_found_in_its_first_window(row):
    made = windows()
    base = made.sources.as_strided((30, 2), (2, 1))
    base[row] = NAN
    name, first = ("sources", max(0, row - 5)) if row < 27 else ("targets", row - 6 - 2)
    with pytest.raises(ValueError, match=f"{name} must hold finite.*row {first}:"):
        check_traffic_arrays(made)


def test_context_outside_the_unit_range_is_warned_of():
    with pytest.warns(UserWarning, match="targets should be in"):
        TrafficDataset(replaced(targets=put(1.5, 0)))


SERIES = np.linspace(0, 1, 20)
FLAGS = np.ones(20)
CALLS = {
    "unequal lengths": (lambda: make_traffic_windows(SERIES, FLAGS[1:], 5, 2), r"transmissions must.*got \(19,\)"),
    "too short": (lambda: make_traffic_windows(SERIES, FLAGS, 15, 6), "context must have at least .* 21 samples"),
    "nan": (lambda: make_traffic_windows(put(NAN, 3)(SERIES.copy()), FLAGS, 5, 2), "context must hold.*nan in row 3"),
    "other flags": (lambda: make_traffic_windows(SERIES, FLAGS * 2, 5, 2), "flags.*2.0 in row 0"),
    "no source": (lambda: make_traffic_windows(SERIES, FLAGS, 0, 2), "len_source must be a whole number"),
    "half a target": (lambda: make_traffic_windows(SERIES, FLAGS, 2, 1.5), "len_target must be a whole number"),
    "other smoothing": (lambda: make_traffic_windows(SERIES, FLAGS, 5, 2, SERIES[1:]), "smoothed must have"),
    "a cube": (lambda: make_traffic_windows(np.ones((20, 1, 1)), FLAGS, 5, 2), "context must be .samples"),
    "no deadband": (lambda: send_on_delta(SERIES, 0), "deadband must be"),
    "nan to send": (lambda: send_on_delta(put(NAN, 3)(SERIES.copy()), 0.1, (0, 1)), "context must hold.*row 3"),
    "no samples": (lambda: send_on_delta([], 0.1), "context must be"),
    "limits the wrong way": (lambda: send_on_delta(SERIES, 0.1, (1, 0)), "limits must be finite, each low end below"),
    "three limits": (lambda: send_on_delta(SERIES, 0.1, ([0, 0, 0], 1)), "limits must be .low, high."),
    "a constant": (lambda: learn_limits(FLAGS), r"training_part must vary.*\[0\]"),
    "a negative margin": (lambda: learn_limits(SERIES, -0.1), "margin must be"),
    "a side too short": (lambda: split_in_time(SERIES, FLAGS, 5, 2, 14), "both sides must.*14 to train on and 6"),
    "other windows": (lambda: traffic_report(random_outputs(windows(29)), windows(30)), "the traffic predicted must"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), [pytest.param(*case, id=name) for name, case in CALLS.items()])
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


FILES = {
    "neither": ({}, {}, "exactly one of deadband and flag_column"),
    "both": ({}, {"deadband": 0.1, "flag_column": "sent"}, "exactly one of deadband and flag_column"),
    "no such flags": ({}, {"flag_column": "flag"}, "flag_column must be a column.*'flag'.*'sent'"),
    "no such time": ({}, {"flag_column": "sent", "time_column": "t"}, "time_column must be a column"),
    "other text": (
        {"wet": "much"}, {"flag_column": "sent"}, r"must hold numbers.*text in \['wet'\]: take these columns out"),
    "flags as context": (
        {}, {"deadband": 0.1}, r"must not be context; got column 'sent'.*flag_column='sent' \(--flag-column sent\)"),
    "time going back": (
        {"time": "2019-01-01"}, {"flag_column": "sent", "time_column": "time"},
        "do not go back; got '2019-01-01' in row 7, after .*: sort"),
    "no time": (
        {"time": "soon"}, {"flag_column": "sent", "time_column": "time"}, "time in every row; got 'soon' in row 7"),
    "a gap": ({"wet": None}, {"flag_column": "sent", "time_column": "time"}, "column wet .*nan in row 7"),
    "another flag": ({"sent": 3}, {"flag_column": "sent", "time_column": "time"}, "must hold flags.*row 7"),
    "no validation": ({}, {"flag_column": "sent", "time_column": "time", "val_size": 0}, "val_size must be"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*are clamped:UserWarning")
@pytest.mark.parametrize(
    ("cells", "options", "message"), [pytest.param(*case, id=name) for name, case in FILES.items()]
)
def test_bad_files_are_named(table, tmp_path, cells, options, message):
    table = table.astype({"time": str}).astype(object)
    for column, value in cells.items():
        table.loc[7, column] = value
    with pytest.raises(ValueError, match=message):
        load_traffic_csv(written(table, tmp_path), 5, 2, **options)


@pytest.mark.filterwarnings("ignore:.*are clamped:UserWarning")
def test_a_file_of_context_alone_must_not_be_taken_for_times(tmp_path):
    with pytest.raises(ValueError, match=r"must have a column of context.*got \['count'\]: name the times"):
        load_traffic_csv(written(pd.DataFrame({"count": range(60)}), tmp_path), 5, 2, deadband=0.1)


def with_equal_times(table, rows):
    table = table.copy()
    table.loc[rows, "time"] = pd.NaT
    return table.bfill()


@pytest.mark.filterwarnings("ignore:.*are clamped:UserWarning")
def test_of_equal_times_the_last_row_is_kept_and_the_log_says_how_many_were_dropped(table, tmp_path, caplog):
    told = {"flag_column": "sent", "time_column": "time"}
    got = load_traffic_csv(written(with_equal_times(table, [7, 8, 30]), tmp_path), 5, 2, **told)
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    expected = load_traffic_csv(written(table.drop([7, 8, 30]), tmp_path), 5, 2, **told)
    for array, wanted in zip((*got[0], *got[1]), (*expected[0], *expected[1]), strict=True):
        assert torch.equal(array, wanted)
    assert len(messages) == 1
    assert "dropped 3 of 60 rows, whose time in column 'time'" in messages[0]


@pytest.mark.filterwarnings("ignore:.*are clamped:UserWarning")
def test_times_that_are_coarser_than_the_samples_drop_none(table, tmp_path, caplog):
    days = table.assign(time=table["time"].dt.date)
    train, val, _ = load_traffic_csv(written(days, tmp_path), 5, 2, flag_column="sent", time_column="time")
    assert len(train.sources) + len(val.sources) == 42 + 6
    assert "only 3 of 60 rows differ in column 'time'" in caplog.text
    assert "all rows are kept, in their order" in caplog.text


HOURS = pd.date_range("2020-01-01", periods=60, freq="h")
TIMES = {
    "text": ("when", HOURS.astype(str)),
    "days first": ("when", (HOURS + pd.Timedelta("12D")).strftime("%d/%m/%Y %H:%M")),
    "days first, from a day that could be a month": ("when", HOURS[::1].shift(24 * 10).strftime("%d.%m.%Y %H:%M")),
    "midnights without a time of day": ("when", HOURS.astype(str).str.replace(" 00:00:00", "")),
    "time zones": ("when", HOURS.strftime("%Y-%m-%dT%H:%M:%S+01:00")),
    "Unix seconds with gaps": ("unixTime", np.arange(60) * 3600 + (np.arange(60) > 9) * 7),
    "Unix seconds, two of them equal": ("timestamp", np.arange(60) - (np.arange(60) > 9)),
    "seconds since the start": ("t", np.arange(60) * 0.1),
    "an index that pandas wrote": ("Unnamed: 0", range(60)),
}


@pytest.mark.filterwarnings("ignore:.*are clamped:UserWarning")
@pytest.mark.parametrize(("name", "times"), [pytest.param(*case, id=key) for key, case in TIMES.items()])
def test_times_are_recognised_and_are_no_context_and_one_line_says_so(table, tmp_path, caplog, name, times):
    table = table.drop(columns="time").assign(**{name: times})
    _, _, names = load_traffic_csv(written(table, tmp_path), 5, 2, flag_column="sent")
    assert names == ["warm", "wet"]
    lines = [record.getMessage() for record in caplog.records if "context" in record.getMessage()]
    assert lines == [f"{tmp_path}/table.csv: times: {name!r}; flags: 'sent'; context: 'warm', 'wet'"]


CONTEXT = {
    "hours of the day": ("hour", HOURS.hour),
    "a duration": ("travel_time", np.sin(range(60))),
    "a count that rises": ("visitors", np.arange(60) ** 2),
    "a level that falls": ("level", -np.arange(60)),
}


@pytest.mark.filterwarnings("ignore:.*are clamped:UserWarning")
@pytest.mark.parametrize(("name", "values"), [pytest.param(*case, id=key) for key, case in CONTEXT.items()])
def test_context_is_not_taken_for_times(table, tmp_path, name, values):
    path = written(table.drop(columns="time").assign(**{name: values}), tmp_path)
    assert load_traffic_csv(path, 5, 2, flag_column="sent")[2] == ["warm", "wet", name]


@pytest.mark.filterwarnings("ignore:.*are clamped:UserWarning")
def test_of_several_columns_of_times_one_counts_and_the_others_are_left_out(table, tmp_path, caplog):
    table = with_equal_times(table, [7]).assign(row=range(60), clock=HOURS.strftime("%H:%M"), year=2020)
    table.loc[50:, "year"] = 2021
    train, val, names = load_traffic_csv(written(table, tmp_path), 5, 2, flag_column="sent")
    assert names == ["warm", "wet"]
    assert "times: 'time'" in caplog.text
    assert "left out, since they are times too: 'row', 'clock', 'year'" in caplog.text
    assert len(train.sources) + len(val.sources) == 47  # of 59 rows


@pytest.mark.parametrize("name", ["sent", "is_sent", "Transmitted", "txFlag", "transmission"])
@pytest.mark.parametrize("kind", [int, bool])
def test_flags_are_recognised_and_the_option_is_told(table, tmp_path, name, kind):
    table = table.rename(columns={"sent": name}).astype({name: kind})
    with pytest.raises(
        ValueError, match=rf"pass flag_column='{name}' \(--flag-column {name}\), or take the column out"
    ):
        load_traffic_csv(written(table, tmp_path), 5, 2, deadband=0.1)


@pytest.mark.filterwarnings("ignore:.*are clamped:UserWarning")
def test_a_column_of_0_and_1_with_another_name_is_context_and_the_line_tells_the_option(table, tmp_path, caplog):
    path = written(table.rename(columns={"sent": "door"}), tmp_path)
    assert load_traffic_csv(path, 5, 2, deadband=0.1)[2] == ["warm", "wet", "door"]
    assert "if 'door' holds the transmissions, pass flag_column='door' (--flag-column door)" in caplog.text


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"none at nowhere\.csv"):
        load_traffic_csv(Path("nowhere.csv"), 5, 2, deadband=0.1)
