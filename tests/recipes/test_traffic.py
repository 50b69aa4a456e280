"""The traffic recipe keeps the document's fifteen promises, resumes exactly, and refuses what is wrong."""

import numpy as np
import pytest
import torch
from support.equality import equal, weights
from support.stops import StopsAfter

from ignite_recipes import (
    BestCheckpoint,
    CheckpointError,
    TrafficDataset,
    TrafficPredictor,
    baseline_reports,
    getDefaultModelParams,
    load_checkpoint,
    load_co2,
    make_traffic_windows,
    predict_traffic,
    send_on_delta,
    traffic_report,
    train_one_epoch,
    trainModel,
    trainModelByDefaultSetting,
    validate_model,
)
from ignite_recipes.data.traffic import collate_traffic
from ignite_recipes.recipes.traffic import _loader


def windows(length=90, seed=0, len_source=6, len_target=3):
    generator = torch.Generator().manual_seed(seed)
    walk = torch.randn(length, 2, generator=generator).cumsum(0)
    low, high = walk.min(0).values, walk.max(0).values
    context, flags = send_on_delta((walk - low) / (high - low), 0.1, limits=([0.0, 0.0], [1.0, 1.0]))
    return make_traffic_windows(context, flags, len_source, len_target)


TRAIN, VAL = windows(), windows(seed=1)


def parameters(folder=None, **changed):
    p = getDefaultModelParams(6, 3, TRAIN, batch_size=16)
    p |= {"hidden_size": 8, "num_layers": 1, "num_epochs": 4, "save_checkpoints": folder is not None}
    return {**p, "checkpoint_dir": str(folder), **changed}


def train(folder=None, data=TRAIN, val=VAL, *, changed=None, **settings):
    return trainModel(parameters(folder, **(changed or {})), data, val, verbose=False, **settings)


def test_the_parameter_table_is_the_documents_to_the_letter():
    p = getDefaultModelParams(6, 3, TRAIN)
    table = {
        "batch_size": 1024,
        "learning_rate": 1e-3,
        "dropout_rate": 0.2,
        "use_mixed_precision": True,
        "gradient_clip": 1.0,
        "early_stop_patience": 10,
        "use_scheduler": True,
        "scheduler_gamma": 0.95,
        "scheduler_step_size": 5,
        "weight_decay": 1e-4,
        "num_workers": 4,
        "pin_memory": True,
        "seed": 42,
        "save_checkpoints": True,
    }
    assert table.items() <= p.items()
    beyond = {"input_size": 2, "output_size": 3, "num_classes": 4, "hidden_size": 64, "num_layers": 5}
    beyond |= {"num_epochs": 50, "dt": 0.01, "degree": 3, "len_source": 6, "len_target": 3}
    beyond |= {"checkpoint_dir": "checkpoints"}
    assert beyond.items() <= p.items()


def test_the_defaults_train_on_this_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model, _, info = trainModelByDefaultSetting(6, 3, TRAIN, VAL)
    assert isinstance(model, TrafficPredictor)
    assert len(capsys.readouterr().out.splitlines()) == info["total_epochs_trained"]


def test_one_seed_gives_equal_results_and_another_other_ones():
    torch.rand(3)
    (one, first, info), (two, second, other) = train(), train()
    assert first == second
    assert info == other
    assert equal(weights(one), weights(two))
    assert not equal(weights(one), weights(train(changed={"seed": 1})[0]))


def test_the_global_generators_and_the_matmul_precision_are_left_alone():
    torch.manual_seed(3)
    expected, precision = torch.rand(2), torch.get_float32_matmul_precision()
    torch.manual_seed(3)
    train()
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_float32_matmul_precision() == precision


def never_transmitting():
    context = torch.rand(40, 2, generator=torch.Generator().manual_seed(2))
    return make_traffic_windows(context, torch.zeros(40), 6, 3)


