"""Every name in the code says what it holds: a bare pronoun or participle says nothing to the person who reads it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.code_map import ROOT

PACKAGES = ("safeconvert", "repair", "converters", "tests", "benchmarks", "model_zoo")
BARE_WORDS = frozenset({"one", "found", "made", "told", "given", "taken", "ours", "theirs"})


def defined_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each parameter, variable (those of comprehensions too), attribute, function and alias."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name) | ast.Attribute(attr=name) | ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name
            case ast.alias(name=name, asname=asname):
                yield node.lineno, asname or name


def bare_names(tree: ast.AST) -> list[tuple[int, str]]:
    return [(line, name) for line, name in defined_names(tree) if name in BARE_WORDS]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_is_a_bare_word(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    bare = {
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in paths
        for line, name in bare_names(ast.parse(path.read_text()))
    }
    assert not bare, "name what it is (node, fault, attempt, target_inputs ...)"


@pytest.mark.parametrize(
    "code",
    [
        "def f(given): ...",
        "def f(*, made=1): ...",
        "found = 1",
        "for one in (): ...",
        "names = [one for one in ()]",
        "if (found := 1): ...",
        "pair.theirs",
        "class Pair:\n    ours: int",
        "def taken(): ...",
        "lambda one: 1",
        "from m import told",
        "try: ...\nexcept ValueError as found: ...",
    ],
)
def test_each_kind_of_name_is_read(code: str) -> None:
    assert len(bare_names(ast.parse(code))) >= 1
