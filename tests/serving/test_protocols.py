"""What two protocols say in JSON and bytes, as arrays and back."""

import json

import ml_dtypes
import numpy as np
import pytest

from cornu.serving import Servable, Spec, tensors
from cornu.serving.metrics import Metrics
from cornu.serving.pictures import files_of
from cornu.serving.protocols import Inference, dump, metadata_v1, metadata_v2, read_v1, write_v1


def of(*inputs, outputs=None):
    specs = [Spec(f"x{i}", shape, dtype) for i, (shape, dtype) in enumerate(inputs)]
    return Servable(specs, outputs or [Spec("y", (2,), "float32")], lambda a: a, True)


VALUES = {
    "bool": [True, False],
    "float16": [0.5, -2.0],
    "bfloat16": [1.5, -3.0],
    "float32": [0.1, 1e38],
    "float64": [0.1, 1e300],
    "string": ["ü", ""],
    **{n: [-7, 100] for n in ("int8", "int16", "int32", "int64")},
    **{n: [0, 255] for n in ("uint8", "uint16", "uint32", "uint64")},
}


@pytest.mark.parametrize("dtype", VALUES)
def test_every_dtype_in_both_protocols(dtype):
    values, servable = VALUES[dtype], of(((2,), dtype))
    expected = np.array([values], tensors.dtype_of(dtype))
    (x,), is_rows = read_v1(dump({"instances": [values]}), servable)
    assert is_rows and x.dtype == expected.dtype
    np.testing.assert_array_equal(x, expected)
    (x,), is_rows = read_v1(dump({"inputs": {"x0": [values]}}), servable)
    np.testing.assert_array_equal(x, expected)
    assert not is_rows
    described = metadata_v2("m", [1], servable)["inputs"][0]
    assert described["shape"] == [-1, 2]
    one = {"name": "x0", "shape": [1, 2], "datatype": described["datatype"]}
    asked = Inference(dump({"inputs": [{**one, "data": values}]}), None, servable)
    np.testing.assert_array_equal(asked.arrays[0], expected)
    # The same in bytes, and the answer back.
    raw = tensors.to_bytes(expected)
    text = dump({"inputs": [{**one, "parameters": {"binary_data_size": len(raw)}}]})
    asked = Inference(text + raw, len(text), servable)
    assert asked.arrays[0].dtype == expected.dtype
    np.testing.assert_array_equal(asked.arrays[0], expected)
    echo = of(((2,), dtype), outputs=[Spec("y", (2,), dtype)])
    content, size = asked.answer("m", 1, [expected], echo)
    assert size is None
    (output,) = json.loads(content)["outputs"]
    assert (output["datatype"] == described["datatype"] and output["data"] == values) or (
        dtype in ("float32", "bfloat16", "float16")
    )
    again = Inference(dump({"inputs": [{**output, "name": "x0"}]}), None, of(((2,), dtype))).arrays[
        0
    ]
    np.testing.assert_array_equal(again, expected)


def test_values_are_taken_where_they_keep_their_meaning():
    def read(value, dtype):
        return read_v1(dump({"instances": [value]}), of(((), dtype)))[0][0]

    assert read(3, "float32").tolist() == [3.0]
    assert read(True, "float32").tolist() == [1.0]
    assert read(True, "int32").tolist() == [1]
    assert read(2**70, "float64").tolist() == [2.0**70]
    large, _ = read_v1(dump({"instances": [2**64 - 1, 2]}), of(((), "uint64")))
    assert large[0].tolist() == [2**64 - 1, 2]
    for value, dtype, says in [
        (1.5, "int32", "expected whole numbers (int32)"),
        (1, "bool", "expected true or false"),
        (300, "uint8", "from 0 to 255. Received: values from 300 to 300"),
        (-1, "uint8", "values from -1"),
        (2**40, "int32", "from -2147483648"),
        (1e39, "float32", "too large for float32"),
        (70000, "float16", "70000 is too large for float16"),
        (2**70, "int64", "expected whole numbers"),
        ("a", "float32", "expected numbers"),
        (None, "float32", "expected numbers"),
        ({}, "float32", "inputs are called"),
        (7, "string", "expected strings"),
        ("a", "bool", "expected true or false"),
    ]:
        with pytest.raises(ValueError) as error:
            read(value, dtype)
        assert says in str(error.value), (value, dtype)


