"""A multilayer perceptron."""

from itertools import pairwise

from torch import nn

__all__ = ["multilayer_perceptron"]


def multilayer_perceptron(
    input_dimension: int,
    output_dimension: int,
    hidden_dimension: int = 256,
    num_layers: int = 2,
    dropout_rate: float = 0.2,
) -> nn.Sequential:
    """Fully connected layers with ReLU and dropout between them: (N, input) -> (N, output).

    Args:
        input_dimension, output_dimension: sizes of the input and output vectors.
        hidden_dimension: width of the hidden layers.
        num_layers: number of the hidden layers.
        dropout_rate: probability of dropping a hidden unit in training, from 0 to 1.

    Raises:
        ValueError: if a size is below 1.

    >>> multilayer_perceptron(64, 10, num_layers=1)
    Sequential(
      (0): Linear(in_features=64, out_features=256, bias=True)
      (1): ReLU()
      (2): Dropout(p=0.2, inplace=False)
      (3): Linear(in_features=256, out_features=10, bias=True)
    )
    """
    sizes = [input_dimension, *[hidden_dimension] * num_layers]
    if min(*sizes, output_dimension, num_layers) < 1:
        raise ValueError(f"sizes and num_layers must be at least 1; got {sizes}, {output_dimension}, {num_layers}")
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(sizes):
        layers += [nn.Linear(width_in, width_out), nn.ReLU(), nn.Dropout(dropout_rate)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], output_dimension))
