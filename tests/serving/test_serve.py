"""The server over HTTP: the models' own numbers, who is answered, what is refused, files that change."""

import contextlib
import http.client
import json
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving_tools import NAMES, Visitor, at_once, doubling, picture, write_run

import cornu
from cornu import layers as L
from cornu.cli.command import CommandError
from cornu.cli.predict import predict
from cornu.cli.run_folder import load_trained
from cornu.cli.serve import _servable
from cornu.serving import Client, Server, Settings, of_model
from cornu.serving.connections import PlainConnection, Watched, quickest


@pytest.fixture(scope="module")
def serving():
    """Serves models, or what can be served; all end with the module."""
    with contextlib.ExitStack() as stack:

        def serve(sources, load=_servable, report=lambda event, **facts: None, **settings):
            limits = Settings(**{"port": 0, "max_batch": 4, "drain": 0.0, "look": 0.05, **settings})
            server = stack.enter_context(Server(sources, load, limits, report))
            server.load()
            return server, Visitor(server.port)

        yield serve


def fake(serving, tmp_path, servable, **settings):
    (tmp_path / "m.keras").write_bytes(b"")
    return serving({"m": tmp_path / "m.keras"}, lambda path: servable, **settings)


@pytest.fixture(scope="module")
def photos(serving, classifier, tmp_path_factory):
    """A run that is served."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "photos", classifier)
    server, visitor = serving({"photos": folder})
    return folder, server, visitor


@pytest.fixture(params=["httptools", "h11"])
def parser(request, monkeypatch):
    """Of the next server's connections."""
    if request.param == "h11":
        monkeypatch.setattr("cornu.serving.server.quickest", lambda: PlainConnection)
    else:
        pytest.importorskip("httptools")
        assert quickest() is not PlainConnection


# ---- the numbers

SIGNAL, TABLE = cornu.Input((12, 2), name="signal"), cornu.Input((3,), dtype="uint8", name="table")
FLAGS, TOKENS = (
    cornu.Input((2,), dtype="bool", name="flags"),
    cornu.Input((), dtype="int32", name="t"),
)


def everything():
    """A model of a dict of inputs of all kinds, and of a dict of outputs."""
    inputs = {"signal": SIGNAL, "table": TABLE, "flags": FLAGS, "tokens": TOKENS}
    x = L.Flatten()(L.Conv1D(3, 3)(SIGNAL))
    joined = [x, *(L.Dense(2)(L.Rescaling(1.0)(t)) for t in (TABLE, FLAGS))]
    joined.append(L.Embedding(9, 4)(TOKENS))
    y = L.Dense(3)(L.Concatenate()(joined))
    return cornu.Model(inputs, {"scores": y, "signs": L.ReLU()(y), "same": TABLE})


def test_a_model_of_many_inputs(serving, tmp_path):
    everything().save(tmp_path / "all.keras")
    model = cornu.saving.load_model(tmp_path / "all.keras")
    server, visitor = serving({"all": tmp_path / "all.keras"})
    random = np.random.default_rng(0)
    x = {
        "signal": random.normal(size=(4, 12, 2)).astype("float32"),
        "table": random.integers(0, 256, (4, 3), "uint8"),
        "flags": random.random((4, 2)) < 0.5,
        "tokens": random.integers(0, 9, 4, "int32"),
    }
    expected = model.predict_on_batch(x)
    with Client(server.address) as client:
        # The size of the batch is one that is compiled: every bit is the same.
        for found in (client.predict(x), client.predict(x, "all", 1)):
            assert found.keys() == expected.keys()
            for name, y in expected.items():
                assert found[name].dtype == y.dtype
                np.testing.assert_array_equal(found[name], y)
    plain = {name: value.tolist() for name, value in x.items()}
    columns = visitor.json("POST", "/v1/models/all:predict", {"inputs": plain})["outputs"]
    rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
    said = visitor.json("POST", "/v1/models/all/versions/1:predict", {"instances": rows})
    for name, y in expected.items():
        np.testing.assert_array_equal(np.array(columns[name], y.dtype), y)
        np.testing.assert_array_equal(
            np.array([row[name] for row in said["predictions"]], y.dtype), y
        )
    # Of three, the batch is filled up to four.
    part = {name: value[1:] for name, value in x.items()}
    with Client(server.address) as client:
        np.testing.assert_array_equal(client.predict(part)["signs"], expected["signs"][1:])


