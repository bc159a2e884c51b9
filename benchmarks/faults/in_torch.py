"""Faults for exported programs (.pt2): the state dict, and the arguments and nodes of the graph.

Not here: a fixed batch (it changes no output), auto_pad and ceil_mode (no model here has them), and an extra output,
which the program's signature would have to describe.
"""

from __future__ import annotations

import copy
import types
from typing import Any

import numpy as np
import torch

from benchmarks.faults.seeding import DAMAGES, Draw, Kind, NoPlace, Seeded, damage, input_change, positive

torch.set_grad_enabled(False)
ATEN = torch.ops.aten
Model = Any
Node = Any
Result = tuple[Model, Seeded]
CONV = ("conv2d", "conv1d", "convolution")
ACTIVATIONS = (
    "relu", "relu_", "relu6", "relu6_", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "prelu", "elu", "elu_",
    "sigmoid", "tanh", "hardswish", "hardswish_", "hardsigmoid", "silu", "silu_", "gelu", "clamp", "clamp_",
)  # fmt: skip


def read(path: str) -> Model:
    return torch.export.load(path)


def write(model: Model, path: str) -> None:
    torch.export.save(model, path)


def kind_of(node: Node) -> str:
    """The aten operator's name without overload: ``conv2d``."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return ""
    return str(node.target._schema.name).partition("::")[2]


def calls(model: Model, *kinds: str) -> list[Node]:
    return [node for node in model.graph.nodes if kind_of(node) and (not kinds or kind_of(node) in kinds)]


def scopes(node: Node) -> list[str]:
    """The deepest module that the node comes from, by its path."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return [str(stack[-1][0])] if stack and stack[-1][0] else []


def seeded(model: Model, node: Node, detail: str, *near: str) -> Seeded:
    owners = [key.rpartition(".")[0] for key in _keys(model, node)]
    names = (*scopes(node), *owners, *near)
    return Seeded("", node.name, "", f"{kind_of(node)}: {detail}", tuple(dict.fromkeys(n for n in names if n)))


def _keys(model: Model, node: Node) -> list[str]:
    """Keys of the parameters and constants that the node takes."""
    held_keys = _held(model)
    return [held_keys[arg.name] for arg in node.all_input_nodes if arg.name in held_keys]


def _held(model: Model) -> dict[str, str]:
    signature = model.graph_signature
    return {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }


def argument(node: Node, name: str) -> Any:
    for i, described in enumerate(node.target._schema.arguments):
        if described.name == name:
            if i < len(node.args):
                return node.args[i]
            return node.kwargs.get(name, described.default_value)
    return None


def set_argument(node: Node, name: str, value: Any) -> None:
    """Give an argument by position, with those before it at their defaults."""
    described = node.target._schema.arguments
    at = next(i for i, description in enumerate(described) if description.name == name)
    if described[at].kwarg_only:
        node.kwargs = {**node.kwargs, name: value}
        return
    args = [argument(node, description.name) for description in described[: max(at + 1, len(node.args))]]
    args[at] = value
    node.args = tuple(args)
    node.kwargs = {
        key: kept
        for key, kept in node.kwargs.items()
        if key not in [description.name for description in described[: at + 1]]
    }


def size(node: Node) -> list[Any]:
    value = node.meta.get("val") if isinstance(node, torch.fx.Node) else None
    return list(value.shape) if isinstance(value, torch.Tensor) else []


