"""The plain form of a TensorFlow function: the same values from operators that the converters get right. Worker side.

`plain` freezes a concrete function (variables become constants) and replays its graph, operation by operation, in
a new function. Calls are inlined, what depends on constants alone is folded, and the operations in the table of the
converter to be fed are replaced by exact equivalents; all others are copied as they are.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from . import axes, elementwise, images, windows
from .node import Node, Rewrite

Array = np.ndarray[Any, Any]

# What goes wrong (or has no counterpart at all) in each converter, measured with tf2onnx 1.17 and TensorFlow 2.21.
TABLES: dict[str, dict[str, Rewrite]] = {
    "tf2onnx": {
        **images.TF2ONNX,
        **windows.TF2ONNX,
        **elementwise.TF2ONNX,
        **axes.TF2ONNX,
    },
    "tflite": {
        **images.TFLITE,
        **windows.TFLITE,
        **elementwise.TFLITE,
        **axes.TFLITE,
    },
}

UNKNOWN = -(2**30)  # a size that only a run knows, among sizes that are known; moved around, never computed with
SHAPE_MOVERS = {"StridedSlice", "Slice", "Pack", "ConcatV2", "GatherV2", "Identity", "ExpandDims", "Squeeze"}
MAX_ELEMENTS_FOLDED = 2**22  # so that folding cannot make a model much larger
CALLS = ("PartitionedCall", "StatefulPartitionedCall")
BRANCHES = ("If", "StatelessIf")


def plain(concrete: Any, converter: str, *, table: dict[str, Rewrite] | None = None) -> Any:
    """Return the plain form, for ``tf2onnx`` or ``tflite``, of a concrete function, as a tf.function.

    Its inputs have the same names, order, shapes (a free batch stays free) and dtypes, its outputs the same structure;
    values are equal up to rounding. ``table`` replaces the converter's table of rewrites.
    """
    rewrites = TABLES[converter] if table is None else table
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    specs = [tf.TensorSpec(t.shape, t.dtype, name=t.op.name) for t in frozen.inputs]
    names = [s.name for s in tf.nest.flatten(concrete.structured_input_signature) if isinstance(s, tf.TensorSpec)]
    if len(names) == len(specs):
        specs = [tf.TensorSpec(s.shape, s.dtype, name=name) for s, name in zip(specs, names, strict=True)]

    @tf.function(input_signature=specs, autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def form(*tensors: Any) -> Any:
        library = tf.compat.v1.GraphDef(library=frozen.graph.as_graph_def().library)
        tf.graph_util.import_graph_def(library)  # what loops and branches call
        results = _Replay(rewrites, library).run(frozen.graph, frozen.inputs, frozen.outputs, tensors, {})
        return tf.nest.pack_sequence_as(concrete.structured_outputs, results, expand_composites=True)

    return form


@contextmanager
def plain_saved_model(concrete: Any, converter: str, signature: str, beside: str) -> Iterator[str]:
    """Make a folder, next to the path ``beside``, with a SavedModel whose ``signature`` is the plain form."""
    module = tf.Module()
    module.form = plain(concrete, converter)
    folder = tempfile.mkdtemp(dir=Path(beside).parent)
    try:
        tf.saved_model.save(module, folder, signatures={signature: module.form.get_concrete_function()})
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Replay:
    """Runs graphs into the graph being traced. What a tensor's value is, where it is known, goes along."""

    def __init__(self, rewrites: dict[str, Rewrite], library: Any) -> None:
        self.rewrites = rewrites
        self.bodies = {f.signature.name: f for f in library.library.function}

    def run(
        self,
        graph: Any,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        tensors: Sequence[Any],
        values: dict[int, Array],
    ) -> list[Any]:
        """Return what stands for ``outputs`` where ``tensors`` stand for ``inputs``; ``values``: known, by position."""
        new_tensors: dict[Any, Any] = {old.ref(): new for old, new in zip(inputs, tensors, strict=True)}
        known: dict[Any, Array] = {inputs[index].ref(): value for index, value in values.items()}
        # closing(), for `with session` would make the graph current in place of the one being traced
        with closing(tf.compat.v1.Session(graph=graph)) as session:
            for op in _needed(outputs, set(new_tensors)):
                sources = [new_tensors[t.ref()] for t in op.inputs]
                facts = [known.get(t.ref()) for t in op.inputs]
                op_values = _value(op, sources, facts, session)
                if op_values is not None:
                    known.update({t.ref(): value for t, value in zip(op.outputs, op_values, strict=True)})
                if op_values is not None and not any(_unknown(value) for value in op_values):
                    results = [tf.constant(v, t.dtype) for v, t in zip(op_values, op.outputs, strict=True)]
                else:
                    results = self._emit(op, sources, facts)
                new_tensors.update({t.ref(): new for t, new in zip(op.outputs, results, strict=True)})
        return [new_tensors[t.ref()] for t in outputs]

    def _emit(self, op: Any, sources: list[Any], facts: list[Array | None]) -> list[Any]:
        body = op.get_attr("f").name if op.type in CALLS else None
        if op.type in BRANCHES and facts[0] is not None and not _unknown(facts[0]):
            body = op.get_attr("then_branch" if bool(facts[0]) else "else_branch").name
            sources, facts = sources[1:], facts[1:]
        if body in self.bodies:
            inner = function_def_to_graph(self.bodies[body])
            values = {index: value for index, value in enumerate(facts) if value is not None}
            return self.run(inner, inner.inputs, inner.outputs, sources, values)
        if op.type in self.rewrites:
            whole = [None if value is None or _unknown(value) else value for value in facts]
            result = self.rewrites[op.type](Node(op, sources, whole))
            if result is not None:
                return result if isinstance(result, list) else [result]
        if op.type == "Reshape" and facts[1] is not None and (sizes := _static_sizes(sources[0], facts[1])):
            sources = [sources[0], tf.constant(sizes, sources[1].dtype)]
        return _copied(op, sources)


