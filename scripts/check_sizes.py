"""Which files and functions are larger than the house allows?

Limits: 500 lines a file, 60 lines a function, 8 parameters; no module named for nothing.
Prints the offenders and exits 1, or prints one line of figures.
"""

import ast
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE, MAX_FUNCTION, MAX_PARAMETERS = 500, 60, 8
BANNED_NAMES = {"utils", "helpers", "common", "misc"}


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([argument for argument in arguments if argument.arg not in {"self", "cls"}])


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef, path: Path) -> bool:
    """A Typer command declares its options as parameters, so their number is the user's choice.

    Commands are decorated, or public functions that `cli/commands.py` lists.
    """
    listed = path.parent.name == "cli" and not node.name.startswith("_")
    return listed or any("command" in ast.unparse(decorator) for decorator in node.decorator_list)


def offences(path: Path) -> list[str]:
    source = path.read_text(encoding="utf-8")
    name, tree = path.relative_to(ROOT), ast.parse(source)
    found = []
    if path.stem in BANNED_NAMES:
        found.append(f"{name}: a module is named for the question it answers")
    if (lines := source.count("\n")) > MAX_FILE:
        found.append(f"{name}: {lines} lines (limit {MAX_FILE})")
    for node in functions(tree):
        if (size := code_lines(node)) > MAX_FUNCTION:
            found.append(f"{name}:{node.lineno}: {node.name} has {size} lines")
        if not is_command(node, path) and (count := parameters(node)) > MAX_PARAMETERS:
            found.append(f"{name}:{node.lineno}: {node.name} has {count} parameters")
    return found


def main() -> int:
    """Check src, tests, scripts, benchmarks and examples."""
    roots = [ROOT / part for part in ("src", "tests", "scripts", "benchmarks", "examples")]
    files = sorted(file for root in roots if root.exists() for file in root.rglob("*.py"))
    found = [offence for file in files for offence in offences(file)]
    for offence in found:
        print(offence)
    source = [file.read_text(encoding="utf-8") for file in files if ROOT / "src" in file.parents]
    sizes = sorted(text.count("\n") for text in source)
    spans = sorted(code_lines(node) for text in source for node in functions(ast.parse(text)))
    print(
        f"src: {len(sizes)} files, {sum(sizes)} lines; file median {statistics.median(sizes):.0f}, "
        f"max {sizes[-1]}; function median {statistics.median(spans):.0f}, max {spans[-1]}"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
