"""Write out the attributes that a node leaves to ONNX's defaults: some converters read them as required."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir

from ..rule import Outcome, Rewrite
from ..site import Site, dims_of
from .auto_pad import WINDOWED, window

_WRITTEN = frozenset(
    {
        "alpha",
        "beta",
        "gamma",
        "axis",
        "keepdims",
        "epsilon",
        "momentum",
        "group",
        "bias",
        "lambd",
        "mode",
        "size",
        "transA",
        "transB",
        "ceil_mode",
        "count_include_pad",
        "blocksize",
        "num_groups",
        "approximate",
        "p",
    }
)


def _defaults(op_type: str, opset: int) -> dict[str, Any]:
    try:
        schema = onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return {}
    defaults = {}
    for name, attribute in schema.attributes.items():
        if name in _WRITTEN and attribute.default_value.type != onnx.AttributeProto.UNDEFINED:
            value = onnx.helper.get_attribute_value(attribute.default_value)
            defaults[name] = value.decode() if isinstance(value, bytes) else value
    return defaults


def _write(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    missing = {k: v for k, v in _defaults(node.op_type, at.opset).items() if k not in node.attributes}
    if node.op_type in WINDOWED:
        geometry = window(at)
        if geometry is not None:
            kernel, strides, dilations, pads = geometry
            full: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
            if at.attr("auto_pad", "NOTSET") == "NOTSET" and not at.attr("output_shape"):
                full["pads"] = pads
            if node.op_type in ("Conv", "ConvTranspose"):
                full["dilations"] = dilations
            missing |= {k: v for k, v in full.items() if k not in node.attributes}
    dims = dims_of(node.inputs[0]) if node.inputs else None
    if node.op_type == "Transpose" and "perm" not in node.attributes and dims is not None:
        missing["perm"] = list(range(len(dims)))[::-1]
    return at.retain(**missing) if missing else False


REWRITES = (Rewrite("explicit-attributes", frozenset({"*"}), "LH", "defaults are written out", _write),)
