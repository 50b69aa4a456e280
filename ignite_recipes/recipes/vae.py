"""Train a denoising variational autoencoder."""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from ignite_recipes.checkpoint.newest import LATEST
from ignite_recipes.devices import as_device, move_model
from ignite_recipes.engine.blocks import looks_at_batch
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.handlers import Checkpointing, NoiseAugmentation
from ignite_recipes.loading.batches import first_item
from ignite_recipes.loading.given import as_loaders
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.models import VectorEmbedder
from ignite_recipes.models.vae import VariationalAutoencoder, vae_losses
from ignite_recipes.recipes.assembly import (
    attach_records,
    attach_step_handlers,
    attach_stopping,
    attach_validation,
    chosen_precision,
    fused_adam,
    new_evaluator,
    new_history,
    new_trainer,
    saves_inside,
    train_to,
)
from ignite_recipes.recipes.checks import check_count, check_positive, check_saves
from ignite_recipes.recipes.earlier_files import SetAside, epoch_files
from ignite_recipes.recipes.experiment_run import experiment_run
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.options import Attachable, RunOptions, Unpack, takes_run_options
from ignite_recipes.recipes.plain_settings import described

__all__ = ["train_variational_autoencoder"]
logger = logging.getLogger(__name__)

RECIPE = "train_variational_autoencoder"
HISTORY = [f"{part}_{name}" for part in ("train", "val") for name in ("loss", "recon_loss", "kl_loss")]
MODES = dict.fromkeys(HISTORY, "min")
PROBABILITY = 0.5  # of a feature, above which it counts as there for the metrics that are given by their names


