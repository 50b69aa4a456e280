"""A species' embedding is how its log-odds rise along the latent dimensions; neighbours point the same way."""

import numpy as np
import pytest
import torch
from torch import nn

from ignite_recipes import VariationalAutoencoder, species_embeddings
from ignite_recipes.models.species_embeddings import nearest_rows


def test_of_a_linear_decoder_they_are_its_weights_in_deviations_of_the_means():
    model = VariationalAutoencoder(7, latent_dimension=3, num_layers=0)
    means = torch.randn(200, 3) @ torch.randn(3, 3) + 5
    slopes = model.decoder_network[0].weight * means.std(0, correction=0)
    assert torch.allclose(species_embeddings(model, means), slopes, atol=1e-4)


def test_a_dimension_that_is_not_used_has_no_part():
    model = VariationalAutoencoder(7, latent_dimension=3, num_layers=0)
    means = torch.randn(200, 3) * torch.tensor([1.0, 1.0, 0.0])
    assert species_embeddings(model, means)[:, 2].abs().max() < 1e-6


def test_neighbours_are_by_direction_and_never_oneself():
    rows = np.array([[1.0, 0.0], [5.0, 0.1], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    numbers, cosines = nearest_rows(rows, 9)
    assert numbers.shape == (5, 4)
    assert numbers[0, 0] == 1
    assert numbers[0, -1] == 2
    assert all(k not in own for k, own in enumerate(numbers))
    assert (np.diff(cosines, axis=1) <= 1e-12).all()


def test_other_models_and_shapes_are_refused():
    with pytest.raises(TypeError, match="VariationalAutoencoder"):
        species_embeddings(nn.Linear(2, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="embeddings must be"):
        species_embeddings(VariationalAutoencoder(4, 2, 8), torch.zeros(3, 3))
