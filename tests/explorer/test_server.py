"""Who is answered, what is taken, and that nothing stops the server."""

import gzip
import io
import re
import socket
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from asking import Visitor, floats

from cornu import explorer
from cornu.explorer.server import MOST_BYTES


@pytest.fixture(scope="module")
def server(digits):
    model, x, y = digits
    names = ["top", "middle", "bottom"]
    with explorer.explore(model, x[:30], y[:30], names, white=1.0) as server:
        yield server


@pytest.fixture
def owner(server):
    return Visitor(server.link)


@pytest.fixture
def viewer(server):
    return Visitor(server.viewer_link)


@pytest.fixture(autouse=True)
def _still_there(server):
    yield
    assert Visitor(server.link).json("GET", "/api/model")["name"] == "bars"


def test_the_page_and_its_files(owner):
    status, headers, page = owner.ask("GET", "/", token=False)
    assert status == 200 and headers["content-type"].startswith("text/html")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    files = {f.name for f in (Path(explorer.__file__).parent / "pages").iterdir()} - {"index.html"}
    for name in files - {"README.md"}:
        assert owner.ask("GET", f"/{name}", token=False)[0] == 200
    # Compressed, for who takes it so: less than half of the bytes.
    for accepted, is_taken in (("gzip", 1), ("br, gzip;q=0.5", 1), ("gzip;q=0", 0), ("br", 0)):
        _, headers, body = owner.ask(
            "GET", "/graph.js", headers={"Accept-Encoding": accepted}, token=False
        )
        assert (headers.get("content-encoding") == "gzip") == is_taken and "accept" in headers[
            "vary"
        ]
        whole = owner.ask("GET", "/graph.js", token=False)[2]
        assert gzip.decompress(body) == whole if is_taken else body == whole
        assert (len(body) < len(whole) / 2) == is_taken
    # Nothing that the page consists of leads elsewhere.
    for name in files - {"README.md", "icon.svg"}:
        text = owner.ask("GET", f"/{name}", token=False)[2].decode()
        assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")
    assert b"http" not in page


def test_only_cells_of_notebooks_frame_the_page(server, owner):
    own = re.search(r'data="[^"]*/(\?cell=[\w-]+)#', server._repr_html_())[1]
    allowed = {}
    for query in ("", own, "?cell=", own[:-1]):
        _, headers, _ = owner.ask("GET", f"/{query}", token=False)
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
        allowed[query] = policy["frame-ancestors"]
        is_own = headers["cross-origin-resource-policy"] == "cross-origin"
        assert is_own == (query == own)
    assert {a for q, a in allowed.items() if q != own} == {"'none'"}
    sources = allowed[own].split()
    assert "http://localhost:*" in sources and not {"*", "http:", "https:"} & set(sources)


@pytest.mark.parametrize(
    "path",
    [
        "/../../pyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/pages/index.html",
        "/server.py",
        "/index.html",
        "/main.js/",
        "/main.js%00.html",
        "/api",
        "/api/../main.js",
    ],
)
def test_no_other_path_leads_to_a_file(owner, path):
    status, _, content = owner.ask("GET", path)
    assert status in (404, 400) and b"root:" not in content and b"[project]" not in content


def test_a_token_is_needed(owner):
    for path in ("/api/model", "/api/examples?start=0", "/api/example?number=0"):
        assert owner.refusal("GET", path, token=False)[0] == 401
        wrong = {"Authorization": "Bearer " + owner.token[:-1] + "!"}
        assert owner.refusal("GET", path, headers=wrong, token=False)[0] == 401
    assert "printed" in owner.refusal("GET", "/api/model", token=False)[1]
    assert owner.refusal("POST", "/api/run", floats(np.ones(144)), token=False)[0] == 401


def test_two_links(owner, viewer):
    assert owner.token != viewer.token
    assert owner.json("GET", "/api/model")["may_control"]
    assert not viewer.json("GET", "/api/model")["may_control"]
    assert viewer.refusal("POST", "/api/training?action=stop")[0] == 403
    assert owner.refusal("POST", "/api/training?action=stop") == (404, "No training is shown here.")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1:1",
        "127.0.0.1",
        "8.8.8.8:{port}",
        "",
        "a b",
    ],
)
def test_other_names_are_refused(owner, host):
    status, reason = owner.refusal(
        "GET", "/api/model", headers={"Host": host.format(port=owner.port)}
    )
    assert status in (421, 400) and reason


def test_own_names_are_taken(owner):
    for name in ("127.0.0.1", "localhost", "[::1]"):
        assert owner.ask("GET", "/api/model", headers={"Host": f"{name}:{owner.port}"})[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "file://"]
)
def test_other_pages_are_refused(owner, origin):
    headers = {"Origin": origin.format(port=owner.port)}
    assert owner.refusal("POST", "/api/run", floats(np.ones(144)), headers)[0] == 403
    own = {"Origin": f"http://127.0.0.1:{owner.port}"}
    assert owner.ask("POST", "/api/run", floats(np.ones(144)), own)[0] == 200
    status, headers, _ = owner.ask("OPTIONS", "/api/run", headers=headers)
    assert status == 405 and "access-control-allow-origin" not in headers


