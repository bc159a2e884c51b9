"""ONNX files under Apache TVM: its ONNX front end, its compiler and its virtual machine. A worker of its own.

TVM brings an LLVM, which must not meet torch's or TensorFlow's in one process.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from ...records import NO_LOAD_OPTIONS, LoadOptions, Signature
from ..registry import Arrays
from ..trace_store import TvmActivations, TvmRecord

Array = np.ndarray[Any, Any]
PIPELINE = "default_build"  # no operator fusion: each node of the graph keeps calls of its own
BUILTIN = "vm.builtin."


class CannotRun(ValueError):
    """TVM cannot compile or run the model; the message is one line."""


def load(path: str, flavour: str, options: LoadOptions = NO_LOAD_OPTIONS) -> Signature:
    """Is the runtime here, LLVM included? Nothing is read: models are compiled for the arrays that they are run on.

    The signature is empty but for a note with the version. Raises ImportError where TVM was built without LLVM.
    """
    if not tvm.runtime.enabled("llvm"):
        raise ImportError("this apache-tvm was built without LLVM")
    return Signature((), (), notes=(f"TVM {tvm.__version__}",))


def activations(path: str, arrays: Arrays, store: str) -> TvmActivations:
    """Every tensor that the nodes of the ONNX file give for ``arrays`` (input name -> array), kept in ``store``.

    The graph is compiled without fusion for the shapes of ``arrays``, with each node's tensor as an output, so that TVM
    says itself which of its values is which ONNX tensor. The instrument of the virtual machine sees every call
    with its tensors: the call that wrote the memory in which such a value lies is the one that computed it.

    ``store`` becomes an ``.npz`` file (dtypes as TVM gives them). Where TVM cannot give all tensors, it is asked for
    the graph's own outputs alone. Raises CannotRun.
    """
    model = onnx.load(path)
    output_names = [output.name for output in model.graph.output]
    names = list(dict.fromkeys([*(name for node in model.graph.node for name in node.output if name), *output_names]))
    why = ""
    try:
        traced = _traced(model, names, arrays)
    except CannotRun as error:
        if set(names) == set(output_names):
            raise
        traced, why = _traced(model, output_names, arrays), str(error)
    records: list[TvmRecord] = []
    members = {}
    for name, (value, call, at) in traced["values"].items():
        key = str(len(records))
        members[key] = value
        records.append(TvmRecord(name, key, value.shape, value.dtype.name, call, at))
    np.savez(store, **members)
    stored_tensors = {record.tensor for record in records}
    missing = [name for name in names if name not in stored_tensors]
    return TvmActivations(
        records,
        missing,
        why or ("TVM holds no array for them" if missing else ""),
        traced["calls"],
        traced["compile_seconds"],
        traced["run_seconds"],
    )


def _traced(model: onnx.ModelProto, names: list[str], arrays: Arrays) -> dict[str, Any]:
    """The values of these tensors, each with the name and number of the call that wrote it. Raises CannotRun."""
    begun = time.monotonic()
    try:
        machine = _compiled(model, names, arrays)
        compiled = time.monotonic()
        writers: dict[tuple[int, tuple[int, ...]], tuple[str, int]] = {}
        empty = set[tuple[int, tuple[int, ...]]]()
        calls = 0

        def see(function: Any, symbol: Any, before: bool, result: Any, *arguments: Any) -> int:
            """Remember which call wrote what: kernels fill memory allocated for them, builtins return their own."""
            nonlocal calls
            name = str(symbol)
            is_builtin = name.startswith(BUILTIN)
            written = [
                _place(tensor)
                for tensor in ((result,) if is_builtin else arguments)
                if isinstance(tensor, tvm.runtime.Tensor)
            ]
            if before:
                return 0  # go on with the call
            if name.startswith(f"{BUILTIN}alloc"):
                empty.update(written)
                return 0
            written = written if is_builtin else [place for place in written if place in empty]
            empty.difference_update(written)
            calls += bool(written)
            writers.update(dict.fromkeys(written, (name, calls)))
            return 0

        machine.set_instrument(see)
        constants = {tensor.name for tensor in model.graph.initializer}
        input_names = [tensor.name for tensor in model.graph.input if tensor.name not in constants]
        result = machine["main"](*(tvm.runtime.tensor(np.ascontiguousarray(arrays[name])) for name in input_names))
        ran = time.monotonic()
        results = [result] if len(names) == 1 else list(result)
        values = {}
        for name, tensor in zip(names, results, strict=True):
            array = _array(tensor)
            if array is not None:
                wrote = writers.get(_place(tensor), ("", 0)) if isinstance(tensor, tvm.runtime.Tensor) else ("", 0)
                values[name] = array, *wrote
    except Exception as error:  # TVM raises what its C++ and its front end raise; all of it means: it does not run
        raise CannotRun(_line(error)) from error
    return {
        "values": values,
        "calls": calls,
        "compile_seconds": compiled - begun,
        "run_seconds": ran - compiled,
    }


def _compiled(model: onnx.ModelProto, names: list[str], arrays: Arrays) -> Any:
    """A virtual machine whose "main" takes the inputs in the file's order and gives these tensors."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    typed = {value.name: value for value in (*model.graph.output, *model.graph.value_info)}
    del asked.graph.output[:]
    asked.graph.output.extend(typed.get(name, onnx.ValueInfoProto(name=name)) for name in names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checker wants a type for each output, which the front end does not need
        module = from_onnx(asked, shape_dict={name: list(array.shape) for name, array in arrays.items()})
    return relax.VirtualMachine(tvm.compile(module, "llvm", relax_pipeline=PIPELINE), tvm.cpu())


def _place(tensor: Any) -> tuple[int, tuple[int, ...]]:
    """Where a tensor lies: views of one memory differ by their shapes."""
    return int(tensor.data_ptr()), tuple(int(size) for size in tensor.shape)


def _array(value: Any) -> Array | None:
    """A value of the virtual machine as an array; None where it is none (a tuple, an absent optional)."""
    if isinstance(value, tvm.runtime.Tensor):
        array: Array = value.numpy()
        return array
    if isinstance(value, tvm.runtime.ShapeTuple):
        return np.array([int(size) for size in value], np.int64)
    return None


def _line(error: Exception) -> str:
    """The line of a TVM error that says what is wrong: the last, behind the traceback of its C++."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300]}" if lines else type(error).__name__
