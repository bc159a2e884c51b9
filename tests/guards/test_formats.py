"""The list of formats: every field is filled, runtimes follow the protocol, and formats are told apart nowhere else.

The protocol is stated in ``safeconvert/workers/runtime.py``; the runtimes' functions are read and not imported, since
their modules load frameworks.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import safeconvert.converters
import safeconvert.repair

import safeconvert
from safeconvert.formats import FORMAT_NAMES, FORMATS, Format, extra_with, format_named, format_of_suffix
from safeconvert.inputs.presets import PRESETS
from safeconvert.workers import runtime as protocol
from safeconvert.workers.pool import PRELOADS
from safeconvert.workers.remote import Remote
from safeconvert.workers.runtime import RUNTIMES, TENSORFLOW_INTERPRETER, Runtime

FOLDERS = [Path(str(package.__file__)).parent for package in (safeconvert, safeconvert.converters, safeconvert.repair)]
RUNTIME_FOLDER = FOLDERS[0] / "runtimes"
PROTOCOL = {
    "load": ("model", protocol.Load),
    "trace": ("trace", protocol.Trace),
    "read_parameters": ("parameters", protocol.ReadParameters),
    "replace_parameters": ("parameters", protocol.ReplaceParameters),
    "read_settings": ("settings", protocol.ReadSettings),
    "change_settings": ("settings", protocol.ChangeSettings),
    "change_input_shapes": ("input_shapes", protocol.ChangeInputShapes),
}
"""The file of a runtime's folder that has each function, and the function's arguments and answer."""

formats = pytest.mark.parametrize("format", FORMATS, ids=str)
runtimes = pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.package)


def handles(runtime: Runtime) -> dict[str, Remote[..., object]]:
    """The runtime's handles by field, without those that it lacks."""
    values = {name: getattr(runtime, name) for name in PROTOCOL}
    return {name: value for name, value in values.items() if value is not None}


def function_of(handle: Remote[..., object]) -> ast.FunctionDef:
    """The function that a handle names, from its file."""
    path = FOLDERS[0] / f"{handle.module.replace('.', '/')}.py"
    functions = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)]
    return next(function for function in functions if function.name == handle.function)


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted({path for folder in FOLDERS for path in folder.rglob("*.py")}):
        if path.parent != FOLDERS[0] / "formats":
            yield path, ast.parse(path.read_text(encoding="utf-8"))


@formats
def test_every_field_of_a_format_is_filled(format: Format) -> None:
    for field in dataclasses.fields(format):
        value = getattr(format, field.name)
        optional = field.name in ("second_runtime", "suffix", "known_suffixes", "snippet")
        assert optional or value or isinstance(value, bool), field.name
    assert format_named(format.name) is format
    assert all(format_of_suffix(suffix) is format for suffix in format.known_suffixes)
    assert format.is_folder == (not format.known_suffixes)
    assert format.default_preprocess in PRESETS
    assert all(extra_with(module) == format.extra for module in format.requires)
    assert format.worker in PRELOADS
    assert format.runtime.package in {runtime.package for runtime in RUNTIMES}


def test_names_flavours_and_endings_tell_formats_apart() -> None:
    for values in (FORMAT_NAMES, [f.flavour for f in FORMATS], [s for f in FORMATS for s in f.known_suffixes]):
        assert len(set(values)) == len(values)
    assert [format.name for format in FORMATS if format.is_view] == ["onnx"]


@runtimes
def test_a_runtime_names_the_module_that_it_needs_and_the_extra_that_installs_it(runtime: Runtime) -> None:
    with (FOLDERS[0].parent / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    packages = {re.split(r"[>=\[]", entry)[0] for entry in extras[runtime.extra]}
    assert packages & {runtime.module, runtime.module.replace("_", "-"), f"apache-{runtime.module}"}


@runtimes
def test_a_runtime_has_the_files_of_the_protocol_for_what_it_can_do_and_no_others(runtime: Runtime) -> None:
    assert {(handle.module, handle.function) for handle in handles(runtime).values()} == {
        (f"runtimes.{runtime.package}.{PROTOCOL[name][0]}", name) for name in handles(runtime)
    }
    files = {path.stem for path in (RUNTIME_FOLDER / runtime.package).glob("*.py")}
    assert files & {file for file, _ in PROTOCOL.values()} == {PROTOCOL[name][0] for name in handles(runtime)}
    assert all(module.startswith(f"runtimes.{runtime.package}.") for module in PRELOADS[runtime.worker]) or (
        len([other for other in RUNTIMES if other.worker == runtime.worker]) > 1
    )


def test_every_folder_of_runtimes_is_a_runtime() -> None:
    folders = {path.parent.name for path in RUNTIME_FOLDER.glob("*/__init__.py")}
    assert folders == {runtime.package for runtime in RUNTIMES}
    assert {runtime.worker for runtime in RUNTIMES} == set(PRELOADS)


@pytest.mark.parametrize("runtime", [*RUNTIMES, TENSORFLOW_INTERPRETER], ids=lambda runtime: runtime.name)
def test_the_functions_of_a_runtime_have_the_arguments_of_the_protocol(runtime: Runtime) -> None:
    for name, handle in handles(runtime).items():
        call = inspect.signature(PROTOCOL[name][1].__call__)
        expected = [p.name for p in call.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
        function = function_of(handle)
        arguments = [*function.args.args, *function.args.kwonlyargs]
        assert [argument.arg for argument in arguments] == expected, handle
        assert ast.unparse(function.returns or ast.Constant(None)) == call.return_annotation, handle


def test_nothing_but_the_list_of_formats_has_a_dictionary_by_format() -> None:
    keyed = []
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
                if len(keys) > 1 and set(keys) <= set(FORMAT_NAMES):
                    keyed.append(f"{path.name}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert keyed == []


def test_no_format_is_told_by_its_name() -> None:
    compared = []
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                constants = [n for n in ast.walk(node) if isinstance(n, ast.Constant) and n.value in FORMAT_NAMES]
                about_formats = any(word in ast.unparse(node) for word in ("format", ".source", ".target"))
                if constants and about_formats:
                    compared.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert compared == []
