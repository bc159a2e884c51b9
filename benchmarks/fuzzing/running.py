"""Runs a model with its framework alone: ``python -m benchmarks.fuzzing.running FORMAT:LABEL MODEL FOLDER NAME...``.

Reads the inputs ``FOLDER/NAME.npz`` and writes the outputs ``FOLDER/NAME.LABEL.npz`` by place. Nothing of safeconvert
is imported here: this is the judge's own view of a model.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Runnable:
    """A loaded model: its inputs (name, shape with None for free sizes, dtype), and a function of arrays in that order.

    ``run`` returns the outputs by name, in the model's order.
    """

    inputs: Sequence[tuple[str, Shape, Any]]
    run: Callable[[Sequence[Array]], Mapping[str, Array]]


def onnx_model(path: str) -> Runnable:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    types = {
        "tensor(float)": np.float32,
        "tensor(double)": np.float64,
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
        "tensor(bool)": np.bool_,
    }
    inputs = [
        (i.name, tuple(size if isinstance(size, int) else None for size in i.shape), types[i.type])
        for i in session.get_inputs()
    ]
    names = [output.name for output in session.get_outputs()]

    def run(arrays: Sequence[Array]) -> Mapping[str, Array]:
        feed = {name: array for (name, _, _), array in zip(inputs, arrays, strict=True)}
        return dict(zip(names, session.run(None, feed), strict=True))

    return Runnable(inputs, run)


def torch_model(path: str) -> Runnable:
    import torch

    program = torch.export.load(path)
    module = program.module()
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    inputs = [
        (
            name,
            tuple(size if isinstance(size, int) else None for size in values[name].shape),
            np.dtype(str(values[name].dtype).removeprefix("torch.")),
        )
        for name in names
    ]

    def run(arrays: Sequence[Array]) -> Mapping[str, Array]:
        with torch.no_grad():
            result = module(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
        parts = result if isinstance(result, dict) else _numbered(result)
        return {name: part.numpy() for name, part in parts.items()}

    return Runnable(inputs, run)


def _numbered(result: Any) -> dict[str, Any]:
    parts = result if isinstance(result, list | tuple) else [result]
    return {f"output_{place}": part for place, part in enumerate(parts)}


def keras_model(path: str) -> Runnable:
    import keras

    model = keras.saving.load_model(path, compile=False)
    inputs = [(tensor.name, tuple(tensor.shape), np.dtype(tensor.dtype)) for tensor in model.inputs]

    def run(arrays: Sequence[Array]) -> Mapping[str, Array]:
        fed = {name: array for (name, _, _), array in zip(inputs, arrays, strict=True)}
        structure = model.input
        if isinstance(structure, dict):
            fed_structure: Any = {key: fed[tensor.name] for key, tensor in structure.items()}
        elif isinstance(structure, list | tuple):
            fed_structure = [fed[tensor.name] for tensor in structure]
        else:
            fed_structure = arrays[0]
        result = model(fed_structure, training=False)
        parts = result if isinstance(result, dict) else _numbered(result)
        return {name: np.asarray(part) for name, part in parts.items()}

    return Runnable(inputs, run)


def saved_model(path: str) -> Runnable:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["serving_default"]
    specs = signature.structured_input_signature[1]
    inputs = [(name, tuple(spec.shape), spec.dtype.as_numpy_dtype) for name, spec in specs.items()]

    def run(arrays: Sequence[Array]) -> Mapping[str, Array]:
        fed = {name: tf.constant(array) for (name, _, _), array in zip(inputs, arrays, strict=True)}
        results = loaded.signatures["serving_default"](**fed)  # a signature alone does not keep its model alive
        return {name: results[name].numpy() for name in sorted(results, key=by_number)}

    return Runnable(inputs, run)


def tflite_model(path: str) -> Runnable:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    details = {detail["index"]: detail for detail in interpreter.get_input_details()}
    places = list(details)
    signatures = interpreter._get_full_signature_list()
    if signatures:
        signature = next(iter(signatures.values()))
        by_name = dict(signature["inputs"]), dict(signature["outputs"])
    else:
        by_name = tuple(
            {d["name"]: d["index"] for d in each()}
            for each in (interpreter.get_input_details, interpreter.get_output_details)
        )
    inputs = [
        (
            name,
            tuple(int(size) if size >= 0 else None for size in details[index]["shape_signature"]),
            details[index]["dtype"],
        )
        for name, index in sorted(by_name[0].items(), key=lambda item: places.index(item[1]))
    ]

    def run(arrays: Sequence[Array]) -> Mapping[str, Array]:
        fed = [(by_name[0][name], array) for (name, _, _), array in zip(inputs, arrays, strict=True)]
        for index, array in fed:
            interpreter.resize_tensor_input(index, array.shape)
        interpreter.allocate_tensors()
        for index, array in fed:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return {name: interpreter.get_tensor(by_name[1][name]).copy() for name in sorted(by_name[1], key=by_number)}

    return Runnable(inputs, run)


MODELS = {"onnx": onnx_model, "torch": torch_model, "keras": keras_model, "tf": saved_model, "tflite": tflite_model}


def bare(name: str) -> str:
    """A tensor's name without what TensorFlow puts around it."""
    return name.removeprefix("serving_default_").split(":")[0]