def test_outputs_of_one_layer_are_all_answered(serving, tmp_path):
    x, other = cornu.Input((2,), name="x"), cornu.Input((2,), name="other")
    twice = L.Rescaling(2.0, name="twice")
    outputs = [twice(x), L.ReLU(name="twice_1")(x), twice(other)]
    cornu.Model([other, x], outputs).save(tmp_path / "m.keras")
    server, _ = serving({"m": tmp_path / "m.keras"}, max_batch=1)
    with Client(server.address) as client:
        found = client.predict({"x": [[1, 2]], "other": [[3, 4]]})
    found = {name: y.tolist() for name, y in found.items()}
    assert found == {"twice": [[2, 4]], "twice_1": [[1, 2]], "twice_2": [[6, 8]]}


def test_a_single_picture_has_predict_s_bits(photos, tmp_path, capsys, monkeypatch):
    folder, server, visitor = photos
    trained = load_trained(str(folder))
    monkeypatch.setattr("cornu.cli.predict.load_trained", lambda path: trained)
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = {
        "a.png": picture(),
        "b.png": picture("L", (5, 40)),
        "c.png": picture("RGBA", (9, 8)),
        "d.png": picture("P"),
        "e.png": picture("1"),
        "f.png": picture("I;16"),
        "g.png": picture("LA"),
        "h.jpg": picture("CMYK", format="JPEG"),
        "猫.jpg": picture(size=(64, 50), format="JPEG", exif=turned),
        "i.webp": picture(format="WEBP"),
        "j.bmp": picture(format="BMP"),
        "k.gif": picture("P", format="GIF"),
        "l.png": picture(size=(1, 1)),
    }
    for name, content in pictures.items():
        (tmp_path / name).write_bytes(content)
        for invert in (False, True):
            predict(str(folder), [str(tmp_path / name)], None, invert, "json")
            expected = json.loads(capsys.readouterr().out)["classes"]
            path = f"/images/photos?invert={int(invert)}"
            said = visitor.json("POST", path, content)
            assert said["images"][0]["classes"] == expected, name
            assert said["model"] == "photos" and {c["class"] for c in expected} <= set(NAMES)
    with Client(server.address) as client:
        many = client.classify([tmp_path / name for name in pictures], top=1, threshold=0.0)
        assert [one["image"] for one in many] == list(pictures)
        one = client.classify(pictures["a.png"])
    predict(str(folder), [str(tmp_path / name) for name in pictures], 1, False, "json")
    for line, answer in zip(capsys.readouterr().out.splitlines(), many, strict=True):
        (expected,) = json.loads(line)["classes"]
        assert answer["classes"][0]["class"] == expected["class"]
        assert answer["classes"][0]["probability"] == pytest.approx(expected["probability"], 1e-5)
    assert len(one) == 1 and len(one[0]["classes"]) == 3


def test_which_classes_are_named(photos):
    _, _, visitor = photos
    content = picture()
    (all_of_them,) = visitor.json("POST", "/images/photos", content)["images"]
    (few,) = visitor.json("POST", "/images/photos?top=1", content)["images"]
    assert few["classes"] == all_of_them["classes"][:1]
    (none,) = visitor.json("POST", "/images/photos?threshold=1", content)["images"]
    assert none["classes"] == []
    for query in ("top=0", "top=x", "threshold=2", "threshold=nan", "invert=yes", "tpo=1"):
        assert visitor.error("POST", f"/images/photos?{query}", content)


