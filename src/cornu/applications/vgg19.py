"""VGG19: VGG16 with one more convolution in each of the last three blocks."""

from cornu.applications.describing import constructor
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.vgg16 import design

VGG19 = constructor(
    "VGG19",
    "vgg19",
    design(
        (2, 2, 4, 4, 4),
        "vgg19",
        "cbe5617147190e668d6c5d5026f83318",
        "253f8cb515780f3b799900260a226db6",
    ),
    "19 layers with weights, 144 million numbers.\n"
    'Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition"',
    __name__,
)
preprocess_input = preprocessing("caffe", __name__)

__all__ = ["VGG19", "decode_predictions", "preprocess_input"]
