"""The scripts of bug reports: Python that reads the model, gives ``outputs`` and uses nothing of safeconvert."""

from __future__ import annotations

import ast

import pytest
from safeconvert.converters import HOPS, scripts

ALL = {name: value for name, value in vars(scripts).items() if isinstance(value, scripts.StandaloneScript)}


@pytest.mark.parametrize("name", ALL)
def test_a_script_reads_the_model_and_leaves_its_outputs(name: str) -> None:
    script = ALL[name]
    tree = ast.parse(f"{script.imports}\n{script.convert}")
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    assert "outputs" in {node.id for node in names if isinstance(node.ctx, ast.Store)}
    assert {"MODEL", "x"} <= {node.id for node in names if isinstance(node.ctx, ast.Load)}
    assert "safeconvert" not in script.imports + script.convert


def test_every_hop_that_reads_onnx_shows_its_converter() -> None:
    assert {id(hop.script) for hop in HOPS if hop.script is not None} == {id(script) for script in ALL.values()}
