"""`cornu evaluate` and `cornu predict`."""

import numpy as np

from cornu.cli.command import CommandError, say
from cornu.cli.data import SKIP, check_range, is_folder, load_to_judge, not_of_images
from cornu.cli.judge import judge
from cornu.cli.run_folder import SETTINGS, TrainedModel, load_trained
from cornu.utils.image_folder import reader_for


def evaluate(model: str, data: str, batch_size: int, skip_unreadable: bool) -> None:
    """Print how many of DATA's images a model takes for what they are."""
    # Says what is wrong with the name before a large model is loaded.
    is_folder(data)
    trained = load_trained(model)
    part = load_to_judge(
        data, trained.class_names, trained.shape, trained.white, batch_size, skip_unreadable
    )
    if not part.is_in_memory:
        part.source.check(SKIP)
    elif (trained.path.parent / SETTINGS).is_file():
        check_range(part.source[0], data, trained.white, "the model was trained on")
    print(f"Accuracy: {judge(trained.model, part, batch_size).describe()}")


def predict(model: str, images: list[str], top: int, invert: bool) -> None:
    """Print the most probable classes of image files; those that cannot be read are named."""
    trained = load_trained(model)
    if not (trained.path.parent / SETTINGS).is_file():
        say(f"there is no {SETTINGS} beside {trained.path}: classes are numbers, pixels 0 to 255.")
    read = _reader(trained, invert)
    num_unreadable = 0
    for path in images:
        try:
            pixels = read(path)
        except OSError as error:
            num_unreadable += 1
            say(_reason(path, error))
            continue
        probabilities = trained.model.predict_on_batch(pixels[None])[0]
        print(path)
        best = np.argsort(-probabilities, kind="stable")[:top]
        width = max(len(trained.class_names[index]) for index in best)
        for index in best:
            print(f"  {trained.class_names[index]:<{width}}  {100 * probabilities[index]:6.2f} %")
    if num_unreadable:
        raise CommandError(f"{num_unreadable} of {len(images)} images could not be read.")


def _reader(trained: TrainedModel, invert: bool):
    """A function from an image's path to its pixels as the model takes them."""
    white, reader = trained.white, reader_for(trained.shape, trained.white)
    if white is None or reader is None:
        raise not_of_images(str(trained.path), trained.shape, white)
    return (lambda path: white - reader(path)) if invert else reader


def _reason(path: str, error: OSError) -> str:
    if isinstance(error.__cause__, OSError) and error.__cause__.strerror is None:
        return str(error.__cause__)
    named = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return f"Cannot read the image {path}: {named.strerror}."
