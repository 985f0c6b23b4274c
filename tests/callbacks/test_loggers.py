"""Callbacks that write numbers somewhere."""

import http.server
import io
import json
import struct
import sys
import threading
import time
import types
import urllib.parse

import keras
import numpy as np
import pytest
from fake_training import run_epochs

import cornu
from cornu import callbacks
from cornu.core.variable import Variable

# ---- CSVLogger

TABLES = {
    "plain": [{"loss": 1.0, "accuracy": 0.5}, {"loss": 0.5, "accuracy": 0.75}],
    "validated": [{"loss": 1.0, "val_loss": 0.5}, {"loss": 0.5, "val_loss": 0.25}],
    "late validation": [{"loss": 1.0}, {"loss": 0.5, "val_loss": 0.25}],
    "gap": [{"loss": 1.0, "val_loss": 0.5}, {"loss": 0.5}],
    "vectors": [{"loss": np.array([1.0, 2.0]), "name": "a,b", "scalar": np.array(2.5)}],
    "nothing": [{}],
}


@pytest.mark.parametrize("arguments", [{}, {"separator": ";"}, {"append": True}], ids=str)
@pytest.mark.parametrize("case", TABLES)
def test_csv_is_keras(tmp_path, case, arguments):
    texts = []
    for module in (callbacks, keras.callbacks):
        path = tmp_path / f"{module.__name__}.csv"
        logger = module.CSVLogger(path, **arguments)
        for _ in range(2):
            run_epochs(logger, TABLES[case])
        texts.append(path.read_bytes())
    assert texts[0] == texts[1]
    assert texts[0].startswith(b"epoch")


def test_csv_is_on_disk_after_every_epoch(tmp_path):
    path = tmp_path / "log.csv"
    logger = callbacks.CSVLogger(path)
    logger.on_train_begin()
    logger.on_epoch_end(0, {"loss": 0.5})
    assert path.read_text() == "epoch,loss,val_loss\n0,0.5,NA\n"


def test_csv_in_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        callbacks.CSVLogger(tmp_path / "missing" / "log.csv").on_train_begin()


# ---- ProgbarLogger


class Terminal(io.StringIO):
    def isatty(self):
        return True


def training_text(monkeypatch, module, out, verbose, steps, epochs, announced=True):
    """What a training, an evaluation and a prediction print."""
    now = [1e9]

    def tick():
        now[0] += 0.04

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now[0])
        patch.setattr(sys, "stdout", out)
        arguments = {"verbose": verbose, "epochs": epochs, "steps": steps if announced else None}
        # Not by way of a CallbackList: Keras' calls it in a thread, some time later.
        logger = module.ProgbarLogger()
        logger.set_params(arguments)
        logger.on_train_begin()
        for epoch in range(epochs):
            logger.on_epoch_begin(epoch)
            for step in range(steps):
                logger.on_train_batch_begin(step)
                tick()
                logger.on_train_batch_end(step, {"accuracy": 0.5, "loss": 1 / (step + 1)})
            logger.on_test_begin()
            for step in range(2):
                logger.on_test_batch_end(step, {"loss": 0.25})
            logger.on_test_end({"loss": 0.25})
            logger.on_epoch_end(epoch, {"accuracy": 0.5, "loss": 0.5, "val_loss": 0.25})
        logger.on_train_end({})
        for kind in ("test", "predict"):
            logger = module.ProgbarLogger()
            logger.set_params({**arguments, "epochs": 1})
            getattr(logger, f"on_{kind}_begin")()
            for step in range(steps):
                tick()
                getattr(logger, f"on_{kind}_batch_end")(step, {"loss": 0.25})
            getattr(logger, f"on_{kind}_end")({"loss": 0.125} if kind == "test" else None)
    return out.getvalue()


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("verbose", [0, 1, 2, "auto"])
def test_progress_is_keras(monkeypatch, verbose, epochs, announced):
    ours, theirs = (
        training_text(monkeypatch, module, Terminal(), verbose, 5, epochs, announced)
        for module in (callbacks, keras.callbacks)
    )
    assert ours == theirs
    assert bool(ours) == (verbose != 0)