def image_input(model: Model) -> Node:
    names = model.graph_signature.user_inputs
    placeholders = [node for node in model.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(placeholders) != 1 or len(size(placeholders[0])) != 4:
        raise NoPlace
    return placeholders[0]


def channel_axis(node: Node) -> int:
    sizes = size(node)
    return 3 if sizes[3] in (1, 3) and sizes[1] not in (1, 3) else 1


def tensor_of(model: Model, node: Node) -> tuple[str, torch.Tensor] | None:
    key = _held(model).get(getattr(node, "name", ""))
    for store in (model.state_dict, model.constants):
        if key in store and store[key].is_floating_point() and store[key].numel():
            return str(key), store[key]
    return None


def insert_after(model: Model, node: Node, calls_: list[tuple[Any, tuple[Any, ...]]]) -> list[Node]:
    """Put calls behind a node: all that read it read the last one. ``None`` in arguments stands for what comes in."""
    graph, new_nodes, at = model.graph, [], node
    if node.op == "placeholder":  # calls come after the last placeholder
        at = [n for n in graph.nodes if n.op == "placeholder"][-1]
    users, current = list(node.users), node
    for target, args in calls_:
        with graph.inserting_after(at):
            new = graph.call_function(target, tuple(current if a is None else a for a in args))
        values = [a.meta["val"] if isinstance(a, torch.fx.Node) else a for a in new.args]
        with torch._guards.detect_fake_mode(node.meta["val"]) or torch.no_grad():
            new.meta["val"] = target(*values)
        new.meta["nn_module_stack"] = {}
        new_nodes.append(new)
        at = current = new
    for user in users:
        user.replace_input_with(node, current)
    _outputs(model)
    model.graph_module.recompile()
    return new_nodes


def _outputs(model: Model) -> None:
    """Make the signature name what the graph returns now."""
    last = next(node for node in model.graph.nodes if node.op == "output")
    for spec, node in zip(model.graph_signature.output_specs, last.args[0], strict=True):
        spec.arg.name = node.name


def again(model: Model, module: torch.nn.Module, shape: list[int]) -> Model:
    dynamic = ({0: torch.export.Dim("batch")},)
    try:
        return torch.export.export(module.eval(), (torch.zeros(2, *shape),), dynamic_shapes=dynamic)
    except Exception as error:  # whatever tracing raises, the graph does not run so
        raise NoPlace(str(error)[:200]) from error


class Around(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """A model behind a function of its input."""

    def __init__(self, model: Model, before: Any = None) -> None:
        super().__init__()
        self.inner = copy.deepcopy(model).module(check_guards=False)
        self.inner._forward_pre_hooks.clear()  # one holds inputs against the sizes it was exported for
        # A program's module refuses to change its mode, which exporters ask for; it has none.
        self.inner.train = types.MethodType(lambda module, mode=True: module, self.inner)
        self.inner.eval = types.MethodType(lambda module: module, self.inner)
        self.before = before

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x if self.before is None else self.before(x))


# --- PP


def channels_flipped(model: Model, draw: Draw) -> Result:
    node = image_input(model)
    axis = channel_axis(node)
    if size(node)[axis] != 3:
        raise NoPlace
    near = (node.name, *(user.name for user in node.users))
    new = insert_after(model, node, [(ATEN.flip.default, (None, [axis]))])
    return model, seeded(model, new[0], "channels of the input reversed", *near)


def input_scaled(model: Model, draw: Draw) -> Result:
    node = image_input(model)
    what, scale, offset = input_change(draw, 1)
    near = (node.name, *(user.name for user in node.users))
    steps: list[tuple[Any, tuple[Any, ...]]] = []
    if what != "offset":
        steps.append((ATEN.mul.Tensor, (None, float(scale[0]))))
    if what != "scale":
        steps.append((ATEN.add.Tensor, (None, float(offset[0]))))
    new = insert_after(model, node, steps)
    return model, seeded(model, new[0], f"input {what}, strength {draw.strength:.3g}", new[-1].name, *near)


# --- ID


def other_size(model: Model, draw: Draw) -> Result:
    node = image_input(model)
    was, axis = size(node)[1:], channel_axis(node)
    factor = draw.pick((0.5, 0.75, 1.25, 1.5))
    now = [d if i == axis else round(d * factor) for i, d in enumerate(was, 1)]
    changed = again(model, Around(model), now)
    return changed, Seeded("", node.name, "", f"{was} declared as {now}", (image_input(changed).name,))


def height_and_width_swapped(model: Model, draw: Draw) -> Result:
    node = image_input(model)
    a, b = [i for i in range(1, 4) if i != channel_axis(node)]
    sizes = size(node)
    if sizes[a] == sizes[b]:
        raise NoPlace  # nothing is declared otherwise: this would be TSS
    sizes[a], sizes[b] = sizes[b], sizes[a]
    changed = again(model, Around(model, before=lambda x: x.transpose(a, b)), sizes[1:])
    near = (image_input(changed).name, *(n.name for n in calls(changed, "transpose")))
    return changed, Seeded("", node.name, "", "height and width of the input swapped", near)


# --- TSS


def _turned(model: Model, node: Node, a: int, b: int, where: str) -> Result:
    perm = list(range(4))
    perm[a], perm[b] = b, a
    near = (node.name, *scopes(node), *(user.name for user in node.users if user.op != "output"))
    new = insert_after(model, node, [(ATEN.permute.default, (None, perm))])
    return model, seeded(model, new[0], f"axes {a} and {b} turned after {where}", *near)


def axes_turned(model: Model, draw: Draw) -> Result:
    places = [
        (node, pair)
        for node in calls(model)
        if len(s := size(node)) == 4
        for pair in ((2, 3), (1, 2), (1, 3))
        if s[pair[0]] == s[pair[1]] != 1
    ]
    node, (a, b) = draw.pick(places, lambda place: place[0].name)
    return _turned(model, node, a, b, node.name)


def input_turned(model: Model, draw: Draw) -> Result:
    node = image_input(model)
    a, b = [i for i in range(1, 4) if i != channel_axis(node)]
    if size(node)[a] != size(node)[b]:
        raise NoPlace
    return _turned(model, node, a, b, "the input")


def before_flatten(model: Model, draw: Draw) -> Result:
    places = [
        node
        for node in calls(model, "flatten", "view", "reshape", "_unsafe_view")
        if len(size(node.args[0])) == 4 and len(size(node)) == 2 and isinstance(node.args[0], torch.fx.Node)
    ]
    node = draw.pick(places, lambda n: n.name)
    perm = draw.pick(([0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2]))
    source = node.args[0]
    if list(source.users) != [node]:
        raise NoPlace
    new = insert_after(model, source, [(ATEN.permute.default, (None, perm)), (ATEN.clone.default, (None,))])
    node.target = ATEN.reshape.default if kind_of(node) == "view" else node.target  # permuted memory is no view
    model.graph_module.recompile()
    return model, seeded(model, new[0], f"perm {perm} before {node.name}", node.name, new[1].name, *scopes(node))


def reread(model: Model, draw: Draw) -> Result:
    places = [n for n in calls(model) if len(size(n)) == 4 and size(n)[2] != 1 != size(n)[3]]
    node = draw.pick(places, lambda n: n.name)
    _, channels, height, width = size(node)
    near = (node.name, *scopes(node), *(user.name for user in node.users if user.op != "output"))
    shape = [-1, channels, width, height]
    new = insert_after(
        model, node, [(ATEN.reshape.default, (None, shape)), (ATEN.permute.default, (None, [0, 1, 3, 2]))]
    )
    return model, seeded(model, new[0], f"read as {shape[1:]} after {node.name}", new[1].name, *near)


# --- WB


def _store(model: Model, key: str, value: Any) -> None:
    store = model.state_dict if key in model.state_dict else model.constants
    store[key].data.copy_(torch.from_numpy(np.asarray(value)).reshape(store[key].shape))


def _places(model: Model, part: str, *kinds: str) -> list[tuple[Node, str, torch.Tensor]]:
    places = []
    for node in calls(model, *kinds):
        held = tensor_of(model, argument(node, part))
        if held is not None and held[1].ndim:
            places.append((node, *held))
    return places


def _weighted(model: Model, draw: Draw, part: str, kinds: tuple[str, ...], how: tuple[str, ...] = DAMAGES) -> Result:
    node, key, tensor = draw.pick(_places(model, part, *kinds), lambda place: place[0].name)
    value, detail = damage(tensor.detach().numpy(), draw, 0, how)
    _store(model, key, value)
    return model, seeded(model, node, f"{part} {detail}", key)


def weights(model: Model, draw: Draw) -> Result:
    return _weighted(model, draw, "weight", (*CONV, "linear"))


def bias(model: Model, draw: Draw) -> Result:
    return _weighted(model, draw, "bias", (*CONV, "linear"), (*DAMAGES, "moved"))


def slope(model: Model, draw: Draw) -> Result:
    return _weighted(model, draw, "weight", ("prelu",), (*DAMAGES, "moved"))


def matrix(model: Model, draw: Draw) -> Result:
    """Weights that a matrix product or an addition takes, as in programs that came through ONNX."""
    places = []
    for node in calls(model, "matmul", "mm", "addmm", "add", "mul"):
        for part in node.all_input_nodes:
            held = tensor_of(model, part)
            if held is not None and held[1].numel() > 1:
                places.append((node, *held))
    node, key, tensor = draw.pick(places, lambda place: place[0].name)
    value, detail = damage(tensor.detach().numpy(), draw, int(np.argmax(tensor.shape)))
    _store(model, key, value)
    return model, seeded(model, node, f"{key} {detail}", key)


def normalisation(model: Model, draw: Draw) -> Result:
    part = draw.pick(("weight", "bias", "running_mean", "running_var"))
    node, key, tensor = draw.pick(_places(model, part, "batch_norm"), lambda place: place[0].name)
    value = tensor.detach().numpy()
    value, detail = positive(value, draw) if part == "running_var" else damage(value, draw, 0, (*DAMAGES, "moved"))
    _store(model, key, value)
    return model, seeded(model, node, f"{part} {detail}", key)


# --- LH


def pads_moved(model: Model, draw: Draw) -> Result:
    """Symmetric padding replaced by a pad on one side: the call's own padding becomes 0."""
    places = [n for n in calls(model, "conv2d") if any(p for p in argument(n, "padding") if isinstance(p, int))]
    node = draw.pick(places, lambda n: n.name)
    pads = [int(p) for p in argument(node, "padding")]
    pads = pads * 2 if len(pads) == 1 else pads
    around = [0, 2 * pads[1], 0, 2 * pads[0]]
    source = node.args[0]
    with model.graph.inserting_before(node):
        pad = model.graph.call_function(ATEN.pad.default, (source, around))
    with torch._guards.detect_fake_mode(source.meta["val"]) or torch.no_grad():
        pad.meta["val"] = ATEN.pad.default(source.meta["val"], around)
    node.replace_input_with(source, pad)
    set_argument(node, "padding", [0, 0])
    model.graph_module.recompile()
    return model, seeded(model, node, f"pads {pads} all at the end", pad.name)


def pad_values_moved(model: Model, draw: Draw) -> Result:
    """An explicit pad whose two sides are not the same: exchanged."""
    places = [n for n in calls(model, "pad", "constant_pad_nd") if _uneven(n)]
    node = draw.pick(places, lambda n: n.name)
    was = list(argument(node, "pad"))
    now = [was[i ^ 1] for i in range(len(was))]
    set_argument(node, "pad", now)
    model.graph_module.recompile()
    return model, seeded(model, node, f"pad {was} to {now}", *(user.name for user in node.users))


def _uneven(node: Node) -> bool:
    pad = list(argument(node, "pad"))
    return any(pad[i] != pad[i ^ 1] for i in range(len(pad)))


def dilated(model: Model, draw: Draw) -> Result:
    places = [
        n
        for n in calls(model, "conv2d")
        if size(argument(n, "weight"))[2:] == [3, 3]
        and set(argument(n, "padding")) == {1}
        and set(argument(n, "dilation")) == {1}
    ]
    node = draw.pick(places, lambda n: n.name)
    set_argument(node, "padding", [2, 2])
    set_argument(node, "dilation", [2, 2])
    model.graph_module.recompile()
    return model, seeded(model, node, "dilation 1 to 2, padding to match")


def epsilon(model: Model, draw: Draw) -> Result:
    node = draw.pick(calls(model, "batch_norm", "layer_norm", "instance_norm"), lambda n: n.name)
    was = float(argument(node, "eps"))
    set_argument(node, "eps", was + draw.strength)
    model.graph_module.recompile()
    return model, seeded(model, node, f"eps {was:g} to {was + draw.strength:g}")


def alpha(model: Model, draw: Draw) -> Result:
    node = draw.pick(calls(model, "leaky_relu", "leaky_relu_", "elu", "elu_"), lambda n: n.name)
    name = "alpha" if kind_of(node).startswith("elu") else "negative_slope"
    was = float(argument(node, name))
    set_argument(node, name, was + draw.strength)
    model.graph_module.recompile()
    return model, seeded(model, node, f"{name} {was:g} to {was + draw.strength:g}")


def limit(model: Model, draw: Draw) -> Result:
    places = calls(model, "hardtanh", "hardtanh_", "clamp", "clamp_", "relu6", "relu6_")
    node = draw.pick([n for n in places if kind_of(n).startswith("relu6") or _maximum(n) is not None], lambda n: n.name)
    was = 6.0 if kind_of(node).startswith("relu6") else float(argument(node, _maximum(node) or ""))
    now = was / (1 + 6 * draw.strength)
    if kind_of(node).startswith("relu6"):
        node.target, node.args, node.kwargs = ATEN.hardtanh.default, (node.args[0], 0.0, now), {}
    else:
        set_argument(node, _maximum(node) or "", now)
    model.graph_module.recompile()
    return model, seeded(model, node, f"max {was:g} to {now:g}")


def _maximum(node: Node) -> str | None:
    """The argument that holds a number as upper limit."""
    return next((n for n in ("max", "max_val") if isinstance(argument(node, n), int | float)), None)


def padding_counted(model: Model, draw: Draw) -> Result:
    node = draw.pick([n for n in calls(model, "avg_pool2d") if any(argument(n, "padding"))], lambda n: n.name)
    was = bool(argument(node, "count_include_pad"))
    set_argument(node, "count_include_pad", not was)
    model.graph_module.recompile()
    return model, seeded(model, node, f"count_include_pad {was} to {not was}")


def kernel(model: Model, draw: Draw) -> Result:
    places = [n for n in calls(model, "max_pool2d") if set(argument(n, "kernel_size")) & {2, 3}]
    node = draw.pick(places, lambda n: n.name)
    was, pads = list(argument(node, "kernel_size")), list(argument(node, "padding") or [0])
    stride = argument(node, "stride") or was
    set_argument(node, "kernel_size", [k + 2 for k in was])
    set_argument(node, "stride", stride)
    set_argument(node, "padding", [p + 1 for p in (pads * 2)[:2]])
    model.graph_module.recompile()
    return model, seeded(model, node, f"kernel {was} to {[k + 2 for k in was]}, padding to match")


# --- CG


def _removed(model: Model, node: Node, source: Node, detail: str) -> Result:
    users = [name for user in node.users if user.op != "output" for name in (user.name, *scopes(user))]
    fault = seeded(model, node, detail, source.name, *scopes(source), *users)
    node.replace_all_uses_with(source)
    model.graph.erase_node(node)
    _outputs(model)
    model.graph_module.recompile()
    return model, fault


def activation_removed(model: Model, draw: Draw) -> Result:
    node = draw.pick(calls(model, *ACTIVATIONS), lambda n: n.name)
    return _removed(model, node, node.args[0], "removed")


def _additions(model: Model) -> list[Node]:
    return [
        n
        for n in calls(model, "add", "add_")
        if all(isinstance(a, torch.fx.Node) and a.op != "placeholder" for a in n.args[:2])
        and size(n.args[0]) == size(n.args[1])
    ]


def branch_dropped(model: Model, draw: Draw) -> Result:
    node = draw.pick(_additions(model), lambda n: n.name)
    side = int(draw.random.integers(2))
    return _removed(model, node, node.args[side], f"replaced by its input {side}")


def node_inserted(model: Model, draw: Draw) -> Result:
    node = draw.pick(calls(model, *CONV, "add", "batch_norm", "linear", "cat"), lambda n: n.name)
    op = draw.pick(("relu", "sigmoid", "tanh", "neg"))
    near = (node.name, *scopes(node), *(user.name for user in node.users if user.op != "output"))
    new = insert_after(model, node, [(getattr(ATEN, op).default, (None,))])
    return model, seeded(model, new[0], f"inserted after {node.name}", *near)


def softmax_added(model: Model, draw: Draw) -> Result:
    last = next(node for node in model.graph.nodes if node.op == "output")
    node = draw.pick([n for n in last.args[0] if len(size(n)) == 2], lambda n: n.name)
    new = insert_after(model, node, [(ATEN.softmax.int, (None, -1))])
    return model, seeded(model, new[0], "inserted at the output", node.name, *scopes(node))


def activation_replaced(model: Model, draw: Draw) -> Result:
    node = draw.pick(calls(model, *ACTIVATIONS), lambda n: n.name)
    op = draw.pick([op for op in ("relu", "sigmoid", "tanh", "elu", "hardswish") if op != kind_of(node).rstrip("_")])
    fault = seeded(model, node, f"replaced by {op}")
    node.target, node.args, node.kwargs = getattr(ATEN, op).default, (node.args[0],), {}
    model.graph_module.recompile()
    return model, fault


def pooling_replaced(model: Model, draw: Draw) -> Result:
    node = draw.pick(calls(model, "max_pool2d", "avg_pool2d"), lambda n: n.name)
    fault = seeded(model, node, "maximum and average exchanged")
    arguments = [node.args[0], *(argument(node, name) for name in ("kernel_size", "stride", "padding"))]
    mode = argument(node, "ceil_mode")
    if kind_of(node) == "max_pool2d":
        node.target, node.args = ATEN.avg_pool2d.default, (*arguments, mode, False)
    else:
        node.target, node.args = ATEN.max_pool2d.default, (*arguments, [1, 1], mode)
    node.kwargs = {}
    model.graph_module.recompile()
    return model, fault


def arithmetic_replaced(model: Model, draw: Draw) -> Result:
    node = draw.pick(_additions(model), lambda n: n.name)
    target, name = draw.pick(((ATEN.mul.Tensor, "mul"), (ATEN.sub.Tensor, "sub"), (ATEN.maximum.default, "maximum")))
    fault = seeded(model, node, f"replaced by {name}")
    node.target, node.args, node.kwargs = target, tuple(node.args[:2]), {}
    model.graph_module.recompile()
    return model, fault


def branches_swapped(model: Model, draw: Draw) -> Result:
    places = [
        (node, i)
        for node in calls(model, "cat", "concat")
        for i in range(len(node.args[0]) - 1)
        if size(node.args[0][i]) == size(node.args[0][i + 1])
    ]
    node, i = draw.pick(places, lambda place: place[0].name)
    parts = list(node.args[0])
    parts[i], parts[i + 1] = parts[i + 1], parts[i]
    node.args = (parts, *node.args[1:])
    model.graph_module.recompile()
    return model, seeded(model, node, f"inputs {i} and {i + 1} swapped")


def outputs_swapped(model: Model, draw: Draw) -> Result:
    last = next(node for node in model.graph.nodes if node.op == "output")
    outs = list(last.args[0])
    if len(outs) < 2 or size(outs[0])[1:] != size(outs[1])[1:]:
        raise NoPlace
    outs[0], outs[1] = outs[1], outs[0]
    last.args = (tuple(outs),)
    _outputs(model)
    model.graph_module.recompile()
    names = ("output_0", "output_1", outs[1].name, *scopes(outs[0]), *scopes(outs[1]))
    return model, Seeded("", outs[0].name, "", f"outputs {outs[1].name} and {outs[0].name} swapped", names)


KINDS: dict[str, dict[str, Kind]] = {
    "PP": {"channels flipped": channels_flipped, "input scaled": input_scaled},
    "ID": {"other size": other_size, "height and width swapped": height_and_width_swapped},
    "TSS": {
        "axes turned": axes_turned, "input turned": input_turned, "before Flatten": before_flatten, "reread": reread,
    },
    "WB": {"weights": weights, "bias": bias, "normalisation": normalisation, "slope": slope, "matrix": matrix},
    "LH": {
        "pads moved": pads_moved, "pad values moved": pad_values_moved, "dilated": dilated, "epsilon": epsilon,
        "alpha": alpha, "limit": limit, "padding counted": padding_counted, "kernel": kernel,
    },
    "CG": {
        "activation removed": activation_removed, "branch dropped": branch_dropped, "node inserted": node_inserted,
        "softmax added": softmax_added, "activation replaced": activation_replaced,
        "pooling replaced": pooling_replaced, "arithmetic replaced": arithmetic_replaced,
        "branches swapped": branches_swapped, "outputs swapped": outputs_swapped,
    },
}  # fmt: skip
