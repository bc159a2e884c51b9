"""Faults for ONNX files. Nodes are edited in place on the ModelProto.

Not here: a fixed batch (it changes no output: rows are fed one at a time), and strides (another size of
every tensor after them).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.faults.seeding import DAMAGES, Array, Draw, Kind, NoPlace, Seeded, damage, input_change, positive

ACTIVATIONS = (
    "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Softplus",
    "Gelu",
)  # fmt: skip
Model = Any
Node = Any
Result = tuple[Model, Seeded]


def read(path: str) -> Model:
    return onnx.load(path)


def write(model: Model, path: str) -> None:
    """Raises :class:`NoPlace` where the edited graph is no model that onnxruntime loads."""
    import onnxruntime

    del model.graph.value_info[:]
    onnx.save(model, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common error class
        raise NoPlace(f"does not load: {str(error)[:200]}") from error


def name_of(node: Node) -> str:
    return str(node.name or node.output[0])


def seeded(node: Node, detail: str, *near: str) -> Seeded:
    return Seeded("", name_of(node), "", f"{node.op_type}: {detail}", tuple(dict.fromkeys([*node.output, *near])))


def constants(model: Model) -> dict[str, Any]:
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            arrays[node.output[0]] = node.attribute[0].t
    return arrays


def shapes(model: Model) -> dict[str, tuple[int | None, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: tuple(d.dim_value or None for d in value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }


def attribute(node: Node, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def set_attribute(node: Node, name: str, value: Any) -> None:
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def nodes(model: Model, *types: str) -> list[Node]:
    return [node for node in model.graph.node if not types or node.op_type in types]


def readers(model: Model, tensor: str) -> list[Node]:
    return [node for node in model.graph.node if tensor in node.input]


def image_input(model: Model) -> Any:
    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initial]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise NoPlace
    return inputs[0]


def insert_after(model: Model, tensor: str, new: list[Node]) -> None:
    """Put a chain of nodes between a tensor and all that reads it. The chain reads ``tensor`` and ends in its last
    node's output. A graph output keeps its name."""
    graph, end = model.graph, new[-1].output[0]
    at = next((i + 1 for i, node in enumerate(graph.node) if tensor in node.output), 0)
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == tensor:
                node.input[i] = end
    if any(value.name == tensor for value in graph.output):
        before = f"{tensor}_before"
        for node in graph.node:
            for i, name in enumerate(node.output):
                if name == tensor:
                    node.output[i] = before
        new[0].input[0] = before
        new[-1].output[0] = tensor
        for node in graph.node:
            for i, name in enumerate(node.input):
                if name == end:
                    node.input[i] = tensor
    for offset, node in enumerate(new):
        graph.node.insert(at + offset, node)


def constant(model: Model, name: str, value: Array) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def bypass(model: Model, node: Node, source: str) -> None:
    """Remove a node: what read its output reads ``source``, which a graph output takes through an Identity."""
    out = node.output[0]
    if any(value.name == out for value in model.graph.output):
        at = list(model.graph.node).index(node)
        model.graph.node.remove(node)
        model.graph.node.insert(at, helper.make_node("Identity", [source], [out], f"{out}_identity"))
        return
    for reader in model.graph.node:
        for i, name in enumerate(reader.input):
            if name == out:
                reader.input[i] = source
    model.graph.node.remove(node)


def fresh(model: Model, stem: str) -> str:
    used = {name for node in model.graph.node for name in (node.name, *node.output)}
    return next(name for i in range(900, 100000) if (name := f"{stem}_{i}") not in used)


def channel_axis(model: Model) -> int:
    dims = [d.dim_value for d in image_input(model).type.tensor_type.shape.dim]
    return 3 if dims[3] in (1, 3) and dims[1] not in (1, 3) else 1


# --- PP: preparation of the images, baked into the graph