@takes_run_options()
def train_variational_autoencoder(
    model: nn.Module,
    train_loader: Any,
    val_loader: Any,
    num_epochs: int = 50,
    learning_rate: float = 1e-3,
    noise_std: float = 0.1,
    device: str | torch.device = "cpu",
    print_every: int | None = 1,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    save_every: int = 10,
    *,
    patience: int | None = None,
    batch_size: int | None = None,
    **options: Unpack[RunOptions],
) -> dict[str, list[float]]:
    """Maximise the evidence lower bound of clean vectors, reconstructed from noisy ones, with Adam.

    Losses are in nats per vector: binary cross-entropy summed over the features, plus the KL divergence
    summed over the latent dimensions, averaged over the vectors. Training sees noisy inputs, validation
    clean ones. The model ends with its last weights, or, if ``patience`` is given, with its best ones. Metrics are
    given the reconstructions (N, D), probabilities, and the clean vectors. For known ones that are of classes vectors
    must be 0 or 1, and a feature is there above 0.5. What is no number is in the checkpoints' ``report``.
    Training vectors that are all equal, such as those of a matrix without absences, are warned of: a low
    loss then says nothing.

    Args:
        model: a :class:`VariationalAutoencoder`, or any module whose forward pass gives
            ``reconstruction, mean, log_variance`` with reconstructions in [0, 1].
        train_loader: batches (N, D) of vectors in [0, 1], or tuples or lists whose first item is one; or a data set, an
            array (N, D), a frame of numbers or a CSR matrix, see ``batch_size``.
        val_loader: the same, for validation; None trains without validation.
        num_epochs: the epoch to train to, counted from 1, also on a resume, whose history starts at epoch 1 too.
        learning_rate: of Adam.
        noise_std: standard deviation of the Gaussian noise on the inputs, which are clamped to [0, 1] again;
            0 is none.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, ... ; ``"auto"`` is the best one there is.
        print_every: epochs between two printed lines; None prints none.
        checkpoint_dir: where ``checkpoint_epoch_N.pt`` is written; None writes nothing. Those of an earlier run are
            moved to a folder in it first, ``earlier_1``.
        save_every: epochs between two checkpoints; the last epoch is always written.
        patience: epochs without a lower validation loss, or a better ``monitor``, after which to stop; None trains to
            the end.
        batch_size: rows per batch, where a data set or arrays stand in a loader's place; None is 32 to 1024, by the
            number of rows. They are shuffled for training, in order for validation.
        **options: those of every recipe, :class:`RunOptions`.

    Returns:
        ``train_loss, train_recon_loss, train_kl_loss, val_loss, val_recon_loss, val_kl_loss``, a float an
        epoch; the ``val_`` lists are empty without a validation set. Of each metric ``val_{name}``.

    Raises:
        ValueError: for a setting out of its range; an empty loader; data outside [0, 1], NaN included, or
            with another number of features than the model's; a resume with other settings. The weights are
            then as they were before the offending batch.
        NonFiniteError: for a loss or gradient that is not finite.
        FileNotFoundError, CheckpointError: if there is nothing sound to resume from.

    >>> model = VariationalAutoencoder(4, latent_dimension=2, hidden_dimension=8)
    >>> batches = [torch.eye(4)]
    >>> history = train_variational_autoencoder(model, batches, batches, 40, learning_rate=0.01, print_every=20)
    Epoch 20/40 | train ... (reconstruction ..., KL ...) | val ... (reconstruction ..., KL ...)
    Epoch 40/40 | train ... (reconstruction ..., KL ...) | val ... (reconstruction ..., KL ...)
    >>> history["val_loss"][-1] < history["val_loss"][0]
    True

    Reference: D. Kingma, M. Welling, arXiv:1312.6114; denoising: D. Im et al., arXiv:1511.06406.
    """
    check_count(num_epochs=num_epochs, save_every=save_every)
    if print_every is not None:
        check_count(print_every=print_every)
    check_positive(learning_rate=learning_rate)
    train_loader, val_loader = as_loaders(train_loader, val_loader, batch_size, of="vectors")
    run = experiment_run(options, checkpoint_dir=checkpoint_dir)
    has_place = checkpoint_dir is not None or run.is_kept
    check_saves(options["save_every_iterations"], has_place=has_place, place="checkpoint_dir")
    noise = NoiseAugmentation(noise_std)  # a level that makes no sense is refused here
    device = as_device(device)
    options["precision"] = chosen_precision(options, device)
    settings = {
        "latent_dim": getattr(unwrap(model), "latent_dimension", None),
        "hidden_dim": getattr(unwrap(model), "hidden_dimension", None),
        "noise_std": noise_std,
        "learning_rate": learning_rate,
        "patience": patience,
    }
    default = "train_loss" if val_loader is None else "val_loss"
    measuring = Measuring(options, MODES, default, validates=val_loader is not None, threshold=PROBABILITY)
    model = move_model(model, device)
    optimizer = fused_adam(model, device, learning_rate)
    trainer = new_trainer(
        model, optimizer, _denoising_loss, options, device=device, get_inputs=_vectors, settings=settings
    )
    unmeasured = [] if val_loader is not None else [name for name in HISTORY if name.startswith("val_")]
    history = new_history(HISTORY, measuring, unmeasured=unmeasured)

    # One step, in the order in which it happens.
    _InputCheck(model).attach(trainer)
    _VariationCheck().attach(trainer)
    if noise_std > 0:
        noise.attach(trainer)
    attach_step_handlers(trainer, options)

    # One epoch: measure, decide, save.
    if val_loader is not None:
        evaluator = new_evaluator(trainer, measuring)
        _InputCheck(model).attach(evaluator)
        attach_validation(trainer, evaluator, val_loader, measuring)
    if patience is not None:
        attach_stopping(trainer, patience, measuring)
    attach_records(trainer, history, _line, measuring, options, print_every=print_every)

    if val_loader is not None:
        _check_first_batch(val_loader, model)
    sizes = {"latent_dimension": settings["latent_dim"], "hidden_dimension": settings["hidden_dim"]}
    with run.open(RECIPE, described(model, train_loader, options, {**settings, **sizes})):
        run.attach(
            trainer, options, measuring, "nats per vector", _savers(checkpoint_dir, num_epochs, save_every, options)
        )
        train_to(num_epochs, trainer, train_loader, options, settings)
        run.write_model(lambda: _predictor(run.best_model(model), options), run.best_epoch)
    return history.epochs


def _savers(
    folder: str | os.PathLike[str] | None, num_epochs: int, save_every: int, options: RunOptions
) -> list[Attachable]:
    if folder is None:
        return []
    aside = SetAside(folder, [LATEST, *epoch_files(num_epochs)], options["resume_from"])
    return [aside, Checkpointing(folder, every=save_every), *saves_inside(folder, options["save_every_iterations"])]


def _predictor(model: nn.Module, options: RunOptions) -> VectorEmbedder:
    return VectorEmbedder(model, feature_names=(options["metadata"] or {}).get("features"))


def _vectors(batch: Any) -> Tensor:
    return first_item(batch).float()  # type: ignore[no-any-return]  # loaders of bool, uint8 or float64 are welcome


def _denoising_loss(model: nn.Module, inputs: Tensor, batch: Any, *, give_outputs: bool = False) -> dict[str, Tensor]:
    """Reconstruct the clean vectors of ``batch`` from the noisy ``inputs``."""
    gives_logits = isinstance(unwrap(model), VariationalAutoencoder)
    outputs = _with_target(model(inputs, logits=True) if gives_logits else model(inputs), batch)
    losses = vae_losses(*outputs, logits=gives_logits)
    if not give_outputs:
        return losses
    reconstruction, vectors, *_ = outputs
    return {**losses, "outputs": reconstruction.sigmoid() if gives_logits else reconstruction, "targets": vectors}


