"""Routes, and that the list of hops and the files in ``converters/`` tell the same."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest
import safeconvert.converters
from safeconvert.converters import HOPS

from safeconvert.conversion.routes import hops_between, missing, pairs, routes
from safeconvert.records import FORMATS

FOLDER = Path(str(safeconvert.converters.__file__)).parent
# Files that a hop's file is made of.


def test_there_are_twenty_pairs() -> None:
    assert len(pairs()) == 20
    assert set(FORMATS) == {"torch", "keras", "tf", "tflite", "onnx"}


@pytest.mark.parametrize("pair", pairs(), ids="2".join)
def test_every_pair_has_a_route_without_an_environment_of_its_own(pair: tuple[str, str]) -> None:
    assert any(
        all(any(h.environment is None for h in hops_between(a, b)) for a, b in itertools.pairwise(way))
        for way in routes(*pair)
    )


@pytest.mark.parametrize("pair", pairs(), ids="2".join)
def test_routes_are_shortest_first_and_visit_no_format_twice(pair: tuple[str, str]) -> None:
    ways = routes(*pair)
    assert [len(way) for way in ways] == sorted(len(way) for way in ways)
    for way in ways:
        assert (way[0], way[-1]) == pair
        assert len(set(way)) == len(way)


def test_every_hop_names_a_function_that_is_there_and_no_two_are_the_same() -> None:
    assert len({(h.source, h.target, h.name) for h in HOPS}) == len(HOPS)
    for hop in HOPS:
        tree = ast.parse((FOLDER / f"{hop.module}.py").read_text())
        assert hop.function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, hop
        assert hop.why


def test_every_file_is_on_the_list() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert files == {hop.module for hop in HOPS}


def test_tracing_comes_first_where_another_converter_reads_the_onnx_file() -> None:
    assert hops_between("torch", "onnx")[0].name == "dynamo"
    assert hops_between("torch", "onnx", last=False)[0].name == "legacy"


def test_a_missing_package_is_said_with_what_to_install() -> None:
    hop = next(h for h in HOPS if h.module == "onnx_torch")
    assert missing(hop) is None
    without = type(hop)(**{**{f: getattr(hop, f) for f in hop.__dataclass_fields__}, "requires": ("onnx2torch_x",)})
    assert "pip install" in str(missing(without))
