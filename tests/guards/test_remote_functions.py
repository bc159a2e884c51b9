"""Typed handles of worker functions: each names an annotated function that exists, and nothing else is called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from tests.guards.architecture import is_worker
from tests.support.code_map import Module, modules

CALLED_BY_STRINGS: dict[str, int] = {
    "safeconvert.workers.remote": 1,  # the handle itself
    # Calls that are to become handles:
    "safeconvert.conversion.crash_nodes": 1,
    "safeconvert.conversion.hop_runner": 1,
    "safeconvert.conversion.node_localization": 2,
    "safeconvert.conversion.node_repair": 2,
}
"""Modules of the parent that ask a worker by two strings, and how often at most."""
LOOSE_ANSWERS = {
    "runtimes.pytorch.settings.read_settings",
    "runtimes.tensorflow.settings.read_settings",
    "runtimes.litert.settings.read_settings",
}
"""Functions whose answer is not typed to the end yet."""


@dataclass(frozen=True)
class Handle:
    """``remote(worker_module, function, lambda: signature)`` as it is written in ``module``."""

    module: str
    line: int
    worker_module: str
    function: str
    signature: ast.expr

    def __str__(self) -> str:
        return f"{self.worker_module}.{self.function} in {self.module}"


def parsed(module: Module) -> ast.Module:
    return ast.parse(module.path.read_text(encoding="utf-8"))


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def find_handles(tree: ast.AST, module: str) -> Iterator[Handle]:
    for call in calls(tree):
        if isinstance(call.func, ast.Name) and call.func.id == "remote":
            worker_module, function, signature = call.args
            assert isinstance(worker_module, ast.Constant), f"{module}:{call.lineno}: the module is no plain string"
            assert isinstance(function, ast.Constant), f"{module}:{call.lineno}: the function is no plain string"
            assert isinstance(signature, ast.Lambda), f"{module}:{call.lineno}: the signature is no lambda"
            yield Handle(module, call.lineno, str(worker_module.value), str(function.value), signature.body)


@cache
def handles() -> list[Handle]:
    return [handle for name, module in modules().items() for handle in find_handles(parsed(module), name)]


def imported_names(tree: ast.AST, package: str) -> dict[str, str]:
    """The full name behind each name that relative imports bring into a module of ``package``."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            names |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
    return names


def named_by(expression: ast.expr, names: dict[str, str]) -> str:
    """The full name of what the lambda returns: ``function``, or ``module.function``."""
    if isinstance(expression, ast.Name):
        return names.get(expression.id, expression.id)
    assert isinstance(expression, ast.Attribute)
    return f"{named_by(expression.value, names)}.{expression.attr}"


def definition(handle: Handle) -> ast.FunctionDef | None:
    """The top-level function that the handle names; None where there is none."""
    module = modules().get(f"safeconvert.{handle.worker_module}")
    body = [] if module is None else parsed(module).body
    return next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == handle.function), None)


def unannotated(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    all_of_them = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [argument.arg for argument in all_of_them if argument is not None and argument.annotation is None]


def has_any(annotation: ast.expr | None, aliases: dict[str, ast.expr]) -> bool:
    """Whether ``Any`` stands in an annotation or in the aliases that it names; arrays may be of any shape and dtype."""
    if annotation is None:
        return True
    names = [node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)]
    return any(name == "Any" or (name != "Array" and has_any_alias(name, aliases)) for name in names)


def has_any_alias(name: str, aliases: dict[str, ast.expr]) -> bool:
    return name in aliases and has_any(aliases[name], {key: value for key, value in aliases.items() if key != name})


def aliases_of(tree: ast.Module) -> dict[str, ast.expr]:
    """The module's own names for types, such as ``Record = dict[str, Any]``."""
    return {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Subscript)
    }


def calls_by_strings(tree: ast.AST) -> int:
    """How often ``worker.call`` is called: with the module and the function as its first two arguments."""
    return sum(
        1
        for call in calls(tree)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "call" and len(call.args) == 2
    )


def test_there_are_handles() -> None:
    assert len(handles()) > 20
    assert {"repair.localization.locate", "converters.torch_onnx"} <= {handle.worker_module for handle in handles()}


@pytest.mark.parametrize("handle", handles(), ids=str)
def test_a_handle_names_an_annotated_function_of_a_worker_module(handle: Handle) -> None:
    function = definition(handle)
    assert function is not None, "there is no such function at the top of that module"
    assert is_worker(f"safeconvert.{handle.worker_module}"), "the module runs in the parent"
    module = modules()[handle.module]
    named = named_by(handle.signature, imported_names(parsed(module), module.package))
    assert named == f"safeconvert.{handle.worker_module}.{handle.function}", "the lambda returns another function"
    assert not unannotated(function)
    if f"{handle.worker_module}.{handle.function}" not in LOOSE_ANSWERS:
        aliases = aliases_of(parsed(modules()[f"safeconvert.{handle.worker_module}"]))
        assert not has_any(function.returns, aliases), "its answer holds Any, so that mypy sees nothing of it"


def test_no_worker_function_is_called_by_strings() -> None:
    calls_by_file = {
        name: count
        for name, module in modules().items()
        if not is_worker(name) and (count := calls_by_strings(parsed(module)))
    }
    more = {name: count for name, count in calls_by_file.items() if count > CALLED_BY_STRINGS.get(name, 0)}
    assert not more, f"{more}: call worker functions through handles (safeconvert/workers/remote.py)"


# -- the guard itself


def test_the_guard_sees_what_is_wrong_with_a_handle() -> None:
    (handle,) = find_handles(
        ast.parse('F = remote("repair.localization.locate", "nothing", lambda: locate.other)'), "m"
    )
    assert definition(handle) is None
    names = imported_names(ast.parse("if TYPE_CHECKING:\n    from .localization import locate"), "safeconvert.repair")
    assert named_by(handle.signature, names) == "safeconvert.repair.localization.locate.other"
    tree = ast.parse("Record = dict[str, Any]\nArray = np.ndarray[Any, Any]\ndef f(a, b: int) -> list[Record]: ...")
    function = tree.body[-1]
    assert isinstance(function, ast.FunctionDef)
    assert unannotated(function) == ["a"]
    assert has_any(function.returns, aliases_of(tree))
    assert not has_any(ast.parse("tuple[Array, int]", mode="eval").body, aliases_of(tree))
    assert has_any(ast.parse("dict[str, Any] | None", mode="eval").body, {})
    assert calls_by_strings(ast.parse('worker.call("module", "function", timeout=1)\nworker.call(module, name)')) == 2