def test_many_at_once_have_each_their_own_answer(photos, classifier):
    _, server, _ = photos
    x = np.random.default_rng(0).random((40, 9, 8, 3), "float32") * 255
    expected = classifier.predict_on_batch(x)
    clients = [Client(server.address) for _ in range(8)]

    def ask(number):
        client = clients[number]
        return [client.predict(x[i : i + 1 + i % 3], "photos") for i in range(number, 38, 8)]

    for number, answers in enumerate(at_once(ask, range(8))):
        for i, y in zip(range(number, 38, 8), answers, strict=True):
            np.testing.assert_allclose(y, expected[i : i + 1 + i % 3], atol=1e-6)
    for client in clients:
        client.close()


def test_numbers_that_are_none(serving, photos, tmp_path):
    _, server, visitor = photos
    x = np.full((1, 9, 8, 3), np.nan, "float32")
    said = visitor.json(
        "POST", "/v1/models/photos:predict", json.dumps({"instances": x.tolist()}).encode()
    )
    assert said == {"predictions": [["NaN"] * 3]}
    with Client(server.address) as client:
        assert np.isnan(client.predict(x)).all()
        assert client.predict(x[:0]).shape == (0, 3)
    assert visitor.json("POST", "/v1/models/photos:predict", {"instances": []}) == {
        "predictions": []
    }


def test_strings_and_any_size(serving, tmp_path):
    words = cornu.Input((None,), dtype="string", name="words")
    look = L.StringLookup(vocabulary=["a", "猫"])
    cornu.Model(words, look(words)).save(tmp_path / "words.keras")
    server, visitor = serving({"words": tmp_path / "words.keras"}, max_shapes=3)
    with Client(server.address) as client:
        assert client.predict([["a", "猫", "?"]]).tolist() == [[1, 2, 0]]
    said = visitor.json("POST", "/v1/models/words:predict", {"instances": [["猫"], ["a"]]})
    assert said["predictions"] == [[2], [1]]
    for width in (4, 5):
        visitor.ask("POST", "/v1/models/words:predict", json.dumps({"instances": [["a"] * width]}))
    refused = visitor.error("POST", "/v1/models/words:predict", {"instances": [["a"] * 9]})
    assert "compiled for 3 sizes" in refused


def test_onnx_answers_as_the_model(serving, photos, tmp_path):
    pytest.importorskip("onnxruntime")
    from cornu.cli.export import export

    folder, server, visitor = photos
    export(str(folder), tmp_path / "any.onnx", None, None, 0.0, False)
    export(str(folder), tmp_path / "two.onnx", 2, None, 0.0, False)
    sources = {"any": tmp_path / "any.onnx", "two": tmp_path / "two.onnx"}
    other, asks = serving(sources)
    x = np.random.default_rng(0).random((5, 9, 8, 3), "float32") * 255
    content = picture()
    (expected,) = visitor.json("POST", "/images/photos", content)["images"]
    with Client(server.address) as client, Client(other.address) as onnx:
        for name in sources:
            np.testing.assert_allclose(onnx.predict(x, name), client.predict(x), atol=1e-5)
            (found,) = asks.json("POST", f"/images/{name}", content)["images"]
            for a, b in zip(found["classes"], expected["classes"], strict=True):
                assert a["class"] == b["class"] and abs(a["probability"] - b["probability"]) < 1e-5
    assert asks.json("GET", "/v2/models/two")["inputs"][0]["shape"] == [2, 9, 8, 3]


# ---- what it says of itself