def channels_flipped(model: Model, draw: Draw) -> Result:
    value, axis = image_input(model), channel_axis(model)
    if value.type.tensor_type.shape.dim[axis].dim_value != 3:
        raise NoPlace
    name = fresh(model, "Gather")
    order = constant(model, f"{name}_order", np.array([2, 1, 0]))
    near = (value.name, *(name_of(node) for node in readers(model, value.name)))
    node = helper.make_node("Gather", [value.name, order], [name], name, axis=axis)
    insert_after(model, value.name, [node])
    return model, seeded(node, "channels of the input reversed", *near)


def input_scaled(model: Model, draw: Draw) -> Result:
    value, axis = image_input(model), channel_axis(model)
    channels = value.type.tensor_type.shape.dim[axis].dim_value
    what, scale, offset = input_change(draw, channels)
    shape = [1, channels, 1, 1] if axis == 1 else [1, 1, 1, channels]
    mul, add = fresh(model, "Mul"), fresh(model, "Add")
    near = (value.name, *(name_of(node) for node in readers(model, value.name)))
    chain = [
        helper.make_node("Mul", [value.name, constant(model, f"{mul}_by", scale.reshape(shape))], [mul], mul),
        helper.make_node("Add", [mul, constant(model, f"{add}_by", offset.reshape(shape))], [add], add),
    ]
    if what == "scale":
        chain = chain[:1]
    if what == "offset":
        chain = chain[1:]
        chain[0].input[0] = value.name
    insert_after(model, value.name, chain)
    return model, seeded(chain[0], f"input {what}, strength {draw.strength:.3g}", add, *near)


# --- ID: the input's declared size


def other_size(model: Model, draw: Draw) -> Result:
    original, model = model, onnx.ModelProto()
    model.CopyFrom(original)
    value, axis = image_input(model), channel_axis(model)
    dims = [d for i, d in enumerate(value.type.tensor_type.shape.dim) if i not in (0, axis)]
    if not all(d.dim_value for d in dims):
        raise NoPlace
    factor = draw.pick((0.5, 0.75, 1.25, 1.5))
    was = [d.dim_value for d in dims]
    for d in dims:
        d.dim_value = round(d.dim_value * factor)
    for output in model.graph.output:  # sizes declared for the old input
        for d in list(output.type.tensor_type.shape.dim)[2:]:
            d.dim_param = "size"
    _runs(model)
    near = tuple(name_of(node) for node in readers(model, value.name))
    return model, Seeded("", value.name, "", f"{was} declared as {[d.dim_value for d in dims]}", near)


def height_and_width_swapped(model: Model, draw: Draw) -> Result:
    """Declared as width x height, and turned back inside: images that are not turned come out on their side."""
    value, axis = image_input(model), channel_axis(model)
    first, second = [i for i in range(1, 4) if i != axis]
    dims = value.type.tensor_type.shape.dim
    if dims[first].dim_value == dims[second].dim_value:
        raise NoPlace  # nothing is declared otherwise: this would be TSS
    dims[first].dim_value, dims[second].dim_value = dims[second].dim_value, dims[first].dim_value
    perm = [0, 1, 2, 3]
    perm[first], perm[second] = second, first
    name = fresh(model, "Transpose")
    near = (value.name, *(name_of(node) for node in readers(model, value.name)))
    node = helper.make_node("Transpose", [value.name], [name], name, perm=perm)
    insert_after(model, value.name, [node])
    return model, Seeded("", value.name, "", "height and width of the input swapped", (name, *near))


def _runs(model: Model) -> None:
    import onnxruntime

    del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        sizes = [d if isinstance(d, int) and d > 0 else 1 for d in session.get_inputs()[0].shape]
        outputs = session.run(None, {session.get_inputs()[0].name: np.zeros(sizes, "float32")})
    except Exception as error:  # onnxruntime has no common error class
        raise NoPlace(str(error)[:200]) from error
    if any(len(output) != sizes[0] for output in outputs):
        raise NoPlace("rows run into each other")


# --- TSS: tensor shape and structure


