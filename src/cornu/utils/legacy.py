"""Objects as Keras 2 described them: `{"class_name": …, "config": …}`.  Source: Keras: utils.legacy."""

import inspect

from cornu.core import registry


def serialize_keras_object(instance):
    """Describe an object as Keras 2 did: its name and configuration, or for a function its name alone.

    >>> import cornu
    >>> cornu.utils.legacy.serialize_keras_object(cornu.regularizers.L2(0.5))
    {'class_name': 'L2', 'config': {'l2': 0.5}}
    """
    if instance is None:
        return None
    if hasattr(instance, "get_config"):
        name = registry.get_registered_name(type(instance))
        config = {
            key: serialize_keras_object(value)
            if hasattr(value, "get_config") or inspect.isfunction(value)
            else registry.serialize(value)
            for key, value in instance.get_config().items()
        }
        return {"class_name": name, "config": config}
    if hasattr(instance, "__name__"):
        return registry.get_registered_name(instance)
    raise ValueError(f"Cannot serialize {instance} because it doesn't implement `get_config()`.")


def deserialize_keras_object(
    identifier, module_objects=None, custom_objects=None, printable_module_name="object"
):
    """Make the object that a description of Keras 2, or a name, means.

    Args:
        identifier: a description, a name, or a function, which is returned as it is.
        module_objects: a dict of names to what they mean, besides what is registered.
        custom_objects: the same, which comes first.
        printable_module_name: what an error calls the object.

    Nothing is imported because of a name: it is looked up among what is registered, and in the dicts.

    >>> import cornu
    >>> described = {"class_name": "L2", "config": {"l2": 0.5}}
    >>> cornu.utils.legacy.deserialize_keras_object(described).l2
    0.5
    """
    if identifier is None or inspect.isfunction(identifier):
        return identifier
    known = {**(module_objects or {}), **(custom_objects or {})}
    if isinstance(identifier, str):
        found = registry.get_registered_object(identifier, custom_objects, module_objects)
        if found is None:
            raise ValueError(
                f"Unknown {printable_module_name}: '{identifier}'. Name it in `custom_objects`, or "
                "within `keras.utils.custom_object_scope`."
            )
        return found() if inspect.isclass(found) else found
    if isinstance(identifier, dict):
        if "class_name" not in identifier or "config" not in identifier:
            raise ValueError(
                f"Improper config format for {identifier}. Expected the keys 'class_name' and 'config'."
            )
        return registry.deserialize(identifier, known)
    raise ValueError(
        f"Could not interpret serialized {printable_module_name}: {identifier} (of type "
        f"{type(identifier).__name__})."
    )


__all__ = ["deserialize_keras_object", "serialize_keras_object"]
