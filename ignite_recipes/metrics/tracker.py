"""Loss and accuracy of a loop that is written by hand."""

import torch
from torch import Tensor

from ignite_recipes.metrics.means import SampleMeans
from ignite_recipes.metrics.statistics import exact_dtype

__all__ = ["MetricsTracker", "accuracy"]


def accuracy(outputs: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    """The percentage of samples whose largest output is that of their label, as a 0-d tensor.

    Args:
        outputs: (N, C, ...), scores of C classes.
        labels: (N, ...), integers.
        ignore_index: samples of this label do not count, as in ``torch.nn.CrossEntropyLoss``; NaN if all are of it.

    >>> accuracy(torch.eye(4), torch.tensor([0, 1, 2, 0]))
    tensor(75., dtype=torch.float64)
    """
    exact = exact_dtype(outputs)
    counts = labels != ignore_index
    right = (outputs.argmax(1) == labels) & counts
    return 100 * (right.sum(dtype=exact) / counts.sum(dtype=exact))


class MetricsTracker:
    """Loss and accuracy over many batches, by hand in a loop of your own; nothing waits for the device.

    >>> tracker = MetricsTracker()
    >>> tracker.update(0.5, torch.eye(3), torch.tensor([0, 1, 1]))
    >>> tracker.update(torch.tensor(1.5), torch.eye(3)[:1], torch.tensor([0]))
    >>> tracker.get_metrics()
    {'loss': 0.75, 'accuracy': 75.0, 'total_samples': 4}
    """

    def __init__(self) -> None:
        self._means = SampleMeans()

    def update(self, loss_value: Tensor | float, outputs: Tensor, labels: Tensor) -> None:
        """Add one batch.

        Args:
            loss_value: the batch's mean loss, a number or a 0-d tensor.
            outputs: (N, C), scores of C classes.
            labels: (N,), integers.

        Raises:
            ValueError: if labels and outputs do not belong together.
        """
        if outputs.dim() < 2 or labels.shape != (outputs.shape[0], *outputs.shape[2:]):
            raise ValueError(
                f"outputs must be (N, C) and labels (N,); got {tuple(outputs.shape)} and {tuple(labels.shape)}"
            )
        if labels.is_floating_point():
            raise ValueError(f"labels must be the numbers of classes, integers; got {labels.dtype}")
        if isinstance(loss_value, Tensor) and loss_value.dim() != 0:
            raise ValueError(
                f"loss_value must be a number or a 0-d tensor, the batch's mean; got shape {tuple(loss_value.shape)}"
            )
        if not len(labels):
            return
        loss = torch.as_tensor(loss_value, dtype=torch.float64).detach()
        self._means.add({"loss": loss, "accuracy": accuracy(outputs.detach(), labels)}, len(labels))

    def get_metrics(self) -> dict[str, float]:
        """``loss``, ``accuracy`` in percent, both means over the samples, and ``total_samples``; 0 without samples."""
        return {"loss": 0.0, "accuracy": 0.0, **self._means.read(), "total_samples": self._means.num_samples}

    def reset(self) -> None:
        """Start again, for the next epoch."""
        self._means.clear()
