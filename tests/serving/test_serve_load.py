"""Many clients at once, good and bad, while files change: every answer is right, and memory stays."""

import json
import os
import re
import signal
import socket
import threading
import time

import numpy as np
import pytest
from serving_tools import Visitor, picture, write_run
from test_serve_command import Served

import cornu
from cornu.serving import Client

ALLOWED = 48 * 2**20


def memory_of(process) -> int:
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc to read memory from")
@pytest.mark.parametrize("seconds", [float(os.environ.get("CORNU_LOAD_SECONDS", 600))])
def test_a_full_load(classifier, tmp_path, seconds):
    folder = write_run(tmp_path / "photos", classifier)
    other = cornu.models.clone_model(classifier)
    other.layers[-1].bias.assign([0.0, 9.0, 0.0])
    x = np.random.default_rng(0).random((64, 9, 8, 3), "float32") * 255
    known = [classifier.predict_on_batch(x), other.predict_on_batch(x)]
    problems, counts, begin = [], {}, time.monotonic()

    def goes_on():
        return not problems and time.monotonic() < begin + seconds

    def repeats(name, function):
        def work():
            while goes_on():
                try:
                    function()
                    counts[name] = counts.get(name, 0) + 1
                except Exception as error:
                    problems.append(f"{name}: {error!r}")

        return threading.Thread(target=work)

    def asks(number):
        client, turn = Client(served.address), [number]

        def ask():
            turn[0] += 1
            first, size = turn[0] % 50, 1 + turn[0] % 7
            y = client.predict(x[first : first + size], "photos")
            near = [np.abs(y - each[first : first + size]).max() for each in known]
            assert min(near) < 1e-5, near

        return ask

    def pictures():
        (one,) = visitor.json("POST", "/images/photos", picture(seed=int(time.time())))["images"]
        assert len(one["classes"]) == 3

    def hostile():
        assert visitor.ask("POST", "/images/photos", b"\x89PNG" + os.urandom(5000))[0] == 400
        assert visitor.ask("POST", "/v2/models/photos/infer", os.urandom(500))[0] == 400
        deep = b"[" * 100_000
        assert visitor.ask("POST", "/v1/models/photos:predict", deep)[0] == 400
        assert visitor.ask("POST", f"/v1/models/{time.time()}:predict", b"{}")[0] == 404

    def stalls():
        with socket.create_connection(("127.0.0.1", served.port)) as slow:
            slow.sendall(
                b"POST /images/photos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n"
            )
            for _ in range(20):
                time.sleep(0.05)
                slow.sendall(b"x")

    def changes():
        for model in (other, None, classifier):
            time.sleep(3)
            if model is None:
                (folder / "model.keras").write_bytes(b"damaged")
            else:
                write_run(folder, model)

    with Served(folder, "--max-wait-ms", "1") as served:
        visitor = Visitor(served.port)
        threads = [repeats("predict", asks(number)) for number in range(16)]
        threads += [repeats("picture", pictures) for _ in range(4)]
        threads += [repeats("hostile", hostile), repeats("change", changes)]
        threads += [repeats("slow", stalls) for _ in range(4)]
        for thread in threads:
            thread.start()
        sizes = []
        while goes_on():
            time.sleep(seconds / 20)
            sizes.append(memory_of(served.process))
        for thread in threads:
            thread.join()
        assert not problems, problems[:3]
        text = visitor.ask("GET", "/metrics")[2].decode()
        served.process.send_signal(signal.SIGTERM)
        _, err = served.process.communicate(timeout=60)
    print(json.dumps({"counts": counts, "MB": [round(size / 1e6) for size in sizes]}))
    assert served.process.returncode == 0 and "Traceback" not in err
    assert not re.search(r'requests_total\{status="50', text)
    assert "reloaded" in text and "load_failed" in text
    # What is allocated once is allocated in the first half.
    assert max(sizes[10:]) - max(sizes[:10]) < ALLOWED, sizes
