"""The same networks in PyTorch alone: built from a list of a model's layers, trained by a plain loop.

PyTorch has no `fit`; the loop here does what one needs: batches in a new order each epoch, loss and
accuracy over the epoch. Images are channels_last in memory, which is the fastest on a CPU.
"""

import json
import time

import numpy as np


def describe(model) -> str:
    """A functional or sequential model of Cornu as JSON: its layers in the order in which they run."""
    names: dict = {tuple(model.inputs[0]._keras_history): 0}
    steps = []
    for node in model._graph.steps:
        inputs = [names[tuple(t._keras_history)] for t in node.input_tensors]
        names[tuple(node.outputs._keras_history)] = len(names)
        shape = node.input_tensors[0].shape[1:]
        steps.append((type(node.operation).__name__, node.operation.get_config(), shape, inputs))
    return json.dumps(steps)


def build(description: str):
    """The network of `describe` as a `torch.nn.Module` that gives logits."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.wiring, modules = [], []
            for kind, config, shape, inputs in json.loads(description):
                modules.append(module_of(kind, config, shape))
                self.wiring.append(inputs)
            self.steps = torch.nn.ModuleList(modules)

        def forward(self, x):
            values = [x]
            for step, inputs in zip(self.steps, self.wiring, strict=True):
                values.append(step(*(values[i] for i in inputs)))
            return values[-1]

    return Network()


def module_of(kind: str, config: dict, shape):
    """The PyTorch module for one layer; the last softmax is left to the loss."""
    import torch
    from torch import nn

    class Rescaling(nn.Module):
        def forward(self, x):
            return x * config["scale"] + config["offset"]

    class Merge(nn.Module):
        def forward(self, *values):
            if kind == "Add":
                return sum(values[1:], values[0])
            if kind == "Multiply":
                return values[0] * values[1]
            return torch.cat(values, 1)

    def padding(window, strides):
        if config["padding"] == "valid":
            return nn.Identity(), 0
        assert config["padding"] == "same"
        if all(side % 2 for side in window):
            # As many outputs as Keras', which has more of the zeros behind; PyTorch does it without a copy.
            return nn.Identity(), tuple(side // 2 for side in window)
        # As Keras does it: what is missing for the last window, more of it behind.
        amounts: list[int] = []
        for size, side, step in reversed(list(zip(shape, window, strides, strict=False))):
            missing = max((-(-size // step) - 1) * step + side - size, 0)
            amounts += [missing // 2, missing - missing // 2]
        return nn.ConstantPad2d(amounts, 0.0), 0

    def activated(*modules):
        names = {
            "relu": nn.ReLU,
            "tanh": nn.Tanh,
            "gelu": nn.GELU,
            "silu": nn.SiLU,
            "sigmoid": nn.Sigmoid,
        }
        act = config.get("activation") or "linear"
        extra = [] if act in ("linear", "softmax") else [names[act]()]
        kept = [m for m in (*modules, *extra) if not isinstance(m, nn.Identity)]
        return kept[0] if len(kept) == 1 else nn.Sequential(*kept)

    class Last(nn.Module):
        """The output of an LSTM's last step."""

        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(shape[-1], config["units"], batch_first=True)

        def forward(self, x):
            return self.lstm(x)[0][:, -1]

    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(0.05 * torch.randn(*shape))

        def forward(self, x):
            return x + self.table

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            heads, size = config["num_heads"], config["key_dim"]
            assert heads * size == shape[-1], "PyTorch's heads share the channels out"
            self.attention = nn.MultiheadAttention(shape[-1], heads, batch_first=True)

        def forward(self, query, value):
            return self.attention(query, value, value, need_weights=False)[0]

    class Sequence(nn.Module):
        """Reshapes to (steps, channels), or (1, 1, channels); channels come first in images here."""

        def forward(self, x):
            *steps, channels = config["target_shape"]
            if steps == [1, 1]:
                return x.reshape(-1, channels, 1, 1)
            (steps,) = steps
            if channels == 1:  # A signal; its channels come first, too.
                return x.flatten(2)
            return x.permute(0, 2, 3, 1).reshape(-1, steps, channels)

    if kind in ("Add", "Concatenate", "Multiply"):
        return Merge()
    if kind == "Activation":
        return activated()
    if kind == "ReLU" and config.get("max_value") is not None:
        assert config["max_value"] == 6
        return nn.ReLU6()
    if kind == "ZeroPadding2D":
        (top, bottom), (left, right) = config["padding"]
        return nn.ZeroPad2d((left, right, top, bottom))
    if kind == "Normalization":
        assert config["mean"] is None, "statistics are not carried over"
        return nn.Identity()
    if kind == "Dense":
        return activated(nn.Linear(shape[-1], config["units"]))
    if kind in ("Conv1D", "Conv2D", "DepthwiseConv2D"):
        window, strides = config["kernel_size"], config["strides"]
        pad, amount = padding(window, strides)
        depthwise = kind.startswith("Depthwise")
        layer = (nn.Conv1d if kind == "Conv1D" else nn.Conv2d)(
            shape[-1],
            shape[-1] if depthwise else config["filters"],
            tuple(window),
            tuple(strides),
            amount,
            groups=shape[-1] if depthwise else 1,
            bias=config["use_bias"],
        )
        return activated(pad, layer)
    pools = {
        "MaxPooling1D": nn.MaxPool1d,
        "MaxPooling2D": nn.MaxPool2d,
        "AveragePooling2D": nn.AvgPool2d,
    }
    if kind in pools:
        window, strides = tuple(config["pool_size"]), tuple(config["strides"])
        pad, amount = padding(window, strides)
        return activated(pad, pools[kind](window, strides, amount))
    return {
        "Flatten": nn.Flatten,
        "ReLU": nn.ReLU,
        "Rescaling": Rescaling,
        "Dropout": lambda: nn.Dropout(config["rate"]),
        "BatchNormalization": lambda: nn.BatchNorm2d(
            shape[-1], config["epsilon"], 1 - config["momentum"]
        ),
        "GlobalAveragePooling1D": lambda: nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten()),
        "GlobalAveragePooling2D": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "Reshape": Sequence,
        "LSTM": Last,
        "Positions": Positions,
        "LayerNormalization": lambda: nn.LayerNorm(shape[-1], config["epsilon"]),
        "MultiHeadAttention": Attention,
    }[kind]()


