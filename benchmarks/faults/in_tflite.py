"""Faults for .tflite files, by the flatbuffer's own objects. Operators have no names: an operator's name is that of
its first output tensor, each part of a fused name being a name too.

Not here: epsilon (normalisation is folded into weights, Mul and Add), count_include_pad, ceil_mode, a fixed batch, and
weights that are not float32.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from benchmarks.faults.seeding import DAMAGES, Array, Draw, Kind, NoPlace, Seeded, damage, input_change

Model = Any
Op = Any
Result = tuple[Model, Seeded]
CODES = {name: code for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
NAMES = {code: name for name, code in CODES.items()}
OPTIONS = {name: code for name, code in vars(schema.BuiltinOptions).items() if isinstance(code, int)}
FUSED = {name: code for name, code in vars(schema.ActivationFunctionType).items() if isinstance(code, int)}
FLOAT, INT = schema.TensorType.FLOAT32, schema.TensorType.INT32
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
ACTIVATIONS = ("RELU", "RELU6", "LEAKY_RELU", "PRELU", "ELU", "LOGISTIC", "TANH", "HARD_SWISH", "GELU")
CONV = ("CONV_2D", "DEPTHWISE_CONV_2D")
POOLS = ("MAX_POOL_2D", "AVERAGE_POOL_2D")


def read(path: str) -> Model:
    return flatbuffer_utils.read_model(path)


def write(model: Model, path: str) -> None:
    """Raises :class:`NoPlace` where LiteRT does not run the edited graph."""
    from ai_edge_litert.interpreter import Interpreter

    flatbuffer_utils.write_model(model, path)
    try:
        interpreter = Interpreter(model_path=path)
        interpreter.allocate_tensors()
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise NoPlace(f"does not run: {str(error)[:200]}") from error


def graph(model: Model) -> Any:
    return model.subgraphs[0]


def kind_of(model: Model, op: Op) -> str:
    code = model.operatorCodes[op.opcodeIndex]
    return str(NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)])


def text(model: Model, tensor: int) -> str:
    name = graph(model).tensors[tensor].name
    return name.decode() if isinstance(name, bytes) else str(name)


def name_of(model: Model, op: Op) -> str:
    return text(model, op.outputs[0])


def parts(name: str) -> list[str]:
    return [name, *(part for part in name.split(";") if part)]


def seeded(model: Model, op: Op, detail: str, *near: str) -> Seeded:
    name = name_of(model, op)
    held = [text(model, i) for i in op.inputs if i >= 0 and values(model, i) is not None]
    names = [part for n in (name, *near, *held) for part in parts(n)]
    return Seeded("", name, "", f"{kind_of(model, op)}: {detail}", tuple(dict.fromkeys(names)))


def operators(model: Model, *kinds: str) -> list[Op]:
    return [op for op in graph(model).operators if not kinds or kind_of(model, op) in kinds]


def pick(model: Model, draw: Draw, ops: list[Op]) -> Op:
    return draw.pick(ops, lambda op: name_of(model, op))


def readers(model: Model, tensor: int) -> list[str]:
    return [name_of(model, op) for op in operators(model) if tensor in list(op.inputs)]


def makers(model: Model, tensor: int) -> list[str]:
    return [name_of(model, op) for op in operators(model) if tensor in list(op.outputs)]


def size(model: Model, tensor: int) -> list[int]:
    shape = graph(model).tensors[tensor].shape
    return [] if shape is None else [int(d) for d in shape]


def values(model: Model, tensor: int) -> Array | None:
    """The constant that a tensor holds, None where it is computed or of another type than float32 and int32."""
    if tensor < 0:
        return None
    held = graph(model).tensors[tensor]
    data = model.buffers[held.buffer].data
    if held.buffer == 0 or data is None or not len(data) or held.type not in (FLOAT, INT):
        return None
    raw = np.asarray(data, np.uint8).tobytes()
    return np.frombuffer(raw, np.float32 if held.type == FLOAT else np.int32).reshape(size(model, tensor))


def new_tensor(model: Model, name: str, shape: list[int], like: int | None = None, value: Array | None = None) -> int:
    tensor = schema.TensorT() if like is None else copy.deepcopy(graph(model).tensors[like])
    tensor.name, tensor.shape = name.encode(), shape
    if like is None:
        tensor.type = FLOAT if value is None or value.dtype == np.float32 else INT
    elif tensor.shapeSignature is not None and [abs(int(d)) for d in tensor.shapeSignature] != shape:
        tensor.shapeSignature = [-1, *shape[1:]]
    buffer = schema.BufferT()
    if value is not None:
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
    graph(model).tensors.append(tensor)
    return len(graph(model).tensors) - 1


def set_value(model: Model, op: Op, index: int, value: Array) -> None:
    """Give an operator a constant of its own: converters share buffers among operators."""
    old = op.inputs[index]
    inputs = list(op.inputs)
    inputs[index] = new_tensor(model, text(model, old), list(value.shape), old, value)
    op.inputs = inputs


def code(model: Model, kind: str) -> int:
    for i, known in enumerate(model.operatorCodes):
        if max(known.builtinCode, known.deprecatedBuiltinCode) == CODES[kind]:
            return i
    operator_code = schema.OperatorCodeT()
    operator_code.builtinCode, operator_code.deprecatedBuiltinCode, operator_code.version = (
        CODES[kind],
        min(CODES[kind], 127),
        1,
    )
    model.operatorCodes.append(operator_code)
    return len(model.operatorCodes) - 1


def new_op(model: Model, kind: str, inputs: list[int], output: int, options: str = "", **fields: Any) -> Op:
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = code(model, kind), inputs, [output]
    _options(op, options, **fields)
    return op


def _options(op: Op, options: str, **fields: Any) -> None:
    op.builtinOptionsType = OPTIONS[options] if options else 0
    op.builtinOptions = getattr(schema, f"{options}T")() if options else None
    for name, value in fields.items():
        setattr(op.builtinOptions, name, value)


def redirect(model: Model, old: int, new: int, ops: list[Op]) -> None:
    """Let these operators, and the model's outputs, take ``new`` instead of ``old``."""
    for op in ops:
        op.inputs = [new if i == old else i for i in op.inputs]
    graph(model).outputs = [new if i == old else i for i in graph(model).outputs]
    for signature in model.signatureDefs or []:
        for output in signature.outputs:
            if output.tensorIndex == old:
                output.tensorIndex = new


