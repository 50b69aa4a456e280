"""Say how large a model is."""

from torch import nn

__all__ = ["count_parameters", "print_model_summary"]

_WIDTH = 80


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """The numbers of all and of the trainable parameters; one that is shared counts once.

    >>> count_parameters(nn.Linear(3, 2))
    (8, 8)
    """
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def print_model_summary(model: nn.Module) -> None:
    """Print a model's layers, parameters and size in memory (parameters and buffers, 1 MB = 2**20 bytes).

    >>> print_model_summary(nn.Linear(3, 2))
    ================================================================================
    Model Summary
    ================================================================================
    Linear(in_features=3, out_features=2, bias=True)
    --------------------------------------------------------------------------------
    Total parameters: 8
    Trainable parameters: 8
    Model size: 0.00 MB
    ================================================================================
    """
    total, trainable = count_parameters(model)
    size = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    lines = [
        "=" * _WIDTH,
        "Model Summary",
        "=" * _WIDTH,
        str(model),
        "-" * _WIDTH,
        f"Total parameters: {total:,}",
        f"Trainable parameters: {trainable:,}",
        f"Model size: {size / 2**20:.2f} MB",
        "=" * _WIDTH,
    ]
    print("\n".join(lines))  # noqa: T201  # what it is for
