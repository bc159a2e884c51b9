"""tflite -> onnx, by tf2onnx: as it is, or with integer arithmetic taken out. Worker side.

A TFLite file whose inputs and outputs are integers with a scale is spoken to in real numbers (see
``runtimes/litert/model.py``), and so is what becomes of it: the integers stay inside.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
from onnx import numpy_helper

from ..runtimes.litert.model import outputs_in_order
from .forms.tflite import plain
from .hop_function import HopAnswer
from .support.garbage import lean

INTEGERS = {onnx.TensorProto.UINT8: np.uint8, onnx.TensorProto.INT8: np.int8, onnx.TensorProto.INT16: np.int16}


def convert(path: str, target: str, *, opset: int | None = None, dequantize: bool = False, form: str = "") -> HopAnswer:
    """Convert a TFLite file, or its plain ``form``; nothing is written where that form would be the file itself.

    ``dequantize`` writes float arithmetic, which more converters read.
    """
    if form:
        plainer = plain(Path(path).read_bytes())
        if plainer is None:
            return HopAnswer.UNCHANGED
        path = str(Path(target).with_suffix(".tflite"))
        Path(path).write_bytes(plainer)
    from ai_edge_litert.interpreter import Interpreter
    from tf2onnx import convert as tf2onnx

    arguments = ["tf2onnx", "--tflite", path, "--output", target]
    if opset:
        arguments += ["--opset", str(opset)]
    if dequantize:
        arguments.append("--dequantize")
    with patch.object(sys, "argv", arguments), lean():
        tf2onnx.main()
    model = with_gelu(onnx.load(target))
    if any(t.type.tensor_type.elem_type in INTEGERS for t in (*model.graph.input, *model.graph.output)):
        model = in_real_numbers(model, *scales(path), exact=not dequantize)
    order = [detail["name"] for detail in outputs_in_order(Interpreter(model_path=path))]
    outputs = {output.name: output for output in model.graph.output}
    if set(order) == set(outputs) and len(order) == len(outputs):  # the order in which the file itself gives them
        del model.graph.output[:]
        model.graph.output.extend(outputs[name] for name in order)
    onnx.save(model, target)
    return HopAnswer.WRITTEN


def with_gelu(model: Any) -> Any:
    """Write each ``TFL_GELU``, which tf2onnx leaves as it is, by operators of ONNX, in place."""
    nodes = []
    for node in model.graph.node:
        nodes += _gelu(model.graph, node) if node.op_type == "TFL_GELU" else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _gelu(graph: Any, node: Any) -> list[Any]:
    """Write GELU as x * (0.5 + 0.5 * f): f is erf(x / sqrt(2)), or a tanh of a cubic where ``approximate`` is set."""
    x, y = node.input[0], node.output[0]
    nodes: list[Any] = []

    def add(operator: str, *operands: Any) -> str:
        names = [operand if isinstance(operand, str) else _constant(graph, y, operand) for operand in operands]
        result = f"{y}/gelu{len(nodes)}"
        nodes.append(onnx.helper.make_node(operator, names, [result], result))
        return result

    if any(attribute.name == "approximate" and attribute.i for attribute in node.attribute):
        cubic = add("Mul", add("Mul", add("Mul", x, x), x), 0.044715)
        function = add("Tanh", add("Mul", add("Add", x, cubic), np.sqrt(2 / np.pi)))
    else:
        function = add("Erf", add("Mul", x, np.sqrt(0.5)))
    add("Mul", x, add("Add", add("Mul", function, 0.5), 0.5))
    nodes[-1].output[0] = y
    return nodes


def _constant(graph: Any, beside: str, number: float) -> str:
    name = f"{beside}/constant{len(graph.initializer)}"
    graph.initializer.append(numpy_helper.from_array(np.asarray(number, np.float32), name))
    return name


def scales(path: str) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    """Return (scale, zero point) of each input and of each output, in order; a scale of 0 means plain numbers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    return (
        [detail["quantization"] for detail in interpreter.get_input_details()],
        [detail["quantization"] for detail in interpreter.get_output_details()],
    )


def in_real_numbers(
    model: Any, inputs: list[tuple[float, int]], outputs: list[tuple[float, int]], *, exact: bool
) -> Any:
    """Make the ONNX model's scaled integer inputs and outputs float32, in place.

    Where the graph at once turns an input into real numbers, or an output from real numbers, both steps go.
    ``exact`` rounds inputs to the integers; otherwise they stay real numbers on the integers' scale.
    """
    graph = model.graph
    for entry, (scale, zero) in zip(graph.input, inputs, strict=True):
        kind = INTEGERS.get(entry.type.tensor_type.elem_type)
        if kind is None or not scale:
            continue
        entry.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        readers = [node for node in graph.node if entry.name in node.input]
        inner = f"{entry.name}/integers"
        for node in readers:
            if node.op_type == "DequantizeLinear":
                node.CopyFrom(onnx.helper.make_node("Identity", [entry.name], list(node.output), node.name))
            else:
                node.input[:] = [inner if name == entry.name else name for name in node.input]
        if not any(inner in node.input for node in readers):
            continue
        if exact:
            graph.node.insert(0, _linear("QuantizeLinear", graph, entry.name, inner, scale, kind(zero)))
        else:
            graph.node.insert(0, _arithmetic("Mul", graph, entry.name, f"{inner}/scaled", 1 / scale))
            graph.node.insert(1, _arithmetic("Add", graph, f"{inner}/scaled", inner, zero))
    makers = {name: node for node in graph.node for name in node.output}
    for entry, (scale, zero) in zip(graph.output, outputs, strict=True):
        kind = INTEGERS.get(entry.type.tensor_type.elem_type)
        if kind is None or not scale:
            continue
        entry.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        maker = makers[entry.name]
        if maker.op_type == "QuantizeLinear" and not any(entry.name in node.input for node in graph.node):
            maker.CopyFrom(onnx.helper.make_node("Identity", [maker.input[0]], [entry.name], maker.name))
            continue
        inner = f"{entry.name}/integers"
        for node in graph.node:
            node.input[:] = [inner if name == entry.name else name for name in node.input]
            node.output[:] = [inner if name == entry.name else name for name in node.output]
        graph.node.append(_linear("DequantizeLinear", graph, inner, entry.name, scale, kind(zero)))
    return model


def _arithmetic(operator: str, graph: Any, before: str, after: str, number: float) -> Any:
    constant = f"{after}/constant"
    graph.initializer.append(numpy_helper.from_array(np.asarray(number, np.float32), constant))
    return onnx.helper.make_node(operator, [before, constant], [after], f"{after}/{operator}")


def _linear(operator: str, graph: Any, before: str, after: str, scale: float, zero: Any) -> Any:
    constants = [f"{after}/scale", f"{after}/zero"]
    graph.initializer.append(numpy_helper.from_array(np.asarray(scale, np.float32), constants[0]))
    graph.initializer.append(numpy_helper.from_array(np.asarray(zero), constants[1]))
    return onnx.helper.make_node(operator, [before, *constants], [after], f"{after}/{operator}")