def insert_after(model: Model, tensor: int, ops: list[Op], end: int) -> None:
    redirect(model, tensor, end, operators(model))
    ops[0].inputs = [tensor, *list(ops[0].inputs)[1:]]
    places = [i for i, op in enumerate(operators(model)) if tensor in list(op.outputs)]
    at = places[0] + 1 if places else 0
    graph(model).operators[at:at] = ops


def fresh(model: Model, stem: str) -> str:
    used = {text(model, i) for i in range(len(graph(model).tensors))}
    return next(name for i in range(90, 10000) if (name := f"{stem}_{i}") not in used)


def image_input(model: Model) -> int:
    inputs = list(graph(model).inputs)
    if len(inputs) != 1 or len(size(model, inputs[0])) != 4 or graph(model).tensors[inputs[0]].type != FLOAT:
        raise NoPlace
    return int(inputs[0])


def channel_axis(model: Model) -> int:
    sizes = size(model, image_input(model))
    return 1 if sizes[1] in (1, 3) and sizes[3] not in (1, 3) else 3


def _activations(model: Model) -> list[int]:
    """Computed float tensors of four axes."""
    return [
        int(op.outputs[0])
        for op in operators(model)
        if len(size(model, op.outputs[0])) == 4 and graph(model).tensors[op.outputs[0]].type == FLOAT
    ]


# --- PP


