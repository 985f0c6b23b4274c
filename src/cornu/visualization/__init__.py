"""Pictures of images with what was found in them: boxes, masks, classes.

They are Keras' functions. Pictures of models, of their training, and of what they predict are in
`cornu.visualize`.  Source: Keras: Visualization.
"""

from cornu.visualization.drawing import draw_bounding_boxes, draw_segmentation_masks
from cornu.visualization.galleries import (
    plot_bounding_box_gallery,
    plot_image_gallery,
    plot_segmentation_mask_gallery,
)

__all__ = [
    "draw_bounding_boxes",
    "draw_segmentation_masks",
    "plot_bounding_box_gallery",
    "plot_image_gallery",
    "plot_segmentation_mask_gallery",
]
