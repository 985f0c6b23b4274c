"""The README says what is true: its code runs, its files and targets exist."""

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import cornu
from cornu.cli.app import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def code_of(path: Path) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))


def run(path: Path, names: dict) -> dict:
    names["__name__"] = path.stem
    exec(compile(code_of(path), path.name, "exec"), names)
    return names


def test_the_code_runs(monkeypatch, tmp_path, capsys):
    random = np.random.RandomState(0)
    x, y = random.randint(0, 256, (300, 28, 28), "uint8"), random.randint(0, 10, 300)
    monkeypatch.setattr(cornu.datasets.mnist, "load_data", lambda: ((x, y), (x[:50], y[:50])))
    monkeypatch.chdir(tmp_path)
    run(ROOT / "README.md", {})
    assert (tmp_path / "digits.keras").exists() and (tmp_path / "window.png").exists()
    printed = capsys.readouterr().out
    assert "Total params: 34,826" in printed and "sum of products" in printed


def test_the_code_about_published_networks_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORNU_HOME", str(tmp_path / "cache"))
    names = run(ROOT / "docs" / "applications.md", {})
    assert (tmp_path / "classifier.keras").exists()
    done = names["done"]
    assert len(done.head.history["loss"]) == 3 and len(done.whole.history["loss"]) == 1
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 3
    assert len(names["model"].trainable_variables) > 100


def test_the_code_about_files_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    x, y = np.ones((4, 3), "float32"), np.zeros((4, 8), "float32")
    model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(8)])
    model.compile("sgd", "mse")
    model.export("m.stablehlo")
    expected = model.predict(x, verbose=0)
    names = {"Path": Path, "jax": jax, "cornu": cornu, "model": model, "x": x, "y": y, "inputs": x}
    outputs = run(ROOT / "docs" / "files.md", names)["outputs"]
    np.testing.assert_allclose(jax.tree.leaves(outputs)[0], expected, rtol=1e-6)


def test_the_code_of_the_guide_runs(capsys):
    random = np.random.default_rng(0)
    images, labels = random.random((32, 16, 16, 1), "float32"), random.integers(0, 3, 32)
    names = run(ROOT / "docs" / "custom.md", {"images": images, "labels": labels})
    assert names["model"].count_params() == 80 + 18 + 24 + 1 + 27
    assert "['change', 'loss']" in capsys.readouterr().out


def test_the_code_about_augmentation_runs(capsys):
    names = run(ROOT / "docs" / "augmentation.md", {})
    assert capsys.readouterr().out == "(2, 1, 4)\n"
    images = np.random.default_rng(0).random((4, 8, 8, 3), "float32")
    turned = names["Occasionally"](0.2, seed=1)(images)
    np.testing.assert_array_equal(turned[::2], images[::2])
    assert np.abs(turned[1::2] - images[1::2]).max() > 0.1


def test_the_code_about_data_sets_runs(monkeypatch, tmp_path):
    model = cornu.Sequential([cornu.layers.Flatten(), cornu.layers.Dense(3)])
    model.compile("sgd", cornu.losses.SparseCategoricalCrossentropy(from_logits=True))
    pool = cornu.layers.GlobalAveragePooling2D()
    classifier = cornu.Sequential([pool, cornu.layers.Dense(3)])
    classifier.compile("sgd", model.loss)
    images, labels = np.full((40, 4, 4, 1), 255, "uint8"), np.arange(40) % 3
    augment = cornu.layers.RandomFlip(seed=1)
    given = {"images": images, "labels": labels, "augment": augment, "model": model}
    given |= {"keras": cornu, "classifier": classifier}
    monkeypatch.chdir(tmp_path)
    with tarfile.open("train-0.tar", "w") as file:
        for number in range(3):
            picture = io.BytesIO()
            Image.new("RGB", (9, 7), (number, 0, 0)).save(picture, "JPEG")
            for ending, content in (("jpg", picture.getvalue()), ("cls", str(number).encode())):
                item = tarfile.TarInfo(f"{number}.{ending}")
                item.size = len(content)
                file.addfile(item, io.BytesIO(content))
    data = run(ROOT / "docs" / "datasets.md", given)["data"]
    assert [x.shape for x, _ in data] == [(32, 4, 4, 1), (8, 4, 4, 1)] and next(iter(data))[
        0
    ].max() == 1


@pytest.mark.slow
def test_the_code_about_scaling_runs(tmp_path):
    program = f"""
import numpy as np
import cornu
cornu.distribution.initialize = lambda: None
images = cornu.Input((6, 6, 1))
maps = cornu.layers.Flatten()(cornu.layers.Conv2D(4, 3)(images))
model = cornu.Model(images, cornu.layers.Dense(8)(maps))
model.compile("sgd", "mse")
x, y = np.ones((300, 6, 6, 1), "float32"), np.ones((300, 8), "float32")
{code_of(ROOT / "docs" / "scaling.md").replace("/shared", str(tmp_path))}
assert len(model.layers[-1].kernel.value.devices()) == 8
"""
    flags = "--xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=300)


def test_no_other_document_has_code():
    names = {path.name for path in DOCUMENTS if code_of(path)}
    ran = {
        "README.md",
        "applications.md",
        "augmentation.md",
        "custom.md",
        "datasets.md",
        "files.md",
        "from-pictures-to-onnx.md",  # by test_tutorial.py
        "scaling.md",
        "serving.md",  # by test_serve.py
    }
    assert names == ran


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if target.startswith("https://"):
            continue
        assert (path.parent / target).exists(), target


def test_targets_exist():
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {
        target
        for path in DOCUMENTS
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    }
    assert {"demo", "test"} <= named <= set(known)


def test_commands_are_known():
    texts = [path.read_text() for path in DOCUMENTS]
    named = set(re.findall(r"^(?:\$ )?cornu ([a-z][\w-]+)", "\n".join(texts), re.MULTILINE))
    assert {"train", "run"} <= named
    for command in sorted(named):
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command