def test_the_returned_model_holds_the_best_epochs_weights_and_so_does_its_file(tmp_path):
    changed = {"learning_rate": 0.05, "num_epochs": 8, "use_scheduler": False}
    val = never_transmitting()  # what is learnt from the training data makes it worse
    model, histories, info = train(tmp_path, val=val, changed=changed)
    assert info["best_val_loss"] == min(histories["val_loss"])
    assert histories["val_loss"][info["best_epoch"] - 1] == info["best_val_loss"]
    assert info["best_epoch"] < 8
    other = train(changed={"num_epochs": 1})[0]
    assert load_checkpoint(tmp_path / "best_model.pt", other)["epoch"] == info["best_epoch"]
    assert equal(weights(model), weights(other))
    p = parameters(**changed)
    again = validate_model(model, _loader(TrafficDataset(val), p, shuffle=False), parameters=p)
    assert again["loss"] == pytest.approx(info["best_val_loss"], rel=1e-6)


def test_the_newest_three_checkpoints_by_number_are_kept_also_past_epoch_ten(tmp_path):
    (tmp_path / "checkpoint_epoch_99.pt").write_text("of another run")
    train(tmp_path, changed={"num_epochs": 12, "early_stop_patience": None})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"best_model.pt", *(f"checkpoint_epoch_{n}.pt" for n in (10, 11, 12, 99))}
    assert (tmp_path / "checkpoint_epoch_99.pt").read_text() == "of another run"


def test_histories_have_an_entry_an_epoch_and_components_add_up_to_the_loss():
    _, histories, info = train()
    assert list(histories) == ["train_loss", "val_loss", "learning_rate", "loss_components"]
    components = histories["loss_components"]
    assert list(components) == ["traffic", "classification", "transmission", "context"]
    assert {len(values) for values in (histories["train_loss"], *components.values())} == {4}
    for epoch, total in enumerate(histories["val_loss"]):
        traffic, classification, transmission, context = (values[epoch] for values in components.values())
        assert total == pytest.approx(traffic + 100 * classification + 500 * transmission + 100 * context, rel=1e-5)
        assert min(traffic, classification, transmission, context) > 0
    assert set(info) == {"best_epoch", "best_val_loss", "total_epochs_trained", "stopped_early"}


def test_the_learning_rate_decays_every_five_epochs_and_is_that_of_the_epoch_itself():
    _, histories, _ = train(changed={"num_epochs": 11, "early_stop_patience": None})
    assert histories["learning_rate"] == pytest.approx([1e-3] * 5 + [0.95e-3] * 5 + [0.95**2 * 1e-3])
    _, constant, _ = train(changed={"num_epochs": 7, "use_scheduler": False})
    assert set(constant["learning_rate"]) == {1e-3}


def test_early_stopping_ends_the_run_when_the_validation_loss_rests():
    changed = {"learning_rate": 0.3, "num_epochs": 40, "early_stop_patience": 2}
    _, histories, info = train(changed=changed)
    assert info["stopped_early"]
    assert info["total_epochs_trained"] == info["best_epoch"] + 2 == len(histories["val_loss"]) < 40


@pytest.mark.parametrize("accumulation_steps", [1, 2])
@pytest.mark.parametrize("patience", [3, None])
def test_stopped_and_resumed_equals_the_uninterrupted_run(tmp_path, accumulation_steps, patience):
    changed = {"num_epochs": 8, "early_stop_patience": patience, "learning_rate": 0.02}
    whole, histories, info = train(changed=changed, accumulation_steps=accumulation_steps)
    with pytest.raises(InterruptedError):
        train(tmp_path, changed=changed, accumulation_steps=accumulation_steps, handlers=[StopsAfter(3)])
    resume = tmp_path / "checkpoint_epoch_3.pt"
    resumed, again, other = train(changed=changed, accumulation_steps=accumulation_steps, resume_from=resume)
    assert (again, other) == (histories, info)
    assert equal(weights(whole), weights(resumed))