def test_health_metadata_and_metrics(photos):
    _, _, visitor = photos
    assert visitor.json("GET", "/v2/health/live") == {"live": True}
    assert visitor.json("GET", "/v2/health/ready") == {"ready": True}
    assert visitor.json("GET", "/v2/models/photos/ready")["ready"]
    assert visitor.json("GET", "/v2")["extensions"] == ["binary_tensor_data"]
    said = visitor.json("GET", "/v2/models/photos/versions/1")
    assert said["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 9, 8, 3]}]
    assert said["outputs"][0]["name"] == "class" and said["versions"] == ["1"]
    assert visitor.json("GET", "/v1/models/photos/metadata")["model_spec"]["version"] == "1"
    (status,) = visitor.json("GET", "/v1/models/photos/versions/1")["model_version_status"]
    assert status["state"] == "AVAILABLE" and status["status"]["error_code"] == "OK"
    assert visitor.json("GET", "/v1/models")["models"][0]["classes"] == NAMES
    visitor.json("POST", "/images/photos", picture())
    status, headers, text = visitor.ask("GET", "/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = text.decode().splitlines()
    assert 'cornu_model_ready{model="photos",version="1"} 1.0' in lines
    begins = 'cornu_requests_total{status="200",model="photos",version="1",protocol="images"}'
    assert any(line.startswith(begins) for line in lines)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/nobody", 404),
        ("POST", "/v1/models/nobody:predict", 404),
        ("POST", "/v1/models/photos/versions/2:predict", 404),
        ("POST", "/v1/models/photos/versions/x:predict", 404),
        ("POST", f"/v2/models/photos/versions/{'9' * 5000}/infer", 404),
        ("POST", "/v2/models/%2e%2e%2f/infer", 404),
        ("GET", "/v1/models/photos:predict", 404),
        ("DELETE", "/v1/models/photos", 405),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/serving.js/", 404),
        ("GET", "/index.html", 404),
    ],
)
def test_what_is_not_there(photos, method, path, status):
    assert photos[2].error(method, path, status=status)


def test_who_is_answered(serving, photos, tmp_path):
    _, server, visitor = photos
    for headers in ({"Host": "evil.example"}, {"Host": "a b"}, {"Host": ""}):
        assert visitor.ask("GET", "/v1/models", headers=headers)[0] in (400, 421)
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{server.port + 1}"):
        assert visitor.ask("POST", "/images/photos", b"x", {"Origin": origin})[0] == 403
    own = {"Origin": f"http://127.0.0.1:{server.port}"}
    assert visitor.ask("POST", "/images/photos", picture(), own)[0] == 200
    status, headers, _ = visitor.ask("GET", "/")
    assert status == 200 and "default-src 'none'" in headers["content-security-policy"]

    guarded, asks = fake(serving, tmp_path, doubling(), token="secret")
    assert asks.json("GET", "/v2/health/ready")["ready"] and asks.ask("GET", "/")[0] == 200
    for path in ("/v1/models", "/metrics", "/v2", "/v2/models/m", "/v1/models/m"):
        for headers in ({}, {"Authorization": "Bearer secreT"}, {"Authorization": "Bearer é"}):
            asks.error("GET", path, status=401, headers=headers)
        assert asks.ask("GET", path, headers={"Authorization": "Bearer secret"})[0] == 200
    asks.error("POST", "/v1/models/m:predict", {"instances": [[1, 2]]}, 401)
    with Client(guarded.address, token="secret") as client:
        assert client.predict([[1, 2]]).tolist() == [[2, 4]]
    with Client(guarded.address) as client, pytest.raises(ValueError, match="needs its token"):
        client.predict([[1, 2]])


# ---- limits


