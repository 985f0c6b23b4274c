"""Boxes around objects in images: their formats, how they move, and how well they agree.

Source: Keras: Bounding box utilities.
"""

from cornu.utils.bounding_boxes.deltas import decode_deltas_to_boxes, encode_box_to_deltas
from cornu.utils.bounding_boxes.formats import clip_to_image_size, convert_format
from cornu.utils.bounding_boxes.movement import affine_transform, crop, pad
from cornu.utils.bounding_boxes.overlap import compute_ciou, compute_iou

__all__ = [
    "affine_transform",
    "clip_to_image_size",
    "compute_ciou",
    "compute_iou",
    "convert_format",
    "crop",
    "decode_deltas_to_boxes",
    "encode_box_to_deltas",
    "pad",
]