def channels_flipped(model: Model, draw: Draw) -> Result:
    source, axis = image_input(model), channel_axis(model)
    if size(model, source)[axis] != 3:
        raise NoPlace
    near = (text(model, source), *readers(model, source))
    name = fresh(model, "gather")
    order = new_tensor(model, f"{name}/order", [3], value=np.array([2, 1, 0], np.int32))
    out = new_tensor(model, name, size(model, source), source)
    op = new_op(model, "GATHER", [source, order], out, "GatherOptions", axis=axis)
    insert_after(model, source, [op], out)
    return model, seeded(model, op, "channels of the input reversed", *near)


def input_scaled(model: Model, draw: Draw) -> Result:
    source, axis = image_input(model), channel_axis(model)
    channels = size(model, source)[axis]
    what, scale, offset = input_change(draw, channels)
    near = (text(model, source), *readers(model, source))
    shape = [1, channels, 1, 1] if axis == 1 else [1, 1, 1, channels]
    ops, end = [], source
    for kind, value in (("MUL", scale), ("ADD", offset)):
        if (kind == "MUL" and what == "offset") or (kind == "ADD" and what == "scale"):
            continue
        name = fresh(model, kind.lower())
        by = new_tensor(model, f"{name}/y", shape, value=value.reshape(shape).astype("float32"))
        out = new_tensor(model, name, size(model, source), source)
        ops.append(new_op(model, kind, [end, by], out, f"{kind.capitalize()}Options"))
        end = out
    insert_after(model, source, ops, end)
    return model, seeded(model, ops[0], f"input {what}, strength {draw.strength:.3g}", name_of(model, ops[-1]), *near)


# --- ID


def _declare(model: Model, tensor: int, sizes: list[int]) -> None:
    held = graph(model).tensors[tensor]
    held.shape = sizes
    if held.shapeSignature is not None and len(held.shapeSignature):
        held.shapeSignature = [held.shapeSignature[0], *sizes[1:]]


def other_size(model: Model, draw: Draw) -> Result:
    source, axis = image_input(model), channel_axis(model)
    near = readers(model, source)
    was = size(model, source)
    factor = draw.pick((0.5, 0.75, 1.25, 1.5))
    now = [s if i in (0, axis) else round(s * factor) for i, s in enumerate(was)]
    model = copy.deepcopy(model)
    _declare(model, source, now)
    _rows_apart(model)
    names = (*near, *_signed(model, source))
    return model, Seeded("", text(model, source), "", f"{was[1:]} declared as {now[1:]}", names)


def _signed(model: Model, tensor: int) -> list[str]:
    """What the file's signature calls an input."""
    maps = [entry for signature in model.signatureDefs or [] for entry in signature.inputs or []]
    names = [entry.name for entry in maps if entry.tensorIndex == tensor]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _rows_apart(model: Model) -> None:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
        interpreter.allocate_tensors()
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise NoPlace(str(error)[:200]) from error
    if any(interpreter.get_tensor(detail["index"]).shape[0] != 1 for detail in interpreter.get_output_details()):
        raise NoPlace("rows run into each other")


def _turn(model: Model, tensor: int, perm: list[int], declared: list[int]) -> Op:
    name = fresh(model, "transpose")
    order = new_tensor(model, f"{name}/perm", [4], value=np.array(perm, np.int32))
    out = new_tensor(model, name, declared, tensor)
    return new_op(model, "TRANSPOSE", [tensor, order], out, "TransposeOptions")


def _swapped(a: int, b: int) -> list[int]:
    perm = [0, 1, 2, 3]
    perm[a], perm[b] = b, a
    return perm


def height_and_width_swapped(model: Model, draw: Draw) -> Result:
    source, axis = image_input(model), channel_axis(model)
    a, b = [i for i in range(1, 4) if i != axis]
    near = (text(model, source), *_signed(model, source), *readers(model, source))
    was = size(model, source)
    if was[a] == was[b]:
        raise NoPlace  # nothing is declared otherwise: this would be TSS
    op = _turn(model, source, _swapped(a, b), was)
    _declare(model, source, [was[i] for i in _swapped(a, b)])
    insert_after(model, source, [op], op.outputs[0])
    names = (name_of(model, op), *near)
    return model, Seeded("", text(model, source), "", "height and width of the input swapped", names)