def train(
    description: str,
    x,
    y,
    optimizer: str,
    batch: int,
    epochs: int,
    compiled: bool,
    since_start=lambda: 0.0,
    settings=None,
    device="cpu",
    bfloat16=False,
):
    """Seconds of each epoch, seconds from the start of the process to the end of the first step, and the
    last loss.
    """
    import torch
    from torch import nn

    torch.manual_seed(0)
    network = build(description).to(device, memory_format=torch.channels_last).train()
    settings, fused = settings or {}, device != "cpu"
    # Figures of Keras' own defaults.
    if optimizer.lower() == "sgd":
        rate, momentum = settings.get("learning_rate", 0.01), settings.get("momentum", 0)
        update = torch.optim.SGD(network.parameters(), lr=rate, momentum=momentum, fused=fused)
    else:
        update = torch.optim.Adam(network.parameters(), lr=0.001, eps=1e-7, fused=fused)
    pictures = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).to(device)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    classes = torch.from_numpy(y.astype("int64")).to(device)
    loss_of = nn.CrossEntropyLoss()

    def run(images):
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            return network(images)

    if compiled:
        # On a GPU, with CUDA graphs.
        run = torch.compile(run, mode="reduce-overhead" if fused else None)
    first, times = None, []
    for _ in range(epochs):
        begin, right, total = time.perf_counter(), 0, 0.0
        for chosen in torch.randperm(len(pictures), device=device).split(batch):
            update.zero_grad()
            logits, target = run(pictures[chosen]).float(), classes[chosen]
            loss = loss_of(logits, target)
            loss.backward()
            update.step()
            total += loss.detach() * len(chosen)
            right += (logits.argmax(1) == target).sum()
            if first is None:
                float(loss)
                first = since_start()
        last = float(total) / len(pictures)
        print(f"loss {last:.4f}, accuracy {int(right) / len(pictures):.4f}")
        times.append(time.perf_counter() - begin)
    return times, first, last
