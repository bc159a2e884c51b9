"""Routes: chains of hops, and the order in which hops of one pair are tried."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from safeconvert.converters import HOPS

from safeconvert.conversion.routes import hops_between, missing, pairs, routes
from safeconvert.formats import FORMAT_NAMES


def test_there_are_twenty_pairs() -> None:
    assert len(pairs()) == 20
    assert set(FORMAT_NAMES) == {"torch", "keras", "tf", "tflite", "onnx"}


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


def test_tracing_comes_first_where_another_converter_reads_the_onnx_file() -> None:
    assert hops_between("torch", "onnx")[0].name == "dynamo"
    assert hops_between("torch", "onnx", last=False)[0].name == "legacy"


def test_a_missing_package_is_said_with_what_to_install() -> None:
    hop = next(hop for hop in HOPS if hop.name == "onnx2torch")
    assert missing(hop) is None
    assert missing(replace(hop, requires=("onnx2torch_x",))) == "needs onnx2torch_x: pip install 'safeconvert[torch]'"
