"""Covariates reach encoder and decoder, are scaled by what the file holds, and are neither modelled nor made noisy."""

import pytest
import torch

from ignite_recipes import (
    RowDataset,
    VariationalAutoencoder,
    VectorEmbedder,
    extract_embeddings,
    importance_weighted_nll,
    load_model,
    plot_reconstructions,
    save_for_inference,
    save_model,
    train_variational_autoencoder,
)

SETTINGS = {"print_every": None, "seed": 0, "batch_size": 50}


def a_model(**settings):
    torch.manual_seed(0)
    return VariationalAutoencoder(6, latent_dimension=2, hidden_dimension=16, covariates=2, **settings)


def rows(count=400):
    """Each species is there or not by the sign of the first covariate; the second says nothing."""
    generator = torch.Generator().manual_seed(1)
    c = torch.randn(count, 2, generator=generator) * torch.tensor([1.0, 100.0]) + torch.tensor([0.0, 500.0])
    x = (torch.rand(count, 6, generator=generator) < torch.where(c[:, :1] > 0, 0.9, 0.1)).float()
    return torch.cat([x, c], 1)


def test_without_covariates_everything_is_as_it_was():
    torch.manual_seed(3)
    plain = VariationalAutoencoder(6, 2, 16)
    torch.manual_seed(3)
    none = VariationalAutoencoder(6, 2, 16, covariates=0)
    assert plain.state_dict().keys() == none.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), none.parameters(), strict=True))
    assert (
        plain.arguments() == none.arguments() == {"input_dimension": 6, "latent_dimension": 2, "hidden_dimension": 16}
    )


def test_it_takes_rows_and_gives_features():
    model = a_model()
    reconstruction, mean, _ = model(rows(5))
    assert reconstruction.shape == (5, 6)
    assert mean.shape == (5, 2)
    assert model.decode(torch.zeros(5, 2), rows(5)[:, 6:]).shape == (5, 6)
    assert model.sample(3, torch.zeros(2)).shape == (3, 6)
    assert model.log_likelihood(rows(5), torch.zeros(7, 5, 2)).shape == (7, 5)
    with pytest.raises(ValueError, match="6 features and 2 covariates"):
        model.encode(torch.zeros(5, 6))


def test_an_unknown_covariate_counts_as_the_mean_and_scale_does_not_matter():
    model, data = a_model(), rows()
    model.standardize_covariates(data[:, 6:])
    unknown, mean = data.clone(), data.clone()
    unknown[:, 7], mean[:, 7] = float("nan"), data[:, 7].mean()
    assert torch.allclose(model.embed(unknown), model.embed(mean), atol=1e-4)
    other = a_model()
    scaled = torch.cat([data[:, :6], 10 * data[:, 6:] - 3], 1)
    other.standardize_covariates(scaled[:, 6:])
    assert torch.allclose(model.embed(data), other.embed(scaled), atol=1e-4)


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        (torch.zeros(4, 3), r"must be \(N, 2\)"),
        (torch.zeros(4), r"must be \(N, 2\)"),
        (torch.full((4, 2), torch.inf), "must be finite"),
    ],
)
def test_covariates_that_cannot_be_scaled_are_refused(covariates, message):
    with pytest.raises(ValueError, match=message):
        a_model().standardize_covariates(covariates)


def test_a_constant_or_unknown_covariate_does_no_harm():
    model = a_model()
    model.standardize_covariates(torch.tensor([[1.0, torch.nan], [1.0, torch.nan]]))
    assert model.covariate_deviation.tolist() == [1, 1]
    assert model.embed(rows(5)).isfinite().all()


def test_training_learns_what_the_covariate_says_and_leaves_nothing_of_it_to_the_latent_space():
    data = rows()
    model = a_model()
    model.standardize_covariates(data[:300, 6:])
    told = train_variational_autoencoder(model, data[:300], data[300:], 40, 0.01, **SETTINGS)
    torch.manual_seed(0)
    plain = VariationalAutoencoder(6, 2, 16)
    untold = train_variational_autoencoder(plain, data[:300, :6], data[300:, :6], 40, 0.01, **SETTINGS)
    assert min(told["val_loss"]) < min(untold["val_loss"]) - 0.3  # nats: 2.0 are the entropy of six such species
    wet, dry = (model.decode(torch.zeros(1, 2), torch.tensor([[sign, 500.0]])).mean().item() for sign in (1, -1))
    assert wet > 0.75
    assert dry < 0.25
    bound = importance_weighted_nll(model, data[300:], 50).nll
    assert bound < min(told["val_loss"]) + 0.1


def test_noise_leaves_covariates_alone_and_bad_ones_are_refused():
    seen = []

    class Watched(VariationalAutoencoder):
        def encode(self, x):
            seen.append(x.detach().clone())
            return super().encode(x)

    data = rows(100)
    model = Watched(6, 2, 16, covariates=2)
    train_variational_autoencoder(model, data, None, 1, noise_std=0.5, **SETTINGS)
    trained = torch.cat([x for x in seen if len(x) == 50])
    assert sorted(trained[:100, 7].tolist()) == sorted(data[:, 7].tolist())
    assert not torch.equal(trained[:100, :6].sort(0).values, data[:, :6].sort(0).values)
    data[3, 6] = torch.inf
    with pytest.raises(ValueError, match="covariates that are finite, or NaN"):
        train_variational_autoencoder(a_model(), data, None, 1, **SETTINGS)
    with pytest.raises(ValueError, match="6 features and 2 covariates; got 6"):
        train_variational_autoencoder(a_model(), rows()[:, :6], None, 1, **SETTINGS)


@pytest.mark.parametrize("settings", [{"importance_samples": 3}, {"likelihood": "poisson"}, {"compile": "step"}])
def test_every_variant_trains_with_covariates(settings):
    of_model = {key: value for key, value in settings.items() if key == "likelihood"}
    options = {key: value for key, value in settings.items() if key not in of_model}
    data, model = rows(100), a_model(**of_model)
    model.standardize_covariates(data[:, 6:])
    history = train_variational_autoencoder(model, data, data, 2, **SETTINGS, **options)
    assert history["val_loss"][1] < history["val_loss"][0]


def test_files_embeddings_and_pictures_take_rows(tmp_path):
    model, data = a_model().eval(), rows(20)
    model.standardize_covariates(data[:, 6:])
    names = [*"abcdef", "effort", "season"]
    embedder = VectorEmbedder(model, feature_names=names)
    again = load_model(save_model(tmp_path / "model.safetensors", embedder))
    assert again.predict(data).equals(embedder.predict(data))
    assert torch.equal(again.model.covariate_mean, model.covariate_mean)
    assert embedder.predict(data, "reconstruction").columns == [f"r_{name}" for name in "abcdef"]
    assert embedder.evaluate(data, importance_samples=5)["nll"] > 0
    assert torch.equal(extract_embeddings(model, RowDataset(data)), model.embed(data))
    program = torch.export.load(save_for_inference(model, tmp_path / "vae.pt2", names)).module()
    embeddings, reconstructions = program(data)
    assert torch.allclose(embeddings, model.embed(data), atol=1e-6)
    assert torch.allclose(reconstructions, model.decode(model.embed(data), data[:, 6:]), atol=1e-6)
    assert plot_reconstructions(model, data, 3, feature_names=names).axes


def test_vectors_that_are_all_equal_are_warned_of_whatever_the_covariates_are(caplog):
    data = rows(100)
    data[:, :6] = 1.0
    train_variational_autoencoder(a_model(), data, None, 1, **SETTINGS)
    assert "the training vectors should differ" in caplog.text