# --- TSS


def axes_turned(model: Model, draw: Draw) -> Result:
    places = [
        (tensor, pair)
        for tensor in _activations(model)
        for pair in ((1, 2), (2, 3), (1, 3))
        if size(model, tensor)[pair[0]] == size(model, tensor)[pair[1]] != 1
    ]
    tensor, (a, b) = draw.pick(places, lambda place: text(model, place[0]))
    return _turned(model, tensor, a, b)


def input_turned(model: Model, draw: Draw) -> Result:
    source, axis = image_input(model), channel_axis(model)
    a, b = [i for i in range(1, 4) if i != axis]
    if size(model, source)[a] != size(model, source)[b]:
        raise NoPlace
    return _turned(model, source, a, b)


def _turned(model: Model, tensor: int, a: int, b: int) -> Result:
    near = (text(model, tensor), *readers(model, tensor))
    op = _turn(model, tensor, _swapped(a, b), size(model, tensor))
    insert_after(model, tensor, [op], op.outputs[0])
    return model, seeded(model, op, f"axes {a} and {b} turned after {text(model, tensor)}", *near)


def before_flatten(model: Model, draw: Draw) -> Result:
    places = [
        op
        for op in operators(model, "RESHAPE")
        if len(size(model, op.inputs[0])) == 4 and len(size(model, op.outputs[0])) == 2
    ]
    op = pick(model, draw, places)
    perm = draw.pick(([0, 3, 1, 2], [0, 2, 1, 3], [0, 2, 3, 1]))
    tensor = int(op.inputs[0])
    new = _turn(model, tensor, perm, [size(model, tensor)[i] for i in perm])
    op.inputs = [new.outputs[0], *list(op.inputs)[1:]]
    graph(model).operators.insert(operators(model).index(op), new)
    return model, seeded(
        model, new, f"perm {perm} before {name_of(model, op)}", name_of(model, op), text(model, tensor)
    )


def reread(model: Model, draw: Draw) -> Result:
    places = [t for t in _activations(model) if 1 not in size(model, t)[1:3]]
    tensor = draw.pick(places, lambda t: text(model, t))
    _, height, width, channels = size(model, tensor)
    near = (text(model, tensor), *readers(model, tensor))
    name = fresh(model, "reshape")
    to = new_tensor(model, f"{name}/shape", [4], value=np.array([-1, width, height, channels], np.int32))
    out = new_tensor(model, name, [1, width, height, channels], tensor)
    op = new_op(model, "RESHAPE", [tensor, to], out)
    turn = _turn(model, out, [0, 2, 1, 3], [1, height, width, channels])
    insert_after(model, tensor, [op, turn], turn.outputs[0])
    detail = f"read as {[width, height, channels]} after {text(model, tensor)}"
    return model, seeded(model, op, detail, name_of(model, turn), *near)


# --- WB


def _weighted(model: Model, draw: Draw, index: int, kinds: tuple[str, ...], how: tuple[str, ...]) -> Result:
    places = []
    for op in operators(model, *kinds):
        value = values(model, op.inputs[index]) if len(op.inputs) > index else None
        if value is not None and value.dtype == np.float32 and value.size > 1:
            places.append((op, value))
    op, value = draw.pick(places, lambda place: name_of(model, place[0]))
    axis = int(np.argmax(value.shape)) if index == 2 or kind_of(model, op) in ("PRELU", "MUL", "ADD") else 0
    changed, detail = damage(value, draw, 3 if kind_of(model, op) == "DEPTHWISE_CONV_2D" and index == 1 else axis, how)
    fault = seeded(model, op, f"{'bias' if index == 2 else 'weights'} {detail}")
    set_value(model, op, index, changed)
    return model, fault


def weights(model: Model, draw: Draw) -> Result:
    return _weighted(model, draw, 1, (*CONV, "FULLY_CONNECTED"), DAMAGES)


