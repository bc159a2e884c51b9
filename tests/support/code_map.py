"""The package's modules and what each imports, read from the source by ast: nothing of the package is imported."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Import:
    """One name that a module imports: ``target`` is a module of the package, or the full name of another one."""

    target: str
    line: int
    is_relative: bool
    is_for_types: bool  # under ``if TYPE_CHECKING``
    is_local: bool  # inside a function


@dataclass(frozen=True)
class Module:
    """One source file; ``name`` is its name as installed, such as ``safeconvert.repair.graph.edits``."""

    name: str
    path: Path
    imports: tuple[Import, ...]

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def package(self) -> str:
        return self.name if self.is_package else self.name.rpartition(".")[0]


@cache
def package_folders(root: Path = ROOT) -> Mapping[str, Path]:
    """Each package that pyproject.toml installs, and the folder that it lies in."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    places = settings["package-dir"]
    folders = {}
    for package in settings["packages"]:
        place = max((name for name in places if f"{package}.".startswith(f"{name}.")), key=len)
        folders[package] = root.joinpath(places[place], *package[len(place) :].split("."))
    return folders


@cache
def modules(root: Path = ROOT) -> Mapping[str, Module]:
    """All modules of the installed packages, by name."""
    files = {
        package if path.name == "__init__.py" else f"{package}.{path.stem}": path
        for package, folder in package_folders(root).items()
        for path in sorted(folder.glob("*.py"))
    }
    return {name: Module(name, path, imports_of(name, path, files)) for name, path in files.items()}


def imports_of(name: str, path: Path, known: Iterable[str]) -> tuple[Import, ...]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return tuple(read_imports(path.read_text(), package, known))


def read_imports(source: str, package: str, known: Iterable[str]) -> Iterator[Import]:
    """Every import of a source text that lies in ``package``: at the top, in functions and under TYPE_CHECKING."""
    known = set(known)
    for node, for_types, local in walk_imports(ast.parse(source), False, False):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, False, for_types, local)
            continue
        base = node.module or ""
        if node.level:
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
        targets = {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
        for target in sorted(targets):
            yield Import(target, node.lineno, node.level > 0, for_types, local)


def walk_imports(
    tree: ast.AST, for_types: bool, local: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, for_types, local
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                yield from walk_imports(ast.Module([statement], []), True, local)
            for statement in node.orelse:
                yield from walk_imports(ast.Module([statement], []), for_types, local)
        else:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk_imports(node, for_types, local or is_function)


def circles(edges: Mapping[str, set[str]]) -> list[tuple[str, ...]]:
    """The groups of nodes that reach each other (strongly connected, more than one node), each sorted."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(node: str, graph: Mapping[str, set[str]], out: list[str]) -> None:
        stack: list[tuple[str, Iterator[str]]] = [(node, iter(sorted(graph.get(node, ()))))]
        seen.add(node)
        while stack:
            current, rest = stack[-1]
            following = next((n for n in rest if n not in seen), None)
            if following is None:
                out.append(current)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(sorted(graph.get(following, ())))))

    for node in sorted(edges):
        if node not in seen:
            visit(node, edges, order)
    backward: dict[str, set[str]] = {}
    for node, targets in edges.items():
        for target in targets:
            backward.setdefault(target, set()).add(node)
    seen.clear()
    groups = []
    for node in reversed(order):
        if node not in seen:
            group: list[str] = []
            visit(node, backward, group)
            groups.append(tuple(sorted(group)))
    return [group for group in groups if len(group) > 1]


def imported_by_tests(root: Path = ROOT) -> Mapping[str, set[str]]:
    """For each module of the package the test files that import it, themselves or in a script that they run."""
    importers: dict[str, set[str]] = {name: set() for name in modules(root)}
    for path in sorted((root / "tests").rglob("test_*.py")):
        source = path.read_text()
        for code in (source, *scripts(ast.parse(source))):
            for name in {imported.target for imported in read_imports(code, "tests", importers)} & set(importers):
                importers[name].add(str(path.relative_to(root)))
    return importers


def scripts(tree: ast.AST) -> Iterator[str]:
    """The string constants that are Python code and name the package: scripts for a process of their own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "safeconvert." in node.value:
            try:
                ast.parse(node.value)
            except SyntaxError:
                continue
            yield node.value
