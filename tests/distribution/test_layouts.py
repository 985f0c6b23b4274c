"""Meshes, layouts, and what is said of those that do not fit."""

import threading
import warnings

import jax
import numpy as np
import pytest

import cornu
from cornu import distribution
from cornu.core.placement import share_out

MESH = distribution.DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"])
REFUSED = {
    "more devices than there are": (
        lambda: distribution.DeviceMesh((64, 64), ["batch", "model"]),
        r"shape=\(64, 64\).*xla_force_host_platform_device_count=4096",
    ),
    "a device twice": (
        lambda: distribution.DeviceMesh((2,), ["batch"], ["cpu:0", "cpu:0"]),
        "Twice there: cpu:0",
    ),
    "an unknown device": (
        lambda: distribution.DeviceMesh((1,), ["batch"], ["cpu:4711"]).backend_mesh,
        "no device 'cpu:4711'. There are: cpu:0",
    ),
    "no such kind": (lambda: distribution.list_devices("abacus"), "no device of the kind 'abacus'"),
    "a name twice": (lambda: distribution.DeviceMesh((1, 1), ["a", "a"], ["cpu:0"]), "same size"),
    "nothing": (lambda: distribution.DeviceMesh((), []), "cannot be empty"),
    "an axis that the mesh lacks": (
        lambda: distribution.TensorLayout((None, "modell"), MESH),
        r"Got \['modell'\]",
    ),
    "an axis twice": (
        lambda: distribution.TensorLayout(("model", ("model", "batch")), MESH),
        "only once",
    ),
    "a string": (lambda: distribution.TensorLayout("model", MESH), r"such as \('model',\)"),
    "no mesh": (lambda: distribution.TensorLayout(("model",)).backend_layout, "mesh is not set"),
    "another mesh": (
        lambda: setattr(distribution.TensorLayout(("model",), MESH), "device_mesh", MESH),
        "Cannot override",
    ),
    "both": (lambda: distribution.DataParallel(MESH, devices=["cpu:0"]), "not both"),
    "a JAX mesh": (
        lambda: distribution.DataParallel(MESH.backend_mesh),
        "instance of `DeviceMesh`",
    ),
    "no map": (lambda: distribution.ModelParallel(), "must specify a layout_map"),
    "an axis for batches": (
        lambda: distribution.ModelParallel(
            layout_map=distribution.LayoutMap(MESH), batch_dim_name="data"
        ),
        r"\['batch', 'model'\], and no 'data'",
    ),
    "a class": (lambda: distribution.set_distribution(distribution.DataParallel), "such as"),
    "a size": (
        lambda: distribution.FullyShardedDataParallel(devices=["cpu:0"], min_size="big"),
        "min_size='big'|'big'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    do, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        do()


def test_layout_map():
    layouts = distribution.LayoutMap(MESH)
    layouts[".*dense.*kernel"] = (None, "model")
    layouts["a/dense/bias"] = distribution.TensorLayout(("model",))
    assert layouts["b/dense_3/kernel"].axes == (None, "model")
    assert layouts["a/dense/bias"].device_mesh is MESH
    assert layouts["b/dense/bias"] is None and layouts.get("b/dense/bias", 3) == 3
    with pytest.raises(ValueError, match="already exist"):
        layouts["a/dense/bias"] = ("model",)
    with pytest.raises(ValueError, match="regular expression"):
        layouts["(.*dense"] = ("model",)
    with pytest.raises(ValueError, match="should be a TensorLayout"):
        layouts["c"] = "model"
    layouts["a/.*kernel"] = ("model", None)
    with pytest.raises(ValueError, match="multiple layout"):
        layouts["a/dense/kernel"]
    del layouts["a/.*kernel"]
    assert list(layouts) == [".*dense.*kernel", "a/dense/bias"] and len(layouts) == 2
    assert layouts.unmatched(["b/dense/kernel"]) == ["a/dense/bias"]


def test_keys_that_match_nothing_are_named_once():
    layouts = distribution.LayoutMap(MESH)
    layouts["dense.*bias"] = ("model",)
    layouts[".*dense.*/output"] = (None, "model")
    x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    with distribution.ModelParallel(layout_map=layouts).scope():
        model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(2)], name="net")
        model.compile("sgd", "mse")
        with pytest.warns(UserWarning, match=r"\['dense\.\*bias'\].*net/dense.*/bias"):
            model.fit(x, y, verbose=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(x, y, verbose=0)
            model.evaluate(x, y, verbose=0)


@pytest.mark.skipif(len(jax.devices("cpu")) < 2, reason="there is one device")
def test_what_does_not_divide_a_variable_is_named():
    mesh = distribution.DeviceMesh((2,), ["model"], ["cpu:0", "cpu:1"])
    layout = distribution.TensorLayout(("model",), mesh)
    with pytest.raises(ValueError, match=r"divide the variable 'odd' of shape \(3,\).*'model': 2"):
        cornu.Variable([1.0, 2.0, 3.0], layout=layout, name="odd")
    with pytest.raises(ValueError, match=r"has 1 axes, and the variable 'flat' of shape \(\)"):
        cornu.Variable(1.0, layout=layout, name="flat")
    even = cornu.Variable([1.0, 2.0], layout=layout)
    state = cornu.optimizers.SGD().add_variable((2,), layout=layout)
    assert state.value.sharding == even.value.sharding
    even.assign_add([1.0, 1.0])
    assert even.value.sharding == layout.backend_layout and even.numpy().tolist() == [2, 3]
    inside = jax.jit(lambda x: distribution.distribute_tensor(2 * x, layout))(np.ones(4))
    assert inside.sharding.is_equivalent_to(layout.backend_layout, 1)


def test_which_is_in_force():
    one, other = (distribution.DataParallel(devices=["cpu:0"]) for _ in range(2))
    found = []
    look = threading.Thread(target=lambda: found.append(distribution.distribution()))
    try:
        distribution.set_distribution(one)
        with other.scope():
            assert distribution.distribution() is other
            look.start()
            look.join()
            distribution.set_distribution(None)
            assert distribution.distribution() is None
        assert distribution.distribution() is one and found == [one]
    finally:
        distribution.set_distribution(None)
    assert one.num_model_replicas == 1 and one.data_shard_id == 0 and one.num_processes == 1
    with pytest.warns(UserWarning, match="mesh to be 1D"):
        assert distribution.DataParallel(MESH).batch_dim_name == "batch"


@pytest.mark.skipif(len(jax.devices("cpu")) < 2, reason="there is one device")
def test_rows_of_a_process_that_its_devices_do_not_divide(monkeypatch):
    spread = distribution.DataParallel(devices=["cpu:0", "cpu:1"], auto_shard_dataset=False)
    monkeypatch.setattr(spread, "_num_processes", 2)
    with spread.scope():
        assert share_out(np.ones((4, 3))).shape == (4, 3)
        with pytest.raises(ValueError, match=r"brings 3 rows of a batch.*its 2 devices"):
            share_out(np.ones((3, 3)))
