"""The tables of ``safeconvert routes``: every pair with its chains, and the converters of each hop."""

from __future__ import annotations

import itertools

import pytest
from safeconvert.converters import HOPS

from safeconvert.cli.listings import routes_as_json, show_routes
from safeconvert.conversion.routes import pairs
from safeconvert.errors import BadInput


def test_every_pair_has_routes_that_end_where_they_should() -> None:
    listed = routes_as_json(None, None)
    assert [(entry["source"], entry["target"]) for entry in listed] == list(pairs())
    for entry in listed:
        assert entry["routes"]
        for route in entry["routes"]:
            hops = [hop["hop"].split("->") for hop in route]
            assert (hops[0][0], hops[-1][1]) == (entry["source"], entry["target"])
            assert all(a[1] == b[0] for a, b in itertools.pairwise(hops))
            assert all(hop["converters"] for hop in route)


def test_a_source_or_target_narrows_the_list() -> None:
    assert {entry["source"] for entry in routes_as_json("torch", None)} == {"torch"}
    (entry,) = routes_as_json("onnx", "keras")
    converters = [converter["converter"] for converter in entry["routes"][0][0]["converters"]]
    assert converters
    assert set(converters) <= {hop.converter for hop in HOPS}
    with pytest.raises(BadInput, match="no conversion"):
        routes_as_json("onnx", "onnx")


def test_a_single_pair_is_printed_with_its_converters(capsys: pytest.CaptureFixture[str]) -> None:
    show_routes("onnx", "keras")
    out = capsys.readouterr().out
    assert "onnx2keras" in out
    assert "onnx -> keras" in out
    show_routes(None, None)
    out = capsys.readouterr().out
    assert all("2".join(pair) in out for pair in pairs())
