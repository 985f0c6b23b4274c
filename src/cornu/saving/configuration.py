"""What a model's file says of the model itself, as JSON."""

import collections
import json

from cornu.core import registry
from cornu.saving.reading import uncompiled


def configuration_text(model, include_optimizer=True) -> str:
    """A model's configuration, and how it was compiled."""
    with registry.sharing():
        config = _of_shared(registry.describe(model, compiled=include_optimizer))
    return json.dumps(config if include_optimizer else uncompiled(config))


def _of_shared(config: dict) -> dict:
    """A configuration in which only shared objects have a number."""
    counts: collections.Counter = collections.Counter()

    def visit(value, change):
        if isinstance(value, dict):
            if "class_name" in value and "shared_object_id" in value:
                change(value)
            for entry in value.values():
                visit(entry, change)
        elif isinstance(value, list | tuple):
            for entry in value:
                visit(entry, change)

    def forget(value):
        if counts[value["shared_object_id"]] == 1:
            del value["shared_object_id"]

    visit(config, lambda value: counts.update([value["shared_object_id"]]))
    visit(config, forget)
    return config
