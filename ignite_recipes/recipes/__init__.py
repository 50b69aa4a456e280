"""Recipes: one function per task, each the whole job."""

from ignite_recipes.recipes.vae import train_variational_autoencoder

__all__ = ["train_variational_autoencoder"]