def _copied(op: Any, sources: list[Any]) -> list[Any]:
    # Attributes with an underscore are notes of the runtime (colocation, XLA), not of the operator.
    attributes = {key: value for key, value in op.node_def.attr.items() if not key.startswith("_")}
    graph = tf.compat.v1.get_default_graph()
    dtypes = [t.dtype for t in op.outputs]
    return list(graph.create_op(op.type, sources, dtypes, name=op.name, attrs=attributes, op_def=op.op_def).outputs)


def _static_sizes(tensor: Any, wanted: Array) -> list[int] | None:
    """Return a Reshape's sizes as constants, -1 for the free batch alone; None where they cannot be.

    Converters lose track of sizes computed while the model runs, and of all that is computed from them.
    """
    if tensor.shape.rank is None or np.count_nonzero(wanted == UNKNOWN) != 1:
        return None
    sizes = [int(size) for size in wanted]
    if -1 in sizes:
        known_sizes, named = [size for size in tensor.shape if size is not None], [size for size in sizes if size > 0]
        if len(known_sizes) != len(tensor.shape) - 1 or sizes.count(-1) > 1 or len(named) != len(sizes) - 2:
            return None
        if np.prod(known_sizes, dtype=int) % np.prod(named, dtype=int):
            return None
        sizes[sizes.index(-1)] = int(np.prod(known_sizes, dtype=int) // np.prod(named, dtype=int))
    return [-1 if size == UNKNOWN else size for size in sizes]


def _needed(outputs: Sequence[Any], present: set[Any]) -> list[Any]:
    """Return the operations that ``outputs`` depend on, in an order in which they can run."""
    seen: set[Any] = set()
    stack = [tensor.op for tensor in outputs if tensor.ref() not in present]
    while stack:
        op = stack.pop()
        if op not in seen:
            seen.add(op)
            stack += [tensor.op for tensor in op.inputs if tensor.ref() not in present]
    return [op for op in outputs[0].graph.get_operations() if op in seen]


def _unknown(value: Array) -> bool:
    return value.dtype != np.bool_ and bool(np.any(value == UNKNOWN))


def _value(op: Any, sources: list[Any], facts: list[Array | None], session: Any) -> list[Array] | None:
    """Return the operation's results where they depend on constants and static sizes alone, else None."""
    if op.type == "Shape" and sources[0].shape.rank is not None:
        sizes = [UNKNOWN if size is None else size for size in sources[0].shape]
        return [np.array(sizes, op.outputs[0].dtype.as_numpy_dtype)]
    if op.type == "Const":
        return [tf.make_ndarray(op.get_attr("value"))]
    if op.type in CALLS or op.type in BRANCHES or op.op_def.is_stateful or not op.outputs:
        return None
    if op.type == "Identity" and facts[0] is not None:
        return [facts[0]]
    if op.control_inputs:  # running it alone would run these too, which may need what only a run of the model gives
        return None
    if any(value is None for value in facts) or not all(_plain_dtype(t.dtype) for t in op.outputs):
        return None
    if op.type not in SHAPE_MOVERS and any(_unknown(value) for value in facts if value is not None):
        return None
    feed = {tensor.name: value for tensor, value in zip(op.inputs, facts, strict=True)}
    results = [np.asarray(value) for value in session.run(op.outputs, feed_dict=feed)]
    return results if sum(value.size for value in results) <= MAX_ELEMENTS_FOLDED else None


def _plain_dtype(dtype: Any) -> bool:
    return bool(dtype.is_floating or dtype.is_integer or dtype.is_bool) and not dtype.is_quantized