def axes_turned(model: Model, draw: Draw) -> Result:
    """A Transpose over two axes of one size, somewhere in the graph."""
    known = shapes(model)
    places = [
        (node, pair)
        for node in nodes(model)
        if len(size := known.get(node.output[0], ())) == 4
        for pair in ((2, 3), (1, 2), (1, 3))
        if size[pair[0]] and size[pair[0]] == size[pair[1]] != 1
    ]
    node, (a, b) = draw.pick(places, lambda place: name_of(place[0]))
    perm = list(range(4))
    perm[a], perm[b] = b, a
    name = fresh(model, "Transpose")
    near = (name_of(node), node.output[0], *(name_of(r) for r in readers(model, node.output[0])))
    new = helper.make_node("Transpose", [node.output[0]], [name], name, perm=perm)
    insert_after(model, node.output[0], [new])
    return model, seeded(new, f"axes {a} and {b} turned after {name_of(node)}", *near)


def input_turned(model: Model, draw: Draw) -> Result:
    value, axis = image_input(model), channel_axis(model)
    sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
    a, b = [i for i in range(1, 4) if i != axis]
    if not sizes[a] or sizes[a] != sizes[b]:
        raise NoPlace
    perm = list(range(4))
    perm[a], perm[b] = b, a
    name = fresh(model, "Transpose")
    near = (value.name, *(name_of(r) for r in readers(model, value.name)))
    new = helper.make_node("Transpose", [value.name], [name], name, perm=perm)
    insert_after(model, value.name, [new])
    return model, seeded(new, f"axes {a} and {b} turned after the input", *near)


def before_flatten(model: Model, draw: Draw) -> Result:
    """The order of elements changed in front of a Flatten or Reshape to two axes."""
    known = shapes(model)
    places = [
        node
        for node in nodes(model, "Flatten", "Reshape")
        if len(known.get(node.input[0], ())) == 4 and len(known.get(node.output[0], ())) == 2
    ]
    node = draw.pick(places, name_of)
    perm = draw.pick(([0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2]))
    name = fresh(model, "Transpose")
    new = helper.make_node("Transpose", [node.input[0]], [name], name, perm=perm)
    at = list(model.graph.node).index(node)
    node.input[0] = name
    model.graph.node.insert(at, new)
    return model, seeded(new, f"perm {perm} before {name_of(node)}", name_of(node), *node.output)


def reread(model: Model, draw: Draw) -> Result:
    """Memory read in another order: Reshape to swapped sizes, then Transpose back to the first shape."""
    known = shapes(model)
    places = [
        node
        for node in nodes(model)
        if len(size := known.get(node.output[0], ())) == 4 and all(size[1:]) and size[2] != 1 != size[3]
    ]
    node = draw.pick(places, name_of)
    _, channels, height, width = known[node.output[0]]
    reshape, turn = fresh(model, "Reshape"), fresh(model, "Transpose")
    shape = constant(model, f"{reshape}_to", np.array([-1, channels, width, height]))
    near = (name_of(node), node.output[0], turn, *(name_of(r) for r in readers(model, node.output[0])))
    new = helper.make_node("Reshape", [node.output[0], shape], [reshape], reshape)
    insert_after(
        model, node.output[0], [new, helper.make_node("Transpose", [reshape], [turn], turn, perm=[0, 1, 3, 2])]
    )
    return model, seeded(new, f"read as {[channels, width, height]} after {name_of(node)}", *near)


# --- WB: weights and biases


def _weighted(model: Model, index: int, *types: str) -> list[tuple[Node, Any]]:
    held = constants(model)
    return [
        (node, held[node.input[index]])
        for node in nodes(model, *types)
        if len(node.input) > index
        and node.input[index] in held
        and held[node.input[index]].data_type == TensorProto.FLOAT
        and held[node.input[index]].dims
    ]


def _changed(node: Node, tensor: Any, value: Array, detail: str, part: str) -> Seeded:
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return seeded(node, f"{part} {detail}", tensor.name)


