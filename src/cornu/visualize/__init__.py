"""Pictures and tables of models, of their training, and of what they predict."""

from cornu.visualize.backward import plot_backpropagation
from cornu.visualize.confusion import plot_confusion_matrix
from cornu.visualize.connections import plot_connections
from cornu.visualize.curves import plot_history
from cornu.visualize.live import LiveCurves
from cornu.visualize.maps import plot_attribution, plot_feature_maps, plot_filters
from cornu.visualize.model_graph import plot_model
from cornu.visualize.predictions import plot_predictions
from cornu.visualize.sliding import plot_sliding
from cornu.visualize.training import plot_histograms, plot_learning_rates
from cornu.visualize.volumes import plot_volumes

__all__ = [
    "LiveCurves",
    "plot_attribution",
    "plot_backpropagation",
    "plot_confusion_matrix",
    "plot_connections",
    "plot_feature_maps",
    "plot_filters",
    "plot_histograms",
    "plot_history",
    "plot_learning_rates",
    "plot_model",
    "plot_predictions",
    "plot_sliding",
    "plot_volumes",
]
