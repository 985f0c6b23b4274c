"""Count lines of code, without comments, docstrings and empty lines: `python tools/code_lines.py [dir]`."""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def lines_of_code(source: str, tree: ast.Module) -> set[int]:
    """The numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            # A docstring, or another string that stands alone.
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return lines


def main(folder: Path) -> None:
    """Print the lines of each part, the longest file and the longest function."""
    parts: Counter[str] = Counter()
    files: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.py")):
        source = path.read_text()
        tree = ast.parse(source)
        lines = lines_of_code(source, tree)
        name = path.relative_to(folder)
        parts[name.parts[0]] += len(lines)
        files[str(name)] = len(lines)
        for node in ast.walk(tree):
            if isinstance(node, _FUNCTIONS):
                body = lines.intersection(range(node.lineno, node.end_lineno + 1))
                functions[f"{name}: {node.name}"] = len(body)
    for part, count in parts.most_common():
        print(f"{count:7,} {part}")
    print(f"{parts.total():7,} in all")
    for what, counts in (("file", files), ("function", functions)):
        name, count = counts.most_common(1)[0]
        print(f"Longest {what}: {name}, {count} lines")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "src/cornu"))
