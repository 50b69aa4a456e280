"""What a run measures: means over samples, kept on the device, and the metrics that have a name."""

from ignite_recipes.metrics.means import SampleMeans, StepBuffer
from ignite_recipes.metrics.named import NamedMetric, canonical, known_mode, metric_names, named_metric
from ignite_recipes.metrics.tracker import MetricsTracker, accuracy

__all__ = [
    "MetricsTracker",
    "NamedMetric",
    "SampleMeans",
    "StepBuffer",
    "accuracy",
    "canonical",
    "known_mode",
    "metric_names",
    "named_metric",
]