def test_progress_in_a_file_is_a_line_an_epoch(monkeypatch):
    text = training_text(monkeypatch, callbacks, io.StringIO(), 1, 5, 2)
    bar = "5/5 ━━━━━━━━━━━━━━━━━━━━ 0s 40ms/step"
    numbers = " - accuracy: 0.5000 - loss: 0.5000 - val_loss: 0.2500"
    assert text.splitlines() == [
        "Epoch 1/2",
        bar + numbers,
        "Epoch 2/2",
        bar + numbers,
        bar + " - loss: 0.1250",
        bar,
    ]


def test_progress_can_be_used_again(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    logger = callbacks.ProgbarLogger()
    fit = callbacks.CallbackList([logger], verbose=1, epochs=1, steps=1)
    fit.on_train_begin()
    fit.on_epoch_begin(0)
    fit.on_epoch_end(0, {})
    fit.on_train_end()
    evaluate = callbacks.CallbackList([logger], verbose=1, epochs=1, steps=1)
    evaluate.on_test_begin()
    evaluate.on_test_batch_end(0, {"loss": 0.5})
    evaluate.on_test_end({"loss": 0.5})
    assert len(out.getvalue().splitlines()) == 2


# ---- TerminateOnNaN, LambdaCallback


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), np.array(np.nan, "float32")])
def test_nan_ends_training(fake_model, capsys, loss):
    texts = []
    for module in (callbacks, keras.callbacks):
        fake_model.stop_training = False
        stop = module.TerminateOnNaN()
        stop.set_model(fake_model)
        stop.on_train_batch_end(0, {"loss": 0.5})
        stop.on_train_batch_end(1, {})
        assert not fake_model.stop_training
        stop.on_train_batch_end(2, {"loss": loss})
        assert fake_model.stop_training
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == "Batch 2: Invalid loss, terminating training\n"
    with pytest.raises(RuntimeError, match="NaN or Inf loss encountered at batch 3"):
        callbacks.TerminateOnNaN(raise_error=True).on_train_batch_end(3, {"loss": loss})


def test_lambda_callback():
    seen = []
    made = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(("epoch", epoch, logs)),
        on_train_batch_end=lambda batch, logs: seen.append(("batch", batch, logs)),
        on_test_end=lambda logs: seen.append(("test", logs)),
        on_train_begin=None,
    )
    many = callbacks.CallbackList([made])
    many.on_train_begin()
    many.on_train_batch_end(1, {"loss": 2.0})
    many.on_test_end({"loss": 3.0})
    many.on_epoch_end(4, {"loss": 5.0})
    expected = [("batch", 1, {"loss": 2.0}), ("test", {"loss": 3.0}), ("epoch", 4, {"loss": 5.0})]
    assert seen == expected


def test_lambda_callback_has_what_it_is_given():
    made = callbacks.LambdaCallback(custom_method=lambda: 5, count=3)
    assert made.custom_method() == 5 and made.count == 3


def test_lambda_callback_refuses_unknown_methods():
    with pytest.raises(TypeError, match="has no argument 'on_epoch_ends'"):
        callbacks.LambdaCallback(on_epoch_ends=print)


# ---- RemoteMonitor


@pytest.fixture
def server():
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            requests.append((self.path, self.headers["Content-Type"], self.headers["X-Run"], body))
            self.send_response(404 if self.path == "/refused" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield types.SimpleNamespace(
            root=f"http://127.0.0.1:{made.server_address[1]}", requests=requests
        )
        made.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"send_as_json": True},
        {"field": "numbers", "path": "/here", "headers": {"X-Run": "7"}},
    ],
    ids=str,
)
def test_remote_monitor_sends_what_keras_sends(server, arguments):
    logs = {"loss": 0.5, "accuracy": np.float32(0.25), "one": np.array([2.0]).reshape(())}
    for module in (callbacks, keras.callbacks):
        module.RemoteMonitor(root=server.root, **arguments).on_epoch_end(3, dict(logs))
    ours, theirs = server.requests
    if arguments.get("send_as_json"):
        assert json.loads(ours[-1]) == json.loads(theirs[-1])
        assert ours[:-1] == theirs[:-1]
        sent = json.loads(ours[-1])
    else:
        assert ours == theirs
        sent = json.loads(urllib.parse.parse_qs(ours[-1])[arguments.get("field", "data")][0])
    assert sent == {"epoch": 3, "loss": 0.5, "accuracy": 0.25, "one": 2.0}


