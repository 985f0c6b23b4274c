"""Matrices of embeddings for TensorBoard's page "Projector"."""

import json
import warnings
from pathlib import Path

import numpy as np

from cornu.layers import Embedding
from cornu.saving.atomic import replacing


def embedding_layers(model) -> list:
    """The Embedding layers of a model, with those of models within it."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, Embedding)]


def describe(folder: Path, layers: list, metadata) -> None:
    """Write the file that tells the projector of each layer's matrix and of what its rows are.

    Args:
        folder: that of the logs.
        layers: the Embedding layers.
        metadata: the name of a file with a line for each row, or a dict of such from layers' names.

    Raises ValueError for a name in `metadata` that no layer has.
    """
    names = [layer.name for layer in layers]
    files = metadata if isinstance(metadata, dict) else dict.fromkeys(names, metadata)
    unknown = [name for name in files if name not in names]
    if unknown:
        raise ValueError(
            f"TensorBoard: `embeddings_metadata` has {unknown}, but the model's Embedding layers are "
            f"{names}."
        )
    if not layers:
        warnings.warn(
            "TensorBoard: the model has no Embedding layer that `embeddings_freq` could write.",
            stacklevel=2,
        )
    lines = []
    for layer in layers:
        lines += ["embeddings {", f"  tensor_name: {json.dumps(layer.name)}"]
        lines += [f"  tensor_path: {json.dumps(_file_of(layer))}"]
        if files.get(layer.name):
            lines += [f"  metadata_path: {json.dumps(str(files[layer.name]))}"]
        lines += ["}"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "projector_config.pbtxt").write_text("\n".join([*lines, ""]), encoding="utf-8")


def write(folder: Path, layer) -> None:
    """Write a layer's matrix, a row of numbers with tabs between them for each."""
    with replacing(folder / _file_of(layer)) as temporary:
        np.savetxt(temporary, np.asarray(layer.embeddings, "float32"), fmt="%.8g", delimiter="\t")


def _file_of(layer) -> str:
    return f"{layer.name.replace('/', '_')}.tsv"
