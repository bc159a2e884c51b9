"""Measure a quantised TFLite file: its operators, its latency and the errors of its layers. Runs in a worker."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..registry import Arrays
from ..trace_store import Array
from .model import THREADS, interpreted
from .quantization_plan import IntegerTensor, LayerError, OperatorUse
from .trace import observed, real

WARM_UP_RUNS = 2
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST")
SMALL = 1e-30  # signal power below which a tensor is constant


def operator_uses(path: str) -> list[OperatorUse]:
    """List the operators of the file in execution order, each with its arithmetic.

    An operator with 8-bit weights and float activations (dynamic range) multiplies integers.
    """
    interpreter = observed(path)
    interpreter.allocate_tensors()
    details = {int(detail["index"]): detail for detail in interpreter.get_tensor_details()}
    return [
        OperatorUse(
            details[int(step["outputs"][0])]["name"], step["op_name"], _arithmetic(step, details),
            _multiplications(step, details),
        )
        for step in interpreter._get_ops_details()
        if len(step["outputs"])
    ]  # fmt: skip


def _arithmetic(step: Any, details: dict[int, Any]) -> str:
    if step["op_name"] in CONVERSIONS:
        return "conversion"
    dtypes = [details[int(i)]["dtype"] for i in (*step["inputs"], *step["outputs"]) if int(i) >= 0]
    has_small_integers = any(dtype in (np.int8, np.uint8, np.int16) for dtype in dtypes)
    has_floats = any(np.issubdtype(dtype, np.floating) for dtype in dtypes)
    return "integer" if has_small_integers or not has_floats else "float"


def _multiplications(step: Any, details: dict[int, Any]) -> int:
    """Multiplications by weights or, in a product of two tensors, along the axis that is summed over."""
    shapes = [tuple(int(n) for n in details[int(i)]["shape"]) for i in step["inputs"] if int(i) >= 0]
    outputs = int(np.prod(details[int(step["outputs"][0])]["shape"]))
    match step["op_name"]:
        case "CONV_2D":
            return outputs * int(np.prod(shapes[1][1:]))
        case "DEPTHWISE_CONV_2D":
            return outputs * int(np.prod(shapes[1][1:3]))
        case "FULLY_CONNECTED":
            return outputs * shapes[1][-1]
        case "BATCH_MATMUL":
            return outputs * shapes[0][-1]
        case "TRANSPOSE_CONV":
            return int(np.prod(shapes[2])) * int(np.prod(shapes[1][:3]))
        case _:
            return 0


def integer_tensors(path: str) -> tuple[list[IntegerTensor], list[IntegerTensor]]:
    """Describe inputs and outputs by dtype, scale and zero point (scale 0: real numbers)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    interpreter.allocate_tensors()

    def described(detail: Any) -> IntegerTensor:
        scale, zero = detail["quantization"]
        return IntegerTensor(detail["name"], np.dtype(detail["dtype"]).name, float(scale), int(zero))

    return [described(d) for d in interpreter.get_input_details()], [
        described(d) for d in interpreter.get_output_details()
    ]


def latencies(path: str, other: str, arrays: Arrays, rounds: int) -> tuple[list[float], list[float]]:
    """Run both files by turns on one input, and return the seconds of each run; what slows the machine meets both."""
    from ai_edge_litert.interpreter import Interpreter

    models = [interpreted(Interpreter(model_path=name, num_threads=THREADS)) for name in (path, other)]
    first_row = {name: array[:1] for name, array in arrays.items()}
    seconds: tuple[list[float], list[float]] = ([], [])
    feeds = [_renamed(model, first_row) for model in models]
    for run_number in range(WARM_UP_RUNS + rounds):
        for model, feed, seconds_of_model in zip(models, feeds, seconds, strict=True):
            begun = time.perf_counter()
            model.run(feed)
            if run_number >= WARM_UP_RUNS:
                seconds_of_model.append(time.perf_counter() - begun)
    return seconds


def _renamed(model: Any, arrays: Arrays) -> Arrays:
    """The arrays by the names of this model's inputs, by position where a name lacks."""
    names = [described.name for described in model.inputs]
    return arrays if set(names) <= set(arrays) else dict(zip(names, arrays.values(), strict=True))


def layer_errors(path: str, other: str, arrays: Arrays) -> list[LayerError]:
    """Compare the activations of the quantised file at ``other`` with those of the float file at ``path``.

    One pass over ``arrays`` (input name -> array, batch first); the operators are those of the float file whose output
    the other file has under the same name, in execution order. ``added`` is the noise over the signal that none of the
    operator's inputs had.
    """
    floats, rounded = observed(path), observed(other)
    models = interpreted(floats), interpreted(rounded)
    power: dict[str, Array] = {}
    places = {detail["name"]: detail for detail in rounded.get_tensor_details()}
    details = {int(detail["index"]): detail for detail in floats.get_tensor_details()}
    for row in range(len(next(iter(arrays.values())))):
        row_arrays = {name: array[row : row + 1] for name, array in arrays.items()}
        for model in models:
            model.run(_renamed(model, row_arrays))
        for step in floats._get_ops_details():
            for index in step["outputs"]:
                name = details[int(index)]["name"]
                if name in places and details[int(index)]["dtype"] == np.float32:
                    pair = _powers(floats.get_tensor(int(index)), _real(rounded, places[name]))
                    power[name] = power.get(name, np.zeros(2)) + pair
    ratios = {name: float(noise / max(signal, SMALL)) for name, (noise, signal) in power.items()}
    errors = []
    for step in floats._get_ops_details():
        name = details[int(step["outputs"][0])]["name"]
        if name in ratios:
            before = max((ratios.get(details[int(i)]["name"], 0.0) for i in step["inputs"] if int(i) >= 0), default=0.0)
            errors.append(LayerError(name, step["op_name"], ratios[name], max(0.0, ratios[name] - before)))
    return errors


def _real(interpreter: Any, detail: Any) -> Array | None:
    values = interpreter.get_tensor(detail["index"])
    return real(values, detail["quantization_parameters"])


def _powers(expected: Array, actual: Array | None) -> Array:
    """The power of the difference, and of the expected values around their mean."""
    if actual is None or actual.shape != expected.shape:
        return np.zeros(2)
    centred = expected.astype(np.float64) - float(expected.mean())
    return np.array([np.square(actual.astype(np.float64) - expected).sum(), np.square(centred).sum()])
