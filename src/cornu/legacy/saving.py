"""Keras' other path to `utils.legacy`.

>>> from cornu.legacy import saving
>>> saving.deserialize_keras_object({"class_name": "L2", "config": {"l2": 0.5}}).l2
0.5
"""

from cornu.utils.legacy import deserialize_keras_object, serialize_keras_object

__all__ = ["deserialize_keras_object", "serialize_keras_object"]