def test_remote_monitor_goes_on_without_its_server(server):
    unreachable = callbacks.RemoteMonitor(root="http://127.0.0.1:9")
    with pytest.warns(UserWarning, match="Could not reach RemoteMonitor root server"):
        unreachable.on_epoch_end(0, {"loss": 0.5})
    with pytest.warns(UserWarning, match="404"):
        callbacks.RemoteMonitor(root=server.root, path="/refused").on_epoch_end(0, {})


# ---- TensorBoard


def read_events(folder):
    """The values in a folder's event file as `(tag, step, value)`."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.glob("events*")
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        events += [(v.tag, event.step, v) for v in event.summary.value]
        data = data[16 + length :]
    return events


def scalars(folder):
    found = read_events(folder)
    return {
        (tag, step): round(v.simple_value, 6)
        for tag, step, v in found
        if v.HasField("simple_value")
    }


@pytest.fixture
def board_model(fake_model):
    weight = Variable(np.arange(12.0).reshape(4, 3) / 8, dtype="float32", name="kernel")
    fake_model.layers = [types.SimpleNamespace(name="dense", weights=[weight])]
    fake_model.optimizer.iterations = np.array(17)
    return fake_model


def train_board(board, model, epochs=2, steps=3):
    many = callbacks.CallbackList([board], model=model, verbose=0, epochs=epochs, steps=steps)
    many.on_train_begin()
    for epoch in range(epochs):
        many.on_epoch_begin(epoch)
        for step in range(steps):
            many.on_train_batch_begin(step)
            many.on_train_batch_end(step, {"loss": float(step)})
        many.on_test_begin()
        many.on_test_end({"loss": 0.75})
        many.on_epoch_end(epoch, {"loss": 0.5, "val_loss": 0.25})
    many.on_train_end()


@pytest.mark.parametrize("write_graph", [True, False])
def test_tensorboard_gets_the_graph_of_a_model(tmp_path, write_graph):
    model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1)])
    model.compile("sgd", "mse")
    board = callbacks.TensorBoard(tmp_path, write_graph=write_graph)
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[board])
    found = [v for tag, _, v in read_events(tmp_path / "train") if tag == "keras"]
    assert len(found) == write_graph
    for value in found:
        assert value.metadata.plugin_data.plugin_name == "graph_keras_model"
        assert value.tensor.string_val == [model.to_json().encode()]


def test_tensorboard_writes_epoch_logs(tmp_path, board_model):
    train_board(callbacks.TensorBoard(tmp_path), board_model)
    assert scalars(tmp_path / "train") == {
        (f"epoch_{name}", epoch): value
        for epoch in range(2)
        for name, value in (("loss", 0.5), ("learning_rate", 0.1))
    }
    assert scalars(tmp_path / "validation") == {
        ("epoch_loss", 0): 0.25,
        ("epoch_loss", 1): 0.25,
        ("evaluation_loss_vs_iterations", 17): 0.75,
    }


@pytest.mark.parametrize("update_freq", ["batch", 2, 3])
def test_tensorboard_writes_batch_logs(tmp_path, board_model, update_freq):
    train_board(callbacks.TensorBoard(tmp_path, update_freq=update_freq), board_model)
    every = 1 if update_freq == "batch" else update_freq
    batches = {step: v for (tag, step), v in scalars(tmp_path / "train").items() if "batch" in tag}
    assert batches == {n: float((n - 1) % 3) for n in range(1, 7) if n % every == 0}


def test_tensorboard_writes_speed(tmp_path, board_model):
    board = callbacks.TensorBoard(tmp_path, update_freq=1, write_steps_per_second=True)
    train_board(board, board_model)
    found = scalars(tmp_path / "train")
    assert found["epoch_steps_per_second", 1] > 0
    assert found["batch_steps_per_second", 6] > 0


def test_tensorboard_writes_weights(tmp_path, board_model):
    board = callbacks.TensorBoard(tmp_path, histogram_freq=2, write_images=True)
    train_board(board, board_model, epochs=3)
    events = [e for e in read_events(tmp_path / "train") if e[0].startswith("kernel")]
    assert [(tag, step) for tag, step, _ in events] == [
        (f"kernel/{what}", epoch) for epoch in (0, 2) for what in ("histogram", "image/0")
    ]
    histogram, image = events[0][2].histo, events[1][2].image
    assert (histogram.min, histogram.max, histogram.num) == (0.0, 1.375, 12)
    assert sum(histogram.bucket) == 12
    assert len(histogram.bucket) == len(histogram.bucket_limit) == 31
    assert histogram.sum_squares == pytest.approx(np.square(np.arange(12) / 8).sum())
    from PIL import Image

    with Image.open(io.BytesIO(image.encoded_image_string)) as picture:
        # Upright matrices are laid down.
        assert picture.size == (image.width, image.height) == (4, 3)
        assert np.asarray(picture)[0, 0] == 0 and np.asarray(picture)[-1, -1] == 255


def test_tensorboard_outside_of_training(tmp_path, board_model):
    many = callbacks.CallbackList([callbacks.TensorBoard(tmp_path)], model=board_model)
    many.on_test_begin()
    many.on_test_end({"loss": 0.5})
    assert scalars(tmp_path / "validation") == {("evaluation_loss_vs_iterations", 17): 0.5}
    assert not (tmp_path / "train").exists()


def test_tensorboard_without_a_package(tmp_path, monkeypatch):
    for name in ("tensorboardX", "tensorboard"):
        monkeypatch.setitem(sys.modules, f"{name}.proto.event_pb2", None)
        monkeypatch.setitem(sys.modules, f"{name}.compat.proto.event_pb2", None)
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        callbacks.TensorBoard(tmp_path).on_train_begin()


@pytest.mark.parametrize("wrong", [-1, (3, 1), (1, 2, 3), "4,2"])
def test_tensorboard_checks_what_to_profile(wrong):
    with pytest.raises(ValueError, match="profile_batch must be a non-negative integer"):
        callbacks.TensorBoard(profile_batch=wrong)


def test_tensorboard_writes_embeddings(tmp_path):
    inner = cornu.Sequential([cornu.Input((2,)), cornu.layers.Embedding(3, 2, name="words")])
    model = cornu.Sequential([inner, cornu.layers.Flatten(), cornu.layers.Dense(1)])
    model.compile("sgd", "mse")
    board = callbacks.TensorBoard(
        tmp_path, embeddings_freq=1, embeddings_metadata={"words": "words.txt"}
    )
    model.fit(np.zeros((4, 2), int), np.ones((4, 1)), epochs=2, verbose=0, callbacks=[board])
    assert (tmp_path / "projector_config.pbtxt").read_text() == (
        'embeddings {\n  tensor_name: "words"\n  tensor_path: "words.tsv"\n'
        '  metadata_path: "words.txt"\n}\n'
    )
    written = np.loadtxt(tmp_path / "words.tsv", delimiter="\t")
    np.testing.assert_allclose(written, inner.layers[0].embeddings, rtol=1e-6)
    board.embeddings_metadata = {"other": "words.txt"}
    with pytest.raises(
        ValueError, match=r"\['other'\], but the model's Embedding layers are \['words'\]"
    ):
        board.on_train_begin()
    with pytest.raises(ValueError, match="embeddings_freq=1"):
        callbacks.TensorBoard(embeddings_metadata="words.txt")
    empty = callbacks.TensorBoard(tmp_path, embeddings_freq=1)
    empty.set_model(cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1)]))
    with pytest.warns(UserWarning, match="no Embedding layer"):
        empty.on_train_begin()


def test_tensorboard_profiles(tmp_path, board_model):
    train_board(callbacks.TensorBoard(tmp_path, profile_batch=(2, 3)), board_model, epochs=1)
    assert list((tmp_path / "train" / "plugins" / "profile").glob("*/*"))