def weights(model: Model, draw: Draw) -> Result:
    node, tensor = draw.pick(
        _weighted(model, 1, "Conv", "ConvTranspose", "Gemm", "MatMul"), lambda place: name_of(place[0])
    )
    axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
    value, detail = damage(numpy_helper.to_array(tensor), draw, min(axis, len(tensor.dims) - 1))
    return model, _changed(node, tensor, value, detail, "weights")


def bias(model: Model, draw: Draw) -> Result:
    places = [
        *_weighted(model, 2, "Conv", "ConvTranspose", "Gemm"),
        *((node, t) for node, t in _weighted(model, 1, "Add") if sum(d > 1 for d in t.dims) == 1),
    ]
    node, tensor = draw.pick(places, lambda place: name_of(place[0]))
    value = numpy_helper.to_array(tensor)
    value, detail = damage(value, draw, int(np.argmax(value.shape)), (*DAMAGES, "moved"))
    return model, _changed(node, tensor, value, detail, "bias")


def normalisation(model: Model, draw: Draw) -> Result:
    index = draw.pick((1, 2, 3, 4))
    node, tensor = draw.pick(_weighted(model, index, "BatchNormalization"), lambda place: name_of(place[0]))
    part = ("gamma", "beta", "mean", "variance")[index - 1]
    value = numpy_helper.to_array(tensor)
    value, detail = positive(value, draw) if index == 4 else damage(value, draw, 0, (*DAMAGES, "moved"))
    return model, _changed(node, tensor, value, detail, part)


def slope(model: Model, draw: Draw) -> Result:
    node, tensor = draw.pick(_weighted(model, 1, "PRelu"), lambda place: name_of(place[0]))
    value = numpy_helper.to_array(tensor)
    value, detail = damage(value, draw, int(np.argmax(value.shape)), (*DAMAGES, "moved"))
    return model, _changed(node, tensor, value, detail, "slope")


# --- LH: hyperparameters


def _pads(node: Node, spatial: int = 2) -> list[int] | None:
    if attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        return None
    return list(attribute(node, "pads", [0] * 2 * spatial))


def pads_moved(model: Model, draw: Draw) -> Result:
    places = [node for node in nodes(model, "Conv", "MaxPool", "AveragePool") if sum(_pads(node) or [0])]
    places += [node for node in nodes(model, "Conv", "MaxPool") if attribute(node, "auto_pad", b"") == b"SAME_UPPER"]
    node = draw.pick(places, name_of)
    pads = _pads(node)
    if pads is None:
        set_attribute(node, "auto_pad", "SAME_LOWER")
        return model, seeded(node, "auto_pad SAME_UPPER to SAME_LOWER")
    axis = draw.pick([i for i in range(2) if pads[i] + pads[i + 2]])
    moved = list(pads)
    to, away = (axis, axis + 2) if moved[axis + 2] else (axis + 2, axis)
    moved[to], moved[away] = moved[to] + 1, moved[away] - 1
    set_attribute(node, "pads", moved)
    return model, seeded(node, f"pads {pads} to {moved}")


def dilated(model: Model, draw: Draw) -> Result:
    places = [
        node
        for node in nodes(model, "Conv")
        if list(attribute(node, "kernel_shape", [])) == [3, 3]
        and _pads(node) == [1, 1, 1, 1]
        and set(attribute(node, "dilations", [1])) == {1}
    ]
    node = draw.pick(places, name_of)
    set_attribute(node, "dilations", [2, 2])
    set_attribute(node, "pads", [2, 2, 2, 2])
    return model, seeded(node, "dilations 1 to 2, pads to match")


def epsilon(model: Model, draw: Draw) -> Result:
    node = draw.pick(nodes(model, "BatchNormalization", "InstanceNormalization", "LayerNormalization"), name_of)
    was = attribute(node, "epsilon", 1e-5)
    set_attribute(node, "epsilon", was + draw.strength)
    return model, seeded(node, f"epsilon {was:g} to {was + draw.strength:g}")


