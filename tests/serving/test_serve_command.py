"""`cornu serve` as a process of its own: what it says, and that it loses nothing when it stops."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from serving_tools import Visitor, write_run
from typer.testing import CliRunner

from cornu.cli.app import app
from cornu.serving import Client

HEAR = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
COMMAND = [sys.executable, "-c", HEAR + "from cornu.cli import main; main()", "serve"]


class Served:
    """`cornu serve`, when it is ready."""

    def __init__(self, *words, **environment):
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, words), "--port", "0"],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.line = self.process.stdout.readline()
        found = re.search(r"http://127.0.0.1:(\d+)", self.line)
        assert found, self.process.stderr.read()
        self.port, self.address = int(found[1]), found[0]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()


EXAMPLES = Path(__file__).parents[2] / "examples" / "serving"


def unit_words(tmp_path) -> list[str]:
    """What systemd would run, with the paths of this test."""
    text = (EXAMPLES / "cornu-serve.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    for old, new in [
        ("/srv/models", tmp_path),
        ("${CREDENTIALS_DIRECTORY}", tmp_path),
        ("${LOGS_DIRECTORY}", tmp_path),
    ]:
        line = line.replace(old, str(new))
    program, command, *words = line.split()
    assert (program, command) == ("/opt/cornu/bin/cornu", "serve")
    return words


def test_a_stop_loses_no_request(classifier, tmp_path):
    write_run(tmp_path / "photos", classifier)
    (tmp_path / "token").write_text("secret\n")
    log = tmp_path / "serve.jsonl"
    with Served(*unit_words(tmp_path), "--max-batch", 4) as served:
        assert served.line.startswith("Serving photos: http")
        # The container's own look at its health.
        (health,) = re.findall(r"HEALTHCHECK .* CMD (.*)", (EXAMPLES / "Dockerfile").read_text())
        code = json.loads(health)[2].replace(":8501", f":{served.port}")
        exec(code, {})
        x = np.random.default_rng(0).random((1, 9, 8, 3), "float32") * 255
        with Client(served.address, token="secret") as client:
            expected = client.predict(x)
        body = json.dumps({"instances": x.tolist()})
        headers = {"Authorization": "Bearer secret"}
        counts = {"answered": 0, "refused": 0}
        lost, lock = [], threading.Lock()

        def ask(number):
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
            while True:
                try:
                    connection.connect() if connection.sock is None else None
                except ConnectionRefusedError:
                    with lock:
                        counts["refused"] += 1
                    return
                try:
                    connection.request("POST", "/v1/models/photos:predict", body, headers)
                    answer = connection.getresponse()
                    content = answer.read()
                    if number % 2:
                        # Each request a connection of its own.
                        connection.close()
                    y = np.float32(json.loads(content)["predictions"])
                    np.testing.assert_allclose(y, expected, atol=1e-6)
                    with lock:
                        counts["answered"] += 1
                except Exception as error:
                    lost.append(repr(error))
                    return

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.7)
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        # It goes on for a moment, but is not ready.
        Visitor(served.port).json("GET", "/v2/health/ready", status=503)
        for thread in threads:
            thread.join()
        _, err = served.process.communicate(timeout=20)
    assert not lost and counts["answered"] > 20 and counts["refused"] == 8
    assert served.process.returncode == 0 and "stopping" in err and "Traceback" not in err
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    events = [line["event"] for line in lines]
    assert events[:2] == ["loaded", "ready"] and events[-1] == "stopped"
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == counts["answered"] + 1
    assert {line["status"] for line in requests} == {200}
    assert requests[0]["rows"] == 1 and requests[0]["seconds"] > 0
    assert "secret" not in log.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing"], "There is no file or folder nothing."),
        (["photos", "photos/model.keras"], "Two models are called photos."),
        (["a b=photos"], "'a b' is no name"),
        (["damaged.keras"], "damaged.keras"),
        (["damaged.onnx"], "damaged, or no ONNX file"),
        (["photos", "--token-file", "empty"], "empty is empty"),
        (["photos", "--token-file", "none"], "No such file"),
        (["photos", "--log", "no/log"], "--log no/log cannot be written"),
        (["photos", "--tls-cert", "empty"], "They go together"),
        (["photos", "--tls-cert", "none", "--tls-key", "empty"], "There is no file none."),
        (["photos", "--tls-cert", "empty", "--tls-key", "empty"], "no certificate"),
        (["photos", "--host", "192.0.2.1"], "Cannot listen on 192.0.2.1"),
        (["photos", "--max-batch", "0"], "max-batch"),
        (["photos", "--timeout", "0"], "positive"),
    ],
)
def test_mistakes_are_one_line(run_folder, words, says, monkeypatch):
    monkeypatch.chdir(run_folder.parent)
    for name in ("damaged.keras", "damaged.onnx", "empty"):
        (run_folder.parent / name).write_bytes(b"")
    if words == ["damaged.onnx"]:
        pytest.importorskip("onnxruntime")
    port = [] if "--port" in words else ["--port", "0"]
    done = CliRunner().invoke(app, ["serve", *words, *port], env={"COLUMNS": "200"})
    assert done.exit_code in (1, 2) and says in done.stderr
    if done.exit_code == 1:
        assert done.stderr.splitlines()[-1].startswith("cornu: ")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd to ask")
def test_systemd_takes_the_unit(tmp_path):
    text = (EXAMPLES / "cornu-serve.service").read_text()
    # It looks whether the program is there.
    unit = tmp_path / "cornu-serve.service"
    unit.write_text(text.replace("/opt/cornu/bin/cornu", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert done.returncode == 0 and "cornu-serve" not in done.stderr, done.stderr


def test_the_container_s_command_is_one():
    (line,) = re.findall(r"ENTRYPOINT (.*)", (EXAMPLES / "Dockerfile").read_text())
    program, *words = json.loads(line)
    (models,) = re.findall(r"\nCMD (.*)", (EXAMPLES / "Dockerfile").read_text())
    command, *options = [*words, *json.loads(models)]
    parsed = typer.main.get_command(app).commands[command].make_context(command, options).params
    assert program == "cornu" and parsed["host"] == "0.0.0.0" and parsed["models"] == ["LeNet5"]