def test_what_json_lacks():
    servable = of(((3,), "float32"))
    for text in ("[NaN, Infinity, -Infinity]", '["NaN", "Infinity", "-Infinity"]'):
        (x,), _ = read_v1(f'{{"instances": [{text}]}}'.encode(), servable)
        np.testing.assert_array_equal(x, [[np.nan, np.inf, -np.inf]])
    assert tensors.plain(x) == [["NaN", "Infinity", "-Infinity"]]
    assert tensors.plain(np.float32([[1.5, np.nan]])) == [[1.5, "NaN"]]
    dump(tensors.plain(x.astype(ml_dtypes.bfloat16)))
    # A float32 comes back to the bit.
    y = np.float32([0.1, 1 / 3, 1e-45, 3e38])
    np.testing.assert_array_equal(np.float32(json.loads(dump(tensors.plain(y)))), y)


def test_several_inputs_and_outputs():
    outputs = [Spec("y", (), "float32"), Spec("z", (1,), "int32")]
    servable = of(((2,), "float32"), ((), "int32"), outputs=outputs)
    rows = {"instances": [{"x0": [1, 2], "x1": 3}, {"x0": [4, 5], "x1": 6}]}
    columns = {"inputs": {"x1": [3, 6], "x0": [[1, 2], [4, 5]]}}
    for body in (rows, columns):
        (a, b), _ = read_v1(dump(body), servable)
        assert a.tolist() == [[1, 2], [4, 5]] and b.tolist() == [3, 6]
    found = [np.float32([1, 2]), np.int32([[3], [4]])]
    assert write_v1(found, servable, True) == {
        "predictions": [{"y": 1.0, "z": [3]}, {"y": 2.0, "z": [4]}]
    }
    assert write_v1(found, servable, False) == {"outputs": {"y": [1.0, 2.0], "z": [[3], [4]]}}
    signature = metadata_v1("m", 3, servable)["metadata"]["signature_def"]["signature_def"]
    assert signature["serving_default"]["inputs"]["x1"]["dtype"] == "DT_INT32"
    # In bytes, in another order; only one output is wanted, in bytes, too.
    raw = [np.int32([3]).tobytes(), np.float32([[1, 2]]).tobytes()]
    text = dump(
        {
            "id": "7",
            "inputs": [
                {
                    "name": "x1",
                    "shape": [1],
                    "datatype": "INT32",
                    "parameters": {"binary_data_size": 4},
                },
                {
                    "name": "x0",
                    "shape": [1, 2],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": 8},
                },
            ],
            "outputs": [{"name": "z", "parameters": {"binary_data": True}}],
        }
    )
    asked = Inference(text + b"".join(raw), len(text), servable)
    assert [a.tolist() for a in asked.arrays] == [[[1, 2]], [3]]
    content, size = asked.answer("m", 3, found, servable)
    said = json.loads(content[:size])
    assert said["id"] == "7" and said["model_version"] == "3" and len(said["outputs"]) == 1
    assert np.frombuffer(content[size:], "<i4").tolist() == [3, 4]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"\xff", "no UTF-8"),
        (b"[" * 100_000, "too deeply"),
        (b"[]", "Expected"),
        (b'{"instances": 3}', "a list of examples"),
        (b'{"instances": [], "inputs": []}', "Expected"),
        (b'{"instances": [[1, 2]], "signature": "a"}', "'signature' is not known"),
        (b'{"instances": [[1, 2]], "signature_name": "a"}', "only signature"),
        (b'{"instances": [[1], [1, 2]]}', "different lengths"),
        (b'{"instances": [[1, 2, 3]]}', "(any, 2)"),
        (b'{"instances": [{"x0": [1, 2]}, [1, 2]]}', "mixes"),
        (b'{"instances": [{"x9": [1, 2]}]}', "are called ['x0']"),
        (b'{"instances": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"inputs": {"x0": [[[[[1]]]]]}}', "(any, 2)"),
        (b'{"instances": [[1, 2]], "instances": [[3, 4]]}', "a name twice"),
    ],
)
def test_bad_requests_of_v1(body, says):
    with pytest.raises(ValueError) as error:
        read_v1(body, of(((2,), "float32")))
    assert says in str(error.value)


