"""What each optimizer does to a weight, in float64, with one number of it written down.

One function for each optimizer, chosen by its class. They compute whole arrays, as some rules need them,
and note the steps of the number that was asked for.
"""

import functools

import numpy as np

from cornu import optimizers
from cornu.explain.terms.base import Step, exact, show


class Sheet:
    """Steps in whole arrays, of which one number is written down.

    Args:
        index: which number.
    """

    def __init__(self, index: tuple[int, ...]):
        self.index = index
        self.steps: list[Step] = []

    def of(self, array) -> str:
        """The number of an array, or a number alone, in a few digits."""
        return show(self._number(array))

    def exactly(self, array) -> str:
        """The same in as many digits as float32 has."""
        return exact(self._number(array))

    def _number(self, array) -> float:
        array = np.asarray(array)
        return float(array[self.index] if array.ndim else array)

    def note(self, name: str, formula: str, array):
        """Write a step down, and return its array."""
        self.steps.append(Step(name, formula, self._number(array)))
        return array

    def moved(self, value, move):
        """The weight after a move."""
        text = f"{self.exactly(value)} - {self.of(move)}"
        return self.note("weight", text.replace("- -", "+ "), value - move)


def single(number) -> float:
    """A setting as the optimizer has it: rounded to float32."""
    return float(np.float32(number))


@functools.singledispatch
def moved(optimizer, sheet: Sheet, value, gradient, slots: dict, rate: float, step: int):
    """The weight after the optimizer's rule, without clipping, decay and averages.

    Args:
        optimizer: the optimizer.
        sheet: where the steps are noted.
        value, gradient: arrays.
        slots: what the optimizer keeps of the weight, by name.
        rate: the learning rate.
        step: the number of the update, from 1.

    Raises NotImplementedError for an optimizer whose rule is not known.
    """
    raise NotImplementedError(
        f"The rule of {type(optimizer).__name__} is not known. To see what it makes of a weight, call "
        "`train_on_batch` on a copy of the model."
    )


@moved.register
def _(optimizer: optimizers.SGD, sheet, value, gradient, slots, rate, step):
    of = sheet.of
    if not optimizer.momentum:
        move = sheet.note("move", f"{of(rate)} × {of(gradient)}", rate * gradient)
        return sheet.moved(value, move)
    share = single(optimizer.momentum)
    velocity = sheet.note(
        "velocity",
        f"{of(share)} × {of(slots['momentum'])} - {of(rate)} × {of(gradient)}",
        share * slots["momentum"] - rate * gradient,
    )
    move = velocity
    if optimizer.nesterov:
        text = f"{of(share)} × {of(velocity)} - {of(rate)} × {of(gradient)}"
        move = sheet.note("move (Nesterov)", text, share * velocity - rate * gradient)
    return sheet.moved(value, -move)


@moved.register
def _(optimizer: optimizers.Lion, sheet, value, gradient, slots, rate, step):
    of, share = sheet.of, single(optimizer.beta_1)
    mixed = share * slots["momentum"] + (1 - share) * gradient
    text = f"sign of ({of(share)} × {of(slots['momentum'])} + {of(1 - share)} × {of(gradient)})"
    direction = sheet.note("direction", text, np.sign(mixed))
    return sheet.moved(value, sheet.note("move", f"{of(rate)} × {of(direction)}", rate * direction))


def _average(sheet, name, share, old, new, what: str):
    """An exponential average after one more value."""
    of = sheet.of
    text = f"{of(share)} × {of(old)} + {of(1 - share)} × {what}"
    return sheet.note(name, text, share * old + (1 - share) * new)


def _averages(optimizer, sheet, gradient, slots):
    """Adam's averages of the gradient and of its square."""
    of = sheet.of
    m = _average(
        sheet, "momentum", single(optimizer.beta_1), slots["momentum"], gradient, of(gradient)
    )
    squares = gradient**2
    text = f"{of(gradient)}²"
    v = _average(sheet, "velocity", single(optimizer.beta_2), slots["velocity"], squares, text)
    return m, v


@moved.register
def _(optimizer: optimizers.Adam, sheet, value, gradient, slots, rate, step):
    of = sheet.of
    m, v = _averages(optimizer, sheet, gradient, slots)
    if optimizer.amsgrad:
        text = f"max({of(slots['velocity_hat'])}, {of(v)})"
        v = sheet.note("largest velocity", text, np.maximum(slots["velocity_hat"], v))
    return _adam_step(optimizer, sheet, value, m, v, rate, step, optimizer.beta_1, optimizer.beta_2)


