"""Run a model in its own framework on arrays, one input at a time, with nothing of safeconvert.

    python benchmarks/architecture_sources/run_alone.py MODEL INPUTS.npz OUTPUTS.npz

The arrays of ``INPUTS.npz`` are in the order of the Source's inputs. They go to the model's inputs by name where the
names are the same, else by position; outputs are written as ``0``, ``1``, ... in the model's order, with ``names``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
Run = Callable[[list[np.ndarray[Any, Any]]], list[np.ndarray[Any, Any]]]


def torch_model(path: str) -> tuple[list[str], list[str], Run]:
    import torch

    program = torch.export.load(path)
    names = [s.arg.name for s in program.graph_signature.input_specs if s.kind.name == "USER_INPUT"]
    module = program.module(check_guards=False)

    def run(arrays: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        with torch.inference_mode():
            result = module(*map(torch.from_numpy, arrays))
        leaves = (
            result.values() if isinstance(result, dict) else result if isinstance(result, tuple | list) else [result]
        )
        return [leaf.numpy() for leaf in leaves]

    keys = program.call_spec.out_spec.context
    return names, list(keys) if isinstance(keys, list) and keys else [], run


def keras_model(path: str) -> tuple[list[str], list[str], Run]:
    import keras

    model = keras.saving.load_model(path, compile=False)
    names = [tensor.name for tensor in model.inputs]
    keys = list(model.output) if isinstance(model.output, dict) else []

    def run(arrays: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        tensors = [a.astype(t.dtype) for a, t in zip(arrays, model.inputs, strict=True)]
        result = model.predict_on_batch(tensors if len(tensors) > 1 else tensors[0])
        if isinstance(result, dict):
            return [np.asarray(result[key]) for key in keys]
        return [np.asarray(a) for a in (result if isinstance(result, tuple | list) else [result])]

    return names, keys, run


def onnx_model(path: str) -> tuple[list[str], list[str], Run]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    inputs = session.get_inputs()
    kinds = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(int32)": "int32"}

    def run(arrays: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        feeds = {i.name: a.astype(kinds[i.type]) for i, a in zip(inputs, arrays, strict=True)}
        return [np.asarray(a) for a in session.run(None, feeds)]

    return [i.name for i in inputs], [o.name for o in session.get_outputs()], run


def tflite_model(path: str) -> tuple[list[str], list[str], Run]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    (signature,) = interpreter.get_signature_list().values() or ({"inputs": [], "outputs": []},)
    runner = interpreter.get_signature_runner()
    inputs, outputs = runner.get_input_details(), sorted(signature["outputs"], key=_number)
    names = list(signature["inputs"])

    def run(arrays: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        feeds = {name: a.astype(inputs[name]["dtype"]) for name, a in zip(names, arrays, strict=True)}
        result = runner(**feeds)
        return [np.asarray(result[name]) for name in outputs]

    return names, outputs, run


def _number(name: str) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", name)
    return (int(digits[1]) if digits else 0), name


LOADERS = {".pt2": torch_model, ".keras": keras_model, ".onnx": onnx_model, ".tflite": tflite_model}


def in_order(arrays: Mapping[str, np.ndarray[Any, Any]], names: list[str]) -> list[np.ndarray[Any, Any]]:
    """Return the arrays in the order of the model's inputs."""
    return [arrays[name] for name in (names if set(names) == set(arrays) else arrays)]


def main() -> None:
    path, inputs, target = sys.argv[1:4]
    with np.load(inputs) as file:
        arrays = {name: file[name] for name in file.files}
    names, outputs, run = LOADERS[Path(path).suffix](path)
    ordered = in_order(arrays, names)
    rows = [run([a[index : index + 1] for a in ordered]) for index in range(len(ordered[0]))]
    joined = {str(i): np.concatenate([row[i] for row in rows]) for i in range(len(rows[0]))}
    np.savez(target, names=np.array(outputs, dtype=str), **joined)


if __name__ == "__main__":
    main()
