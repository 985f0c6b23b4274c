"""Make the notebooks of the lessons in examples/ from their scripts, and run them.

    python tools/notebooks.py [LESSON …] [--check]

A script is a notebook's only source: its docstring is the text at the top, each of its functions and
classes a cell, and the function that does what the script is for is taken apart, so that each of its steps
can be looked at. In this one a comment `# %% text` begins a new cell, with the text above it. At the end
comes what only a notebook can show.

With --check nothing is run and nothing written: each notebook must hold the cells that its script gives.
"""

import argparse
import ast
import inspect
import itertools
import re
import textwrap
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"

# What of an example with test images comes after its steps.
QUESTIONS = [
    (
        "## Look\n\nThe curves of the training, a test image, and what the first layer makes of it.",
        "from cornu import explain, explorer, visualize\n\nvisualize.plot_history(model.history)",
    ),
    (
        "",
        "image, label = {images}[:1], {labels}[:1]\n"
        "first = model.layers[0].name\n"
        "visualize.plot_feature_maps(explain.feature_maps(model, image, first)[0])",
    ),
    (
        "## Ask\n\nHow was this number of a feature map made? Change the position or the channel.",
        "explain.window(model, image, first, position=(10, 12), channel=0)",
    ),
    (
        "Why does this weight change? The gradient of the loss, term by term.",
        "explain.weight_gradient(model, image, label, first, (1, 1, 0, 0))",
    ),
    (
        "## Draw\n\nThe whole network on a page: draw a digit, click any number.",
        "explorer.explore(model, {images}[:100])",
    ),
]

# The function that is taken apart, and how the lesson calls its test images and their classes.
LESSONS = {
    "convolution_by_hand": ("main", None),
    "from_dense_to_convolutional": ("run", ("test_images", "test_labels")),
    "mnist_lecture": ("run", ("x_test", "y_test")),
    "mnist_with_sgd": ("run", ("test_images", "test_labels")),
    "thousand_units": ("run", ("x_test", "y_test")),
}


def cells_of(lesson: str) -> list[tuple[str, str]]:
    """What a notebook consists of: `("markdown" or "code", text)`."""
    taken_apart, test = LESSONS[lesson]
    source = (EXAMPLES / f"{lesson}.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    tree = ast.parse(source)
    cells = [("markdown", _title(ast.get_docstring(tree)))]
    gathered: list[str] = []
    steps: list[tuple[str, str]] = []
    for before, node in itertools.pairwise(tree.body):
        # With the comment above it.
        text = "\n".join(lines[before.end_lineno : node.end_lineno])
        if isinstance(node, ast.FunctionDef) and node.name == taken_apart:
            steps = _steps(node, source)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            cells += [("code", _joined(gathered)), ("code", text.strip("\n"))]
            gathered = []
        elif not _is_for_command_line(node):
            gathered.append(text)
    cells += [("code", _joined(gathered)), *steps]
    for text, code in QUESTIONS if test else []:
        cells += [("markdown", text), ("code", code.format(images=test[0], labels=test[1]))]
    return [(kind, text) for kind, text in cells if text]


def _title(docstring: str) -> str:
    """The docstring without the command."""
    first, *others = docstring.split("\n\n")
    others = [text for text in others if not text.startswith("    ")]
    note = "Made from the script of the same name by `python tools/notebooks.py`."
    return "\n\n".join([f"# {first}", *(text.replace("\n", " ") for text in others), note])


def _is_for_command_line(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        return node.names[0].name == "argparse"
    return isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)


def _joined(texts: list[str]) -> str:
    return "\n".join(texts).strip("\n")


def _steps(function: ast.FunctionDef, source: str) -> list[tuple[str, str]]:
    """The body of a function as cells; its arguments are variables with their default values."""
    arguments = zip(function.args.args, function.args.defaults, strict=True)
    settings = [
        f"{name.arg} = {ast.get_source_segment(source, value)}" for name, value in arguments
    ]
    has_docstring = ast.get_docstring(function) is not None
    begin = function.body[0].end_lineno if has_docstring else function.body[0].lineno - 1
    code = textwrap.dedent("\n".join(source.splitlines()[begin : function.end_lineno]))
    cells = [("markdown", "## Step by step"), ("code", "\n".join(settings))]
    for part in re.split(r"^# %%", f"\n{code}", flags=re.M):
        title, _, rest = part.partition("\n")
        # What the function returns is what the cell shows.
        rest = re.sub(r"^return ", "", rest, flags=re.M)
        cells += [("markdown", title.strip()), ("code", rest.strip("\n"))]
    return cells


def notebook_of(lesson: str):
    """The notebook, not run yet."""
    cells = []
    for number, (kind, text) in enumerate(cells_of(lesson)):
        make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        # Identifiers are random otherwise, and the file another one each time.
        cells.append(make(text, id=f"cell-{number}"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def run(notebook, folder=EXAMPLES, timeout=3600):
    """Run all cells in their order; raises CellExecutionError for one that fails."""
    NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    for cell in notebook.cells:
        # When each cell ran.
        cell.metadata.pop("execution", None)
    return notebook


def read(path: Path):
    """The notebook in a file."""
    return nbformat.read(path, nbformat.NO_CONVERT)


def differences() -> list[str]:
    """The lessons whose notebook is not what the script gives."""
    found = []
    for lesson in LESSONS:
        path = EXAMPLES / f"{lesson}.ipynb"
        kept = read(path).cells if path.exists() else []
        if [(cell.cell_type, cell.source) for cell in kept] != cells_of(lesson):
            found.append(lesson)
    return found


def main():
    parser = argparse.ArgumentParser(description=inspect.cleandoc(__doc__).splitlines()[0])
    parser.add_argument("lessons", nargs="*", metavar="LESSON", default=list(LESSONS))
    parser.add_argument("--check", action="store_true", help="only compare; fails if one is old")
    arguments = parser.parse_args()
    if unknown := set(arguments.lessons) - set(LESSONS):
        parser.error(f"there is no {', '.join(unknown)}; there are: {', '.join(LESSONS)}")
    if arguments.check:
        if old := differences():
            parser.exit(1, f"Old, run `python tools/notebooks.py {' '.join(old)}`.\n")
        return
    for lesson in arguments.lessons:
        began = time.perf_counter()
        path = EXAMPLES / f"{lesson}.ipynb"
        nbformat.write(run(notebook_of(lesson)), path)
        seconds, size = time.perf_counter() - began, path.stat().st_size
        print(f"{path.name}: {seconds:.0f} s, {size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
