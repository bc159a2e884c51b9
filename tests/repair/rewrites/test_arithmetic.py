"""The arithmetic that rewrites write with: each term computes what its name says, without overflow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from safeconvert.repair.rewrites.application import load
from safeconvert.repair.rewrites.arithmetic import Terms
from safeconvert.repair.rewrites.site import Site

from tests.support.rewrite_cases import Array, Case, build, execute

X = np.asarray([[-200], [-2], [-0.5], [0], [1e-3], [0.5], [1], [3], [200]], np.float32)


def computed(term: Callable[[Terms], ir.Value]) -> Array:
    """What the term gives for X: it takes the place of an Identity."""
    model = load(build(Case("", "Identity", shape=(1,)), tail=False))
    (node,) = (node for node in model.graph if node.name == "target")
    assert isinstance(node, ir.Node)
    at = Site(model, node)
    assert at.replace(term(Terms(at)))
    return execute(ir.to_proto(model), X / np.float32(1.5))[0]  # the case multiplies by 1.5


def expm1(x: Array) -> Array:
    return np.asarray(0.7 * np.expm1(np.minimum(x, 0) / 0.7))


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        (lambda t: t.softplus(t.x), np.logaddexp(X.astype(float), 0)),
        (lambda t: t.unit(t.x), np.clip(X, 0, 1)),
        (lambda t: t.size(t.x), np.abs(X)),
        (lambda t: t.sign(t.x), np.sign(X)),
        (lambda t: t.step(t.x), X > 0),
        (lambda t: t.minus(t.x), -X),
        (lambda t: t.sub(t.x, t.number(2)), X - 2),
        (lambda t: t.high(t.low(t.x, 2.0), -1.0), np.clip(X, -1, 2)),
        (lambda t: t.mul(t.add(t.x, 1.0), 3.0), 3 * (X + 1)),
        (lambda t: t.expm1_below_zero(0.7, 0.7), expm1(X.astype(float))),
    ],
)
def test_a_term_computes_what_its_name_says(term: Callable[[Terms], ir.Value], expected: Array) -> None:
    np.testing.assert_allclose(computed(term), expected, rtol=2e-6, atol=2e-7)
