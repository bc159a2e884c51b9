"""Declare other sizes, other axes or a batch at the inputs of a Target's ONNX view, and let its constants follow.

Worker side. The caller decides which of the ways is right, by what the model then computes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from .. import rewrites
from .edits import Rewire, SetAttributes, SetConstant, fresh, tidy
from .input_change import InputChange
from .runner import GraphRunner, run_nodes

Array = np.ndarray[Any, Any]
Sizes = Sequence[int]
LAYOUTS = ([0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2])  # height before width
WINDOWS = ("AveragePool", "MaxPool", "LpPool")


def write(path: str, target: str, inputs: Mapping[str, InputChange], *, same: bool = False) -> bool:
    """Write the model with these of its inputs changed, by name.

    Where the model itself has to work on the declared sizes, constants that hold the old ones follow, and with ``same``
    pads too that are those of SAME for the old sizes. Raises ValueError where the model then does not run.

    Returns whether permuting the axes undoes what the model itself does to them: then they were declared on purpose.
    """
    model, _ = rewrites.rewrite(onnx.load(path), names=())
    declared = {name: list(change.declared) for name, change in inputs.items()}
    if any(change.axes is None and not change.is_squeezed for change in inputs.values()):
        follow(model, declared, same=same)
    undone = False
    for name, change in inputs.items():
        if change.axes is not None:
            undone |= permute(model, name, list(change.axes))
        if change.is_squeezed:
            squeeze(model, name)
        declare(model, name, declared[name])
    for output in model.graph.output:  # sizes declared for the old input
        output.type.tensor_type.ClearField("shape")
    tidy(model)
    onnx.save(model, target)
    return undone


def declare(model: onnx.ModelProto, name: str, sizes: Sequence[int | None]) -> None:
    """Declare the sizes of an input, the batch first; None is a free size."""
    value = next(value for value in model.graph.input if value.name == name)
    elements = value.type.tensor_type.elem_type
    shape = ["batch" if size is None else size for size in sizes]
    value.CopyFrom(onnx.helper.make_tensor_value_info(name, elements, shape))


def permute(model: onnx.ModelProto, name: str, axes: list[int]) -> bool:
    """Permute an input's axes before anything reads it, in one node with a Transpose that stands there already.

    Returns whether that leaves height and width in order everywhere.
    """
    is_in_order = True
    readers = [node for node in model.graph.node if name in node.input]
    perms = [_perm(node) for node in readers]
    if any(output.name == name for output in model.graph.output) or any(perm is None for perm in perms):
        new = fresh(model, f"{name}/turned")
        node = onnx.helper.make_node("Transpose", [name], [new], new, perm=axes)
        Rewire("axes permuted", name, new, None, [node]).make(model)
        return False
    for node, perm in zip(readers, perms, strict=True):
        assert perm is not None
        both = [axes[axis] for axis in perm]
        is_in_order &= both in LAYOUTS
        if both == sorted(both):
            node.CopyFrom(onnx.helper.make_node("Identity", list(node.input), list(node.output), node.name))
        else:
            SetAttributes("axes permuted", node.name, {"perm": both}).make(model)
    return is_in_order and bool(readers)


def _perm(node: onnx.NodeProto) -> list[int] | None:
    if node.op_type != "Transpose":
        return None
    return next((list(a.ints) for a in node.attribute if a.name == "perm"), None)


def squeeze(model: onnx.ModelProto, name: str) -> None:
    """Take a batch of one away from an input, and give one to each output."""
    constants = {f"{name}/first_axis": np.asarray([0], np.int64)}
    squeezed = fresh(model, f"{name}/squeezed")
    node = onnx.helper.make_node("Squeeze", [name, f"{name}/first_axis"], [squeezed], squeezed)
    Rewire("batch taken away", name, squeezed, None, [node], constants).make(model)
    for output in list(model.graph.output):
        axis = f"{output.name}/first_axis"
        batched = fresh(model, f"{output.name}/with_batch")
        node = onnx.helper.make_node("Unsqueeze", [output.name, axis], [batched], batched)
        inner = {axis: np.asarray([0], np.int64)}
        Rewire("batch given back", output.name, batched, (), [node], inner).make(model)
        unbatched = fresh(model, f"{output.name}/without_batch")
        for other in model.graph.node:
            other.input[:] = [unbatched if name == output.name else name for name in other.input]
            other.output[:] = [unbatched if name == output.name else name for name in other.output]
        for other in model.graph.node:
            if other.name == batched:
                other.output[:] = [output.name]


def follow(model: onnx.ModelProto, declared: Mapping[str, Sequence[int | None]], *, same: bool) -> None:
    """Let constants and settings that hold sizes of the old input hold those of the new one."""
    steps = GraphRunner(model)
    random = np.random.default_rng(0)
    values = {}
    for value in model.graph.input:
        if value.name not in steps.constants:
            sizes = declared_sizes(value)
            new = (
                [sizes[0], *(int(size or 0) for size in declared[value.name][1:])] if value.name in declared else sizes
            )
            values[value.name] = random.standard_normal(new).astype(_dtype(value))
    before = shapes_as_declared(steps)
    for node in list(steps.nodes):
        now = {name: array.shape for name, array in values.items()}
        for edit in following_edits(node, steps.constants, before, now, same=same):
            edit.make(model)
        wanted = [name for name in node.output if name]
        if len(model.graph.initializer) != len(steps.constants):
            steps.constants = GraphRunner(model).constants
        try:
            results = run_nodes([node], model, values, steps.constants, wanted)
        except Exception as error:
            last = str(error).strip().splitlines()[-1][:200]
            raise ValueError(f"{node.op_type} {node.name} does not take the other size: {last}") from error
        values.update(zip(wanted, results, strict=True))


def declared_sizes(value: onnx.ValueInfoProto) -> list[int]:
    """Read the declared sizes of an input; 2 stands for those that are free."""
    return [dimension.dim_value or 2 for dimension in value.type.tensor_type.shape.dim]


def shapes_as_declared(steps: GraphRunner) -> dict[str, tuple[int, ...]]:
    """Compute the shape of every tensor on inputs of the sizes that the model declares."""
    random = np.random.default_rng(0)
    arrays = {
        value.name: random.standard_normal(declared_sizes(value)).astype(_dtype(value))
        for value in steps.model.graph.input
        if value.name not in steps.constants
    }
    return {name: array.shape for name, array in steps.everything(arrays).items()}


def _dtype(value: onnx.ValueInfoProto) -> Any:
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def following_edits(
    node: onnx.NodeProto,
    constants: Mapping[str, Array],
    before: Mapping[str, Sizes],
    now: Mapping[str, Sizes],
    *,
    same: bool = False,
) -> list[SetConstant | SetAttributes]:
    """Change the node's constants that hold sizes of its input, where that had the shape ``before`` and has it ``now``.

    With ``same``, pads too that are those of SAME for the old sizes.
    """
    read = node.input[0] if node.input else ""
    if read not in before or read not in now or tuple(before[read]) == tuple(now[read]):
        return []
    was, new = list(before[read]), list(now[read])
    if node.op_type == "Reshape" and node.input[1] in constants:
        sizes_before = constants[node.input[1]]
        sizes = followed(was[1:], list(before[node.output[0]])[1:], new[1:])
        if sizes is not None and len(sizes_before) == len(sizes) + 1:
            sizes_after = [int(h) if h in (0, -1) else size for h, size in zip(sizes_before[1:], sizes, strict=True)]
            return _sizes_set(node, 1, sizes_before, [int(sizes_before[0]), *sizes_after])
    elif node.op_type == "Resize" and len(node.input) > 3 and node.input[3] in constants:
        sizes_before = constants[node.input[3]]
        if len(sizes_before) == len(was):
            return _sizes_set(
                node, 3, sizes_before, [round(int(h) * n / w) for h, w, n in zip(sizes_before, was, new, strict=True)]
            )
    elif node.op_type == "Slice" and len(node.input) > 2 and node.input[2] in constants:
        sizes_before = constants[node.input[2]]
        axes = constants.get(node.input[3]) if len(node.input) > 3 else np.arange(len(sizes_before))
        if axes is not None:
            ends = [new[a] if h == was[a] else int(h) for h, a in zip(sizes_before, axes, strict=True)]
            return _sizes_set(node, 2, sizes_before, ends)
    elif node.op_type in ("Conv", *WINDOWS):
        return _window_set(node, was[2:], new[2:], same=same)
    return []


def _sizes_set(
    node: onnx.NodeProto, index: int, sizes_before: Array, sizes: Sizes
) -> list[SetConstant | SetAttributes]:
    if list(sizes_before) == list(sizes):
        return []
    words = f"sizes of {node.op_type} set from {sizes_before.tolist()} to {list(sizes)}, as the input's sizes are"
    return [SetConstant(words, node.name, index, np.asarray(sizes, np.int64))]


def _window_set(node: onnx.NodeProto, was: Sizes, new: Sizes, *, same: bool) -> list[SetConstant | SetAttributes]:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    kernel = list(attributes.get("kernel_shape", ()))
    pads = list(attributes.get("pads", [0] * 2 * len(was)))
    if node.op_type in WINDOWS and kernel == list(was) and not any(pads):
        words = f"kernel_shape of {node.op_type} set from {kernel} to {list(new)}, as the input's sizes are"
        return [SetAttributes(words, node.name, {"kernel_shape": list(new)})]
    if not same or attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or len(kernel) != len(was):
        return []
    strides = list(attributes.get("strides", [1] * len(was)))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, attributes.get("dilations", [1] * len(was)), strict=True)]
    if pads != _same(was, spans, strides):
        return []
    return [SetAttributes("pads of SAME for the input's sizes", node.name, {"pads": _same(new, spans, strides)})]


def _same(sizes: Sizes, spans: Sizes, strides: Sizes) -> list[int]:
    """The pads of SAME_UPPER, begins then ends."""
    whole = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, spans, strides, strict=True)]
    return [p // 2 for p in whole] + [p - p // 2 for p in whole]


def followed(was: Sizes, out: Sizes, new: Sizes) -> list[int] | None:
    """Tell what the sizes ``out``, to which ``was`` were reshaped, become for ``new``; None where that is open.

    Neighbouring axes that were joined are joined again; what was split can be split again only if it is as before.
    """
    groups: list[tuple[list[int], list[int]]] = []  # indices on either side with one product
    i = j = 0
    while i < len(was) and j < len(out):
        axes, axes_out = [i], [j]
        i, j = i + 1, j + 1
        while (a := math.prod(was[n] for n in axes)) != (b := math.prod(out[n] for n in axes_out)):
            if a < b and i < len(was):
                axes.append(i)
                i += 1
            elif a > b and j < len(out):
                axes_out.append(j)
                j += 1
            else:
                return None
        groups.append((axes, axes_out))
    if not groups:
        return None
    groups[-1][0].extend(range(i, len(was)))
    groups[-1][1].extend(range(j, len(out)))
    sizes: list[int] = []
    for axes, axes_out in groups:
        before, after = [was[n] for n in axes], [new[n] for n in axes]
        remaining = [out[n] for n in axes_out]
        if before == after:
            sizes += remaining
        elif len(remaining) == 1:
            sizes.append(math.prod(after))
        elif before == remaining:
            sizes += after
        else:
            return None
    return sizes