def _adam_step(optimizer, sheet, value, m, v, rate, step, beta_1, beta_2):
    of = sheet.of
    beta_1, beta_2 = single(beta_1), single(beta_2)
    alpha = sheet.note(
        "rate, corrected",
        f"{of(rate)} × sqrt(1 - {of(beta_2)}^{step}) / (1 - {of(beta_1)}^{step})",
        rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step),
    )
    epsilon = single(optimizer.epsilon)
    move = sheet.note(
        "move",
        f"{of(alpha)} × {of(m)} / (sqrt({of(v)}) + {of(epsilon)})",
        alpha * m / (np.sqrt(v) + epsilon),
    )
    return sheet.moved(value, move)


@moved.register
def _(optimizer: optimizers.Adamax, sheet, value, gradient, slots, rate, step):
    of, beta_1, beta_2 = sheet.of, single(optimizer.beta_1), single(optimizer.beta_2)
    m = _average(sheet, "momentum", beta_1, slots["momentum"], gradient, of(gradient))
    u = sheet.note(
        "norm",
        f"max({of(beta_2)} × {of(slots['norm'])}, |{of(gradient)}|)",
        np.maximum(beta_2 * slots["norm"], np.abs(gradient)),
    )
    epsilon = single(optimizer.epsilon)
    move = sheet.note(
        "move",
        f"{of(rate)} × {of(m)} / ((1 - {of(beta_1)}^{step}) × ({of(u)} + {of(epsilon)}))",
        rate * m / ((1 - beta_1**step) * (u + epsilon)),
    )
    return sheet.moved(value, move)


@moved.register
def _(optimizer: optimizers.Nadam, sheet, value, gradient, slots, rate, step):
    of, beta_1, beta_2 = sheet.of, single(optimizer.beta_1), single(optimizer.beta_2)

    def schedule(step):
        return beta_1 * (1 - 0.5 * single(0.96) ** step)

    now, following = schedule(step), schedule(step + 1)
    product = float(optimizer._product.value) * now
    m, v = _averages(optimizer, sheet, gradient, slots)
    ahead = sheet.note(
        "gradient ahead",
        f"{of(following)} × {of(m)} / (1 - {of(product * following)}) + (1 - {of(now)}) × {of(gradient)} / "
        f"(1 - {of(product)})",
        following * m / (1 - product * following) + (1 - now) * gradient / (1 - product),
    )
    epsilon = single(optimizer.epsilon)
    move = sheet.note(
        "move",
        f"{of(rate)} × {of(ahead)} / (sqrt({of(v)} / (1 - {of(beta_2)}^{step})) + {of(epsilon)})",
        rate * ahead / (np.sqrt(v / (1 - beta_2**step)) + epsilon),
    )
    return sheet.moved(value, move)


@moved.register
def _(optimizer: optimizers.Adagrad, sheet, value, gradient, slots, rate, step):
    of, epsilon = sheet.of, single(optimizer.epsilon)
    total = sheet.note(
        "sum of squares",
        f"{of(slots['accumulator'])} + {of(gradient)}²",
        slots["accumulator"] + gradient**2,
    )
    move = sheet.note(
        "move",
        f"{of(rate)} × {of(gradient)} / sqrt({of(total)} + {of(epsilon)})",
        rate * gradient / np.sqrt(total + epsilon),
    )
    return sheet.moved(value, move)


@moved.register
def _(optimizer: optimizers.Adadelta, sheet, value, gradient, slots, rate, step):
    of, rho, epsilon = sheet.of, single(optimizer.rho), single(optimizer.epsilon)
    text = f"{of(gradient)}²"
    squares = _average(sheet, "mean of squares", rho, slots["accumulated_grad"], gradient**2, text)
    moves = slots["accumulated_delta_var"]
    move = sheet.note(
        "move",
        f"sqrt({of(moves)} + {of(epsilon)}) × {of(gradient)} / sqrt({of(squares)} + {of(epsilon)})",
        np.sqrt(moves + epsilon) * gradient / np.sqrt(squares + epsilon),
    )
    return sheet.moved(
        value, sheet.note("rate times move", f"{of(rate)} × {of(move)}", rate * move)
    )


