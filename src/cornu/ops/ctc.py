"""Connectionist temporal classification: labels of a sequence whose times are not known.

Source: Graves et al. 2006.
"""

import jax
import jax.numpy as jnp

# The logarithm of a probability that is practically zero.
_IMPOSSIBLE = -1e5


def ctc_loss(target, output, target_length, output_length, mask_index=0):
    """Minus the logarithm of the probability of labels, over all their alignments, for each sequence.

    Args:
        target: (batch, labels), integers.
        output: (batch, steps, classes), logits of floats.
        target_length: (batch,), how many of the labels count.
        output_length: (batch,), how many of the steps count.
        mask_index: the class for "no label".
    """
    labels = target.astype(jnp.int32)
    batch, count = labels.shape
    # The labels with a blank before, between and behind them.
    states = jnp.full((batch, 2 * count + 1), mask_index, jnp.int32).at[:, 1::2].set(labels)
    logs = jax.nn.log_softmax(output, axis=-1)
    emitted = jnp.take_along_axis(
        logs, jnp.broadcast_to(states[:, None, :], (batch, logs.shape[1], states.shape[1])), axis=-1
    )
    # A blank may be skipped between two labels that differ.
    before = jnp.pad(states, ((0, 0), (2, 0)), constant_values=mask_index)[:, :-2]
    is_label = jnp.arange(2 * count + 1) % 2 == 1
    may_skip = is_label & (states != before)
    impossible = jnp.asarray(_IMPOSSIBLE, logs.dtype)
    # Before the first step; from there the first blank and the first label can be reached.
    start = jnp.full(states.shape, impossible).at[:, 0].set(0)

    def shifted(scores, steps):
        return jnp.pad(scores, ((0, 0), (steps, 0)), constant_values=_IMPOSSIBLE)[:, :-steps]

    def advance(scores, step):
        now, number = step
        skipped = jnp.where(may_skip, shifted(scores, 2), impossible)
        total = jnp.logaddexp(jnp.logaddexp(scores, shifted(scores, 1)), skipped)
        return jnp.where((number < output_length)[:, None], total + now, scores), None

    steps = jnp.moveaxis(emitted, 1, 0), jnp.arange(logs.shape[1])
    final, _ = jax.lax.scan(advance, start, steps)
    lengths = target_length.astype(jnp.int32)
    last = jnp.take_along_axis(final, 2 * lengths[:, None], axis=1)[:, 0]
    previous = jnp.take_along_axis(final, jnp.maximum(2 * lengths - 1, 0)[:, None], axis=1)[:, 0]
    previous = jnp.where(lengths > 0, previous, impossible)
    return -jnp.logaddexp(last, previous)


def ctc_greedy_decode(output, output_length, merge_repeated: bool, mask_index: int):
    """The labels of the likeliest class of each step, -1 behind the last one.

    Returns:
        Labels (1, batch, steps), and minus the sums of their scores, (batch, 1).
    """
    steps = jnp.arange(output.shape[1])
    counts = steps < output_length[:, None]
    labels = jnp.where(counts, jnp.argmax(output, axis=-1), mask_index)
    scores = jnp.where(counts, jnp.max(output, axis=-1), 0)
    kept = labels != mask_index
    if merge_repeated:
        kept = kept & ~jnp.pad(labels[:, 1:] == labels[:, :-1], ((0, 0), (1, 0)))
    order = jnp.argsort(jnp.where(kept, steps, output.shape[1]), axis=-1)
    labels = jnp.take_along_axis(jnp.where(kept, labels, -1), order, axis=-1)
    return labels[None], -jnp.sum(scores, axis=1)[:, None]