def by_number(name: str) -> tuple[int, str]:
    """Sorts ``output_10`` behind ``output_2``: the order of a signature, which is a mapping, says nothing."""
    digits = name.rpartition("_")[2]
    return (int(digits), "") if digits.isdecimal() else (0, name)


def in_order(inputs: Sequence[tuple[str, Shape, Any]], arrays: Mapping[str, Array]) -> list[Array]:
    """The arrays as the model takes them, in its dtypes and layout: by name where the names agree, else by place.

    Raises ValueError where they do not fit.
    """
    if len(inputs) != len(arrays):
        raise ValueError(f"the model takes {len(inputs)} inputs, and there are {len(arrays)}")
    by_name = {bare(name): array for name, array in arrays.items()}
    is_by_name = {bare(name) for name, _, _ in inputs} == set(by_name)
    ordered = [by_name[bare(name)] for name, _, _ in inputs] if is_by_name else list(arrays.values())
    return [_as_taken(array, shape, dtype) for array, (_, shape, dtype) in zip(ordered, inputs, strict=True)]


def _as_taken(array: Array, shape: Shape, dtype: Any) -> Array:
    for axes in ((), (0, *range(2, array.ndim), 1), (0, array.ndim - 1, *range(1, array.ndim - 1))):
        if axes and array.ndim < 3:
            continue
        moved = array.transpose(axes) if axes else array
        if all(size is None or size == actual for size, actual in zip(shape[1:], moved.shape[1:], strict=True)):
            return np.ascontiguousarray(moved, dtype)
    raise ValueError(f"the model takes {shape}, and the inputs are {array.shape}")


def outputs(model: Runnable, arrays: Mapping[str, Array], rows: int | None) -> dict[str, Array]:
    """The outputs for all rows, ``rows`` at a time (None: as many as the model declares, or all)."""
    ordered = in_order(model.inputs, arrays)
    fixed = next((shape[0] for _, shape, _ in model.inputs if shape and shape[0] is not None), None)
    step = fixed or rows or len(ordered[0])
    parts = [model.run([array[start : start + step] for array in ordered]) for start in range(0, len(ordered[0]), step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write_outputs(model: Runnable, label: str, folder: Path, name: str, batches: Mapping[str, int | None]) -> list[str]:
    """Write the outputs for each of the batches, as ``NAME.LABEL<suffix>.npz``; return what did not run.

    Where a batch does not run, the outputs for one row at a time are written. Raises what that raises.
    """
    with np.load(folder / f"{name}.npz") as stored:
        arrays = _in_source_order(dict(stored), folder / "inputs.json", model)
    failed = []
    single = outputs(model, arrays, 1)
    for suffix, rows in batches.items():
        try:
            result = single if rows == 1 else outputs(model, arrays, rows)
        except Exception as error:  # noqa: BLE001 - each framework has its own
            failed.append(f"{rows or 'all'} at a time: {str(error)[-200:]}")
            result = single
        np.savez(folder / f"{name}.{label}{suffix}.npz", **{str(i): v for i, v in enumerate(result.values())})
    (folder / f"{label}.json").write_text(json.dumps(list(single)))
    return failed


def _in_source_order(arrays: dict[str, Array], order: Path, model: Runnable) -> dict[str, Array]:
    """The arrays in the order of the Source's own inputs, which the Source, run first, writes down."""
    if not order.exists():
        order.write_text(json.dumps([bare(name) for name, _, _ in model.inputs]))
    names = json.loads(order.read_text())
    by_name = {bare(name): name for name in arrays}
    return {by_name[name]: arrays[by_name[name]] for name in names} if set(names) == set(by_name) else arrays


BATCHES = {"": None, ".single": 1, ".three": 3}


def main() -> None:
    kind, _, label = sys.argv[1].partition(":")
    model, folder = MODELS[kind](sys.argv[2]), Path(sys.argv[3])
    failed = []
    for name in sys.argv[4:]:
        failed += write_outputs(model, label, folder, name, BATCHES if name == "fresh" else {"": None})
    (folder / f"{label}.failed.json").write_text(json.dumps(failed))


if __name__ == "__main__":
    main()