def test_a_fitted_path_is_resumed_with_the_weights_and_lowers_the_error_of_the_context(tmp_path):
    changed = {"num_epochs": 3, "fits_path": True, "calibrate_flags": True}
    whole, histories, info = train(changed=changed)
    with pytest.raises(InterruptedError):
        train(tmp_path, changed=changed, handlers=[StopsAfter(2)])
    resume = tmp_path / "checkpoint_epoch_2.pt"
    resumed, again, other = train(changed=changed, resume_from=resume)
    assert (again, other) == (histories, info)
    assert equal(weights(whole), weights(resumed))
    _, polynomial, _ = train()
    assert max(histories["loss_components"]["context"]) < min(polynomial["loss_components"]["context"])
    with pytest.raises(CheckpointError, match="extrapolation is unknown to the model"):
        train(changed={"num_epochs": 5}, resume_from=resume)


def test_the_flags_threshold_is_chosen_on_the_validation_windows_and_changes_nothing_else(tmp_path):
    from ignite_recipes import flag_threshold, load_model, predict_traffic, traffic_report

    plain, histories, info = train()
    model, again, other = train(changed={"calibrate_flags": True}, experiment=tmp_path / "runs")
    threshold = other.pop("flag_threshold")
    assert "flag_threshold" not in info
    assert (again, other) == (histories, info)
    assert equal(weights(plain), weights(model))
    said = predict_traffic(model, VAL)
    assert threshold == flag_threshold(said.transmission_logits.double().sigmoid(), VAL.transmissions)
    predictor = load_model(tmp_path / "runs" / "exp1" / "model.safetensors")
    assert predictor.flag_threshold == threshold
    assert predictor.evaluate(VAL) == traffic_report(said, VAL, threshold)
    assert predictor.evaluate(VAL)["f1"] >= traffic_report(said, VAL)["f1"]
    frame = predictor.predict(VAL)
    expected = traffic_report(said, VAL, threshold)
    guesses = frame.select(f"sent_{k}" for k in (1, 2, 3)).to_numpy()
    assert 2 * (guesses * VAL.transmissions.numpy()).sum() / (
        guesses.sum() + VAL.transmissions.numpy().sum()
    ) == pytest.approx(expected["f1"])
    chances = frame.select(f"p_sent_{k}" for k in (1, 2, 3)).to_numpy()
    np.testing.assert_allclose(frame["transmissions"], chances.sum(1))
    assert (frame["transmissions_low"] <= frame["transmissions_high"]).all()


def test_a_last_batch_of_one_window_does_no_harm():
    arrays = windows(length=6 + 3 - 1 + 17)
    assert len(arrays.sources) == 17
    assert train(data=arrays)[2]["total_epochs_trained"] == 4


def test_one_epoch_and_validation_can_be_called_alone():
    p = parameters()
    model = train(changed={"num_epochs": 1})[0]
    loader = torch.utils.data.DataLoader(TrafficDataset(TRAIN), 16, collate_fn=collate_traffic)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    before = validate_model(model, loader, parameters=p)
    for seed in range(5):
        losses = train_one_epoch(model, loader, optimizer, parameters=p, seed=seed)
    assert list(losses) == list(before) == ["loss", "traffic", "classification", "transmission", "context"]
    assert validate_model(model, loader, parameters=p)["loss"] < before["loss"]


def test_a_handler_of_the_users_is_attached(tmp_path):
    best = BestCheckpoint(tmp_path / "mine.pt")
    _, _, info = train(handlers=[best])
    assert best.best == info["best_val_loss"]


def test_on_the_co2_series_it_is_better_than_the_baselines():
    train_arrays, val_arrays, _ = load_co2()
    p = getDefaultModelParams(10, 5, train_arrays, batch_size=256) | {"save_checkpoints": False, "num_epochs": 30}
    model, _, _ = trainModel(p, train_arrays, val_arrays, verbose=False)
    assert not model.training
    report = traffic_report(predict_traffic(model, val_arrays), val_arrays)
    for name, baseline in baseline_reports(train_arrays, val_arrays).items():
        assert report["traffic_mse"] < 0.8 * baseline["traffic_mse"]
        for measure in ("accuracy", "kappa", "precision", "recall"):
            if (name, measure) != ("always transmit", "recall"):  # which is 1
                assert report[measure] > baseline[measure]


