"""Models, and what can be said about any model."""

from ignite_recipes.models.array_predictor import ArrayPredictor
from ignite_recipes.models.export import export_model
from ignite_recipes.models.file import load_model, save_model
from ignite_recipes.models.hidden_features import predict_hidden
from ignite_recipes.models.images import LeNet, ModelRegistry, MyNet
from ignite_recipes.models.inference import extract_embeddings, predict_traffic, save_for_inference
from ignite_recipes.models.mlp import multilayer_perceptron
from ignite_recipes.models.species_embeddings import species_embeddings
from ignite_recipes.models.summary import count_parameters, print_model_summary
from ignite_recipes.models.table_predictor import TablePredictor
from ignite_recipes.models.traffic import TrafficPredictor, traffic_losses
from ignite_recipes.models.vae import VariationalAutoencoder
from ignite_recipes.models.vae_losses import vae_losses
from ignite_recipes.models.vae_measures import (
    ImportanceBound,
    LatentMeasures,
    importance_weighted_nll,
    latent_measures,
)
from ignite_recipes.models.vector_embedder import VectorEmbedder
from ignite_recipes.models.window_predictor import WindowPredictor

__all__ = [
    "ArrayPredictor",
    "ImportanceBound",
    "LatentMeasures",
    "LeNet",
    "ModelRegistry",
    "MyNet",
    "TablePredictor",
    "TrafficPredictor",
    "VariationalAutoencoder",
    "VectorEmbedder",
    "WindowPredictor",
    "count_parameters",
    "export_model",
    "extract_embeddings",
    "importance_weighted_nll",
    "latent_measures",
    "load_model",
    "multilayer_perceptron",
    "predict_hidden",
    "predict_traffic",
    "print_model_summary",
    "save_for_inference",
    "save_model",
    "species_embeddings",
    "traffic_losses",
    "vae_losses",
]
