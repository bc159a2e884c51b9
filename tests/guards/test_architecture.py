"""The code keeps its order: imports go down, in no circle; the parent loads no framework; every module is tested.

The guards read the source by ast. An entry of a list of known violations that is no violation any more fails too, so
that the lists only shrink.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guards.architecture import (
    PUBLIC_MODULES,
    ROOMS,
    framework_imports,
    import_edges,
    is_worker,
    loads_framework,
    room_of,
    upward_imports,
)
from tests.support.code_map import ROOT, Import, Module, circles, imported_by_tests, modules, package_folders

KNOWN_UPWARD: set[tuple[str, str]] = set()
KNOWN_CIRCLES: set[tuple[str, ...]] = set()
KNOWN_UNTESTED: set[str] = set()


def module(name: str, *targets: str, **settings: bool) -> Module:
    flags = {"is_relative": True, "is_for_types": False, "is_local": False, **settings}
    return Module(name, Path("x.py"), tuple(Import(target, 1, **flags) for target in targets))


def as_map(*some: Module) -> dict[str, Module]:
    return {m.name: m for m in some}


def test_imports_go_downwards() -> None:
    assert upward_imports(modules()) == KNOWN_UPWARD


def test_an_upward_import_is_seen() -> None:
    low, high = "safeconvert.comparison.compare", "safeconvert.runs.check"
    assert upward_imports(as_map(module(low, high), module(high))) == {(low, high)}
    assert upward_imports(as_map(module(low, high, is_local=True), module(high))) == {(low, high)}
    assert upward_imports(as_map(module(low, high, is_for_types=True), module(high))) == {(low, high)}
    assert not upward_imports(as_map(module(low), module(high, low)))


def test_a_worker_module_may_be_named_for_the_types_of_a_handle_only() -> None:
    parent, worker = "safeconvert.workers.pool", "safeconvert.runtimes.registry"
    for names in ((worker, parent), (parent, worker)):
        some = as_map(module(names[0], names[1], is_for_types=True), module(names[1]))
        assert bool(upward_imports(some)) == (names[0] == worker)


def test_imports_make_no_circle() -> None:
    assert set(circles(import_edges(modules()))) == KNOWN_CIRCLES


def test_a_circle_is_seen() -> None:
    names = [f"safeconvert.conversion.{letter}" for letter in "abcd"]
    a, b, c, d = names
    assert circles(import_edges(as_map(module(a, b), module(b, c), module(c, a), module(d, a)))) == [(a, b, c)]
    assert not circles(import_edges(as_map(module(a, b, c), module(b, c), module(c), module(d, a))))


def test_every_room_is_inhabited() -> None:
    assert {room_of(name) for name in modules()} == set(range(len(ROOMS)))
    with pytest.raises(LookupError, match="belongs to no room"):
        room_of("safeconvert.newcomer")


def test_a_parent_module_loads_no_framework() -> None:
    parent = [module for name, module in modules().items() if not is_worker(name)]
    assert {module.name: names for module in parent if (names := framework_imports(module))} == {}
    assert [module.name for module in parent if loads_framework(module.name, modules())] == []


def test_a_framework_behind_a_module_is_seen() -> None:
    parent, worker = "safeconvert.runs.check", "safeconvert.runtimes.registry"
    some = as_map(module(parent, worker), module(worker, "onnxruntime.capi"))
    assert loads_framework(parent, some)
    assert framework_imports(some[worker]) == {"onnxruntime"}
    assert not loads_framework(parent, as_map(module(parent, worker), module(worker, "onnx", is_local=True)))


def test_a_worker_module_imports_relatively_and_no_parent_module() -> None:
    imports = [
        (module.name, imported)
        for name, module in modules().items()
        if is_worker(name)
        for imported in module.imports
        if imported.target.partition(".")[0] == "safeconvert"
    ]
    assert [(name, imported.target) for name, imported in imports if not imported.is_relative] == []
    assert [(name, imported.target) for name, imported in imports if not is_worker(imported.target)] == []


def test_only_public_modules_lie_loose() -> None:
    assert {path.stem for path in (ROOT / "safeconvert").glob("*.py")} <= PUBLIC_MODULES


def test_every_folder_with_modules_is_installed() -> None:
    folders = {path.parent for root in ("safeconvert", "converters", "repair") for path in (ROOT / root).rglob("*.py")}
    assert folders == set(package_folders().values())
    assert all((folder / "__init__.py").exists() for folder in folders)


def test_every_module_is_imported_by_a_test() -> None:
    """All but ``__main__``, which runs the command when it is imported: ``tests/cli/test_terminal.py`` runs it so."""
    untested = {
        name.removeprefix("safeconvert.")
        for name, files in imported_by_tests().items()
        if not files and modules()[name].path.stat().st_size > 0 and name != "safeconvert.__main__"
    }
    assert untested == KNOWN_UNTESTED
