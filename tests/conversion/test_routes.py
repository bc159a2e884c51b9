"""Routes: chains of hops, and the order in which hops of one pair are tried."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace

import pytest
from safeconvert.converters import HOPS

from safeconvert.conversion.routes import hops_between, missing, pairs, python_of, routes
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


def test_a_tflite_file_is_made_straight_from_torch_first_and_from_keras_before_torch_where_both_are_between() -> None:
    assert routes("torch", "tflite")[0] == ("torch", "tflite")
    two = [way for way in routes("onnx", "tflite") if len(way) == 3]
    assert two == [("onnx", "keras", "tflite"), ("onnx", "torch", "tflite")]


def test_a_tflite_file_is_a_way_on_where_the_shorter_ones_fail() -> None:
    assert routes("torch", "keras") == (("torch", "onnx", "keras"), ("torch", "tflite", "onnx", "keras"))
    assert routes("torch", "onnx")[-1] == ("torch", "tflite", "onnx")


def test_a_hop_with_an_environment_runs_without_it_where_its_modules_are_installed_here() -> None:
    hop = next(hop for hop in HOPS if hop.name == "litert-torch")
    assert hop.environment is not None
    assert python_of(hop) is None
    assert missing(hop) == "needs its own environment: safeconvert env install litert-torch, or --auto-env"
    assert python_of(replace(hop, requires=("numpy",))) == sys.executable
    assert missing(replace(hop, requires=("numpy",))) is None
    assert python_of(replace(hop, requires=())) is None