def test_only_what_is_meant(owner):
    assert owner.refusal("DELETE", "/api/model")[0] == 405
    assert owner.refusal("GET", "/api/run")[0] == 405
    assert owner.refusal("GET", "/api/nothing")[0] == 404


def test_examples(owner, digits):
    _, x, y = digits
    told, pictures = owner.arrays("GET", "/api/examples?start=24")
    assert told["shape"] == [6, 12, 12, 1] and told["labels"] == y[24:30].tolist()
    np.testing.assert_array_equal(np.frombuffer(pictures, "<f4").reshape(6, 12, 12, 1), x[24:30])
    told, one = owner.arrays("GET", "/api/example?number=29")
    assert told["label"] == y[29] and one == floats(x[29])
    assert "30" in owner.refusal("GET", "/api/example?number=30")[1]
    for text in ("-1", "1e3", "", "x", "1,2", "%C2%B2", "9" * 30):
        assert owner.ask("GET", f"/api/example?number={text}")[0] == 400


def test_a_run(owner, digits):
    model, x, _ = digits
    told, pictures = owner.arrays("POST", "/api/run", floats(x[2]))
    np.testing.assert_allclose(told["outputs"], model.predict(x[2:3], verbose=0)[0], atol=1e-6)
    sizes = [np.prod(layer["shape"]) for layer in told["layers"]]
    assert len(pictures) == sum(size + -size % 4 for size in sizes)
    told, found = owner.arrays("POST", "/api/map?layer=0&channel=1", floats(x[2]))
    assert told["shape"] == [12, 12] and len(found) == 4 * 144
    told, found = owner.arrays("POST", "/api/class?method=grad_cam", floats(x[2]))
    assert told["shape"] == [12, 12] and len(found) == 4 * 144
    window = owner.json("POST", "/api/window?layer=0&channel=1&position=0,0", floats(x[2]))
    assert sum(map(sum, window["grids"][0]["padding"])) == 5


@pytest.mark.parametrize(
    "body, expected",
    [
        (b"", "0 bytes"),
        (b"x" * 575, "575 bytes"),
        (floats(np.full(144, np.nan)), "not finite"),
        (floats(np.full(144, np.inf)), "not finite"),
    ],
)
def test_malformed_inputs_get_a_message(owner, body, expected):
    for path in ("/api/run", "/api/map?layer=0&channel=0", "/api/class?method=saliency"):
        status, reason = owner.refusal("POST", path, body)
        assert status == 400 and expected in reason


@pytest.mark.parametrize(
    "query",
    [
        "layer=99&channel=0",
        "layer=0&channel=99",
        "layer=0",
        "channel=0",
        "layer=0,1&channel=0",
        "layer=-1&channel=0",
        "layer=0&channel=0&position=0,0,0,0,0,0,0,0,0,0",
        "layer=0&channel=0&position=99,0",
        "layer=999999999&channel=0&position=1,1",
    ],
)
def test_malformed_questions_get_a_message(owner, query):
    assert owner.refusal("POST", f"/api/window?{query}", floats(np.ones(144)))[0] == 400


def test_a_huge_input_is_refused_at_once(owner):
    # An example, and what may be said of it.
    status, reason = owner.refusal("POST", "/api/run", b"x" * (577 + 2**16))
    assert status == 413 and "66,112" in reason
    # Said beforehand, or sent without saying.
    with socket.create_connection((owner.host, owner.port), timeout=20) as raw:
        start = f"POST /api/run HTTP/1.1\r\nHost: 127.0.0.1:{owner.port}\r\n"
        start += f"Authorization: Bearer {owner.token}\r\n"
        raw.sendall((start + f"Content-Length: {10**12}\r\n\r\n").encode())
        assert b"413" in raw.recv(1000)
    with socket.create_connection((owner.host, owner.port), timeout=20) as raw:
        raw.sendall((start + "Transfer-Encoding: chunked\r\n\r\n").encode())
        with pytest.raises(OSError):
            answer = b""
            for _ in range(2000):
                raw.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            answer = raw.recv(1000)
            assert b"413" in answer
            raise OSError("answered")


@pytest.mark.parametrize(
    "request_line",
    [
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\xff" * 500,
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    ],
)
def test_what_is_no_request(owner, request_line):
    with socket.create_connection((owner.host, owner.port), timeout=20) as raw:
        try:
            raw.sendall(request_line)
            raw.shutdown(socket.SHUT_WR)
            answer = raw.recv(1000)
        except ConnectionError:
            answer = b""
    assert not answer or answer.split(b" ")[1][:1] == b"4"


# ---- images


