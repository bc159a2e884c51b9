"""The list of hops: every field is filled and true, and nothing outside ``converters/`` knows a converter by name."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import safeconvert.converters
import safeconvert.repair
from safeconvert.converters import ENVIRONMENTS, HOPS
from safeconvert.converters.hop import ONNX_FORMS, Hop
from safeconvert.converters.hop_function import HopArguments
from safeconvert.repair.rewrites.forms import FORMS

from safeconvert.formats import FORMAT_NAMES
from safeconvert.workers.pool import PRELOADS
from safeconvert.workers.runtime import RUNTIMES

FOLDER = Path(str(safeconvert.converters.__file__)).parent
PARENT_FILES = {"__init__", "hop", "hop_function", "scripts"}
"""Modules in the folder itself that are not a hop's."""
WORDS_OF_EVERYBODY = {*FORMAT_NAMES, *PRELOADS, *(runtime.module for runtime in RUNTIMES), "convert"}
"""Names of hops that are names of formats, frameworks or runtimes as well, or plain verbs."""

hops = pytest.mark.parametrize("hop", HOPS, ids=lambda hop: f"{hop.label}-{hop.name}")


def function_of(hop: Hop) -> ast.FunctionDef:
    """The hop's function, read and not imported: it loads a framework."""
    path = FOLDER / f"{hop.convert.module.removeprefix('converters.')}.py"
    functions = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    return next(node for node in functions if node.name == hop.convert.function)


def annotations(tree: ast.AST) -> dict[str, str]:
    """The annotated names of the class :class:`HopArguments`, as written."""
    (body,) = (n.body for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == HopArguments.__name__)
    return {ast.unparse(n.target): ast.unparse(n.annotation) for n in body if isinstance(n, ast.AnnAssign)}


ARGUMENTS = annotations(ast.parse(inspect.getsource(inspect.getmodule(HopArguments))))  # type: ignore[arg-type]


@hops
def test_every_field_of_a_hop_is_filled_with_its_own_type(hop: Hop) -> None:
    assert {hop.source, hop.target} <= set(FORMAT_NAMES)
    assert hop.source != hop.target
    for field in dataclasses.fields(hop):
        value = getattr(hop, field.name)
        if isinstance(value, str):
            assert value.strip(), field.name
    assert hop.framework in PRELOADS or hop.environment is not None
    assert hop.requires or hop.environment is not None
    assert 7 <= hop.newest_opset <= 21
    assert hop.layer_name("conv", 3) in ("conv", *(f"{hop.layer_names.partition('{')[0]}{n}" for n in ("conv", 3)))


def test_no_two_hops_are_the_same() -> None:
    assert len({(hop.source, hop.target, hop.name) for hop in HOPS}) == len(HOPS)
    assert len({hop.converter for hop in HOPS}) == len(HOPS)
    assert list(ENVIRONMENTS) == [hop.environment.name for hop in HOPS if hop.environment is not None]


@hops
def test_the_function_takes_what_the_hop_says_and_nothing_else(hop: Hop) -> None:
    arguments = function_of(hop).args
    assert [a.arg for a in arguments.args] == ["path", "target"]
    assert not arguments.posonlyargs
    assert arguments.vararg is None
    assert arguments.kwarg is None
    assert {a.arg for a in arguments.kwonlyargs} == set(hop.takes)
    assert set(hop.takes) <= set(ARGUMENTS)
    assert set(hop.arguments) <= set(hop.takes)


@hops
def test_the_function_declares_the_types_of_hop_arguments(hop: Hop) -> None:
    node = function_of(hop)
    assert [ast.unparse(a.annotation) for a in node.args.args if a.annotation] == ["str", "str"]
    for a in node.args.kwonlyargs:
        assert a.annotation is not None
        assert ast.unparse(a.annotation) == ARGUMENTS[a.arg], f"{hop.convert.function}: {a.arg}"
    assert node.returns is not None
    assert ast.unparse(node.returns) == "HopAnswer"


@hops
def test_only_shapes_have_no_default_since_only_they_are_always_passed(hop: Hop) -> None:
    arguments = function_of(hop).args
    required = {a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is None}
    assert required <= {"shapes"}