def spoilt(index, row, value):
    arrays = [array.clone() for array in TRAIN]
    arrays[index][row] = value
    return arrays


BAD_DATA = {
    "nan": (spoilt(1, 5, float("nan")), r"targets.*row 5"),
    "infinity": (spoilt(0, 2, float("inf")), r"sources.*row 2"),
    "a class out of range": (spoilt(5, 4, 9.0), r"target_class.*row 4"),
    "no flag": (spoilt(6, 3, 0.5), r"transmissions.*row 3"),
    "counts": ([*TRAIN[:4], TRAIN[4] * 3, *TRAIN[5:]], r"target_traffic must be .*target_traffic / 3"),
    "classes that contradict the flags": (
        [*TRAIN[:5], TRAIN[5].roll(1, 0), *TRAIN[6:]],
        r"target_class must be .*transmissions\.sum",
    ),
    "unequal lengths": ([*TRAIN[:3], TRAIN[3][:-1], *TRAIN[4:]], "source_traffic"),
    "seven arrays": (list(TRAIN[:7]), "eight|8"),
}


@pytest.mark.parametrize("name", BAD_DATA)
@pytest.mark.parametrize("position", ["data", "val"])
def test_arrays_that_are_not_sound_are_refused_by_name_and_row(tmp_path, name, position):
    arrays, message = BAD_DATA[name]
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "new", **{position: arrays})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("sizes", [{"len_source": 7}, {"len_target": 4}, {"len_target": 2}], ids=str)
def test_validation_windows_of_other_sizes_are_refused_before_training(tmp_path, sizes):
    with pytest.raises(ValueError, match=r"testData must have .* of trainData, \(6, 3, 2\); got \("):
        train(tmp_path / "new", val=windows(**sizes))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"learning_rte": 1}, r"unknown parameter 'learning_rte'; did you mean 'learning_rate'\?"),
        ({"zzz": 1}, "unknown parameter 'zzz'; the parameters are: input_size"),
        ({"num_epochs": 0}, "num_epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"early_stop_patience": 0}, "patience"),
        ({"gradient_clip": 0.0}, "max_norm"),
        ({"degree": 6}, "len_source must be at least degree"),
        ({"len_source": 7}, "len_source must be that of the data, 6; got 7"),
        ({"output_size": 4}, "output_size must be len_target"),
        ({"fits_path": 1}, "fits_path must be True or False; got 1"),
        ({"calibrate_flags": "yes"}, "calibrate_flags must be True or False"),
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "new", changed=changed)
    assert not (tmp_path / "new").exists()


def test_a_resume_with_other_parameters_or_another_file_is_refused(tmp_path):
    train(tmp_path)
    file = tmp_path / "checkpoint_epoch_4.pt"
    with pytest.raises(ValueError, match="weight_decay is"):
        train(changed={"weight_decay": 0.0, "num_epochs": 6}, resume_from=file)
    with pytest.raises(ValueError, match="seed must be that of the run"):
        train(changed={"seed": 1, "num_epochs": 6}, resume_from=file)
    with pytest.raises(CheckpointError, match="another architecture"):
        train(changed={"hidden_size": 9, "num_epochs": 6}, resume_from=file)


def test_the_printed_line_shows_time_best_patience_and_rate(capsys):
    trainModel(parameters(), TRAIN, VAL, verbose=True)
    first = capsys.readouterr().out.splitlines()[0]
    for word in ("Epoch 1/4", "train", "val", "⭐", "patience 0/10", "learning rate 0.001", "20"):
        assert word in first
