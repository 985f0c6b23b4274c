"""Several devices: meshes, layouts, and how a model and its data are spread over them.

>>> import cornu
>>> with cornu.distribution.DataParallel(devices=["cpu:0"]).scope():
...     model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1)])
>>> len(model.layers[0].kernel.value.devices())
1

Source: Keras: Distribution API.
"""

import sys

from cornu.core.absent import explain_in
from cornu.core.placement import distribution
from cornu.distribution.devices import get_device_count, list_devices
from cornu.distribution.layout_map import LayoutMap
from cornu.distribution.mesh import DeviceMesh, TensorLayout
from cornu.distribution.parallel import (
    DataParallel,
    Distribution,
    FullyShardedDataParallel,
    ModelParallel,
    distribute_tensor,
    set_distribution,
)
from cornu.distribution.processes import initialize

__all__ = [
    "DataParallel",
    "DeviceMesh",
    "Distribution",
    "FullyShardedDataParallel",
    "LayoutMap",
    "ModelParallel",
    "TensorLayout",
    "distribute_tensor",
    "distribution",
    "get_device_count",
    "initialize",
    "list_devices",
    "set_distribution",
]

explain_in(sys.modules[__name__])
