"""Quantise a float TFLite file with litert-quantizer; activations are measured once. Runs in a worker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..registry import Arrays
from ..trace_store import Array
from .flatbuffer import inlined, packed
from .integer_io import with_uint8
from .model import interpreted
from .quantization_plan import QuantizationPlan
from .silent_channels import with_scales
from .trace import observed

MAX_VALUES_A_ROW = 2048  # values of one activation that are kept of each calibration input
SHRINKING = np.linspace(0.3, 1.0, 36)  # shares of the full range among which the mean square error chooses
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_2D_TRANSPOSE")  # that may hold 8-bit weights
LEVELS = 255  # steps of an 8-bit range


def activation_values(path: str, arrays: Arrays, store: str) -> int:
    """Run the float file on ``arrays`` (input name -> array, batch first) and keep values of every activation.

    ``store`` (``.npz``) gets, by tensor name, the extremes (``min:``, ``max:``) and values drawn evenly from each input
    (``values:``). Returns the number of activations.
    """
    interpreter = observed(path)
    model = interpreted(interpreter)
    rows = len(next(iter(arrays.values())))
    values: dict[str, list[Array]] = {}
    extremes: dict[str, tuple[float, float]] = {}
    details = {int(detail["index"]): detail for detail in interpreter.get_tensor_details()}
    for row in range(rows):
        model.run({name: array[row : row + 1] for name, array in arrays.items()})
        for index in _computed(interpreter):
            if details[index]["dtype"] != np.float32:
                continue
            tensor = interpreter.get_tensor(index).ravel()
            if not tensor.size:
                continue
            name = details[index]["name"]
            low, high = extremes.get(name, (np.inf, -np.inf))
            extremes[name] = min(low, float(tensor.min())), max(high, float(tensor.max()))
            values.setdefault(name, []).append(tensor[:: -(-tensor.size // MAX_VALUES_A_ROW)].copy())
    stored_values = {f"values:{name}": np.concatenate(parts) for name, parts in values.items()}
    stored_values |= {f"extremes:{name}": np.asarray(pair, np.float32) for name, pair in extremes.items()}
    np.savez(store, **stored_values)  # type: ignore[arg-type]
    return len(values)


def _computed(interpreter: Any) -> list[int]:
    """The indices of the inputs and of all that the operators give."""
    inputs = [int(detail["index"]) for detail in interpreter.get_input_details()]
    return inputs + [int(index) for step in interpreter._get_ops_details() for index in step["outputs"]]


def quantize_file(path: str, target: str, plan: QuantizationPlan, store: str, arrays: Arrays) -> int:
    """Write the float file at ``path``, quantised as planned, at ``target``; return its size in bytes.

    ``store`` is what :func:`activation_values` kept, ``arrays`` at least one calibration input; both are read where the
    plan's activations are integers only.
    """
    from litert_quantizer import quantizer

    content = with_scales(path)[0] if plan.is_static else Path(path).read_bytes()
    worker = quantizer.Quantizer(content)
    worker.load_quantization_recipe(_recipe(plan))
    ranges = _library_ranges(worker, path, arrays) if worker.need_calibration else None
    if ranges is not None:
        _replace_ranges(ranges, _measured(store, plan.ranges))
    result = worker.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    model = inlined(bytes(result.quantized_model))  # repair changes files whose constants stand in the flatbuffer
    data = packed(with_uint8(model) if plan.io_type == "uint8" else model)
    Path(target).write_bytes(data)
    return len(data)


def _recipe(plan: QuantizationPlan) -> list[dict[str, Any]]:
    """The plan in the library's terms: later entries win."""
    from litert_quantizer import qtyping, recipe_manager

    manager, everything = recipe_manager.RecipeManager(), qtyping.TFLOperationName.ALL_SUPPORTED
    if plan.is_static:
        bits = 8 if plan.kind == "int8" else 16
        manager.add_static_config(".*", everything, activation_num_bits=bits, weight_num_bits=8)
    elif plan.kind == "dynamic":
        manager.add_dynamic_config(".*", everything, num_bits=8)
    elif plan.kind == "weights":
        manager.add_weight_only_config(".*", everything, num_bits=8)
    else:
        half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(weight_tensor_config=half, explicit_dequantize=True)
        manager.add_quantization_config(".*", everything, config, "float_casting")
    if plan.is_static and plan.io_type == "float32":
        for operation in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            manager.add_quantization_config(".*", operation, None, "no_quantize")
    for name in plan.int16:
        manager.add_static_config(_scope(name), everything, activation_num_bits=16, weight_num_bits=8)
    for name in (*plan.float_activations, *plan.floats):
        manager.add_quantization_config(_scope(name), everything, None, "no_quantize")
    for name in plan.float_activations:
        for operation in WEIGHTED:
            manager.add_weight_only_config(_scope(name), qtyping.TFLOperationName(operation), num_bits=8)
    recipe: list[dict[str, Any]] = manager.get_quantization_recipe()
    return recipe


def _scope(name: str) -> str:
    """The pattern of the operator whose first output has this name; the library appends ";" to each output."""
    return f"^{re.escape(name)}(;|$)"


def _library_ranges(worker: Any, path: str, arrays: Arrays) -> dict[str, Any]:
    """The library's own calibration on one input: it knows which tensors need a range, and which are fixed."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    signatures = interpreter.get_signature_list()
    key = next(iter(signatures), None)
    details = interpreter.get_input_details()
    first = [np.asarray(array[:1]) for array in arrays.values()]
    if key is None:
        sample = {detail["name"]: value for detail, value in zip(details, first, strict=True)}
    else:
        sample = {name: np.asarray(arrays[name][:1]) for name in signatures[key]["inputs"]}
    ranges: dict[str, Any] = worker.calibrate({key: [sample]})
    return ranges


def _replace_ranges(ranges: dict[str, Any], measured: Mapping[str, tuple[float, float]]) -> None:
    """Put the measured ranges in place of those of one input; a fixed one, as of a softmax, is a plain number."""
    for name, entry in ranges.items():
        if entry and name in measured and isinstance(entry["min"], np.ndarray) and entry["min"].ndim:
            low, high = measured[name]
            entry["min"] = np.full_like(entry["min"], low)
            entry["max"] = np.full_like(entry["max"], high)


def _measured(store: str, ranges: str) -> dict[str, tuple[float, float]]:
    """The range of each activation, by the rule of this name (see ``RANGES``)."""
    with np.load(store) as stored:
        names = [name.removeprefix("values:") for name in stored.files if name.startswith("values:")]
        return {name: _range(stored[f"values:{name}"], stored[f"extremes:{name}"], ranges) for name in names}


def _range(values: Array, extremes: Array, rule: str) -> tuple[float, float]:
    low, high = float(extremes[0]), float(extremes[1])
    if rule.startswith("percentile"):
        share = float(rule.split()[1])
        return float(np.percentile(values, 100 - share)), float(np.percentile(values, share))
    if rule == "mse" and high > low:
        share = min(SHRINKING, key=lambda s: _rounding_error(values, low * s, high * s))
        return low * float(share), high * float(share)
    return low, high


def _rounding_error(values: Array, low: float, high: float) -> float:
    """The mean square error of 8-bit rounding in this range, which also holds 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / LEVELS or 1.0
    rounded = np.round((np.clip(values, low, high) - low) / step) * step + low
    return float(np.mean(np.square(rounded - values)))