def alpha(model: Model, draw: Draw) -> Result:
    node = draw.pick(nodes(model, "LeakyRelu", "Elu", "Celu", "HardSigmoid", "Gemm"), name_of)
    was = attribute(node, "alpha", {"LeakyRelu": 0.01, "HardSigmoid": 0.2}.get(node.op_type, 1.0))
    set_attribute(node, "alpha", was + draw.strength)
    return model, seeded(node, f"alpha {was:g} to {was + draw.strength:g}")


def limit(model: Model, draw: Draw) -> Result:
    held = constants(model)
    places = [node for node in nodes(model, "Clip") if len(node.input) > 2 and node.input[2] in held]
    node = draw.pick(places, name_of)
    was = float(numpy_helper.to_array(held[node.input[2]]))
    now = was / (1 + 6 * draw.strength)
    node.input[2] = constant(model, fresh(model, "max"), np.array(now, "float32"))
    return model, seeded(node, f"max {was:g} to {now:g}")


def padding_counted(model: Model, draw: Draw) -> Result:
    places = [
        n for n in nodes(model, "AveragePool") if sum(_pads(n) or [0]) or attribute(n, "auto_pad", b"")[:4] == b"SAME"
    ]
    node = draw.pick(places, name_of)
    was = attribute(node, "count_include_pad", 0)
    set_attribute(node, "count_include_pad", 1 - was)
    return model, seeded(node, f"count_include_pad {was} to {1 - was}")


def kernel(model: Model, draw: Draw) -> Result:
    places = [node for node in nodes(model, "MaxPool", "AveragePool") if _pads(node) is not None]
    node = draw.pick(places, name_of)
    was, pads = list(attribute(node, "kernel_shape", [])), _pads(node) or []
    now = [size + 2 for size in was]
    set_attribute(node, "kernel_shape", now)
    set_attribute(node, "pads", [pad + 1 for pad in pads])
    return model, seeded(node, f"kernel {was} to {now}, pads to match")


# --- CG: the graph


def activation_removed(model: Model, draw: Draw) -> Result:
    node = draw.pick(nodes(model, *ACTIVATIONS), name_of)
    near = (*node.input[:1], *(name_of(r) for r in readers(model, node.output[0])), *_makers(model, node.input[0]))
    fault = seeded(node, "removed", *near)
    bypass(model, node, node.input[0])
    return model, fault


def _makers(model: Model, tensor: str) -> list[str]:
    return [name_of(node) for node in model.graph.node if tensor in node.output]


def branch_dropped(model: Model, draw: Draw) -> Result:
    known, held = shapes(model), constants(model)
    places = [
        node
        for node in nodes(model, "Add")
        if not any(i in held for i in node.input) and known.get(node.input[0]) == known.get(node.input[1])
    ]
    node = draw.pick(places, name_of)
    side = int(draw.random.integers(2))
    near = (*node.input, *(name_of(r) for r in readers(model, node.output[0])))
    fault = seeded(node, f"replaced by its input {side}", *near, *_makers(model, node.input[side]))
    bypass(model, node, node.input[side])
    return model, fault


def node_inserted(model: Model, draw: Draw) -> Result:
    held = constants(model)
    places = [node for node in nodes(model) if node.op_type in ("Conv", "Add", "BatchNormalization", "Gemm", "Concat")]
    known = shapes(model)
    rows = [n for n in places if n.output[0] not in held and len(known.get(n.output[0], ())) in (2, 4)]
    node = draw.pick(rows, name_of)
    op = draw.pick(("Relu", "Sigmoid", "Tanh", "Neg"))
    name = fresh(model, op)
    near = (name_of(node), node.output[0], *(name_of(r) for r in readers(model, node.output[0])))
    new = helper.make_node(op, [node.output[0]], [name], name)
    insert_after(model, node.output[0], [new])
    return model, seeded(new, f"inserted after {name_of(node)}", *near)


def softmax_added(model: Model, draw: Draw) -> Result:
    out = draw.pick([value.name for value in model.graph.output])
    name = fresh(model, "Softmax")
    new = helper.make_node("Softmax", [out], [name], name, axis=-1)
    makers = _makers(model, out)
    insert_after(model, out, [new])
    return model, seeded(new, "inserted at the output", out, *makers)