GOOD = {"name": "x0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "x1"}, "each of the inputs ['x0'] once"),
        ({"shape": [2, 2]}, "`data` has 2 values"),
        ({"shape": [-1, 2]}, "list of sizes"),
        ({"shape": [2, 1]}, "(any, 2)"),
        ({"shape": [1e3, 2]}, "list of sizes"),
        ({"shape": "ab"}, "list of sizes"),
        ({"shape": [0, 10**30], "data": []}, "(any, 2)"),
        # Of many such, the product takes minutes.
        ({"shape": [9**4000] * 20}, "(any, 2)"),
        ({"datatype": "FP31"}, "must be one of"),
        ({"datatype": ["FP32"]}, "must be one of"),
        ({"datatype": "BYTES", "data": ["a", "b"]}, "expected FP32"),
        ({"datatype": "INT8", "data": [1, 200]}, "from -128 to 127"),
        ({"parameters": {"binary_data_size": 8}}, "either `data`"),
        ({"parameters": {"classification": 3}}, "knows no parameter 'classification'"),
        ({"parameters": 3}, "must be an object"),
        ({"name": [["x0"] * 999] * 999}, "once"),
        ({"data": None}, "expected numbers"),
        ({"typo": 1}, "'typo' is not known"),
    ],
)
def test_bad_inputs_of_v2(change, says):
    with pytest.raises(ValueError) as error:
        Inference(dump({"inputs": [{**GOOD, **change}]}), None, of(((2,), "float32")))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("body", "length", "says"),
    [
        (dump({"inputs": []}), None, "inputs are called"),
        (dump({"inputs": [GOOD, GOOD]}), None, "once"),
        (dump({"inputs": [GOOD], "outputs": [{"name": "q"}]}), None, "outputs are called"),
        (dump({"inputs": [GOOD], "id": 3}), None, "`id`"),
        (dump({"inputs": [GOOD]}), 10**6, "by its header"),
        (dump({"inputs": [GOOD]}) + b"abc", len(dump({"inputs": [GOOD]})), "3 bytes follow"),
        (dump({"inputs": [3]}), None, "once"),
        (
            dump({"inputs": [GOOD], "parameters": {"binary_data_output": "no"}}),
            None,
            "true or false",
        ),
        (
            dump({"inputs": [GOOD], "outputs": [{"name": "y", "parameters": {"binary_data": 0}}]}),
            None,
            "true or false",
        ),
        (b"{}", None, "Expected"),
    ],
)
def test_bad_requests_of_v2(body, length, says):
    with pytest.raises(ValueError) as error:
        Inference(body, length, of(((2,), "float32")))
    assert says in str(error.value)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8", "string"])
def test_no_examples(dtype):
    ((x,), _) = read_v1(b'{"instances": []}', of(((2,), dtype)))
    assert x.shape == (0, 2) and x.dtype == tensors.dtype_of(dtype)
    none = {"name": "x0", "shape": [0, 2], "datatype": tensors.DATATYPES[dtype], "data": []}
    (x,) = Inference(dump({"inputs": [none]}), None, of(((2,), dtype))).arrays
    assert x.shape == (0, 2) and x.dtype == tensors.dtype_of(dtype)