@moved.register
def _(optimizer: optimizers.RMSprop, sheet, value, gradient, slots, rate, step):
    of, rho, epsilon = sheet.of, single(optimizer.rho), single(optimizer.epsilon)
    text = f"{of(gradient)}²"
    scale = _average(sheet, "velocity", rho, slots["velocity"], gradient**2, text)
    if optimizer.centered:
        mean = _average(
            sheet, "mean gradient", rho, slots["average_gradient"], gradient, of(gradient)
        )
        scale = sheet.note("variance", f"{of(scale)} - {of(mean)}²", scale - mean**2)
    move = sheet.note(
        "move",
        f"{of(rate)} × {of(gradient)} / sqrt({of(scale)} + {of(epsilon)})",
        rate * gradient / np.sqrt(scale + epsilon),
    )
    if optimizer.momentum > 0:
        share = single(optimizer.momentum)
        text = f"{of(share)} × {of(slots['momentum'])} + {of(move)}"
        move = sheet.note("momentum", text, share * slots["momentum"] + move)
    return sheet.moved(value, move)


@moved.register
def _(optimizer: optimizers.Lamb, sheet, value, gradient, slots, rate, step):
    of, beta_1, beta_2 = sheet.of, single(optimizer.beta_1), single(optimizer.beta_2)
    m, v = _averages(optimizer, sheet, gradient, slots)
    epsilon = single(optimizer.epsilon)
    scale = np.sqrt(v / (1 - beta_2**step)) + epsilon
    direction = sheet.note(
        "direction",
        f"{of(m)} / (1 - {of(beta_1)}^{step}) / (sqrt({of(v)} / (1 - {of(beta_2)}^{step})) + "
        f"{of(epsilon)})",
        m / (1 - beta_1**step) / scale,
    )
    size, length = np.sqrt((value**2).sum()), np.sqrt((direction**2).sum())
    ratio = sheet.note(
        "trust ratio",
        f"length of all weights / of all directions = {of(size)} / {of(length)}",
        size / length if size > 0 and length > 0 else 1.0,
    )
    text = f"{of(ratio)} × {of(rate)} × {of(direction)}"
    return sheet.moved(value, sheet.note("move", text, ratio * rate * direction))


@moved.register
def _(optimizer: optimizers.Ftrl, sheet, value, gradient, slots, rate, step):
    of, power = sheet.of, -optimizer.learning_rate_power
    l1 = single(optimizer.l1_regularization_strength)
    l2 = single(optimizer.l2_regularization_strength) + single(optimizer.beta) / (2 * rate)
    shrinkage = single(optimizer.l2_shrinkage_regularization_strength)
    old = slots["accumulator"]
    new = sheet.note("sum of squares", f"{of(old)} + {of(gradient)}²", old + gradient**2)
    pulled = gradient
    if shrinkage:
        text = f"{of(gradient)} + 2 × {of(shrinkage)} × {of(value)}"
        pulled = sheet.note("gradient with shrinkage", text, gradient + 2 * shrinkage * value)
    linear = sheet.note(
        "linear",
        f"{of(slots['linear'])} + {of(pulled)} - ({of(new)}^{of(power)} - {of(old)}^{of(power)}) / "
        f"{of(rate)} × {of(value)}",
        slots["linear"] + pulled - (new**power - old**power) / rate * value,
    )
    quadratic = sheet.note(
        "quadratic",
        f"{of(new)}^{of(power)} / {of(rate)} + 2 × {of(l2)}",
        new**power / rate + 2 * l2,
    )
    kept = np.clip(linear, -l1, l1)
    text = f"({of(kept)} - {of(linear)}) / {of(quadratic)}"
    return sheet.note("weight", text, (kept - linear) / quadratic)


@moved.register
def _(optimizer: optimizers.ScheduleFreeAdamW, sheet, value, gradient, slots, rate, step):
    of, share, beta_2 = sheet.of, single(optimizer.beta_1), single(optimizer.beta_2)
    if optimizer.warmup_steps > 0:
        text = f"{of(rate)} × min({step} / {optimizer.warmup_steps}, 1)"
        rate = sheet.note("rate, growing", text, rate * min(step / optimizer.warmup_steps, 1))
    before, text = slots["momentum"], f"{of(gradient)}²"
    v = _average(sheet, "velocity", beta_2, slots["velocity"], gradient**2, text)
    epsilon = single(optimizer.epsilon)
    z = sheet.note(
        "z",
        f"{of(before)} - {of(rate)} × {of(gradient)} / (sqrt({of(v)} / (1 - {of(beta_2)}^{step})) + "
        f"{of(epsilon)})",
        before - rate * gradient / (np.sqrt(v / (1 - beta_2**step)) + epsilon),
    )
    mean = sheet.note(
        "mean so far",
        f"({of(value)} - {of(1 - share)} × {of(before)}) / {of(share)}",
        (value - (1 - share) * before) / share,
    )
    text = f"(1 - 1 / {step}) × {of(mean)} + {of(z)} / {step}"
    mean = sheet.note("mean", text, (1 - 1 / step) * mean + z / step)
    text = f"{of(1 - share)} × {of(z)} + {of(share)} × {of(mean)}"
    return sheet.note("weight", text, (1 - share) * z + share * mean)


