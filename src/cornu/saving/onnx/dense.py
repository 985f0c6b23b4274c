"""Matrix products."""

import string

from cornu.saving.onnx.builder import Builder, converts


@converts("dot_general")
def _dot(b: Builder, e, x, y):
    (x_sum, y_sum), (x_batch, y_batch) = e.params["dimension_numbers"]
    letters = iter(string.ascii_lowercase)
    x_letters = [next(letters) for _ in x.sizes]
    y_letters = [next(letters) for _ in y.sizes]
    for i, j in (*zip(x_sum, y_sum, strict=True), *zip(x_batch, y_batch, strict=True)):
        y_letters[j] = x_letters[i]
    free = [x_letters[i] for i in range(len(x.sizes)) if i not in (*x_sum, *x_batch)]
    free += [y_letters[j] for j in range(len(y.sizes)) if j not in (*y_sum, *y_batch)]
    result = [x_letters[i] for i in x_batch] + free
    if not x_batch and x_sum == (len(x.sizes) - 1,) and y_sum == (0,) and len(y.sizes) == 2:
        return b.node("MatMul", b.text(x), b.text(y))
    equation = f"{''.join(x_letters)},{''.join(y_letters)}->{''.join(result)}"
    return b.node("Einsum", b.text(x), b.text(y), equation=equation)
