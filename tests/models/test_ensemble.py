"""The mean of several models, for every kind of predictor, as a module, as a file and as an exported program."""

import pandas as pd
import pytest
import torch
from torch import nn

from ignite_recipes import (
    ArrayPredictor,
    CheckpointError,
    TrafficPredictor,
    VariationalAutoencoder,
    VectorEmbedder,
    WindowPredictor,
    load_model,
    make_traffic_windows,
    multilayer_perceptron,
    save_model,
    train_on_table,
)
from ignite_recipes.models.architecture import architecture_of, make_architecture
from ignite_recipes.models.ensemble import mean_of_predictors
from ignite_recipes.models.mean_of_models import MeanOfModels

X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))


def nets(count=3, outputs=2):
    torch.manual_seed(0)
    return [multilayer_perceptron(4, outputs, 8).eval() for _ in range(count)]


def test_of_classes_the_probabilities_are_averaged():
    models = nets()
    mean = torch.stack([model(X).softmax(1) for model in models]).mean(0)
    torch.testing.assert_close(MeanOfModels(models, of_classes=True).eval()(X).softmax(1), mean)


def test_of_numbers_the_numbers_are_averaged():
    models = nets(outputs=1)
    mean = torch.stack([model(X) for model in models]).mean(0)
    torch.testing.assert_close(MeanOfModels(models, of_classes=False).eval()(X), mean)


def test_an_ensemble_of_one_is_that_one_and_extreme_scores_stay_finite():
    (model,) = nets(1)
    torch.testing.assert_close(MeanOfModels([model], of_classes=True).eval()(X).softmax(1), model(X).softmax(1))
    with torch.no_grad():
        model[-1].weight.mul_(1e6)
    assert torch.isfinite(MeanOfModels([model], of_classes=True).eval()(X).softmax(1)).all()


def test_its_models_are_copies():
    models = nets()
    ensemble = MeanOfModels(models, of_classes=True).eval()
    before = ensemble(X)
    nn.init.zeros_(models[0][0].weight)
    assert torch.equal(ensemble(X), before)
    with pytest.raises(ValueError, match="at least one model"):
        MeanOfModels([], of_classes=True)


def test_a_classifier_of_arrays_goes_through_a_file(tmp_path):
    predictor = mean_of_predictors([ArrayPredictor(model, class_names=["crow", "kite"]) for model in nets()])
    again = load_model(save_model(tmp_path / "mean.safetensors", predictor))
    assert again.predict(X).equals(predictor.predict(X))
    assert architecture_of(again.model)["name"] == "mean_of_models"


def test_a_table_has_the_preprocessing_of_each_member(tmp_path):
    table = pd.DataFrame({"size": [float(k % 17) for k in range(80)], "kind": list("ab") * 40})
    table["price"] = 3 * table["size"] + 50 * (table["kind"] == "b")
    members = [
        train_on_table(table, "price", epochs=3, seed=seed, device="cpu", verbose=False)["predictor"] for seed in (0, 1)
    ]
    assert members[0].target.mean != members[1].target.mean  # each has learnt its own scale
    predictor = mean_of_predictors(members)
    mean = (members[0].predict(table)["prediction"] + members[1].predict(table)["prediction"]) / 2
    assert predictor.predict(table)["prediction"].to_numpy() == pytest.approx(mean.to_numpy())
    again = load_model(save_model(tmp_path / "mean.safetensors", predictor))
    assert again.predict(table)["prediction"].tolist() == predictor.predict(table)["prediction"].tolist()
    assert again.evaluate(table) == predictor.evaluate(table)
    with pytest.raises(ValueError, match="export its members"):
        predictor.program()


def test_a_traffic_predictor_averages_all_that_it_says(tmp_path):
    torch.manual_seed(0)
    windows = make_traffic_windows(torch.rand(40, 2), torch.ones(40), 10, 3)
    members = [WindowPredictor(TrafficPredictor(2, 3, hidden_size=8).eval()) for _ in range(2)]
    found = mean_of_predictors(members)
    frames = [member.predict(windows) for member in members]
    for name in ("traffic", "p_0", "p_3", "p_sent_2"):
        wanted = (frames[0][name] + frames[1][name]) / 2
        assert found.predict(windows)[name].to_list() == pytest.approx(wanted.to_list(), rel=1e-4)
    again = load_model(save_model(tmp_path / "mean.safetensors", found))
    assert again.predict(windows).equals(found.predict(windows))


def test_there_is_no_mean_of_latent_spaces_nor_of_different_things():
    with pytest.raises(ValueError, match="nothing in common"):
        mean_of_predictors([VectorEmbedder(VariationalAutoencoder(4, 2, 8)) for _ in range(2)])
    two, three = (ArrayPredictor(multilayer_perceptron(4, n), class_names=range(n)) for n in (2, 3))
    with pytest.raises(ValueError, match="the same classes"):
        mean_of_predictors([two, three])
    with pytest.raises(ValueError, match="of one kind"):
        mean_of_predictors([two, VectorEmbedder(VariationalAutoencoder(4, 2, 8))])


def test_of_models_of_ones_own_a_file_is_read_into_models_that_are_given(tmp_path):
    def make():
        return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))

    predictor = mean_of_predictors([ArrayPredictor(make(), class_names=["a", "b"]) for _ in range(2)])
    path = save_model(tmp_path / "mean.safetensors", predictor)
    with pytest.raises(CheckpointError, match="a model of your own"):
        load_model(path)
    again = load_model(path, MeanOfModels([make(), make()], of_classes=True))
    assert again.predict(X).equals(predictor.predict(X))


@pytest.mark.parametrize(
    "arguments",
    [
        {"models": [], "of_classes": True},
        {"models": "no", "of_classes": True},
        {"models": [{"name": "os.system", "arguments": {}}], "of_classes": True},
        {"models": [{"name": "multilayer_perceptron", "arguments": {"input_dimension": 1 << 40}}], "of_classes": True},
        {"models": [None], "of_classes": False},
        {"models": []},
    ],
)
def test_a_forged_ensemble_is_refused(arguments):
    with pytest.raises(ValueError, match=r"architecture|ensemble|weights|argument"):
        make_architecture({"name": "mean_of_models", "arguments": arguments}, {})