def test_an_empty_input_declares_no_large_example():
    empty = {**GOOD, "shape": [0, 10**6, 10**6], "data": []}
    with pytest.raises(ValueError, match="too large"):
        Inference(dump({"inputs": [empty]}), None, of(((None, None), "float32")))


@pytest.mark.parametrize("depth", [40, 70, 900])
def test_strings_nested_deeply(depth):
    body = b'{"instances": ' + b"[" * depth + b'"a"' + b"]" * depth + b"}"
    with pytest.raises(ValueError, match="expected"):
        read_v1(body, of(((2,), "string")))


@pytest.mark.parametrize(
    ("size", "raw"), [(8, b"1234"), (4, b"1234"), (-1, b""), ("8", b"12345678"), (True, b"1")]
)
def test_bytes_that_do_not_fit(size, raw):
    one = {k: v for k, v in GOOD.items() if k != "data"}
    text = dump({"inputs": [{**one, "parameters": {"binary_data_size": size}}]})
    with pytest.raises(ValueError, match="bytes"):
        Inference(text + raw, len(text), of(((2,), "float32")))


def test_strings_in_bytes_that_are_damaged():
    for raw in (b"\x05\0\0\0abc", b"\x01\0\0\0a", b"\xff\xff\xff\xffab", b"\x01\0\0\0\xff\0\0\0\0"):
        with pytest.raises(ValueError):
            tensors.from_bytes(memoryview(raw), "BYTES", [2], "x")


FORM = "multipart/form-data; boundary=B"


def form(*parts, end=b"--B--\r\n"):
    return b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + end


def test_files_of_a_form():
    picture = b"\x89PNG\r\n\x1a\n--B\r\n\0"
    plain = b'Content-Disposition: form-data; name="image"; filename="a b.png"\r\n\r\n' + b"\r\n-B"
    named = 'content-disposition: form-data; name="f"; filename="猫.png"\r\nX: y\r\n\r\nz'.encode()
    coded = b"Content-Disposition: form-data; filename*=utf-8''%e7%8c%ab.png\r\n\r\n"
    assert files_of(form(plain, named, coded), FORM, 3) == [
        ("a b.png", b"\r\n-B"),
        ("猫.png", b"z"),
        ("猫.png", b""),
    ]
    assert files_of(picture, "image/png", 1) == files_of(picture, "", 1) == [(None, picture)]
    for body, kind, says in [
        (b"", "", "empty"),
        (form(plain), "multipart/form-data", "no boundary"),
        (form(plain, end=b""), FORM, "cut off"),
        (form(end=b"--B--"), FORM, "no file"),
        (form(b'Content-Disposition: form-data; name="top"\r\n\r\n1'), FORM, "no file"),
        (form(b"nothing"), FORM, "no end of its header"),
        (form(plain, plain, plain, plain), FORM, "At most 3"),
        (b"x" * 100, FORM, "cut off"),
    ]:
        with pytest.raises(ValueError, match=says):
            files_of(body, kind, 3)


def test_what_prometheus_reads():
    metrics = Metrics()
    metrics.count("a_total", model='x"\\\n')
    metrics.count("a_total", 2, model="y")
    metrics.observe("b_seconds", [0.003, 99.0], model="y")
    metrics.gauge("c", lambda: [({}, 1.5)])
    lines = metrics.text().splitlines()
    assert r'a_total{model="x\"\\\n"} 1' in lines and 'a_total{model="y"} 2' in lines
    assert 'b_seconds_bucket{model="y",le="0.0025"} 0' in lines
    assert 'b_seconds_bucket{model="y",le="0.005"} 1' in lines
    assert 'b_seconds_bucket{model="y",le="+Inf"} 2' in lines
    assert 'b_seconds_sum{model="y"} 99.003' in lines and "c 1.5" in lines