def _root_mean_square(array) -> float:
    return float(np.sqrt(np.mean(array**2)))


@moved.register
def _(optimizer: optimizers.Adafactor, sheet, value, gradient, slots, rate, step):
    of = sheet.of
    rate = sheet.note("rate", f"min({of(rate)}, 1 / sqrt({step}))", min(rate, 1 / np.sqrt(step)))
    size, least = _root_mean_square(value), single(optimizer.epsilon_2)
    text = f"max({of(least)}, {of(size)}, the root mean square of all) × {of(rate)}"
    alpha = sheet.note("rate, relative", text, max(least, size) * rate)
    squares = gradient**2 + single(optimizer.epsilon_1)
    beta = 1 - step ** single(optimizer.beta_2_decay)
    if value.ndim >= 2:
        rows = beta * slots["rows"] + (1 - beta) * squares.mean(-1)
        columns = beta * slots["columns"] + (1 - beta) * squares.mean(-2)
        shares = rows / rows.mean(-1, keepdims=True)
        own = (*sheet.index[:-2], sheet.index[-2])
        text = f"mean square of its row, over that of all: {show(shares[own])}; times that of its column"
        velocity = shares[..., None] * columns[..., None, :]
        velocity = sheet.note("velocity", text, velocity)
    else:
        text = f"{of(gradient)}²"
        velocity = _average(sheet, "velocity", beta, slots["velocity"], squares, text)
    text = f"{of(gradient)} / sqrt({of(velocity)})"
    direction = sheet.note("direction", text, gradient / np.sqrt(velocity))
    length = _root_mean_square(direction) / single(optimizer.clip_threshold)
    text = f"{of(direction)} / max(1, {of(length)}, the root mean square of all)"
    direction = sheet.note("direction, clipped", text, direction / max(1.0, length))
    return sheet.moved(
        value, sheet.note("move", f"{of(alpha)} × {of(direction)}", alpha * direction)
    )


@moved.register
def _(optimizer: optimizers.Muon, sheet, value, gradient, slots, rate, step):
    of = sheet.of
    if "velocity" in slots:
        # A weight that is no matrix goes to Adam.
        shares = single(optimizer.adam_beta_1), single(optimizer.adam_beta_2)
        m = _average(sheet, "momentum", shares[0], slots["momentum"], gradient, of(gradient))
        text = f"{of(gradient)}²"
        v = _average(sheet, "velocity", shares[1], slots["velocity"], gradient**2, text)
        rate = rate * single(optimizer.adam_lr_ratio)
        return _adam_step(optimizer, sheet, value, m, v, rate, step, *shares)
    share = single(optimizer.momentum)
    text = f"{of(share)} × {of(slots['momentum'])} + {of(gradient)}"
    m = sheet.note("momentum", text, share * slots["momentum"] + gradient)
    direction = m
    if optimizer.nesterov:
        text = f"{of(gradient)} + {of(share)} × {of(m)}"
        direction = sheet.note("ahead", text, gradient + share * m)
    flat = _orthogonal(optimizer, direction)
    made = sheet.note("orthogonal", "of the matrix whose rows or columns are orthogonal", flat)
    factor = 1.0
    if optimizer.rms_rate is not None:
        factor = float(np.sqrt(max(value.shape))) * single(optimizer.rms_rate)
    text = f"{of(rate)} × {of(made)} × {of(factor)}"
    return sheet.moved(value, sheet.note("move", text, rate * made * factor))


def _orthogonal(optimizer, x):
    """Newton-Schulz iterations, as Muon does them."""
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (np.sqrt((x**2).sum()) + 1e-7)
    for _ in range(optimizer.ns_steps):
        gram = x @ x.T
        x = optimizer.muon_a * x + (optimizer.muon_b * gram + optimizer.muon_c * gram @ gram) @ x
    return x.T if tall else x
