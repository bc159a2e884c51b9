"""The figures of the code's structure, read from the source by ast; with ``--trips`` also the way of three runs.

Run as ``python -m benchmarks.structure [--root FOLDER] [--trips]``; prints one JSON object. Upward imports are known
for the layout that ``tests/guards/architecture.py`` describes; another checkout gives null there.
"""

from __future__ import annotations

import argparse
import ast
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.guards import architecture
from tests.support import code_map
from tests.support.code_map import ROOT, Module

FORMATS = {"torch", "keras", "tf", "tflite", "onnx"}
OLD_WORKER_FOLDERS = ("native/", "converters/", "repair/")  # before parent and worker code had packages of their own


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(module.path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_parent(module: Module, root: Path) -> bool:
    try:
        return not architecture.is_worker(module.name)
    except LookupError:
        return not str(module.path.relative_to(root)).removeprefix("safeconvert/").startswith(OLD_WORKER_FOLDERS)


def makes_repaired(function: ast.AST) -> int:
    """How often the function gives REPAIRED as a value: outside comparisons and the collections that these search."""
    compared = {id(part) for node in ast.walk(function) if isinstance(node, ast.Compare) for part in ast.walk(node)}
    return sum(
        isinstance(node, ast.Attribute) and node.attr == "REPAIRED" and id(node) not in compared
        for node in ast.walk(function)
    )


def is_keyed_by_format(node: ast.AST) -> bool:
    if not isinstance(node, ast.Dict) or len(node.keys) < 2:
        return False
    keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
    return all(isinstance(key, str) and key in FORMATS for key in keys)


def names_a_format(node: ast.AST) -> bool:
    """Whether a comparison has the name of a format on one side, or searches a display of such names."""
    if not isinstance(node, ast.Compare):
        return False
    for side in (node.left, *node.comparators):
        values = side.elts if isinstance(side, ast.Tuple | ast.Set | ast.List) else [side]
        if any(isinstance(value, ast.Constant) and value.value in FORMATS for value in values):
            return True
    return False


def is_untyped_call(node: ast.AST) -> bool:
    """Whether a worker is asked by two strings, ``worker.call("module", "function", ...)``."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "call"
        and len(node.args) >= 2
    )


def count(modules: list[Module], wanted: Any) -> dict[str, int]:
    counts = {
        module.name: sum(bool(wanted(node)) for node in ast.walk(ast.parse(module.path.read_text())))
        for module in modules
    }
    return {name: number for name, number in counts.items() if number}


def upward(modules: Mapping[str, Module]) -> int | None:
    try:
        return len(architecture.upward_imports(modules))
    except LookupError:
        return None


def figures(root: Path) -> dict[str, Any]:
    """All figures of the checkout at ``root``."""
    modules = code_map.modules(root)
    parent = [module for module in modules.values() if is_parent(module, root)]
    without_formats = [module for module in parent if not module.name.startswith("safeconvert.formats")]
    edges = architecture.import_edges(modules) if upward(modules) is not None else plain_edges(modules)
    repaired = {
        f"{module.name}.{function.name}": number
        for module in parent
        for function in functions(module)
        if (number := makes_repaired(function))
    }
    lengths = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1 for module in modules.values() for node in functions(module)
    )
    by_format, comparisons = count(without_formats, is_keyed_by_format), count(without_formats, names_a_format)
    calls = count([m for m in parent if m.name != "safeconvert.workers.remote"], is_untyped_call)
    untested = [
        name
        for name, files in code_map.imported_by_tests(root).items()
        if not files and modules[name].path.stat().st_size and not name.endswith(".__main__")
    ]
    return {
        "modules": len(modules),
        "imports": sum(map(len, edges.values())),
        "upward_imports": upward(modules),
        "circles": [list(circle) for circle in code_map.circles(edges)],
        "modules_without_a_test": len(untested),
        "functions_that_make_repaired": repaired,
        "dicts_keyed_by_format": sum(by_format.values()),
        "modules_with_such_dicts": len(by_format),
        "comparisons_with_a_format": sum(comparisons.values()),
        "modules_with_such_comparisons": len(comparisons),
        "untyped_worker_calls": sum(calls.values()),
        "median_function_lines": lengths[len(lengths) // 2],
        "longest_function_lines": lengths[-1],
    }


def plain_edges(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    return {
        name: {imported.target for imported in module.imports if imported.target in modules and imported.target != name}
        for name, module in modules.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to read (default: this one)")
    parser.add_argument("--trips", action="store_true", help="also trace the runs of the installed package")
    arguments = parser.parse_args()
    result = figures(arguments.root.resolve())
    if arguments.trips:
        from benchmarks.trip import trips

        with tempfile.TemporaryDirectory() as folder:
            result["trips"] = trips(Path(folder))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
