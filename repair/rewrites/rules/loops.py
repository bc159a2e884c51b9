"""Loop unrolled, for converters that have none: recurrent layers reach ONNX as loops where an exporter knows no better.

Source: the ONNX operator specification, Loop-13/16/19. The body takes the iteration number, the condition and what is
carried, and gives the next condition, what is carried on, and a piece of each scan output, which is stacked along a
new first axis. It runs while the condition holds, `M` times at most.

Refused: loops whose number of iterations does not come from constants alone, that do not run, with more than
MAX_ITERATIONS or MAX_NODES nodes in all, or with subgraphs in the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site, constant_of, dims_of

MAX_ITERATIONS = 128
MAX_NODES = 4096


def _constant(value: ir.Value | None) -> Array | None:
    """The array of an initializer or of a Constant node, of the graph or of a body."""
    producer = None if value is None else value.producer()
    if producer is not None and producer.op_type == "Constant" and "value" in producer.attributes:
        return np.asarray(producer.attributes["value"].as_tensor().numpy())
    return constant_of(value)


def _deciding(body: ir.Graph, inside: set[int]) -> tuple[list[ir.Node], set[int], list[ir.Value]]:
    """What the condition is computed from: nodes of the body in order, positions of carried values, outer values."""
    places = {id(v): i for i, v in enumerate(body.inputs)}
    nodes, carried, outer = set[int](), set[int](), dict[int, ir.Value]()
    waiting = [body.outputs[0]]
    while waiting:
        value = waiting.pop()
        producer, place = value.producer(), places.get(id(value))
        if place is not None:
            if place >= 2 and place - 2 not in carried:
                carried.add(place - 2)
                waiting.append(body.outputs[place - 1])
        elif producer is not None and id(producer) in inside:
            if id(producer) not in nodes:
                nodes.add(id(producer))
                waiting += [v for v in producer.inputs if v is not None]
        else:
            outer[id(value)] = value
    return [n for n in body if id(n) in nodes], carried, list(outer.values())


def _iterations(at: Site, body: ir.Graph, inside: set[int]) -> int | Refused:
    """How often the body runs, found by running the part of it that decides."""
    most, go = (_constant(at.input(i)) if at.has(i) else None for i in (0, 1))
    if (at.has(0) and most is None) or (at.has(1) and go is None):
        return Refused("a computed number of iterations")
    limit = MAX_ITERATIONS + 1 if most is None else min(int(most.reshape(-1)[0]), MAX_ITERATIONS + 1)
    nodes, carried, outer = _deciding(body, inside)
    constants = {v.name: _constant(v) for v in outer}
    state = {k: _constant(at.node.inputs[2 + k]) for k in sorted(carried)}
    if any(a is None for a in (*constants.values(), *state.values())):
        return Refused("a condition that is computed from the data")
    finals = [body.outputs[0], *(body.outputs[1 + k] for k in state)]
    graph = onnx.helper.make_graph(
        [
            *(ir.to_proto(n) for n in nodes),
            *(onnx.helper.make_node("Identity", [str(v.name)], [f"{i}//"]) for i, v in enumerate(finals)),
        ],
        "condition",
        [
            onnx.helper.make_value_info(str(v.name), onnx.TypeProto())
            for v in (*body.inputs[:2], *(body.inputs[2 + k] for k in state))
        ],
        [onnx.helper.make_value_info(f"{i}//", onnx.TypeProto()) for i in range(len(finals))],
        [onnx.numpy_helper.from_array(a, name) for name, a in constants.items() if a is not None],
    )
    opset = onnx.helper.make_opsetid("", at.opset)
    runner = onnx.reference.ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[opset]))
    count, on = 0, go is None or bool(go.reshape(-1)[0])
    while on and count < limit:
        feeds = {str(body.inputs[0].name): np.int64(count), str(body.inputs[1].name): np.asarray(on)}
        feeds |= {str(body.inputs[2 + k].name): a for k, a in state.items() if a is not None}
        results: list[Any] = list(runner.run(None, feeds))
        on, count = bool(np.asarray(results[0]).reshape(-1)[0]), count + 1
        state = dict(zip(state, (np.asarray(a) for a in results[1:]), strict=True))
    return count


def _unroll(model: ir.Model, node: ir.Node) -> Outcome:
    at, body = Site(model, node), node.attributes["body"].as_graph()
    nodes = list(body)
    if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for n in nodes for a in n.attributes.values()):
        return Refused("a body with subgraphs")
    count = _iterations(at, body, {id(n) for n in nodes})
    if isinstance(count, Refused):
        return count
    if not 0 < count <= MAX_ITERATIONS or count * len(nodes) > MAX_NODES:
        return Refused(f"{count} iterations of {len(nodes)} nodes: more than {MAX_NODES} nodes, or none")
    fixed: dict[int, ir.Value | None] = {}
    for value in body.initializers.values():
        array = constant_of(value)
        if array is None:
            return Refused("a constant of the body without a value")
        fixed[id(value)] = at.const(array, array.dtype)
    carried: list[ir.Value | None] = list(node.inputs[2:])
    for index, value in enumerate(body.inputs[2:]):
        if body.outputs[1 + index] is value:
            fixed[id(value)] = carried[index]
    changing = _changing(body, nodes, fixed)
    for inner in nodes:
        if id(inner) not in changing:
            _again(at, inner, fixed)
    pieces: list[list[ir.Value]] = [[] for _ in range(len(body.outputs) - 1 - len(carried))]
    for i in range(count):
        values_by_id = dict(fixed)
        values = [at.const(np.int64(i), np.int64), at.const(np.bool_(True), np.bool_), *carried]
        values_by_id |= {id(v): new for v, new in zip(body.inputs, values, strict=True)}
        for inner in nodes:
            if id(inner) in changing:
                _again(at, inner, values_by_id)
        body_outputs = [values_by_id.get(id(v), v) for v in body.outputs[1:]]
        carried = body_outputs[: len(carried)]
        for scanned, piece in zip(body_outputs[len(carried) :], pieces, strict=True):
            assert scanned is not None
            piece.append(scanned)
    stacks = [
        _stacked(at, piece, len(dims_of(old) or []))
        for piece, old in zip(pieces, node.outputs[len(carried) :], strict=False)
    ]
    unnamed = next(v for v in node.inputs if v is not None)  # an absent output has no name that a value could take
    finals = list(zip(node.outputs, [*carried, *stacks], strict=False))  # outputs at the end may be left out
    if any(old.name and new is None for old, new in finals):
        return Refused("a carried value that is absent")
    at.replace(*(new if old.name and new is not None else unnamed for old, new in finals))
    for inner in nodes:  # or values of the graph would count as used by a body that is gone
        for i in range(len(inner.inputs)):
            inner.replace_input_with(i, None)
    return True


def _changing(body: ir.Graph, nodes: list[ir.Node], fixed: Mapping[int, ir.Value | None]) -> set[int]:
    """The nodes that depend on the iteration; the others are written once."""
    moving = {id(v) for v in body.inputs if id(v) not in fixed}
    dependent = set[int]()
    for inner in nodes:
        if inner.op_type.startswith("Random") or any(id(v) in moving for v in inner.inputs):
            dependent.add(id(inner))
            moving |= {id(v) for v in inner.outputs}
    return dependent


def _again(at: Site, inner: ir.Node, values_by_id: dict[int, ir.Value | None]) -> None:
    inputs = [None if v is None else values_by_id.get(id(v), v) for v in inner.inputs]
    values_by_id |= {id(v): new for v, new in zip(inner.outputs, at.copy(inner, inputs), strict=True)}


def _stacked(at: Site, piece: list[ir.Value], rank: int) -> ir.Value:
    """The pieces along a new first axis; behind the first axis of each, and turned, where they have one: the batch."""
    behind = rank > 1
    parts = [at.op("Unsqueeze", element, at.ints([int(behind)])) for element in piece]
    y = at.op("Concat", *parts, axis=int(behind)) if len(parts) > 1 else parts[0]
    return at.op("Transpose", y, perm=[1, 0, *range(2, rank)]) if behind else y


REWRITES = (
    Rewrite("loop-unrolled", frozenset({"Loop"}), "CG", "is unrolled where its iterations are constant", _unroll),
)