def _with_target(outputs: tuple[Tensor, Tensor, Tensor], batch: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    reconstruction, mean, log_variance = outputs
    return reconstruction, _vectors(batch), mean, log_variance


class _InputCheck:
    """Refuse a batch that is not (N, D) in [0, 1] before anything is computed with it.

    Runs:   trainer or evaluator, ITERATION_STARTED; for batches that lie on an accelerator already, whose
            values the host must not wait for, EPOCH_COMPLETED.
    """

    def __init__(self, model: nn.Module) -> None:
        self._features: int | None = getattr(unwrap(model), "input_dimension", None)
        self._outside: Tensor | None = None

    def __repr__(self) -> str:
        return "check that inputs are in [0, 1]"

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._read)

    @looks_at_batch
    def __call__(self, engine: Engine) -> None:
        state = engine.state
        self.check(state.batch, f"batch {state.iteration}")

    def check(self, batch: Any, where: str) -> None:
        x = first_item(batch)
        if not isinstance(x, Tensor) or x.dim() != 2 or len(x) == 0:
            got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(
                f"{where} must be a tensor of shape (N, D), or a tuple that begins with one; got {got}: "
                "create_dataloaders(train, val) makes batches of a data set's vectors"
            )
        if self._features not in (None, x.shape[1]):
            raise ValueError(
                f"{where} must have the model's {self._features} features; got {x.shape[1]}: "
                "make the model with input_dimension=len(species)"
            )
        if x.device.type == "cpu":
            self._check_range(x, where)
        else:
            outside = ~((x >= 0) & (x <= 1)).all()  # True for NaN as well
            self._outside = outside if self._outside is None else self._outside | outside

    def _check_range(self, x: Tensor, where: str) -> None:
        low, high = x.float().aminmax()
        if low >= 0 and high <= 1:  # False for NaN
            return
        row, feature = ((x >= 0) & (x <= 1)).logical_not().nonzero()[0].tolist()
        raise ValueError(
            f"{where} must be in [0, 1]; got {x[row, feature].item():g} at row {row}, feature {feature} "
            f"(its values go from {low:g} to {high:g}): scale the data, and fill or drop NaN"
        )

    def _read(self, engine: Engine) -> None:
        if self._outside is not None and self._outside.item():
            raise ValueError("the data must be in [0, 1]; an epoch held other values or NaN: scale the data")


class _VariationCheck:
    """Warn if all clean vectors of the first epoch are equal: there is nothing to learn from them.

    Runs:   trainer, ITERATION_STARTED until two vectors differ; EPOCH_COMPLETED of the first epoch, where the host
            waits for vectors that lie on an accelerator.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._differ: Tensor | None = None
        self._is_done = False

    def __repr__(self) -> str:
        return "check that vectors differ"

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._read)

    @looks_at_batch
    def __call__(self, engine: Engine) -> None:
        if self._is_done:
            return
        x = first_item(engine.state.batch)
        if self._first is None:
            self._first = x[0].clone()
        differ = (x != self._first).any()
        self._differ = differ if self._differ is None else self._differ | differ
        self._is_done = x.device.type == "cpu" and bool(differ)

    def _read(self, engine: Engine) -> None:
        if self._is_done or self._first is None or self._differ is None:
            return
        self._is_done = True
        if not self._differ.item():
            low, high = (value.item() for value in self._first.float().aminmax())
            logger.warning(
                "the training vectors should differ; all of epoch %d are the same, with values from %g to %g, so a low "
                "loss says nothing: check the filters that made them (a matrix of checklists needs absences too)",
                engine.state.epoch, low, high,
            )  # fmt: skip


def _check_first_batch(loader: Iterable[Any], model: nn.Module) -> None:
    """Find a wrong validation set before an epoch of training is spent."""
    check = _InputCheck(model)
    with preserve_generators():
        for batch in KeyedLoader(loader, 0, "validation"):
            check.check(batch, "the first validation batch")
            return
    raise ValueError("val_loader must yield at least one batch; got an empty one: pass None to do without")


def _line(metrics: Mapping[str, float]) -> str:
    parts = []
    for part in ("train", "val"):
        if f"{part}_loss" in metrics:
            loss, fit, divergence = (metrics[f"{part}_{name}"] for name in ("loss", "recon_loss", "kl_loss"))
            parts.append(f"{part} {loss:.4f} (reconstruction {fit:.4f}, KL {divergence:.4f})")
    return " | ".join(parts)
