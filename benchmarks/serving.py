"""`cornu serve` under load, beside the same server around ONNX Runtime; writes docs/serving.md.

    python benchmarks/serving.py [--rounds 3] [--seconds 5] [--minutes 10] [--models lecture residual]

Both servers run on this machine, loaded in turns, and so do their clients, in a process of their own: each
client sends a picture as a tensor in bytes (protocol v2), waits for the answer, and sends the next. The
front end is the same, so the difference is what runs the model. `--minutes` then loads Cornu alone, and
watches its memory.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import ROOT, in_turns, table, use
from fit import MODELS

DOCUMENT = ROOT / "docs" / "serving.md"
CLIENTS = (1, 2, 4, 8, 16, 32)
# Milliseconds that 99 of 100 answers may take at most.
ALLOWED = 50.0
WARM_UP = 0.5


def model_of(name: str):
    """One of the lessons' networks, or of the applications, with random weights."""
    cornu = use("Cornu")
    if name not in MODELS:
        return getattr(cornu.applications, name)(weights=None)
    module, function, *_ = MODELS[name]
    return getattr(__import__(module), function)()


class Served:
    """A server of a file, when it is ready."""

    def __init__(self, file: Path):
        words = [sys.executable, "-m", "cornu", "serve", f"m={file}", "--port", "0"]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        found = re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        if found is None:
            raise SystemExit(f"{' '.join(words)} does not serve.")
        self.port = int(found[1])

    def resident(self) -> float:
        """Megabytes of memory."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def request_of(x: np.ndarray, name: str) -> bytes:
    """A whole request for one example."""
    raw = x.tobytes()
    one = {"name": name, "shape": list(x.shape), "datatype": "FP32"}
    one["parameters"] = {"binary_data_size": len(raw)}
    asked = {"inputs": [one], "parameters": {"binary_data_output": True}}
    text = json.dumps(asked).encode()
    head = (
        "POST /v2/models/m/infer HTTP/1.1\r\nHost: localhost\r\n"
        f"Inference-Header-Content-Length: {len(text)}\r\nContent-Length: {len(text) + len(raw)}\r\n\r\n"
    )
    return head.encode() + text + raw


def load(port: int, request: bytes, clients: int, seconds: float) -> tuple[list[float], int]:
    """Milliseconds that answers took, and how many were no answers; run in a process of its own."""
    times: list[float] = []
    failed = 0

    async def client(begin: float) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (sent := time.perf_counter()) < begin + seconds:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"\r\ncontent-length: (\d+)", head)[1])
            await reader.readexactly(length)
            failed += not head.startswith(b"HTTP/1.1 200")
            if sent >= begin:
                times.append(1000 * (time.perf_counter() - sent))
        writer.close()

    async def everybody() -> None:
        begin = time.perf_counter() + WARM_UP
        await asyncio.gather(*(client(begin) for _ in range(clients)))

    asyncio.run(everybody())
    return times, failed


def loaded(pool, served: Served, request: bytes, clients: int, seconds: float) -> list[float]:
    times, failed = pool.apply(load, (served.port, request, clients, seconds))
    if failed:
        raise SystemExit(f"{failed} of {len(times)} requests failed.")
    return times


def measured(pool, name: str, folder: Path, rounds: int, seconds: float) -> list[list[str]]:
    """The rows of the table for one network."""
    model = model_of(name)
    files = {"Cornu": folder / f"{name}.keras", "ONNX Runtime": folder / f"{name}.onnx"}
    model.save(files["Cornu"])
    model.export(files["ONNX Runtime"], format="onnx")
    x = np.random.default_rng(0).random((1, *model.inputs[0].shape[1:]), "float32")
    requests = {}
    servers = {kind: Served(file) for kind, file in files.items()}
    times: dict = {kind: {clients: [] for clients in CLIENTS} for kind in files}
    try:
        for kind, served in servers.items():
            from cornu.serving import Client

            with Client(f"http://127.0.0.1:{served.port}") as asking:
                np.testing.assert_allclose(
                    asking.predict(x), model.predict(x, verbose=0), atol=1e-4
                )
                requests[kind] = request_of(x, asking.metadata()["inputs"][0]["name"])
        for turn in range(rounds):
            for clients in CLIENTS:
                for kind in in_turns(list(files), turn):
                    found = loaded(pool, servers[kind], requests[kind], clients, seconds)
                    times[kind][clients].append(found)
        return [_row(name, kind, times[kind], seconds, servers[kind].resident()) for kind in files]
    finally:
        for served in servers.values():
            served.stop()


def _row(name: str, kind: str, times: dict, seconds: float, resident: float) -> list[str]:
    late = {n: float(np.percentile(np.concatenate(found), 99)) for n, found in times.items()}
    rates = {n: statistics.median(len(each) / seconds for each in f) for n, f in times.items()}
    one = float(np.median(np.concatenate(times[1])))
    quick = [n for n in CLIENTS if late[n] < ALLOWED]
    if not quick:
        return [name, kind, f"{one:.2f}", "0", "", "", f"{resident:.0f}"]
    best = max(quick, key=lambda n: rates[n])
    row = [name, kind, f"{one:.2f}", f"{rates[best]:,.0f}", str(best), f"{late[best]:.1f}"]
    return [*row, f"{resident:.0f}"]


def memory(pool, folder: Path, minutes: float) -> str:
    """A sentence about Cornu's memory under full load."""
    model = model_of("lecture")
    model.save(folder / "lecture.keras")
    served = Served(folder / "lecture.keras")
    x = np.zeros((1, *model.inputs[0].shape[1:]), "float32")
    sizes, count = [], 0
    try:
        request = request_of(x, model.input_names[0])
        # What is allocated once is allocated in the first.
        loaded(pool, served, request, 16, min(10.0, 60 * minutes / 10))
        for _ in range(10):
            sizes.append(served.resident())
            count += len(loaded(pool, served, request, 16, 60 * minutes / 10))
        sizes.append(served.resident())
    finally:
        served.stop()
    shown = ", ".join(f"{size:.0f}" for size in sizes)
    return (
        f"In {minutes:g} minutes of sixteen clients, the lecture's network answered {count:,} requests. "
        f"Its memory at eleven moments, in MB: {shown}."
    )


TEXT = """
`python benchmarks/serving.py` loads both on one machine, whose cores clients and server share. Each
client sends one picture as a tensor in bytes, and the next when it has its answer. The front end is
`cornu serve` in both, with its defaults and httptools; what differs is what runs the model, the `.keras`
file or its export. Counted is the best number of clients, of 1 to 32, with which 99 of 100 answers take
less than 50 ms.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--models", nargs="*", default=["lecture", "residual", "MobileNetV2"])
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name, context.Pool(1) as pool:
        folder, rows = Path(name), []
        for network in arguments.models:
            rows += measured(pool, network, folder, arguments.rounds, arguments.seconds)
            print(rows[-2:], file=sys.stderr)
        after = memory(pool, folder, arguments.minutes) if arguments.minutes else ""
    columns = ["network", "runs on", "one client: median, ms", "requests a second, p99 < 50 ms"]
    columns += ["clients", "p99, ms", "memory, MB"]
    if arguments.dry:
        print(*rows, after, sep="\n")
        return
    table(DOCUMENT, "Under load", TEXT, columns, rows, after)


if __name__ == "__main__":
    main()
