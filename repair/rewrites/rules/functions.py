"""An operator as the function body that the ONNX specification itself gives it."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Site

# Basic operators that have a body of more exotic ones, and those for which this package has a better form.
KEEP = frozenset(
    {
        "Relu",
        "Softmax",
        "LogSoftmax",
        "Clip",
        "PRelu",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Softplus",
        "Sigmoid",
        "Tanh",
        "Pow",
        "Range",
        "Constant",
        "Size",
        "Flatten",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "GreaterOrEqual",
        "LessOrEqual",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceSumSquare",
        "Sum",
        "Mean",
        "Min",
        "Max",
        "Gelu",
        "HardSwish",
        "HardSigmoid",
        "Mish",
        "Celu",
        "Softsign",
        "ThresholdedRelu",
        "Shrink",
        "LayerNormalization",
        "GroupNormalization",
        "MeanVarianceNormalization",
        "Dropout",
        "Identity",
        "Reshape",
        "DepthToSpace",
        "SpaceToDepth",
        "BatchNormalization",
        "InstanceNormalization",
        "LRN",
        "Erf",
        "Gemm",
    }
)


def _with_body() -> frozenset[str]:
    return frozenset(
        s.name
        for s in onnx.defs.get_all_schemas()
        if s.domain == "" and (s.has_function or s.has_context_dependent_function)
    )


def body_of(at: Site) -> onnx.FunctionProto | None:
    """The body for this node at the model's opset, None where the specification gives none."""
    node = at.node
    try:
        schema = onnx.defs.get_schema(node.op_type, at.opset, "")
    except onnx.defs.SchemaError:
        # The operator is newer than the opset: its first version's body is the meaning that it came with.
        newer = [s for s in onnx.defs.get_all_schemas_with_history() if s.domain == "" and s.name == node.op_type]
        if not newer:
            return None
        schema = min(newer, key=lambda s: s.since_version)
    if schema.has_function:
        return schema.function_body
    if not schema.has_context_dependent_function:
        return None
    proto = ir.to_proto(node).SerializeToString()
    types = []
    for value in node.inputs:
        kind = onnx.TypeProto()
        if value is not None and value.dtype is not None:
            kind.tensor_type.elem_type = int(value.dtype)
        types.append(kind.SerializeToString())
    versions = [v for v in schema.context_dependent_function_opset_versions if v <= max(at.opset, schema.since_version)]
    if not versions:
        return None
    data = schema.get_context_dependent_function_with_opset_version(max(versions), proto, types)
    body = onnx.FunctionProto()
    body.ParseFromString(data)
    return body


def _attributes(at: Site, body: onnx.FunctionProto, node: onnx.NodeProto) -> dict[str, Any] | Refused:
    attributes: dict[str, Any] = {}
    defaults = {a.name: a for a in body.attribute_proto}
    for attribute in node.attribute:
        source = attribute
        if attribute.ref_attr_name:
            override = at.node.attributes.get(attribute.ref_attr_name)
            if override is not None:
                attributes[attribute.name] = override.value
                continue
            schema = onnx.defs.get_schema(at.node.op_type, "")
            default = defaults.get(attribute.ref_attr_name)
            if default is None and attribute.ref_attr_name in schema.attributes:
                default = schema.attributes[attribute.ref_attr_name].default_value
            if default is None or default.type == onnx.AttributeProto.UNDEFINED:
                continue
            source = default
        if source.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            return Refused("the function body has subgraphs")
        value = onnx.helper.get_attribute_value(source)
        if isinstance(value, onnx.TensorProto):
            value = ir.from_proto(value)
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return attributes


def inline(model: ir.Model, node: ir.Node) -> Outcome:
    """Write a node as its function body."""
    at = Site(model, node)
    body = body_of(at)
    if body is None:
        return Refused(f"the specification gives no body for {node.op_type} here")
    values: dict[str, ir.Value | None] = {"": None}
    for i, name in enumerate(body.input):
        values[name] = node.inputs[i] if i < len(node.inputs) else None
    for inner in body.node:
        if len([o for o in inner.output if o]) != 1:
            return Refused("the function body has a node with several outputs")
        attributes = _attributes(at, body, inner)
        if isinstance(attributes, Refused):
            return attributes
        values[inner.output[0]] = at.op(inner.op_type, *(values[i] for i in inner.input), **attributes)
    finals = [values.get(name) for name in body.output[: len(node.outputs)]]
    if any(v is None for v in finals):
        return Refused("the function body leaves an output open")
    return at.replace(*(v for v in finals if v is not None))


REWRITES = (
    Rewrite(
        "function-body",
        _with_body() - KEEP,
        "CG",
        "an operator becomes its body in the specification",
        inline,
    ),
)