def activation_replaced(model: Model, draw: Draw) -> Result:
    node = draw.pick(nodes(model, *ACTIVATIONS), name_of)
    op = draw.pick([op for op in ("Relu", "Sigmoid", "Tanh", "Elu", "LeakyRelu", "HardSwish") if op != node.op_type])
    fault = seeded(node, f"replaced by {op}")
    new = helper.make_node(op, [node.input[0]], list(node.output), node.name)
    at = list(model.graph.node).index(node)
    model.graph.node.remove(node)
    model.graph.node.insert(at, new)
    return model, fault


def pooling_replaced(model: Model, draw: Draw) -> Result:
    node = draw.pick(nodes(model, "MaxPool", "AveragePool"), name_of)
    fault = seeded(node, "maximum and average exchanged")
    node.op_type = "AveragePool" if node.op_type == "MaxPool" else "MaxPool"
    kept = [a for a in node.attribute if a.name not in ("count_include_pad", "storage_order")]
    del node.attribute[:]
    node.attribute.extend(kept)
    return model, fault


def arithmetic_replaced(model: Model, draw: Draw) -> Result:
    held = constants(model)
    node = draw.pick([n for n in nodes(model, "Add") if not any(i in held for i in n.input)], name_of)
    op = draw.pick(("Mul", "Sub", "Max"))
    fault = seeded(node, f"replaced by {op}")
    node.op_type = op
    return model, fault


def branches_swapped(model: Model, draw: Draw) -> Result:
    known = shapes(model)
    places = [
        (node, i)
        for node in nodes(model, "Concat")
        for i in range(len(node.input) - 1)
        if known.get(node.input[i]) == known.get(node.input[i + 1])
    ]
    node, i = draw.pick(places, lambda place: name_of(place[0]))
    node.input[i], node.input[i + 1] = node.input[i + 1], node.input[i]
    return model, seeded(node, f"inputs {i} and {i + 1} swapped")


def outputs_swapped(model: Model, draw: Draw) -> Result:
    outputs = list(model.graph.output)
    if len(outputs) < 2 or outputs[0].type != outputs[1].type:
        raise NoPlace
    a, b = outputs[0].name, outputs[1].name
    makers = (*_makers(model, a), *_makers(model, b))
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            node.output[i] = {a: b, b: a}.get(name, name)
        for i, name in enumerate(node.input):
            node.input[i] = {a: b, b: a}.get(name, name)
    return model, Seeded("", a, "", f"outputs {a} and {b} swapped", (b, *makers))


def output_added(model: Model, draw: Draw) -> Result:
    known = shapes(model)
    places = [node for node in nodes(model, "Conv", "Relu", "Add", "Gemm") if known.get(node.output[0])]
    node = draw.pick([n for n in places if n.output[0] not in {v.name for v in model.graph.output}], name_of)
    model.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None))
    return model, seeded(node, "its output is one of the model's too")


KINDS: dict[str, dict[str, Kind]] = {
    "PP": {"channels flipped": channels_flipped, "input scaled": input_scaled},
    "ID": {"other size": other_size, "height and width swapped": height_and_width_swapped},
    "TSS": {
        "axes turned": axes_turned, "input turned": input_turned, "before Flatten": before_flatten, "reread": reread,
    },
    "WB": {"weights": weights, "bias": bias, "normalisation": normalisation, "slope": slope},
    "LH": {
        "pads moved": pads_moved, "dilated": dilated, "epsilon": epsilon, "alpha": alpha, "limit": limit,
        "padding counted": padding_counted, "kernel": kernel,
    },
    "CG": {
        "activation removed": activation_removed, "branch dropped": branch_dropped, "node inserted": node_inserted,
        "softmax added": softmax_added, "activation replaced": activation_replaced,
        "pooling replaced": pooling_replaced, "arithmetic replaced": arithmetic_replaced,
        "branches swapped": branches_swapped, "outputs swapped": outputs_swapped, "output added": output_added,
    },
}  # fmt: skip
