"""ID, input dimensions: a Target that declares another size of image, other axes or no batch at its input.

Child side: works on the Target's ONNX view. Which of the ways is right is decided elsewhere, by what the model then
gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from .. import rewrites
from ..graph.edits import Rewire, SetAttributes, SetConstant, fresh, tidy
from ..graph.runner import GraphRunner, run_nodes

Array = np.ndarray[Any, Any]
Sizes = Sequence[int]
LAYOUTS = ([0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2])  # height before width
WINDOWS = ("AveragePool", "MaxPool", "LpPool")


def write(path: str, target: str, inputs: Mapping[str, Mapping[str, Any]], *, same: bool = False) -> bool:
    """Write the model with other inputs, by name.

    ``declared`` are the sizes to declare, the batch first (None: free). ``axes`` turn what is then given into what the
    model takes; ``squeezed`` takes the batch of one away from it and gives it back to the outputs. With neither, the
    model itself is to work on the sizes declared: constants that hold the old ones follow, and with ``same`` pads too
    that are those of SAME for the old sizes. Raises ValueError where the model then does not run.

    Gives whether turning the axes undoes what the model itself does to them: then they were declared so on purpose.
    """
    model, _ = rewrites.rewrite(onnx.load(path), names=())
    declared = {name: list(one["declared"]) for name, one in inputs.items()}
    if any(one["axes"] is None and not one["squeezed"] for one in inputs.values()):
        follow(model, declared, same=same)
    undone = False
    for name, one in inputs.items():
        if one["axes"] is not None:
            undone |= turn(model, name, list(one["axes"]))
        if one["squeezed"]:
            squeeze(model, name)
        declare(model, name, declared[name])
    for output in model.graph.output:  # sizes declared for the old input
        output.type.tensor_type.ClearField("shape")
    tidy(model)
    onnx.save(model, target)
    return undone


def declare(model: onnx.ModelProto, name: str, sizes: Sequence[int | None]) -> None:
    value = next(one for one in model.graph.input if one.name == name)
    elements = value.type.tensor_type.elem_type
    shape = ["batch" if size is None else size for size in sizes]
    value.CopyFrom(onnx.helper.make_tensor_value_info(name, elements, shape))


def turn(model: onnx.ModelProto, name: str, axes: list[int]) -> bool:
    """Turn an input's axes before anything reads it; a Transpose that stands there already is made one with it.

    Gives whether that leaves height and width in order everywhere.
    """
    left = True
    readers = [node for node in model.graph.node if name in node.input]
    perms = [_perm(node) for node in readers]
    if any(one.name == name for one in model.graph.output) or any(perm is None for perm in perms):
        made = fresh(model, f"{name}/turned")
        node = onnx.helper.make_node("Transpose", [name], [made], made, perm=axes)
        Rewire("axes turned", name, made, None, [node]).make(model)
        return False
    for node, perm in zip(readers, perms, strict=True):
        assert perm is not None
        both = [axes[axis] for axis in perm]
        left &= both in LAYOUTS
        if both == sorted(both):
            node.CopyFrom(onnx.helper.make_node("Identity", list(node.input), list(node.output), node.name))
        else:
            SetAttributes("axes turned", node.name, {"perm": both}).make(model)
    return left and bool(readers)


def _perm(node: onnx.NodeProto) -> list[int] | None:
    if node.op_type != "Transpose":
        return None
    return next((list(a.ints) for a in node.attribute if a.name == "perm"), None)


def squeeze(model: onnx.ModelProto, name: str) -> None:
    """Take a batch of one away from an input, and give one to each output."""
    constants = {f"{name}/first_axis": np.asarray([0], np.int64)}
    made = fresh(model, f"{name}/squeezed")
    node = onnx.helper.make_node("Squeeze", [name, f"{name}/first_axis"], [made], made)
    Rewire("batch taken away", name, made, None, [node], constants).make(model)
    for output in list(model.graph.output):
        axis = f"{output.name}/first_axis"
        made = fresh(model, f"{output.name}/with_batch")
        node = onnx.helper.make_node("Unsqueeze", [output.name, axis], [made], made)
        inner = {axis: np.asarray([0], np.int64)}
        Rewire("batch given back", output.name, made, (), [node], inner).make(model)
        kept = fresh(model, f"{output.name}/without_batch")
        for other in model.graph.node:
            other.input[:] = [kept if one == output.name else one for one in other.input]
            other.output[:] = [kept if one == output.name else one for one in other.output]
        for other in model.graph.node:
            if other.name == made:
                other.output[:] = [output.name]


def follow(model: onnx.ModelProto, declared: Mapping[str, Sequence[int | None]], *, same: bool) -> None:
    """Let constants and settings that hold sizes of the old input hold those of the new one."""
    steps = GraphRunner(model)
    random = np.random.default_rng(0)
    old, values = {}, {}
    for one in model.graph.input:
        if one.name in steps.constants:
            continue
        kind = one.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        have = [d.dim_value or 2 for d in kind.shape.dim]
        new = [have[0], *(int(size or 0) for size in declared[one.name][1:])] if one.name in declared else have
        old[one.name], values[one.name] = (random.standard_normal(s).astype(dtype) for s in (have, new))
    before = {name: array.shape for name, array in steps.everything(old).items()}
    for node in list(steps.nodes):
        _fit(model, steps, node, before, {name: array.shape for name, array in values.items()}, same=same)
        wanted = [name for name in node.output if name]
        steps.constants = (
            GraphRunner(model).constants if len(model.graph.initializer) != len(steps.constants) else (steps.constants)
        )
        try:
            results = run_nodes([node], model, values, steps.constants, wanted)
        except Exception as error:
            last = str(error).strip().splitlines()[-1][:200]
            raise ValueError(f"{node.op_type} {node.name} does not take the other size: {last}") from error
        values.update(zip(wanted, results, strict=True))


def _fit(
    model: onnx.ModelProto,
    steps: GraphRunner,
    node: onnx.NodeProto,
    before: Mapping[str, Sizes],
    now: Mapping[str, Sizes],
    *,
    same: bool,
) -> None:
    given = node.input[0] if node.input else ""
    if given not in before or given not in now or tuple(before[given]) == tuple(now[given]):
        return
    was, new = list(before[given]), list(now[given])
    if node.op_type == "Reshape" and node.input[1] in steps.constants:
        held = steps.constants[node.input[1]]
        sizes = followed(was[1:], list(before[node.output[0]])[1:], new[1:])
        if sizes is not None and len(held) == len(sizes) + 1:
            kept = [int(h) if h in (0, -1) else size for h, size in zip(held[1:], sizes, strict=True)]
            _set(model, node, 1, held, [int(held[0]), *kept])
    elif node.op_type == "Resize" and len(node.input) > 3 and node.input[3] in steps.constants:
        held = steps.constants[node.input[3]]
        if len(held) == len(was):
            _set(model, node, 3, held, [round(int(h) * n / w) for h, w, n in zip(held, was, new, strict=True)])
    elif node.op_type == "Slice" and len(node.input) > 2 and node.input[2] in steps.constants:
        held = steps.constants[node.input[2]]
        axes = steps.constants.get(node.input[3]) if len(node.input) > 3 else np.arange(len(held))
        if axes is not None:
            ends = [new[a] if h == was[a] else int(h) for h, a in zip(held, axes, strict=True)]
            _set(model, node, 2, held, ends)
    elif node.op_type in ("Conv", *WINDOWS):
        _fit_window(node, was[2:], new[2:], same=same)


def _set(model: onnx.ModelProto, node: onnx.NodeProto, index: int, held: Array, sizes: Sizes) -> None:
    if list(held) != list(sizes):
        SetConstant("sizes follow", node.name, index, np.asarray(sizes, np.int64)).make(model)


def _fit_window(node: onnx.NodeProto, was: Sizes, new: Sizes, *, same: bool) -> None:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    kernel = list(attributes.get("kernel_shape", ()))
    pads = list(attributes.get("pads", [0] * 2 * len(was)))
    if node.op_type in WINDOWS and kernel == list(was) and not any(pads):
        _attribute(node, "kernel_shape", list(new))
        return
    if not same or attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or len(kernel) != len(was):
        return
    strides = list(attributes.get("strides", [1] * len(was)))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, attributes.get("dilations", [1] * len(was)), strict=True)]
    if pads == _same(was, spans, strides):
        _attribute(node, "pads", _same(new, spans, strides))


def _attribute(node: onnx.NodeProto, name: str, value: list[int]) -> None:
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def _same(sizes: Sizes, spans: Sizes, strides: Sizes) -> list[int]:
    """The pads of SAME_UPPER, begins then ends."""
    whole = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, spans, strides, strict=True)]
    return [p // 2 for p in whole] + [p - p // 2 for p in whole]


def followed(was: Sizes, out: Sizes, new: Sizes) -> list[int] | None:
    """What sizes ``out``, to which sizes ``was`` were reshaped, become for ``new``; None where that is open.

    Neighbouring axes that were joined are joined again; what was split can be split again only if it is as before.
    """
    groups: list[tuple[list[int], list[int]]] = []  # indices on either side with one product
    i = j = 0
    while i < len(was) and j < len(out):
        ours, theirs = [i], [j]
        i, j = i + 1, j + 1
        while (a := math.prod(was[n] for n in ours)) != (b := math.prod(out[n] for n in theirs)):
            if a < b and i < len(was):
                ours.append(i)
                i += 1
            elif a > b and j < len(out):
                theirs.append(j)
                j += 1
            else:
                return None
        groups.append((ours, theirs))
    if not groups:
        return None
    groups[-1][0].extend(range(i, len(was)))
    groups[-1][1].extend(range(j, len(out)))
    made: list[int] = []
    for ours, theirs in groups:
        before, after = [was[n] for n in ours], [new[n] for n in ours]
        kept = [out[n] for n in theirs]
        if before == after:
            made += kept
        elif len(kept) == 1:
            made.append(math.prod(after))
        elif before == kept:
            made += after
        else:
            return None
    return made
