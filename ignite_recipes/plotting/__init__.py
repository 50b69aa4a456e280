"""Pictures of trainings, experiments, reconstructions and latent spaces; returned, never shown."""

from ignite_recipes.plotting.comparison import compare_experiments
from ignite_recipes.plotting.deadband_curve import plot_deadband_curve
from ignite_recipes.plotting.latent_space import plot_latent
from ignite_recipes.plotting.places import plot_places
from ignite_recipes.plotting.reconstruction_pairs import plot_reconstructions
from ignite_recipes.plotting.training_curves import plot_history

__all__ = [
    "compare_experiments",
    "plot_deadband_curve",
    "plot_history",
    "plot_latent",
    "plot_places",
    "plot_reconstructions",
]
