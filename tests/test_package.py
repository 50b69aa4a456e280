"""The package exports what it promises, imports one way and lazily, and is clean."""

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import ignite_recipes

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ignite_recipes"
MODULES = [m.name for m in pkgutil.walk_packages([str(PACKAGE)], "ignite_recipes.") if "__main__" not in m.name]

DOCUMENTED = [
    "EarlyStopping",
    "GradientClipCallback",
    "clip_grad_norm",
    "LearningRateScheduler",
    "GradientClipper",
    "MixedPrecisionTrainer",
    "DataAugmentation",
    "TrainingStability",
    "VariationalAutoencoder",
    "load_ebird_data",
    "create_species_matrix",
    "split_train_val",
    "create_dataloaders",
    "train_variational_autoencoder",
    "get_device",
    "set_seed",
    "save_checkpoint",
    "load_checkpoint",
    "print_model_summary",
    "count_parameters",
    "add_noise",
    "extract_embeddings",
    "Trainer",
    "CheckpointManager",
    "ExperimentManager",
    "MetricsTracker",
    "DatasetRegistry",
    "ModelRegistry",
    "BaseDataset",
    "trainModel",
    "trainModelByDefaultSetting",
    "getDefaultModelParams",
    "train_model_advanced",
]

# What each layer may import: itself and the layers before it.
LAYERS = [
    {
        "_version",
        "arguments",
        "devices",
        "files",
        "json_values",
        "optional",
        "registry",
        "metrics",
        "said_once",
        "turns",
    },
    {"exchange"},
    {"loading", "programs"},
    {"engine", "data", "together"},
    {"checkpoint", "models"},
    {"experiments"},
    {"plotting"},
    {"handlers"},
    {"finding"},
    {"recipes"},
    {"many"},
    {"answers"},
    {"cli"},
]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_documented_name_is_importable_from_the_package(name):
    assert name in ignite_recipes.__all__


@pytest.mark.parametrize("name", ["ignite_recipes", *MODULES])
def test_all_is_exactly_what_a_module_exports(name):
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__))
    assert all(hasattr(module, exported) for exported in module.__all__)
    assert module.__doc__


def test_the_package_exports_no_more_than_all():
    public = {name for name, value in vars(ignite_recipes).items() if not inspect.ismodule(value)}
    assert {name for name in public if not name.startswith("__")} <= set(ignite_recipes.__all__)


@pytest.mark.parametrize("name", ignite_recipes.__all__)
def test_every_public_name_is_documented(name):
    value = getattr(ignite_recipes, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)


def _layer(module):
    part = module.split(".")[1]
    return next(k for k, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
    source = inspect.getsource(importlib.import_module(name))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ignite_recipes."):
            assert _layer(node.module) <= _layer(name), f"{name} imports {node.module}"


@pytest.fixture(scope="module")
def imported():
    """What the import of the package has changed in a process that has only torch and Ignite."""
    code = """
import json, logging, random, sys, numpy, torch, ignite.engine
torch.manual_seed(3); state = torch.get_rng_state(); python = random.getstate(); before = set(sys.modules)
import ignite_recipes
print(json.dumps({
    "modules": sorted(set(sys.modules) - before),
    "same draws": torch.equal(state, torch.get_rng_state()) and python == random.getstate(),
    "log handlers": len(logging.getLogger().handlers) + len(logging.getLogger("ignite_recipes").handlers),
}))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    return json.loads(subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout)


def test_the_package_loads_nothing_that_a_training_loop_does_not_need(imported):
    heavy = {"pandas", "polars", "matplotlib", "sklearn", "scipy", "tensorboardX", "tqdm", "jsonargparse", "yaml"}
    heavy |= {"jinja2", "safetensors", "PIL", "onnx", "optuna"}
    assert heavy.isdisjoint(imported["modules"])
    assert "ignite_recipes" in imported["modules"]


def test_importing_does_not_configure_logging_or_seed_anything(imported):
    assert imported["same draws"]
    assert imported["log handlers"] == 0


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_the_code_is_clean(command):
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