def image_file(pixels, form="PNG"):
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "WEBP", "JPEG"])
def test_an_image_is_read_as_predict_reads_it(owner, form, tmp_path):
    from cornu.utils.image_folder import ImageReader

    pixels = (np.arange(20 * 30).reshape(20, 30) % 251).astype(np.uint8)
    path = tmp_path / "image"
    path.write_bytes(image_file(pixels, form))
    told, found = owner.arrays("POST", "/api/image", path.read_bytes())
    reader = ImageReader("grayscale", (12, 12), "bilinear", None, "channels_last")
    assert told["shape"] == [12, 12, 1]
    expected = reader(str(path)).astype(np.float32) / 255
    np.testing.assert_allclose(np.frombuffer(found, "<f4").reshape(12, 12, 1), expected, atol=1e-6)


def png_that_claims(width, height):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 100_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "content, status, expected",
    [
        (b"", 400, "not an image"),
        (b"#!/bin/sh\nrm -rf /\n", 400, "not an image"),
        (b"%PDF-1.7 nothing", 400, "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400, "not an image"),
        (image_file(np.zeros((9, 9), np.uint8))[:-30], 400, "damaged"),
        (png_that_claims(60_000, 60_000), 400, "not an image"),
        (png_that_claims(9_000, 9_000), 413, "9,000 x 9,000"),
        (b"\x89PNG" + b"x" * MOST_BYTES, 413, "16,777,216"),
    ],
)
def test_what_is_no_image_gets_a_message(owner, content, status, expected):
    got, reason = owner.refusal("POST", "/api/image", content)
    assert got == status and expected in reason


def test_a_network_that_takes_no_images():
    import cornu

    model = cornu.Sequential([cornu.Input((5, 5, 7)), cornu.layers.Flatten()])
    with explorer.explore(model) as server:
        status, reason = Visitor(server.link).refusal(
            "POST", "/api/image", image_file(np.zeros((5, 5), np.uint8))
        )
    assert status == 400 and "(5, 5, 7)" in reason


# ---- many, and none


def test_several_at_once(server, digits):
    model, x, _ = digits
    expected = model.predict(x[:20], verbose=0)
    problems = []

    def visit(n):
        visitor = Visitor(server.viewer_link)
        for _ in range(5):
            told, _ = visitor.arrays("POST", "/api/run", floats(x[n]))
            if not np.allclose(told["outputs"], expected[n], atol=1e-5):
                problems.append(n)

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_a_defect_is_an_answer(server, owner, digits, monkeypatch, capfd):
    def broken(*asked):
        raise KeyError("oh")

    monkeypatch.setattr(server.network, "run", broken)
    status, reason = owner.refusal("POST", "/api/run", floats(digits[1][0]))
    assert status == 500 and "KeyError" in reason
    assert "Traceback" in capfd.readouterr().err


def test_too_many_questions_are_refused(server, owner, digits, monkeypatch):
    monkeypatch.setattr("cornu.explorer.server.MOST_WAITING", 0)
    assert owner.refusal("POST", "/api/run", floats(digits[1][0]))[0] == 503


def test_too_much_at_once_is_refused_and_forgotten(server, owner, digits, monkeypatch):
    body = floats(digits[1][0])
    with monkeypatch.context() as patch:
        patch.setattr(server._bodies, "most_held", len(body) - 1)
        assert owner.refusal("POST", "/api/run", body)[0] == 503
    for _ in range(3):
        assert owner.ask("POST", "/api/run", body)[0] == 200
    assert server._bodies.held == 0


def test_a_port_that_is_taken(server, digits):
    with pytest.raises(OSError, match=f"^Cannot listen on 127.0.0.1, port {server.port}: "):
        explorer.explore(digits[0], port=server.port)


def test_examples_must_fit(digits):
    model, x, _ = digits
    with explorer.explore(model, x[:3, :, :, 0] * 200) as server:
        assert Visitor(server.link).json("GET", "/api/model")["white"] == 255
        assert server.link in repr(server)
    with pytest.raises(ValueError, match=r"\(n, 12, 12, 1\).*\(3, 7, 12\)"):
        explorer.explore(model, np.ones((3, 7, 12)))
    with pytest.raises(ValueError, match=r"from 0 to 2 are expected\. Received: 0 to 7"):
        explorer.explore(model, x[:2], [0, 7])


def test_after_the_end_nobody_answers(digits):
    server = explorer.explore(digits[0])
    visitor = Visitor(server.link)
    assert visitor.ask("GET", "/")[0] == 200
    server.stop()
    with pytest.raises(OSError):
        visitor.ask("GET", "/")


def test_a_shared_page_takes_addresses_but_no_strange_names(digits):
    with explorer.explore(digits[0], host="0.0.0.0") as server:
        assert server.is_shared
        visitor = Visitor(server.link)
        assert (
            visitor.ask("GET", "/api/model", headers={"Host": f"10.1.2.3:{server.port}"})[0] == 200
        )
        assert (
            visitor.refusal("GET", "/api/model", headers={"Host": f"evil.example:{server.port}"})[0]
            == 421
        )
