"""The public constructors, made from a design and a line about it, and their docstrings."""

from collections.abc import Callable

from cornu.applications.network import Design, Request, build

_PREPROCESSING = {
    "tf": "Pixels from 0 to 255 must be brought to -1 to 1 by `{module}.preprocess_input`.",
    "caffe": "Pixels from 0 to 255 must go through `{module}.preprocess_input`: channels in the order "
    "BGR,\nless ImageNet's means.",
    "torch": "Pixels from 0 to 255 must go through `{module}.preprocess_input`: less ImageNet's means, "
    "divided by\nits deviations.",
    None: "It takes pixels from 0 to 255: what has to be done with them is part of the network.",
}


def described(
    title: str,
    about: str,
    preprocessing: str | None,
    default_size: int = 224,
    min_size: int = 32,
    more: str = "",
) -> Callable[[Callable], Callable]:
    """Decorator: name a constructor and describe it.

    `about` has a line on the network and one on its paper, `more` a line for each argument besides those
    that all have.
    """
    what, source = about.split("\n")

    def decorate(function: Callable) -> Callable:
        module = function.__module__.rpartition(".")[2]
        function.__name__ = function.__qualname__ = title
        function.__doc__ = f"""{title}: {what}

{_PREPROCESSING[preprocessing].format(module=module)}

Args:
    include_top: whether the classifier is part of the network.
    weights: None for random numbers, `"imagenet"` for those that are published, or the path of an `.h5`,
        `.weights.h5` or `.keras` file.
    input_tensor: a symbolic tensor to start from, instead of a new input.
    input_shape: the shape of an image, {default_size}x{default_size} with three channels by default. Rows
        and columns may be of any size from {min_size} on, and None without the classifier; with the
        published weights and their classifier the default is the only one.
    pooling: without the classifier, None for feature maps, `"avg"` or `"max"` for one number of each.
    classes: number of classes of the classifier.
    classifier_activation: activation of the classifier; None gives logits.
{more}    name: name of the model.

Raises:
    ValueError: for arguments that do not fit each other, or a file of other weights.
    ConnectionError: if the published weights cannot be downloaded.

Source: Keras: {title}; {source}.
"""
        return function

    return decorate


def constructor(title: str, name: str, design: Design, about: str, module: str) -> Callable:
    """The public function that makes a network of this design."""
    default_name = name

    def construct(
        include_top=True,
        weights="imagenet",
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        name=default_name,
    ):
        request = Request.of(locals())
        return build(design, request)

    construct.__module__ = module
    decorate = described(title, about, design.preprocessing, design.default_size, design.min_size)
    return decorate(construct)
