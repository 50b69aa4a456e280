"""All models are asked for the same hidden species, and a model that knows more is said to be better."""

import numpy as np
import pytest
import torch

from ignite_recipes import VariationalAutoencoder, evaluate_held_out_species, train_variational_autoencoder
from ignite_recipes.answers.held_out_species import compare_on_hidden

NAMES = ["kite", "crow", "owl", "duck", "heron", "stork"]


def checklists(count, seed=0):
    """Of two habitats with three species each, and one covariate that tells nothing."""
    generator = torch.Generator().manual_seed(seed)
    habitat = torch.rand(count, 1, generator=generator) < 0.5
    chance = torch.where(habitat, torch.tensor([0.9] * 3 + [0.05] * 3), torch.tensor([0.05] * 3 + [0.9] * 3))
    return (torch.rand(count, 6, generator=generator) < chance).float(), torch.randn(count, 1, generator=generator)


@pytest.fixture(scope="module")
def found():
    (train, effort), (val, new_effort) = checklists(600), checklists(300, 1)
    torch.manual_seed(0)
    model = VariationalAutoencoder(6, 2, 32)
    train_variational_autoencoder(model, train, val, 30, 0.01, seed=0, print_every=None, batch_size=100)
    efforts = effort.numpy(), new_effort.numpy()
    return evaluate_held_out_species(model, train, val, NAMES, effort=efforts, ks=(1, 3))


def test_the_table_has_a_row_for_each_model_and_species(found):
    assert found.models["model"].to_list() == ["VAE", "EASE", "effort and season", "prevalence"]
    assert found.checklists == 300
    assert found.species.height == 4 * 6
    assert found.species["species"].to_list()[:6] == NAMES
    same = found.species.group_by("species").n_unique()
    assert same["checklists"].to_list() == same["present"].to_list() == [1] * 6


def test_who_knows_the_habitat_is_better_than_who_does_not(found):
    rows = {row["model"]: row for row in found.models.to_dicts()}
    for measure in ("recall@1", "ndcg@3", "average_precision"):
        for better in ("VAE", "EASE"):
            for worse in ("effort and season", "prevalence"):
                assert rows[better][measure] > rows[worse][measure] + 0.1
    assert rows["VAE"]["brier"] < 0.15 < 0.23 < rows["prevalence"]["brier"]  # 0.25 is a coin's
    assert rows["VAE"]["calibration_error"] < 0.06
    assert rows["EASE"]["brier"] is None


def test_measures_of_known_scores():
    present = np.array([[True, False, False], [True, True, False]])
    every = np.ones_like(present)
    perfect = compare_on_hidden({"oracle": (present.astype(float), True)}, present, every, ["a", "b", "c"], [1])
    row = perfect.models.to_dicts()[0]
    assert (row["recall@1"], row["ndcg@1"], row["average_precision"], row["brier"]) == (1, 1, 1, 0)
    assert perfect.species["average_precision"].to_list() == [1, 1, None]  # nobody saw the third
    assert perfect.species["present"].to_list() == [2, 1, 0]


def test_the_models_own_covariates_are_the_regressions():
    (train, effort), (val, new_effort) = checklists(80), checklists(40, 1)
    model = VariationalAutoencoder(6, 2, 8, covariates=1)
    rows = torch.cat([train, effort], 1), torch.cat([val, new_effort], 1)
    found = evaluate_held_out_species(model, *rows, ks=[2], samples=5)
    assert "effort and season" in found.models["model"].to_list()
    assert found.species["species"].to_list()[:6] == [str(k) for k in range(6)]
    again = evaluate_held_out_species(model, *rows, ks=[2], samples=5)
    assert again.models.equals(found.models)
    other = evaluate_held_out_species(model, *rows, ks=[2], samples=5, seed=1)
    assert not other.models.equals(found.models)


BAD = {
    "nothing hidden": ({"hidden": 0.0}, "hidden must be a chance"),
    "a word": ({"hidden": "half"}, "hidden must be a chance"),
    "no rank": ({"ks": [0]}, "ks must be a whole number"),
    "other names": ({"species": ["a"]}, "species must name the 6 features"),
    "no penalty": ({"penalty": 0.0}, "penalty must be positive"),
}


@pytest.mark.parametrize("case", BAD)
def test_settings_out_of_their_range_are_refused(case):
    settings, message = BAD[case]
    rows = checklists(20)[0]
    with pytest.raises(ValueError, match=message):
        evaluate_held_out_species(VariationalAutoencoder(6, 2, 8), rows, rows, **settings)


def test_values_that_are_not_0_or_1_are_refused():
    rows = torch.full((4, 6), 0.5)
    with pytest.raises(ValueError, match="species must be 0 or 1"):
        evaluate_held_out_species(VariationalAutoencoder(6, 2, 8), rows, rows)
