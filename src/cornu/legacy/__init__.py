"""What Keras keeps of Keras 2.

>>> import cornu
>>> cornu.legacy.saving.deserialize_keras_object({"class_name": "L2", "config": {"l2": 0.5}}).l2
0.5
"""

from cornu.legacy import saving

__all__ = ["saving"]
