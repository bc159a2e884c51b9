"""Which outputs of an ONNX graph come from quantised weights or activations."""

from __future__ import annotations

from typing import Any

INTEGER_OPERATORS = frozenset(
    ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QuantizeLinear", "MatMulNBits")
)
MIN_WEIGHT_RANK = 2


def quantized_outputs(graph: Any) -> tuple[bool, ...]:
    """For each output: does a quantised weight or activation lead to it?

    ``graph`` is an ONNX GraphProto. A dequantised scalar or vector, such as a bias, rounds no more than any constant
    does, so it alone makes nothing quantised.
    """
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output if name}
    return tuple(_is_quantized(output.name, producers, ranks) for output in graph.output)


def _is_quantized(name: str, producers: dict[str, Any], ranks: dict[str, int]) -> bool:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        tensor = waiting.pop()
        if tensor in seen or tensor not in producers:
            continue
        seen.add(tensor)
        node = producers[tensor]
        if _rounds(node, ranks):
            return True
        waiting += _read_tensors(node)
    return False


def _rounds(node: Any, ranks: dict[str, int]) -> bool:
    if node.op_type in INTEGER_OPERATORS or node.op_type.startswith("QLinear"):
        return True
    if node.op_type == "DequantizeLinear":
        return ranks.get(node.input[0], MIN_WEIGHT_RANK) >= MIN_WEIGHT_RANK
    return any(_rounds(inner, ranks) for graph in _bodies(node) for inner in graph.node)


def _read_tensors(node: Any) -> list[str]:
    """The tensors that a node reads, those that its bodies take from outside included."""
    read = [name for name in node.input if name]
    for graph in _bodies(node):
        for inner in graph.node:
            read += _read_tensors(inner)
        read += [output.name for output in graph.output]
    return read


def _bodies(node: Any) -> list[Any]:
    return [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs) if graph.node]