def test_each_handle_names_the_function_whose_types_it_declares() -> None:
    """``remote(module, function, lambda: module.function)``: mypy reads the third, the worker the first two."""
    tree = ast.parse((FOLDER / "__init__.py").read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "remote"]
    assert len(calls) == len(HOPS)
    for call in calls:
        module, function, signature = call.args
        assert isinstance(signature, ast.Lambda)
        written = f"{ast.literal_eval(module)}.{ast.literal_eval(function)}"
        assert written == f"converters.{ast.unparse(signature.body)}"


@hops
def test_the_forms_of_a_hop_can_be_made(hop: Hop) -> None:
    """Of an ONNX file by the rewrites, of another model by the hop's function."""
    if hop.source == "onnx":
        assert hop.forms == ONNX_FORMS == tuple(FORMS)
        assert not hop.makes_forms
    else:
        assert bool(hop.forms) == hop.makes_forms
        assert set(hop.forms) <= {"decomposed", "plain"}


@hops
def test_a_hop_that_reads_onnx_has_a_script_and_others_have_none(hop: Hop) -> None:
    assert (hop.script is not None) == (hop.source == "onnx")
    if hop.script is not None:
        assert "MODEL" in hop.script.convert
        names = {n.id for n in ast.walk(ast.parse(hop.script.convert)) if isinstance(n, ast.Name)}
        assert {"x", "outputs"} <= names
        assert isinstance(ast.parse(hop.script.imports), ast.Module)


@hops
def test_inputs_can_be_permuted_in_an_onnx_file_or_by_the_function(hop: Hop) -> None:
    assert "onnx" in (hop.source, hop.target) or "input_permutation" in hop.takes


def test_integers_are_calibrated_wherever_they_are_asked_for() -> None:
    for hop in HOPS:
        assert ("quantize" in hop.takes) == ("calibration" in hop.takes)


def test_every_file_of_the_folder_belongs_to_a_hop() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - PARENT_FILES
    assert files == {hop.convert.module.removeprefix("converters.") for hop in HOPS}


def names_of_hops() -> set[str]:
    """What a comparison with a converter would compare with."""
    names: set[str] = set()
    for hop in HOPS:
        module = hop.convert.module
        names |= {hop.name, hop.converter, hop.distribution, hop.convert.function, module, module.rpartition(".")[2]}
        names |= set() if hop.environment is None else {hop.environment.name}
    return names - WORDS_OF_EVERYBODY


def compared(tree: ast.AST) -> Iterator[ast.Constant]:
    """The constants that a module compares with, matches or looks up by: ``==``, ``in``, ``case`` and keys of dicts."""
    for node in ast.walk(tree):
        places: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            places = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            places = list(node.keys)
        elif isinstance(node, ast.MatchValue):
            places = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("startswith", "endswith", "get", "index", "count"):
                places = list(node.args)
        elif isinstance(node, ast.Subscript):
            places = [node.slice]
        for place in filter(None, places):
            yield from (n for n in ast.walk(place) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def comparisons_with_hops(source: str) -> list[str]:
    names = names_of_hops()
    return [f"line {n.lineno}: {n.value!r}" for n in compared(ast.parse(source)) if n.value in names]


def test_no_module_outside_converters_compares_with_the_name_of_a_hop_or_converter() -> None:
    roots = {Path(str(package.__file__)).parent for package in (safeconvert, safeconvert.repair)}
    files = {path for root in roots for path in root.rglob("*.py") if FOLDER not in path.parents}
    assert len(files) > 100
    comparisons = {
        str(path): names for path in files if (names := comparisons_with_hops(path.read_text(encoding="utf-8")))
    }
    assert not comparisons


@pytest.mark.parametrize(
    "line",
    [
        'if hop.environment == "onnx2tf": pass',
        'if hop.module in ("tensorflow_tflite", "x"): pass',
        'hops.sort(key=lambda hop: hop.name == "dynamo")',
        'ALONE = {"onnx2keras": 1}',
        'x = TABLE["onnx2torch"]',
        'y = hop.converter.startswith("torch.onnx (legacy)")',
    ],
)
def test_a_comparison_with_a_hop_would_be_seen(line: str) -> None:
    assert comparisons_with_hops(line)
