"""Where pooling windows lie: the sizes computed for ceil_mode are those that onnxruntime gives."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
import pytest
from safeconvert.repair.rewrites.application import load
from safeconvert.repair.rewrites.rule import Refused
from safeconvert.repair.rewrites.rules.pool_windows import borders, overhang, pooled
from safeconvert.repair.rewrites.site import Site

from tests.support.rewrite_cases import BATCH, Case, build, execute, noise


def site(case: Case) -> Site:
    model = load(onnx.shape_inference.infer_shapes(build(case, tail=False)))
    (node,) = (node for node in model.graph if node.op_type == case.op)
    assert isinstance(node, ir.Node)
    return Site(model, node)


def pool(kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int], ceil_mode: int = 1) -> Case:
    settings = {"kernel_shape": list(kernel), "strides": list(strides), "pads": list(pads), "ceil_mode": ceil_mode}
    return Case("", "MaxPool", settings, opset=13)


@pytest.mark.parametrize(
    ("case", "extra"),
    [
        (pool([3, 2], [2, 3], [0, 0, 0, 0]), [0, 1]),  # 7 rows fit windows of 3 by 2; 10 columns of 2 by 3 lack one
        (pool([3, 3], [2, 3], [1, 1, 0, 1]), [1, 0]),
        (pool([2, 2], [3, 3], [0, 1, 1, 1]), [0, 0]),  # a window that would start in the end padding is not taken
        (pool([3, 2], [2, 3], [0, 0, 0, 0], ceil_mode=0), [0, 0]),
    ],
)
def test_the_overhang_gives_the_sizes_of_onnxruntime(case: Case, extra: list[int]) -> None:
    at = site(case)
    assert overhang(at) == extra
    pads = case.attributes["pads"]
    assert borders(at) == ([0, 0, *pads[:2]], [0, 0, pads[2] + extra[0], pads[3] + extra[1]])
    sizes = pooled(at)
    assert sizes is not None
    assert sizes[2:] == list(execute(build(case, tail=False), noise(BATCH, *case.shape))[0].shape[2:])


def test_an_unresolved_auto_pad_is_refused() -> None:
    case = Case("", "MaxPool", {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER"})
    assert isinstance(borders(site(case)), Refused)
