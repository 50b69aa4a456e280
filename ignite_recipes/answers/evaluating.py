"""How good an experiment's model is on data whose truth is known."""

import os
from typing import Any

import torch
from torch import nn

from ignite_recipes.answers.inputs import Inputs, read_inputs, true_values
from ignite_recipes.answers.trained import Trained, find_trained
from ignite_recipes.models import ArrayPredictor, TablePredictor, VectorEmbedder
from ignite_recipes.plotting.histories import Experiment

__all__ = ["evaluate", "evaluate_inputs"]


def evaluate(
    experiment: Experiment,
    data: Any = None,
    targets: Any = None,
    *,
    model: nn.Module | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
    device: str | torch.device | None = "auto",
    importance_samples: int | None = None,
) -> dict[str, float]:
    """Measure how good the best weights of an experiment are, in evaluation mode.

    Args:
        experiment, model, runs_dir, device: as in :func:`predict`.
        data: as in :func:`predict`, with the true values: the target's column of a table, the pair of inputs and
            targets that ``train_model_advanced`` and ``Trainer`` take, or a folder with one folder of images for each
            class. Without data the validation data of the run are used.
        targets: the numbers of the true classes or the true numbers (N,), for data that do not hold them.
        importance_samples: for each vector, of a variational autoencoder: also measure its likelihood and its latent
            space. With 5,000, as papers have it, the bound is as good as -log p(x).

    Returns:
        For classes ``accuracy``, ``balanced_accuracy`` and ``f1`` (a mean over the classes) in percent, ``log_loss`` in
        nats and for two classes ``roc_auc``; for numbers ``rmse`` and ``mae`` in the target's units and ``r2``; for a
        traffic predictor the entries of :func:`traffic_report`; for a variational autoencoder ``loss, recon_loss,
        kl_loss`` in nats per vector. With ``importance_samples`` also ``nll``, the importance-weighted bound of -log
        p(x), with ``nll_standard_error`` as the vectors vary and ``nll_sampling_error`` as the samples do;
        ``active_units``, ``mutual_information`` and ``marginal_kl``, and the divergence of each latent dimension,
        ``kl_z1``, ``kl_z2``, ...

    Raises:
        ValueError: if the true values are not known, the data differ in kind from those of the training, or importance
            samples are given for another model.
        FileNotFoundError, CheckpointError: as :func:`predict`.

    >>> import tempfile
    >>> from ignite_recipes.cli import main
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = main(["supervised", "--epochs", "1", "--device", "cpu", "--runs-dir", folder])
    ...     measures = evaluate("exp1", runs_dir=folder, device="cpu")
    Epoch 1/1 | ...
    >>> list(measures)
    ['accuracy', 'balanced_accuracy', 'f1', 'log_loss']
    """
    trained = find_trained(experiment, runs_dir=runs_dir, model=model, device=device)
    return evaluate_inputs(trained, read_inputs(trained, data, targets), importance_samples)


def evaluate_inputs(trained: Trained, inputs: Inputs, importance_samples: int | None = None) -> dict[str, float]:
    """The measures of samples that were read."""
    predictor = trained.predictor
    if isinstance(predictor, VectorEmbedder):
        return predictor.evaluate(inputs.data, importance_samples=importance_samples)
    if importance_samples is not None:
        raise ValueError(
            f"importance_samples are for a variational autoencoder; {trained.name} was trained by {trained.recipe}: "
            "leave them out"
        )
    if not isinstance(predictor, (TablePredictor, ArrayPredictor)):
        return predictor.evaluate(inputs.data)
    is_pairs = inputs.targets is None and not hasattr(inputs.data, "shape")  # a data set, or a loader
    return predictor.evaluate(inputs.data, None if is_pairs else true_values(trained, inputs, "evaluate with"))