def bias(model: Model, draw: Draw) -> Result:
    return _weighted(model, draw, 2, (*CONV, "FULLY_CONNECTED"), (*DAMAGES, "moved"))


def slope(model: Model, draw: Draw) -> Result:
    return _weighted(model, draw, 1, ("PRELU",), (*DAMAGES, "moved"))


def normalisation(model: Model, draw: Draw) -> Result:
    """The Mul or Add of a normalisation that was not folded."""
    return _weighted(model, draw, 1, ("MUL", "ADD"), (*DAMAGES, "moved"))


# --- LH


def pads_moved(model: Model, draw: Draw) -> Result:
    places = []
    for op in operators(model, "PAD", "PADV2"):
        value = values(model, op.inputs[1])
        if value is not None and value.shape == (4, 2) and value.any():
            places.append((op, value))
    op, value = draw.pick(places, lambda place: name_of(model, place[0]))
    now = np.array([[b, a] if a != b else [max(a - 1, 0), b + min(a, 1)] for a, b in value.tolist()], np.int32)
    fault = seeded(model, op, f"paddings {value.tolist()} to {now.tolist()}", *readers(model, op.outputs[0]))
    set_value(model, op, 1, now)
    return model, fault


def same_replaced(model: Model, draw: Draw) -> Result:
    """Padding SAME replaced by an explicit Pad with all zeros on the other side, and VALID."""
    places = []
    for op in operators(model, *CONV):
        before, o = size(model, op.inputs[0]), op.builtinOptions
        kernel = size(model, op.inputs[1])[1:3]
        if o.padding == SAME and o.dilationHFactor == o.dilationWFactor == 1 and len(before) == 4:
            strides = (o.strideH, o.strideW)
            total = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(before[1:3], strides, kernel, strict=True)]
            if max(total):
                places.append((op, total))
    op, total = draw.pick(places, lambda place: name_of(model, place[0]))
    sides = [[-(-t // 2) if t % 2 else t, t // 2 if t % 2 else 0] for t in total]
    tensor, name = int(op.inputs[0]), fresh(model, "pad")
    pads = np.array([[0, 0], *sides, [0, 0]], np.int32)
    by = new_tensor(model, f"{name}/paddings", [4, 2], value=pads)
    shape = [n + sum(p) for n, p in zip(size(model, tensor), pads.tolist(), strict=True)]
    out = new_tensor(model, name, shape, tensor)
    op.inputs = [out, *list(op.inputs)[1:]]
    op.builtinOptions.padding = VALID
    graph(model).operators.insert(operators(model).index(op), new_op(model, "PAD", [tensor, by], out, "PadOptions"))
    return model, seeded(model, op, f"padding SAME to {sides}", name)


def dilated(model: Model, draw: Draw) -> Result:
    places = [
        op
        for op in operators(model, *CONV)
        if (o := op.builtinOptions).padding == SAME
        and o.strideH == o.strideW == o.dilationHFactor == o.dilationWFactor == 1
        and max(size(model, op.inputs[1])[1:3]) > 1
    ]
    op = pick(model, draw, places)
    op.builtinOptions.dilationHFactor = op.builtinOptions.dilationWFactor = 2
    return model, seeded(model, op, "dilation 1 to 2")


def alpha(model: Model, draw: Draw) -> Result:
    op = pick(model, draw, operators(model, "LEAKY_RELU"))
    was = float(op.builtinOptions.alpha)
    op.builtinOptions.alpha = was + draw.strength
    return model, seeded(model, op, f"alpha {was:g} to {was + draw.strength:g}")


def limit(model: Model, draw: Draw) -> Result:
    """The upper limit of ReLU6 gone, fused or not; or another limit of a Minimum."""
    fused = [
        op for op in operators(model) if getattr(op.builtinOptions, "fusedActivationFunction", 0) == FUSED["RELU6"]
    ]
    op = pick(model, draw, [*fused, *operators(model, "RELU6")])
    if kind_of(model, op) == "RELU6":
        fault = seeded(model, op, "max 6 to none")
        op.opcodeIndex = code(model, "RELU")
        return model, fault
    now = "RELU_N1_TO_1" if draw.strength > 0.3 else "RELU"
    op.builtinOptions.fusedActivationFunction = FUSED[now]
    return model, seeded(model, op, f"fused RELU6 to {now}")


def kernel(model: Model, draw: Draw) -> Result:
    op = pick(model, draw, [op for op in operators(model, *POOLS) if op.builtinOptions.padding == SAME])
    options = op.builtinOptions
    options.filterHeight, options.filterWidth = options.filterHeight + 2, options.filterWidth + 2
    return model, seeded(model, op, f"filter to {options.filterHeight} x {options.filterWidth}")


def temperature(model: Model, draw: Draw) -> Result:
    op = pick(model, draw, operators(model, "SOFTMAX"))
    was = float(op.builtinOptions.beta)
    op.builtinOptions.beta = was + draw.strength
    return model, seeded(model, op, f"beta {was:g} to {was + draw.strength:g}")


# --- CG


def _fused(model: Model) -> list[Op]:
    return [op for op in operators(model) if getattr(op.builtinOptions, "fusedActivationFunction", 0)]


def activation_removed(model: Model, draw: Draw) -> Result:
    op = pick(model, draw, [*_fused(model), *operators(model, *ACTIVATIONS)])
    if getattr(op.builtinOptions, "fusedActivationFunction", 0):
        op.builtinOptions.fusedActivationFunction = 0
        return model, seeded(model, op, "fused activation removed")
    return _bypassed(model, op, op.inputs[0], "removed")


def _bypassed(model: Model, op: Op, source: int, detail: str) -> Result:
    near = [*makers(model, source), *readers(model, op.outputs[0])]
    fault = seeded(model, op, detail, *near)
    graph(model).operators.remove(op)
    redirect(model, op.outputs[0], source, operators(model))
    return model, fault


def _additions(model: Model) -> list[Op]:
    return [
        op
        for op in operators(model, "ADD")
        if not any(values(model, i) is not None for i in op.inputs)
        and len(size(model, op.inputs[0])) == 4
        and size(model, op.inputs[0]) == size(model, op.inputs[1])
    ]


def branch_dropped(model: Model, draw: Draw) -> Result:
    op = pick(model, draw, _additions(model))
    side = int(draw.random.integers(2))
    return _bypassed(model, op, op.inputs[side], f"replaced by its input {side}")


def node_inserted(model: Model, draw: Draw) -> Result:
    places = [
        op
        for op in operators(model, *CONV, "ADD", "FULLY_CONNECTED", "CONCATENATION")
        if graph(model).tensors[op.outputs[0]].type == FLOAT
    ]
    op = pick(model, draw, places)
    kind = draw.pick(("RELU", "LOGISTIC", "TANH"))
    tensor = int(op.outputs[0])
    near = (name_of(model, op), *readers(model, tensor))
    out = new_tensor(model, fresh(model, kind.lower()), size(model, tensor), tensor)
    new = new_op(model, kind, [tensor], out)
    insert_after(model, tensor, [new], out)
    return model, seeded(model, new, f"inserted after {name_of(model, op)}", *near)


def softmax_added(model: Model, draw: Draw) -> Result:
    tensor = int(draw.pick([int(i) for i in graph(model).outputs], lambda i: text(model, i)))
    if len(size(model, tensor)) != 2 or graph(model).tensors[tensor].type != FLOAT:
        raise NoPlace
    out = new_tensor(model, fresh(model, "softmax"), size(model, tensor), tensor)
    new = new_op(model, "SOFTMAX", [tensor], out, "SoftmaxOptions", beta=1.0)
    near = text(model, tensor)
    insert_after(model, tensor, [new], out)
    return model, seeded(model, new, "inserted at the output", near)


def activation_replaced(model: Model, draw: Draw) -> Result:
    op = pick(model, draw, [*_fused(model), *operators(model, *ACTIVATIONS)])
    if getattr(op.builtinOptions, "fusedActivationFunction", 0):
        was = op.builtinOptions.fusedActivationFunction
        now = draw.pick([name for name in ("RELU", "RELU_N1_TO_1") if FUSED[name] != was])
        op.builtinOptions.fusedActivationFunction = FUSED[now]
        return model, seeded(model, op, f"fused activation replaced by {now}")
    kind = draw.pick([k for k in ("RELU", "LOGISTIC", "TANH", "ELU") if k != kind_of(model, op)])
    fault = seeded(model, op, f"replaced by {kind}")
    op.opcodeIndex, op.inputs = code(model, kind), list(op.inputs)[:1]
    _options(op, "")
    return model, fault


def pooling_replaced(model: Model, draw: Draw) -> Result:
    op = pick(model, draw, operators(model, *POOLS))
    fault = seeded(model, op, "maximum and average exchanged")
    op.opcodeIndex = code(model, POOLS[1] if kind_of(model, op) == POOLS[0] else POOLS[0])
    return model, fault


def arithmetic_replaced(model: Model, draw: Draw) -> Result:
    op = pick(model, draw, _additions(model))
    kind = draw.pick(("MUL", "SUB"))
    fused, fault = op.builtinOptions.fusedActivationFunction, seeded(model, op, f"replaced by {kind}")
    op.opcodeIndex = code(model, kind)
    _options(op, f"{kind.capitalize()}Options", fusedActivationFunction=fused)
    return model, fault


def branches_swapped(model: Model, draw: Draw) -> Result:
    places = [
        (op, i)
        for op in operators(model, "CONCATENATION")
        for i in range(len(op.inputs) - 1)
        if len(size(model, op.inputs[i])) == 4 and size(model, op.inputs[i]) == size(model, op.inputs[i + 1])
        if readers(model, op.outputs[0]) and graph(model).tensors[op.inputs[i]].type == FLOAT
    ]
    op, i = draw.pick(places, lambda place: name_of(model, place[0]))
    inputs = list(op.inputs)
    inputs[i], inputs[i + 1] = inputs[i + 1], inputs[i]
    op.inputs = inputs
    return model, seeded(model, op, f"inputs {i} and {i + 1} swapped")


def outputs_swapped(model: Model, draw: Draw) -> Result:
    outputs = [int(i) for i in graph(model).outputs]
    if len(outputs) < 2 or size(model, outputs[0])[1:] != size(model, outputs[1])[1:]:
        raise NoPlace
    a, b = outputs[:2]
    graph(model).outputs = [b, a, *outputs[2:]]
    for signature in model.signatureDefs or []:
        for output in signature.outputs:
            output.tensorIndex = {a: b, b: a}.get(output.tensorIndex, output.tensorIndex)
    detail = f"outputs {text(model, a)} and {text(model, b)} swapped"
    return model, Seeded("", text(model, a), "", detail, (text(model, b), "output_0", "output_1"))


KINDS: dict[str, dict[str, Kind]] = {
    "PP": {"channels flipped": channels_flipped, "input scaled": input_scaled},
    "ID": {"other size": other_size, "height and width swapped": height_and_width_swapped},
    "TSS": {
        "axes turned": axes_turned, "input turned": input_turned, "before Flatten": before_flatten, "reread": reread,
    },
    "WB": {"weights": weights, "bias": bias, "slope": slope, "normalisation": normalisation},
    "LH": {
        "pads moved": pads_moved, "same replaced": same_replaced, "dilated": dilated, "alpha": alpha, "limit": limit,
        "kernel": kernel, "temperature": temperature,
    },
    "CG": {
        "activation removed": activation_removed, "branch dropped": branch_dropped, "node inserted": node_inserted,
        "softmax added": softmax_added, "activation replaced": activation_replaced,
        "pooling replaced": pooling_replaced, "arithmetic replaced": arithmetic_replaced,
        "branches swapped": branches_swapped, "outputs swapped": outputs_swapped,
    },
}  # fmt: skip
