"""Every intermediate tensor of a TFLite model. Runs in a worker."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..registry import Arrays
from ..trace_store import Array, Store, TraceRecord, Trail, in_batches, unique
from . import model as litert_model


def trace(path: str, arrays: Arrays, store: str, *, with_integers: bool = False) -> list[TraceRecord]:
    """Run the model on ``arrays`` (input name -> array, batch first) and keep what it computes in ``store``.

    Returns a record for each tensor of real numbers of rank 1 or more that depends on the inputs, in execution order,
    the inputs first. A record's node is the tensor's name in the file, its layer the name scope in it. Integers with a
    scale are real numbers: they are dequantised. The interpreter runs without delegates, which keep no tensors; an
    ordinary run may round integers differently, since it uses their kernels.
    ``with_integers`` keeps whole numbers and truth values that are computed from the inputs' values too.
    """
    interpreter = observed(path)
    model = litert_model.interpreted(interpreter)

    def trace_batch(part: Arrays, target: str) -> list[TraceRecord]:
        model.run(part)
        details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
        names = dict(zip(details, unique(detail["name"] for detail in details.values()), strict=True))
        trail = Trail()
        with Store(target) as trace_store:

            def keep(index: int, operator: str, read: list[int]) -> None:
                node = details[index]["name"]
                values = interpreter.get_tensor(index)
                array = real(values, details[index]["quantization_parameters"])
                if array is None and with_integers and (operator == "input" or trail.sources(read)):
                    array = values
                if array is None or array.ndim == 0:
                    trail.passed(index, read, size=operator == "SHAPE")
                    return
                inputs = trail.sources(read)
                trail.keep(index, names[index])
                trace_store.add(
                    array, tensor=names[index], node=node, layer=layer_of(node), operator=operator, inputs=inputs
                )

            for detail in interpreter.get_input_details():
                trail.start(detail["index"])
                keep(detail["index"], "input", [])
            for step in interpreter._get_ops_details():
                read = [int(index) for index in step["inputs"]]
                for index in step["outputs"]:
                    if trail.live(read):
                        keep(int(index), step["op_name"], read)
            return trace_store.records

    return in_batches(model, arrays, store, trace_batch)


def observed(path: str) -> Any:
    """An interpreter of the file that keeps every tensor."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return Interpreter(
        model_path=path,
        num_threads=litert_model.THREADS,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )


def real(array: Array, quantization: dict[str, Any]) -> Array | None:
    """The array as real numbers, ``(q - zero_point) * scale`` for integers; None where it has no such meaning.

    ``quantization`` has "scales", "zero_points" and the "quantized_dimension" along which they are, if they are many.
    """
    if array.dtype.kind == "f":
        return array
    if array.dtype.kind not in "iu" or not len(quantization["scales"]):
        return None
    scales, zeros = along_axis(quantization, array.ndim)
    product: Array = (array - zeros) * scales
    return product.astype(np.float32)


def along_axis(quantization: dict[str, Any], rank: int) -> tuple[Array, Array]:
    """Scales and zero points, as float64 in a shape that multiplies an array of that rank."""
    scales, zeros = quantization["scales"], np.resize(quantization["zero_points"], len(quantization["scales"]))
    axes = [-1 if len(scales) > 1 and axis == quantization["quantized_dimension"] else 1 for axis in range(rank)]
    return scales.astype(np.float64).reshape(axes), zeros.astype(np.float64).reshape(axes)


def layer_of(name: str) -> str:
    """The name scope of a tensor; the name of fused operators is a list, the one that gives the result first."""
    return name.split(";")[0].rpartition("/")[0]
