"""What a located node is called in the model's own format, from what the exporter left in the ONNX view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from safeconvert.repair.native_format.names import SCOPES, display_name, native_name

from safeconvert.formats import FORMATS, Format
from safeconvert.runtimes.trace_store import TraceRecord

LAYERS = frozenset({"conv_1", "block_1", "dense"})


@dataclass(frozen=True)
class Node:
    target_node: str = "node"
    target_tensor: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def format_of(naming: str) -> Format:
    return next(format for format in FORMATS if format.layer_naming == naming)


@pytest.mark.parametrize(
    ("naming", "node", "name"),
    [
        ("layer scopes", Node("model_1/block_1/conv_1/Conv2D"), "conv_1"),
        ("layer scopes", Node("model/dense_3/BiasAdd"), "dense"),  # Keras numbers scopes as it enters them
        ("layer scopes", Node("x", "model/block_1/Relu:0"), "block_1"),
        ("layer scopes", Node("nothing/known"), "nothing/known"),
        ("module scopes", Node("conv", metadata={SCOPES: "['', 'features', 'features.0', 'conv2d']"}), "features.0"),
        ("module scopes", Node("conv", metadata={SCOPES: "not a list"}), "conv"),
        ("graph scopes", Node("StatefulPartitionedCall/net/conv"), "net/conv"),
        ("tensor", Node("node", "net/conv;net/bias"), "net/conv;net/bias"),
        ("tensor", Node("node"), "node"),
        ("node", Node("Conv_3", "c"), "Conv_3"),
    ],
)
def test_a_node_is_called_as_its_own_format_calls_it(naming: str, node: Node, name: str) -> None:
    assert native_name(format_of(naming), node, LAYERS) == name


def test_an_operator_is_told_by_its_layer_where_people_know_layers() -> None:
    record = TraceRecord("t", "conv/convolution", "conv", "Conv2D", (), (2,), "arr_0")
    for format in FORMATS:
        assert display_name(format, record) == ("conv" if format.is_named_by_layer else "conv/convolution")