def bomb(rows=60_000, columns=60_000) -> bytes:
    """A small PNG that says that it is large."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"hello", 400),
        (b"\x89PNG\r\n\x1a\n", 400),
        (picture()[:200], 400),
        (picture(format="TIFF"), 400),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400),
        (bomb(), 400),
        (bomb(6000, 5000), 413),
        (bomb(100, 100), 400),
        (b"GIF89a" + b"\xff" * 30, 400),
        (b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\0" * 20, 400),
    ],
)
def test_hostile_pictures(photos, content, status):
    _, _, visitor = photos
    assert visitor.error("POST", "/images/photos", content, status)
    # Among others, it alone is refused.
    part = b'--B\r\nContent-Disposition: form-data; filename="x"\r\n\r\n'
    body = part + content + b"\r\n" + part + picture() + b"\r\n--B--"
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    bad, good = visitor.json("POST", "/images/photos", body, headers=kind)["images"]
    assert bad["error"] and len(good["classes"]) == 3


def test_limits(serving, tmp_path, parser):
    server, visitor = fake(serving, tmp_path, doubling(), max_body=5000, timeout=0.4)
    path, body = "/v1/models/m:predict", b'{"instances": [[1, 2]]}'
    assert "At most 5,000 bytes" in visitor.error("POST", path, b" " * 5001, 413)
    chunked = {"Transfer-Encoding": "chunked"}
    sent = iter([b"1400\r\n" + b" " * 5120 + b"\r\n", b"0\r\n\r\n"])
    assert visitor.ask("POST", path, sent, chunked)[0] == 413
    assert visitor.ask("POST", path, body, {"Content-Length": "-1"})[0] == 400
    # In chunks, a byte each: some are taken, and many would keep the server from others.
    for spaces, status in ((900, 200), (2000, 400)):
        chunks = b"".join(b"1\r\n%c\r\n" % each for each in body + b" " * spaces)
        assert visitor.ask("POST", path, iter([chunks + b"0\r\n\r\n"]), chunked)[0] == status
    assert visitor.ask("POST", path, body, {"Content-Encoding": "gzip"})[0] == 415
    with socket.create_connection(("127.0.0.1", server.port)) as old:
        old.sendall(b"GET /v2/health/ready HTTP/1.0\r\n\r\n")
        assert old.recv(100).startswith(b"HTTP/1.1 200")
    assert "no pictures" in visitor.error("POST", "/images/m", picture())
    # An answer to what no answer can hold: half of a character.
    assert "ud800" in visitor.error("POST", path, b'{"instances": [], "\\ud800": 1}')
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n".encode()
        )
        # Meanwhile others are answered.
        assert visitor.json("POST", path, body)["predictions"] == [[2, 4]]
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
    assert server._bodies.held == 0


def test_headers_without_an_end(serving, tmp_path, parser):
    server, visitor = fake(serving, tmp_path, doubling())
    head = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\n"
    trailers = head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n"
    for begin in (head, trailers):
        for more in (b"x", b"x: y\r\n"):
            endless = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            with endless, pytest.raises(ConnectionError):
                endless.sendall(begin)
                for _ in range(3000):
                    endless.sendall(more * (10_000 // len(more)))
    # One that is long, but within reason.
    assert visitor.json("GET", "/v2", headers={"X-Long": "x" * 10_000})


def test_a_full_queue_and_late_answers(serving, tmp_path):
    gate, calls = threading.Event(), []
    gate.set()
    servable = doubling(calls, gate=gate)
    server, visitor = fake(serving, tmp_path, servable, max_queue=2, timeout=5.0)
    calls.clear()
    gate.clear()
    path, body = "/v1/models/m:predict", {"instances": [[1, 2]]}
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(visitor.json("POST", path, body)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    while server._answers.waiting < 2:
        time.sleep(0.001)
    status, headers, content = visitor.ask("POST", path, json.dumps(body))
    assert status == 429 and int(headers["retry-after"]) >= 1 and b"2 requests wait" in content
    # A client comes again when it was told to.
    with Client(server.address) as client:
        threading.Timer(0.1, gate.set).start()
        assert client.predict([[1, 2]], "m").tolist() == [[2, 4]]
    for thread in threads:
        thread.join()
    assert len(answers) == 2
    _, asks = fake(serving, tmp_path, doubling(seconds=0.4), timeout=0.1, max_batch=1)
    assert "0.1 seconds to compute" in asks.error("POST", path, body, 504)


def test_a_defect_is_an_answer(serving, tmp_path, capfd):
    servable = doubling()
    _, visitor = fake(serving, tmp_path, servable)
    object.__setattr__(servable, "run", lambda arrays: 1 / 0)
    assert "ZeroDivisionError" in visitor.error(
        "POST", "/v1/models/m:predict", {"instances": [[1, 2]]}, 500
    )
    assert "Traceback" in capfd.readouterr().err


def test_clients_that_stall_are_let_go(serving, tmp_path, monkeypatch, parser):
    monkeypatch.setattr(Watched, "looks", 0.05)
    monkeypatch.setattr(Watched, "patience", 0.3)
    servable = doubling(seconds=0.8)
    server, visitor = fake(serving, tmp_path, servable, max_connections=20, max_batch=1)
    address = ("127.0.0.1", server.port)
    idle = [socket.create_connection(address) for _ in range(6)]
    half = [socket.create_connection(address) for _ in range(6)]
    for each in half:
        each.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX-")
    # Who waits for an answer is no staller, nor is who asks now and then.
    assert visitor.json("POST", "/v1/models/m:predict", {"instances": [[1, 2]]})
    connection = http.client.HTTPConnection(*address, timeout=20)
    for _ in range(8):
        connection.request("GET", "/v2")
        opened = connection.sock
        connection.getresponse().read()
        time.sleep(0.1)
        assert connection.sock is opened
    connection.close()
    for each in idle + half:
        each.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert each.recv(1) == b""
        each.close()
    # Nor do those who never read their answers keep the server's memory.
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(address)
    body = json.dumps({"instances": [[1.5, 2.5]] * 20000}).encode()
    object.__setattr__(servable, "run", lambda arrays: [np.repeat(arrays[0], 1, 0)])
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    reader.sendall(head.encode() + body)
    ends = time.monotonic() + 10
    while server._listener.connections and time.monotonic() < ends:
        time.sleep(0.02)
    assert not server._listener.connections
    reader.close()


def test_a_connection_serves_many_requests(photos):
    connection = http.client.HTTPConnection("127.0.0.1", photos[1].port, timeout=20)
    for path in ("/v2", "/nothing", "/v2"):
        connection.request("GET", path)
        opened = connection.sock
        connection.getresponse().read()
        assert connection.sock is opened
    connection.close()


# ---- files that change


def test_a_changed_file_is_loaded_again(serving, classifier, tmp_path, events):
    folder = write_run(tmp_path / "photos", classifier)
    server, visitor = serving({"photos": folder}, report=events)
    x = np.zeros((1, 9, 8, 3), "float32")
    with Client(server.address) as client:
        before = client.predict(x)
        # Damaged: the old model goes on, and it is said why.
        (folder / "model.keras").write_bytes(b"PK damaged")
        problem = events.wait("load_failed")
        assert problem["serves_old"] and "model.keras" in problem["problem"]
        np.testing.assert_array_equal(client.predict(x), before)
        (status,) = visitor.json("GET", "/v1/models/photos")["model_version_status"]
        assert status["state"] == "AVAILABLE" and "model.keras" in status["status"]["error_message"]
        assert visitor.json("GET", "/v2/health/ready")["ready"]
        # A good one takes its place, while requests go on.
        other = cornu.models.clone_model(classifier)
        other.layers[-1].bias.assign([0.0, 9.0, 0.0])
        stop, answers = threading.Event(), []

        def ask():
            with Client(server.address) as asking:
                while not stop.is_set():
                    answers.append(asking.predict(x))

        thread = threading.Thread(target=ask)
        thread.start()
        write_run(folder, other)
        events.wait("reloaded")
        np.testing.assert_array_equal(client.predict(x), other.predict_on_batch(x))
        stop.set()
        thread.join()
    known = [before.tobytes(), other.predict_on_batch(x).tobytes()]
    assert {answer.tobytes() for answer in answers} <= set(known)
    (status,) = visitor.json("GET", "/v1/models/photos")["model_version_status"]
    assert status["status"] == {"error_code": "OK", "error_message": ""}
    assert b'result="load_failed",model="photos"' in visitor.ask("GET", "/metrics")[2]


def test_versions_come_and_go(serving, tmp_path, events):
    def write(number):
        x = cornu.Input((1,), name="x")
        path = tmp_path / "models" / f"{number}.keras"
        path.parent.mkdir(exist_ok=True)
        cornu.Model(x, L.Rescaling(float(number))(x)).save(path)

    write(2)
    write(10)
    server, visitor = serving({"times": tmp_path / "models"}, report=events)
    ask = lambda **which: client.predict([[1.0]], "times", **which).item()
    with Client(server.address) as client:
        assert ask() == 10.0 and ask(version=2) == 2.0
        with pytest.raises(ValueError, match="no version 3"):
            ask(version=3)
        events.clear()
        write(11)
        assert events.wait("loaded")["version"] == 11
        assert ask() == 11.0 and ask(version=10) == 10.0
        (tmp_path / "models" / "11.keras").unlink()
        assert events.wait("removed")["version"] == 11
        assert ask() == 10.0
    assert visitor.json("GET", "/v2/models/times")["versions"] == ["2", "10"]


def test_what_cannot_be_served(tmp_path, run_folder):
    with pytest.raises(ValueError, match="'a b' is no name"):
        Server({"a b": run_folder}, _servable, Settings(port=0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="neither model"):
        Server({"a": tmp_path / "empty"}, _servable, Settings(port=0))
    (tmp_path / "damaged.keras").write_bytes(b"no")
    with Server({"a": tmp_path / "damaged.keras"}, _servable, Settings(port=0, drain=0)) as server:
        visitor = Visitor(server.port)
        # It lives, and is not ready.
        visitor.json("GET", "/v2/health/ready", status=503)
        status, headers, _ = visitor.ask("POST", "/v1/models/a:predict", b"{}")
        assert status == 503 and "retry-after" in headers
        with pytest.raises(CommandError, match="damaged"):
            server.load()

    class Own(cornu.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="its inputs are not known"):
        of_model(Own())
    x = cornu.Input((2,), batch_size=3)
    with pytest.raises(ValueError, match="batches of any size"):
        of_model(cornu.Model(x, L.ReLU()(x)))
    for wrong in ({"max_batch": 0}, {"timeout": 0}, {"token": "ü"}, {"tls_cert": "a"}):
        with pytest.raises(ValueError):
            Settings(**wrong)


def test_examples_that_see_each_other_are_not_joined():
    x = cornu.Input((3,))
    model = cornu.Model(x, x - cornu.ops.mean(x, axis=0, keepdims=True))
    assert not of_model(model).is_alone and of_model(everything()).is_alone


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate with")
def test_tls(serving, tmp_path):
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost".split()
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", *words, *names, "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    server, _ = fake(serving, tmp_path, doubling(), tls_cert=cert, tls_key=key)
    assert server.address.startswith("https://127.0.0.1:")
    with Client(server.address, verify=cert) as client:
        assert client.predict([[1, 2]], "m").tolist() == [[2, 4]]
    with Client(server.address) as client, pytest.raises(ConnectionError):
        client.predict([[1, 2]], "m")


def test_the_code_of_the_page(serving, tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    server, _ = serving({"LeNet5": Path("LeNet5")}, max_batch=2)
    monkeypatch.chdir(tmp_path)
    for name in ("three.png", "seven.png"):
        (tmp_path / name).write_bytes(picture("L"))
    exec(code.replace("http://127.0.0.1:8501", server.address), {})
    assert capsys.readouterr().out == "(5, 10) ['three.png', 'seven.png']\n"


def test_bytes_as_input_and_several_classes_of_a_picture(serving, tmp_path, capsys, monkeypatch):
    x = cornu.Input((6, 6, 1), dtype="uint8", name="x")
    y = L.Dense(3, activation="sigmoid")(L.Flatten()(L.Rescaling(1 / 255)(x)))
    folder = write_run(tmp_path / "several", cornu.Model(x, y), fit="pad", temperature=1)
    settings = json.loads((folder / "settings.json").read_text("utf-8"))
    settings["image"]["is_multi_label"], settings["thresholds"] = True, [0.0, 1.0, 0.2]
    (folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    _, visitor = serving({"several": folder}, max_batch=2)
    trained = load_trained(str(folder))
    monkeypatch.setattr("cornu.cli.predict.load_trained", lambda path: trained)
    (tmp_path / "a.png").write_bytes(picture())
    for query, top, threshold in (
        ("", None, 0.0),
        ("?top=1", 1, 0.0),
        ("?threshold=0.01", None, 0.01),
    ):
        predict(str(folder), [str(tmp_path / "a.png")], top, False, "json", threshold)
        expected = json.loads(capsys.readouterr().out)["classes"]
        said = visitor.json("POST", f"/images/several{query}", picture())
        assert said["images"][0]["classes"] == expected and (expected or top)
    # As numbers, whole ones alone fit.
    zeros = np.zeros((1, 6, 6, 1), int)
    path = "/v1/models/several:predict"
    assert len(visitor.json("POST", path, {"instances": zeros.tolist()})["predictions"][0]) == 3
    assert "0 to 255" in visitor.error("POST", path, {"instances": (zeros + 256).tolist()})


def test_a_folder_of_a_version_with_one_file(serving, classifier, tmp_path):
    (tmp_path / "фото" / "7").mkdir(parents=True)
    classifier.save(tmp_path / "фото" / "7" / "any name.keras")
    server, _ = serving({"фото": tmp_path / "фото"}, max_batch=1)
    with Client(server.address) as client:
        assert client.ready("фото") and client.predict(np.zeros((1, 9, 8, 3))).shape == (1, 3)
        assert client.metadata()["versions"] == ["7"]
        assert client.classify(picture(), version=7)[0]["classes"][0]["class"] in ("0", "1", "2")


def test_an_onnx_file_of_any_size(serving, tmp_path):
    helper = pytest.importorskip("onnx").helper
    pytest.importorskip("onnxruntime")
    sizes = ["n", 1, "rows", "columns"]
    x, y = (helper.make_tensor_value_info(name, 1, sizes) for name in "xy")
    kernel = helper.make_tensor("k", 1, [1, 1, 3, 3], np.ones(9, "float32"))
    mean = helper.make_node("ReduceMean", ["x"], ["m"], axes=[0])
    nodes = {
        "conv": [helper.make_node("Conv", ["x", "k"], ["y"])],
        # Here each example sees the others.
        "centered": [mean, helper.make_node("Sub", ["x", "m"], ["y"])],
    }
    for name, made in nodes.items():
        graph = helper.make_graph(made, name, [x], [y], [kernel] if name == "conv" else [])
        opset = [helper.make_opsetid("", 13)]
        content = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
        (tmp_path / f"{name}.onnx").write_bytes(content)
    server, _ = serving({name: tmp_path / f"{name}.onnx" for name in nodes})
    with Client(server.address) as client:
        found = client.predict(np.ones((3, 1, 5, 4), "float32"), "conv")
        np.testing.assert_array_equal(found, np.full((3, 1, 3, 2), 9.0, "float32"))
        with pytest.raises(ValueError, match=r"refused \(400\): ONNX Runtime cannot compute"):
            client.predict(np.ones((1, 1, 2, 2), "float32"), "conv")
        x = np.arange(12, dtype="float32").reshape(3, 1, 2, 2)
        centered = at_once(lambda each: Client(server.address).predict(each, "centered"), [x] * 4)
        for each in centered:
            np.testing.assert_array_equal(each, x - x.mean(0))
