"""`cornu plan` predicts what many devices need."""

import json
import math

import pytest

import cornu
from cornu import layers
from cornu.explain.plan import Hardware, plan, read_hardware

ARGUMENTS = ["plan", "resnet", "--input-shape", "32x32x3"]
FIGURES = Hardware(
    "devices",
    {"float32": 1e-3, "bfloat16": 2e-3},
    memory_gb=1,
    memory_gb_per_s=1e9,
    devices_per_node=2,
    link_gb_per_s=1e-3,
    link_latency_us=5,
    network_gb_per_s=1e-4,
    network_latency_us=70,
)


@pytest.fixture(scope="module")
def model():
    return cornu.Sequential(
        [
            cornu.Input((8, 8, 2)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3, use_bias=False),
        ]
    )


def test_times_follow_the_formulas(model):
    made = plan(model, 4, 32, FIGURES)
    # What a convolution, normalization and a dense layer multiply, in 8 examples.
    operations = 6 * 8 * (36 * 3 * 3 * 2 * 4 + 36 * 4 + 36 * 4 * 3)
    assert made.compute_seconds == pytest.approx(operations / 1e9, rel=1e-4)
    gradients, sums = 4 * (3 * 3 * 2 * 4 + 2 * 4 + 36 * 4 * 3), 2 * 2 * 4 * 4
    assert (made.gradient_bytes, made.normalization_bytes) == (gradients, sums)
    # Of 2 x 2 devices, two in a node send all and two nodes a half; then three collectives wait.
    waiting = 3 * (2 * 5e-6 + 2 * 70e-6)
    expected = (gradients + sums) / 1e6 + (gradients + sums) / 2 / 1e5 + waiting
    assert made.asked.communication_seconds == pytest.approx(expected)
    assert made.asked.sent_bytes == 1.5 * (gradients + sums)
    assert made.asked.efficiency == pytest.approx(
        made.compute_seconds / (made.compute_seconds + expected)
    )
    assert [row.devices for row in made.rows] == [2**i for i in range(13)]
    assert made.rows[0].efficiency == 1 and made.rows[0].sent_bytes == 0
    halves = plan(model, 4, 32, FIGURES, "bfloat16")
    assert halves.compute_seconds == pytest.approx(made.compute_seconds / 2, rel=1e-4)
    outputs = 8 * 4 * (2 * 36 * 4 + 36 * 4 + 3)
    assert made.memory_bytes - halves.memory_bytes == outputs / 2


def test_memory_counts_what_the_optimizer_keeps(model):
    by_adam = plan(model, 1, 1, FIGURES).memory_bytes
    other = cornu.models.clone_model(model)
    other.compile(cornu.optimizers.SGD())
    gradients = plan(other, 1, 1, FIGURES).gradient_bytes
    assert by_adam - plan(other, 1, 1, FIGURES).memory_bytes == 2 * gradients


def test_this_machine_is_measured(model):
    made = plan(cornu.models.clone_model(model), 2, 16)
    assert made.is_measured and made.compute_seconds > 0 and made.fits is None
    assert made.memory_bytes > 3 * made.gradient_bytes
    # A file may have a network alone.
    network = Hardware("a network", network_gb_per_s=1e-3, network_latency_us=0, memory_gb=1e-9)
    made = plan(cornu.models.clone_model(model), 2, 16, network)
    sent = made.gradient_bytes + made.normalization_bytes
    assert made.is_measured and made.asked.communication_seconds == pytest.approx(sent / 1e6)
    assert made.fits is False


def test_table_and_json(run):
    table = run(*ARGUMENTS, "--devices", 6, "--batch", 1536, "--hardware", "h100")
    assert table.exit_code == 0, table.stderr
    assert "6 devices, 256 examples each" in table.stdout and "4,096" in table.stdout
    found = json.loads(
        run(*ARGUMENTS, "--devices", 6, "--batch", 1536, "--hardware", "h100", "--json").stdout
    )
    assert [row["devices"] for row in found["rows"]][:5] == [1, 2, 4, 6, 8]
    assert found["fits"] and not found["is_measured"]
    # Ever more devices, never a better efficiency.
    efficiencies = [row["efficiency"] for row in found["rows"]]
    assert efficiencies == sorted(efficiencies, reverse=True)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--batch", 10], "cannot be shared out evenly among 4 devices. Try 8."),
        (["--hardware", "h10"], "no hardware file h10. Those that come with Cornu: h100"),
        (["--dtype", "float32"], "--dtype is for --hardware"),
        (["--hardware", "h100", "--dtype", "float8"], "no speed for 'float8'"),
    ],
)
def test_bad_options(run, options, message):
    done = run(*ARGUMENTS, "--devices", 4, "--batch", 8, *options)
    assert done.exit_code == 1 and message in done.stderr and done.stderr.count("\n") == 1
    assert "Did you mean 'ResNet50'" in run("plan", "ResNet5", "--devices", 1, "--batch", 1).stderr


GOOD = {"name": "x", "tflops": {"float32": 1}, "memory_gb": 1, "memory_gb_per_s": 1}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"memory": 1}, "unknown key 'memory'. Did you mean 'memory_gb'"),
        ({"tflops": {"float33": 1}}, "unknown dtype 'float33'"),
        ({"tflops": 3}, "'tflops' must be an object"),
        ({"memory_gb": 0}, "'memory_gb' must be a positive number"),
        ({"memory_gb": "1"}, "'memory_gb' must be a positive number"),
        ({"memory_gb": math.nan}, "'memory_gb' must be a positive number"),
        ({"arithmetic_share": 1.5}, "'arithmetic_share' must be at most 1"),
        ({"devices_per_node": 1.5}, "'devices_per_node' must be a whole number"),
    ],
)
def test_bad_hardware(tmp_path, change, message):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(GOOD))
    assert read_hardware(str(path)).network_gb_per_s > 0
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(ValueError, match=message):
        read_hardware(str(path))
    for figures, said in (
        ({"tflops": {"float32": 1}}, "'name' is missing"),
        ({"name": "x", "tflops": {"float32": 1}}, "'memory_gb' is missing"),
        ({"name": "x", "memory_gb_per_s": 1}, "has no effect without 'tflops'"),
    ):
        path.write_text(json.dumps(figures))
        with pytest.raises(ValueError, match=said):
            read_hardware(str(path))
    path.write_text(json.dumps({"name": "x", "network_latency_us": 5}))
    assert not read_hardware(str(path)).tflops
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_hardware(str(path))
