"""The place in a graph where one node is replaced: reads the node, builds its equivalent, swaps it in.

Nothing enters the graph before `replace`, so a rewrite may refuse at any point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[Any]
Dims = list[int | None]

ORIGIN = "safeconvert.origin"
LINEAGE = "safeconvert.lineage"  # metadata of a node: the rewrites that led to it, by name, with commas between
RULE = "safeconvert.rule"  # meta of a model: the rewrite that is being applied
_NAMES = "safeconvert.names"


def dims_of(value: ir.Value | None) -> Dims | None:
    """Dimensions of a value, None for each that is not static; None if even the rank is unknown."""
    if value is None or value.shape is None:
        return None
    return [d if isinstance(d, int) else None for d in value.shape]


def constant_of(value: ir.Value | None) -> Array | None:
    """The array of an initializer, None for anything computed."""
    if value is None or value.const_value is None:
        return None
    return np.asarray(value.const_value.numpy())


def taken_names(model: ir.Model) -> set[str]:
    """Every node and value name of the main graph, kept with the model."""
    names = model.meta.get(_NAMES)
    if not isinstance(names, set):
        names = set(model.graph.initializers)
        names.update(v.name for v in model.graph.inputs if v.name)
        for node in model.graph.all_nodes():
            names.add(node.name or "")
            names.update(v.name for v in node.outputs if v.name)
        model.meta[_NAMES] = names
    return names


class Site:
    """A node to replace, with constants of its own dtype and nodes named after it."""

    def __init__(self, model: ir.Model, node: ir.Node) -> None:
        self.node = node
        self.opset = int(model.graph.opset_imports.get("", 13))
        self._names = taken_names(model)
        self._graph = model.graph
        self._new: list[ir.Node] = []
        self._constants: list[ir.Value] = []
        self._base = str(node.name)
        self._lineage = ",".join(filter(None, (node.metadata_props.get(LINEAGE), str(model.meta.get(RULE) or ""))))

    # reading
    def has(self, index: int) -> bool:
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def input(self, index: int = 0) -> ir.Value:
        value = self.node.inputs[index]
        if value is None:
            raise ValueError(f"{self._base}: input {index} of {self.node.op_type} is absent")
        return value

    def constant(self, index: int) -> Array | None:
        return constant_of(self.node.inputs[index]) if self.has(index) else None

    def dims(self, index: int = 0) -> Dims | None:
        return dims_of(self.input(index))

    def attr(self, name: str, default: Any = None) -> Any:
        attribute = self.node.attributes.get(name)
        if attribute is None:
            return default
        value = attribute.value
        return list(value) if isinstance(value, (tuple, list)) else value

    @property
    def dtype(self) -> np.dtype[Any]:
        kind = self.input(0).dtype
        return np.dtype(np.float32) if kind is None else np.dtype(kind.numpy())

    @property
    def floating(self) -> bool:
        return self.dtype.kind == "f"

    # building
    def const(self, array: npt.ArrayLike, dtype: Any = None) -> ir.Value:
        """A constant, of the dtype of the node's first input unless told."""
        data = np.ascontiguousarray(np.asarray(array).astype(dtype or self.dtype))
        data = data.reshape(np.shape(array))
        name = self._fresh(f"{self._base}/constant")
        tensor = ir.tensor(data, name=name)
        value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        self._constants.append(value)
        return value

    def full_rank(self, array: npt.ArrayLike, rank: int, axis: int = 1) -> ir.Value:
        """A vector laid along `axis` of a tensor of the given rank."""
        vector = np.asarray(array)
        return self.const(vector.reshape([-1 if i == axis else 1 for i in range(rank)]))

    def scalar(self, number: float, rank: int) -> ir.Value:
        """A number as a constant of full rank, so that no converter has to guess how it is broadcast."""
        return self.const(np.full([1] * rank, number))

    def ints(self, numbers: Sequence[int]) -> ir.Value:
        return self.const(np.asarray(numbers, dtype=np.int64), np.int64)

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Append a node with one output."""
        name = self._fresh(f"{self._base}/{op_type.lower()}")
        node = ir.node(op_type, list(inputs), attributes=attributes or None, num_outputs=1, name=name)
        self._note_origin(node)
        output = node.outputs[0]
        output.name = self._fresh(f"{name}_out")
        self._new.append(node)
        return output

    def copy(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> list[ir.Value]:
        """Append a node like another one, of a subgraph say, on these inputs; its outputs."""
        name = self._fresh(f"{self._base}/{node.op_type.lower()}")
        attributes = list(node.attributes.values())
        twin = ir.Node(node.domain, node.op_type, inputs, attributes, num_outputs=len(node.outputs), name=name)
        self._note_origin(twin)
        for i, (new, old) in enumerate(zip(twin.outputs, node.outputs, strict=True)):
            new.name = self._fresh(f"{name}_out{i or ''}") if old.name else ""
        self._new.append(twin)
        return list(twin.outputs)

    def reduce(self, op_type: str, x: ir.Value, axes: Sequence[int], keepdims: int = 1) -> ir.Value:
        """Reduce over axes, given as the attribute or the input that this opset wants."""
        if op_type == "ReduceSum" or self.opset >= 18:
            return self.op(op_type, x, self.ints(axes), keepdims=keepdims)
        return self.op(op_type, x, axes=list(axes), keepdims=keepdims)

    def slice(self, x: ir.Value, axis: int, start: int, end: int, step: int = 1) -> ir.Value:
        bounds = [self.ints([start]), self.ints([end]), self.ints([axis])]
        return self.op("Slice", x, *bounds, *([self.ints([step])] if step != 1 else []))

    def reshape(self, x: ir.Value, dims: Sequence[int | None]) -> ir.Value:
        """Reshape to dims of which at most one is unknown; a known batch is left free (-1) if it can be."""
        target = [-1 if d is None else d for d in dims]
        if len(target) > 1 and None not in dims[1:] and 0 not in target:
            target[0] = -1
        if target.count(-1) > 1:
            raise ValueError(f"{self._base}: a Reshape to {target} is not determined; check `reshapable` first")
        return self.op("Reshape", x, self.ints(target))

    def pad(self, x: ir.Value, begins: Sequence[int], ends: Sequence[int]) -> ir.Value:
        """Zero padding over all axes; the value itself where there is nothing to pad."""
        if not any(begins) and not any(ends):
            return x
        return self.op("Pad", x, self.ints([*begins, *ends]), mode="constant")

    def swap_last(self, x: ir.Value, axis: int, rank: int) -> ir.Value:
        """Exchange an axis with the last one; its own inverse."""
        perm = list(range(rank))
        perm[axis], perm[-1] = perm[-1], perm[axis]
        return x if axis == rank - 1 else self.op("Transpose", x, perm=perm)

    def replace(self, *values: ir.Value, dims: Dims | None = None) -> Literal[True]:
        """Swap the node for what was built; output names, types and shapes stay.

        dims: the first output's true dims, where shape inference and the runtimes are known to disagree.
        """
        if dims is not None:
            self.correct(dims)
        graph, node = self._graph, self.node
        new_values = {id(v) for n in self._new for v in n.outputs}
        finals = list(values)
        for i, (old, new) in enumerate(zip(node.outputs, finals, strict=False)):
            if old.is_graph_output() and (id(new) not in new_values or id(new) in map(id, finals[:i])):
                finals[i] = self.op("Identity", new)
                new_values.add(id(finals[i]))
        used = {id(v) for n in self._new for v in n.inputs}
        for constant in self._constants:
            if id(constant) in used or any(constant is v for v in finals):
                graph.register_initializer(constant)
        graph.insert_before(node, self._new)
        for old, new in zip(node.outputs, finals, strict=False):
            name, shape, kind = old.name, old.shape, old.type
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            if id(new) in new_values:
                old.name = None
                new.name, new.shape, new.type = name, shape, kind
                new_values.discard(id(new))
        graph.remove(node, safe=True)
        return True

    def retain(self, **attributes: Any) -> Literal[True]:
        """Keep the node and set attributes (None removes one)."""
        for name, value in attributes.items():
            if value is None:
                self.node.attributes.pop(name, None)
            else:
                self.node.attributes[name] = ir.convenience.convert_attribute(name, value)
        return True

    def correct(self, dims: Dims) -> None:
        """Set the first output's dims where known ones differ, and have what follows inferred anew."""
        output = self.node.outputs[0]
        before = dims_of(output)
        if before is not None and dims != before:
            _forget_shapes(output)
            output.shape = ir.Shape(dims)

    def _note_origin(self, node: ir.Node) -> None:
        """Record in the new node which node it comes from, and by which rewrites."""
        node.metadata_props[ORIGIN] = self.node.metadata_props.get(ORIGIN, self._base)
        if self._lineage:
            node.metadata_props[LINEAGE] = self._lineage

    def _fresh(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self._names:
            name, count = f"{wanted}_{count}", count + 1
        self._names.add(name)
        return name


def _forget_shapes(value: ir.Value) -> None:
    """Drop the shapes of all that is computed from a value, for the next inference to fill in."""
    pending = [value]
    while pending:
        for user in pending.pop().consumers():
            for output in user.outputs:
                if output.shape is not None:
                    output.shape = None
                    pending.append(output)


def reshapable(dims: Dims | None) -> bool:
    """Whether a Reshape to these dims is determined: rank known, at most one dim unknown."""
    return dims is not None and dims.count(None) <= 1


def spatial(at: Site) -> list[int] | None:
    """Static spatial dims of the first input (N, C, spatial...), None if any is unknown."""
    dims = at.dims()
    if dims is None or None in dims[2:]:
        return None
    return [d for d in dims[2:] if d is not None]
