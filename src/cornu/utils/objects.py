"""`deserialize_keras_object`, with the arguments that it has in Keras."""

from cornu.core import registry


def deserialize_keras_object(config, custom_objects=None, safe_mode=True, **kwargs):
    """Make the object that `serialize_keras_object` described. Names are looked up, never imported.

    Args:
        config: the description.
        custom_objects: a dict of names to classes and functions of your own.
        safe_mode: kept for Keras scripts; no code in a description is ever run, whatever its value.
        module_objects: by keyword only, more names, which come after `custom_objects`.

    Raises ValueError if a name is unknown, TypeError if one is of something other than a class.

    Source: Keras: deserialize_keras_object.

    >>> import cornu
    >>> described = cornu.saving.serialize_keras_object(cornu.regularizers.L2(0.5))
    >>> cornu.saving.deserialize_keras_object(described).l2
    0.5
    """
    known = {**(kwargs.pop("module_objects", None) or {}), **(custom_objects or {})}
    kwargs.pop("printable_module_name", None)
    if kwargs:
        raise ValueError(f"The following argument(s) are not supported: {list(kwargs)}")
    return registry.deserialize(config, known)
