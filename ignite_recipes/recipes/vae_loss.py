"""The loss of a variational autoencoder as the recipe trains it: clean vectors, reconstructed from noisy ones."""

import math
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from ignite_recipes.arguments import shown, whole_number
from ignite_recipes.engine.losses import LossFunction
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.exchange.sharded import is_sharded
from ignite_recipes.handlers import KLSchedule
from ignite_recipes.loading.batches import first_item
from ignite_recipes.models.likelihoods import Likelihood, likelihood_named
from ignite_recipes.models.vae import VariationalAutoencoder, decoded, features_of
from ignite_recipes.models.vae_losses import importance_weighted_losses, vae_losses

__all__ = ["inputs_of", "kl_schedule", "likelihood_of", "vae_loss_function", "vectors_of"]


def likelihood_of(model: nn.Module, name: str | None) -> Likelihood:
    """The one that a model is trained by.

    Raises:
        ValueError: if the name is of none, or of another one than the model is made for; if the model is a module of
            one's own and the likelihood has scales, which it has no place for.
    """
    plain = unwrap(model)
    if isinstance(plain, VariationalAutoencoder):
        if name is not None and likelihood_named(name) is not plain.likelihood:
            raise ValueError(
                f"likelihood must be the model's own, {plain.likelihood}; got {name!r}: make the model with "
                f"likelihood={name!r}, or leave it out here"
            )
        return plain.likelihood
    found = likelihood_named("bernoulli" if name is None else name)
    if found.has_scale:
        raise ValueError(
            f"likelihood {found} has scales, which are the model's; got a {type(plain).__name__}: use a "
            f"VariationalAutoencoder(..., likelihood={found.name!r})"
        )
    return found


def kl_schedule(beta: float, kl_epochs: float, kl_cycles: int, device: torch.device) -> KLSchedule:
    """The weight of the divergence.

    Raises:
        ValueError: for a setting out of its range, by the name that it has in the recipe.
    """
    if not isinstance(kl_epochs, (float, Real)) or not 0 <= kl_epochs < math.inf:
        raise ValueError(f"kl_epochs must be a number of epochs, at least 0; got {shown(kl_epochs)}")
    if whole_number(kl_cycles, "kl_cycles") > 1 and not kl_epochs:
        raise ValueError(f"kl_cycles={kl_cycles} must have epochs to be in; got kl_epochs=0: say how long they take")
    return KLSchedule(beta, epochs=kl_epochs, cycles=kl_cycles, device=device)


def vae_loss_function(
    model: nn.Module,
    likelihood: Likelihood,
    schedule: KLSchedule,
    free_bits: float,
    importance_samples: int | None,
) -> LossFunction:
    """The loss function of a run.

    Its settings are constants of a compiled step; only the weight of the divergence changes, in its tensor.

    Raises:
        ValueError: for a setting out of its range, or importance samples of a model that has no likelihood.
    """
    if not isinstance(free_bits, (float, Real)) or not 0 <= free_bits < math.inf:
        raise ValueError(f"free_bits must be at least 0, in nats per latent dimension; got {shown(free_bits)}")
    if is_sharded(unwrap(model)) and (importance_samples is not None or likelihood.has_scale):
        raise ValueError(
            "a model whose weights are shared out over the ranks is trained by its forward pass alone; got "
            f"importance_samples={importance_samples}, likelihood {likelihood}: let every rank have the whole model"
        )
    settings: dict[str, Any] = {"likelihood": likelihood}
    if not schedule.is_constant or schedule.beta != 1:
        settings["kl_weight"] = schedule.weight
    if importance_samples is None:
        return partial(_denoising_loss, free_bits=free_bits, **settings)
    samples = whole_number(importance_samples, "importance_samples")
    if free_bits:
        raise ValueError(
            "free_bits are for the evidence lower bound; got importance_samples too: leave one of them out"
        )
    plain = unwrap(model)
    if missing := [name for name in ("encode", "decode", "log_likelihood") if not callable(getattr(plain, name, None))]:
        raise ValueError(
            "importance_samples need a model with encode(x), decode(z) and log_likelihood(x, z); "
            f"{type(plain).__name__} has no {missing[0]}: use a VariationalAutoencoder, or add it"
        )
    return partial(_importance_weighted_loss, samples=samples, **settings)


def vectors_of(batch: Any) -> Tensor:
    """The rows of a batch, as inputs of the model: vectors (N, D), and covariates (N, C) after them."""
    return first_item(batch).float()  # type: ignore[no-any-return]  # loaders of bool, uint8 or float64 are welcome


def inputs_of(model: nn.Module) -> Callable[[Any], Tensor]:
    """Takes of a batch what noise or an augmentation may change: the vectors (N, D), without covariates."""
    plain: Any = unwrap(model)
    return partial(_features_of, plain.input_dimension) if getattr(plain, "covariates", 0) else vectors_of


def _features_of(count: int, batch: Any) -> Tensor:
    return vectors_of(batch)[:, :count]


def _with_covariates(plain: Any, inputs: Tensor, rows: Tensor) -> Tensor:
    """Inputs (N, D) with the covariates of the rows (N, D + C), where the model has some."""
    return torch.cat([inputs, plain.covariates_of(rows)], 1) if getattr(plain, "covariates", 0) else inputs


def _denoising_loss(
    model: nn.Module,
    inputs: Tensor,
    batch: Any,
    *,
    likelihood: Likelihood,
    free_bits: float = 0.0,
    kl_weight: float | Tensor = 1.0,
    give_outputs: bool = False,
) -> dict[str, Any]:
    """Reconstruct the clean vectors of ``batch`` from the noisy ``inputs``; in evaluation without weights."""
    plain: Any = unwrap(model)
    gives_logits = isinstance(plain, VariationalAutoencoder)
    rows = vectors_of(batch)
    inputs, vectors = _with_covariates(plain, inputs, rows), features_of(plain, rows)
    outputs, mean, log_variance = model(inputs, logits=True) if gives_logits else model(inputs)
    weights: dict[str, Any] = {"kl_weight": kl_weight, "free_bits": free_bits} if model.training else {}
    losses = vae_losses(
        outputs,
        vectors,
        mean,
        log_variance,
        logits=gives_logits,
        likelihood=likelihood.name,
        log_scale=plain.current_log_scale if gives_logits else None,
        **weights,
    )
    if not give_outputs:
        return losses
    is_mean = not gives_logits and likelihood.name == "bernoulli"
    return {**losses, "outputs": outputs if is_mean else likelihood.mean(outputs), "targets": vectors}


def _importance_weighted_loss(
    model: nn.Module,
    inputs: Tensor,
    batch: Any,
    *,
    likelihood: Likelihood,
    samples: int,
    kl_weight: float | Tensor = 1.0,
    give_outputs: bool = False,
) -> dict[str, Any]:
    """The same with the importance-weighted bound; the outputs are what the latent means are decoded to."""
    plain: Any = unwrap(model)
    rows = vectors_of(batch)
    inputs = _with_covariates(plain, inputs, rows)
    weight = kl_weight if model.training else 1.0
    losses = importance_weighted_losses(plain, inputs, rows, samples, kl_weight=weight)
    if not give_outputs:
        return losses
    outputs = decoded(plain, rows, plain.encode(inputs)[0])
    return {**losses, "outputs": outputs, "targets": features_of(plain, rows)}
