"""Pictures and tables of models, of their training, and of what they predict."""

from cornu.visualize.confusion import plot_confusion_matrix
from cornu.visualize.curves import plot_history
from cornu.visualize.predictions import plot_predictions

__all__ = ["plot_confusion_matrix", "plot_history", "plot_predictions"]
