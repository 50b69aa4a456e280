"""The architectures that a model file can name: ours, and those of the registry; nothing else is ever called."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ignite_recipes.checkpoint.fit import misfits
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.models.images import ModelRegistry
from ignite_recipes.models.mean_of_models import MeanOfModels
from ignite_recipes.models.mlp import multilayer_perceptron
from ignite_recipes.models.traffic import TrafficPredictor
from ignite_recipes.models.vae import VariationalAutoencoder

__all__ = ["architecture_of", "make_architecture"]

_OURS: dict[str, Callable[..., nn.Module]] = {
    "multilayer_perceptron": multilayer_perceptron,
    "traffic_predictor": TrafficPredictor,
    "variational_autoencoder": VariationalAutoencoder,
}
_MEAN = "mean_of_models"  # whose arguments are architectures again
_LARGEST = {"degree": 100, "num_layers": 10_000}  # of whole numbers in a file; of all others:
_LARGEST_SIZE = 1 << 24
_PLAIN = (bool, int, float, str, type(None))


def architecture_of(model: nn.Module) -> dict[str, Any] | None:
    """The name and the arguments that make a model's architecture again; None of your own model.

    It is made again, without weights, and compared: a registered model whose last layer was replaced is one's own.

    >>> architecture_of(VariationalAutoencoder(4, 2, 8))["arguments"]
    {'input_dimension': 4, 'latent_dimension': 2, 'hidden_dimension': 8}
    >>> architecture_of(nn.Sequential(nn.Linear(2, 2), nn.Tanh())) is None
    True
    """
    model = unwrap(model)
    found = _named(model)
    if found is None or not _is_plain(found["arguments"]):
        return None
    try:
        again = _without_weights(found)
    except Exception:  # of a registered model of the user's own, which may raise anything
        return None
    is_same = type(again) is type(model) and repr(again) == repr(model) and not misfits(again, model.state_dict())
    return found if is_same else None


def make_architecture(architecture: Any, weights: Mapping[str, Tensor]) -> nn.Module:
    """A model to load ``weights`` into, of the name and the arguments that a file gives.

    Raises:
        ValueError: if they are none of an architecture known here, or do not fit the weights. No memory is taken for
            a model that does not fit.
    """
    _check(architecture)
    with preserve_generators():
        problems = misfits(_without_weights(architecture), weights)
        if problems:
            raise ValueError(f"its weights are not those of its architecture: {next(iter(problems.values()))}")
        model = _make(architecture)
    kinds = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    return model.to(kinds.pop()) if len(kinds) == 1 else model


def _check(architecture: Any) -> None:
    """Refuse what is none that is known here, or has an argument that is not plain or too large."""
    if not isinstance(architecture, dict) or not isinstance(architecture.get("arguments"), dict):
        raise ValueError(f"an architecture must be a name and arguments; got {architecture!r:.80}")
    name, arguments = architecture.get("name"), architecture["arguments"]
    if name == _MEAN:
        if not isinstance(arguments.get("models"), list) or not isinstance(arguments.get("of_classes"), bool):
            raise ValueError(
                f"an ensemble must have models, and say whether they are of classes; got {arguments!r:.80}"
            )
        for one in arguments["models"]:
            _check(one)
        return
    if name not in _OURS and name not in ModelRegistry:
        known = ", ".join([*_OURS, *ModelRegistry.names()])
        raise ValueError(
            f"its architecture {name!r:.80} is not known here, which are {known}: register it first, or pass model="
        )
    for key, value in arguments.items():
        largest = _LARGEST.get(key, _LARGEST_SIZE)
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if not _is_plain(value) or any(isinstance(x, (int, float)) and not abs(x) <= largest for x in numbers):
            raise ValueError(f"its argument {key!r:.80} must be a plain value of at most {largest}; got {value!r:.80}")


def _named(model: nn.Module) -> dict[str, Any] | None:
    """What the model says that it is, not yet compared."""
    config = getattr(model, "model_config", None)
    if isinstance(config, Mapping) and "name" in config:
        arguments = {key: list(v) if isinstance(v, tuple) else v for key, v in config.items() if key != "name"}
        return {"name": config["name"], "arguments": arguments}
    if type(model) is VariationalAutoencoder:
        return {"name": "variational_autoencoder", "arguments": model.arguments()}
    if type(model) is MeanOfModels:
        models = [architecture_of(one) for one in model.models]
        arguments = {"models": models, "of_classes": model.of_classes}
        return None if None in models else {"name": _MEAN, "arguments": arguments}
    if type(model) is TrafficPredictor:
        return {"name": "traffic_predictor", "arguments": _of_traffic(model)}
    layers: Any = list(model) if type(model) is nn.Sequential else []
    linear = [layer for layer in layers if type(layer) is nn.Linear]
    if len(linear) > 1 and type(layers[2]) is nn.Dropout:
        arguments = {
            "input_dimension": linear[0].in_features,
            "output_dimension": linear[-1].out_features,
            "hidden_dimension": linear[0].out_features,
            "num_layers": len(linear) - 1,
            "dropout_rate": layers[2].p,
        }
        return {"name": "multilayer_perceptron", "arguments": arguments}
    return None


def _of_traffic(model: Any) -> dict[str, Any]:
    names = ("input_size", "output_size", "num_classes", "dt", "degree", "len_source")
    return {
        **{name: getattr(model, name) for name in names},
        "hidden_size": model.traffic_head.in_features,
        "num_layers": len(model.blocks),
        "dropout_rate": model.blocks[0][-1].p,
        **({"fits_path": True} if model.fits_path else {}),  # of which files of earlier versions say nothing
    }


def _make(architecture: Mapping[str, Any]) -> nn.Module:
    name, arguments = architecture["name"], architecture["arguments"]
    if name == _MEAN:
        return MeanOfModels([_make(one) for one in arguments["models"]], of_classes=arguments["of_classes"])
    return _OURS[name](**arguments) if name in _OURS else ModelRegistry.create(name, **arguments)


def _without_weights(architecture: Mapping[str, Any]) -> nn.Module:
    with preserve_generators(), torch.device("meta"):
        return _make(architecture)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    return all(map(_is_plain, value)) if isinstance(value, (list, tuple)) else type(value) in _PLAIN
