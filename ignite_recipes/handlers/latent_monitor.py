"""Say that the latent space of a variational autoencoder is collapsing, while it happens."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from ignite_recipes.arguments import shown, whole_number
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.exchange.ranks import rank
from ignite_recipes.handlers._host import training_host_of
from ignite_recipes.loading.batches import first_item
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.models.vae_losses import kl_divergences
from ignite_recipes.models.vae_measures import ACTIVE_VARIANCE, unit_variances

__all__ = ["LatentMonitor"]

logger = logging.getLogger(__name__)

_MOST_VECTORS = 512
_ADVICE = (
    "the decoder does without it. Try a warm-up of the divergence (kl_epochs=10), free_bits=0.1, a smaller beta, a "
    "smaller learning rate, or a smaller decoder; with Gaussian outputs a smaller scale. Vectors whose features do not "
    "depend on each other leave nothing to tell"
)


class LatentMonitor:
    """Warn when too few latent dimensions are active, as in a collapse of the posterior.

    A dimension is active if the latent means of different vectors differ in it: if their variance over some vectors is
    above 0.01. It is not a collapse if only a few of many dimensions are active: a model uses as many as the data need.
    If fewer than ``at_least`` are active for ``patience`` epochs in a row, a warning says so and what to try. It is
    logged once, until enough dimensions are active again.

    Runs:   trainer, EPOCH_COMPLETED; the host waits for a device there.
    Reads:  the model, in evaluation mode and without drawing random numbers: the training stays the same to the bit.
    Writes: the log.
    Keeps:  ``active_units`` and ``alarms``.

    Args:
        vectors: (N, D) to encode, or a loader of batches whose first item they are; the first 512 are used.
        at_least: dimensions that should be active.
        patience: epochs in a row with fewer, before it warns.
        encode: ``encode(model, vectors)``, which gives means and log-variances (N, Z); by default the model's method
            ``encode``.

    Attributes:
        active_units: dimensions that were active, of each epoch.
        alarms: the epochs, as the engine counts them, in which it warned.

    Raises:
        ValueError: for a number below 1.

    >>> from ignite_recipes import VariationalAutoencoder
    >>> model = VariationalAutoencoder(4, latent_dimension=2, hidden_dimension=8)
    >>> monitor = LatentMonitor(torch.eye(4))
    >>> _ = nn.init.zeros_(model.latent_mean_layer.weight)  # nothing of a vector arrives
    >>> monitor.measure(model)[0]
    0

    Reference: active units: Y. Burda et al., arXiv:1509.00519; the collapse: S. Bowman et al., arXiv:1511.06349, and of
    linear models J. Lucas et al., arXiv:1911.02469.
    """

    def __init__(
        self,
        vectors: Tensor | Iterable[Any],
        *,
        at_least: int = 1,
        patience: int = 2,
        encode: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        if not isinstance(vectors, Iterable):
            raise TypeError(f"vectors must be a tensor (N, D) or a loader of batches; got {shown(vectors)}")
        self.vectors, self.encode = vectors, encode
        self.at_least, self.patience = whole_number(at_least, "at_least"), whole_number(patience, "patience", "epochs")
        self.active_units: list[int] = []
        self.alarms: list[int] = []
        self._few = 0  # epochs in a row
        self._kept: Tensor | None = None
        self._model: nn.Module | None = None

    def __repr__(self) -> str:
        return f"LatentMonitor(at_least={self.at_least}, patience={self.patience})"

    @torch.no_grad()
    def measure(self, model: nn.Module) -> tuple[int, int, float]:
        """How many dimensions are active, of how many, and the mean divergence from the prior, in nats."""
        plain: Any = unwrap(model)
        place = next(plain.parameters())
        x = self._read().to(place.device, place.dtype)
        with in_evaluation_mode(plain):
            mean, log_variance = plain.encode(x) if self.encode is None else self.encode(plain, x)
        mean, log_variance = mean.float(), log_variance.float()
        active = (unit_variances(mean) > ACTIVE_VARIANCE).sum()
        divergence = kl_divergences(mean, log_variance).sum(1).mean()
        found, nats = torch.stack([active.float(), divergence]).tolist()
        return int(found), mean.shape[1], nats

    def attach(self, trainer: Engine, model: nn.Module | None = None) -> "LatentMonitor":
        """Look at the end of every epoch; an engine that is not ours must name the ``model``.

        Raises:
            RuntimeError: if it does not.
            TypeError: if the model has no method ``encode``, and none was given.
        """
        host = training_host_of(trainer, self)
        self._model = host.model(model, "what to look at")
        if self.encode is None and not callable(getattr(unwrap(self._model), "encode", None)):
            raise TypeError(
                "the model must have a method encode(x) that gives means and log-variances; "
                f"{type(unwrap(self._model)).__name__} has none: pass encode="
            )
        host.keep("latent_monitor", self)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self)
        return self

    def __call__(self, trainer: Engine) -> None:
        """Look now."""
        assert self._model is not None
        active, size, nats = self.measure(self._model)
        self.active_units.append(active)
        self._few = self._few + 1 if active < self.at_least else 0
        if self._few != self.patience:
            return
        epoch = trainer.state.epoch
        self.alarms.append(epoch)
        most = max(self.active_units)
        first = epoch - len(self.active_units) + 1
        earlier = f" ({most} at most, in epoch {first + self.active_units.index(most)})" if most > active else ""
        if rank() == 0:
            logger.warning(
                "epoch %d: the latent space is collapsing: %d of %d dimensions are active%s, the divergence is %.2g "
                "nats: %s",
                epoch, active, size, earlier, nats, _ADVICE,
            )  # fmt: skip

    def _read(self) -> Tensor:
        if self._kept is None:
            self._kept = self.vectors[:_MOST_VECTORS] if isinstance(self.vectors, Tensor) else self._of_loader()
            if len(self._kept) < 2:
                raise ValueError("vectors must be at least two, to differ; got fewer")
        return self._kept

    def _of_loader(self) -> Tensor:
        parts: list[Tensor] = []
        with preserve_generators():
            for batch in KeyedLoader(self.vectors, 0, "validation"):
                parts.append(first_item(batch).detach())
                if sum(map(len, parts)) >= _MOST_VECTORS:
                    break
        return torch.cat(parts)[:_MOST_VECTORS]

    def state_dict(self) -> dict[str, Any]:
        """What it has seen."""
        return {"active_units": list(self.active_units), "alarms": list(self.alarms), "few": self._few}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue to look."""
        self.active_units, self.alarms = list(state["active_units"]), list(state["alarms"])
        self._few = state["few"]
