"""Say which operators of a SavedModel act outside the model: on files, the network, Python or another process.

Only bytes are parsed, without TensorFlow: ``saved_model.pb`` is a protobuf, of which the few fields below are read.
Operators are allowed by a list made from TensorFlow's registry (``runtimes/tensorflow/allowed_operators.py``).
Each SavedModel also carries the functions that save and restore its variables. They may hold the operators of that
work, as long as nothing else calls them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import BadInput
from .protobuf import Damaged, messages, text

SAVING = frozenset({"SaveV2", "MergeV2Checkpoints", "ShardedFilename"})
RESTORING = frozenset({"RestoreV2"})
# Field numbers of TensorFlow's .proto files: saved_model, meta_graph, graph, function, node_def, attr_value.
META_GRAPHS = 2
GRAPH, SAVER, COLLECTIONS, SIGNATURES = 2, 3, 4, 5
NODES, LIBRARY = 1, 2
FUNCTIONS, FUNCTION_SIGNATURE, FUNCTION_NODES, FUNCTION_ATTRIBUTES = 1, 1, 3, 5
SAVE_TENSOR, RESTORE_OPERATOR = 2, 3
NODE_NAME, NODE_OPERATOR, NODE_INPUTS, NODE_ATTRIBUTES = 1, 2, 3, 5
KEY, VALUE = 1, 2
VALUE_LIST, VALUE_FUNCTION, LISTED_FUNCTIONS, FUNCTION_NAME = 1, 10, 9, 1
SIGNATURE_INPUTS, SIGNATURE_OUTPUTS, SIGNATURE_DEFAULTS = 1, 2, 4
NODE_LIST, LISTED_NODES = 1, 1


@dataclass(frozen=True)
class Node:
    """One operator of a graph: the nodes that it reads and the functions that it calls, by name."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    functions: tuple[str, ...]


def allowed_operators() -> frozenset[str]:
    """Return the names of TensorFlow's operators that stay within the model."""
    listed = resources.files("safeconvert.models").joinpath("allowed_operators.txt").read_text(encoding="utf-8")
    return frozenset(listed.split())


def operator_outside(folder: Path) -> str | None:
    """Return the first operator of the SavedModel in ``folder`` that may act outside it; None where there is none.

    An operator that TensorFlow's registry does not know counts as one. Raises :class:`BadInput` for a damaged
    file and for one in several parts.
    """
    if (folder / "saved_model.cpb").exists():  # TensorFlow prefers it to saved_model.pb
        raise BadInput(
            f"{folder} holds a split graph (saved_model.cpb), whose operators cannot be checked.\n"
            "If you trust where it comes from, pass --trust-pickle; else save the model as one file, below 2 GB."
        )
    try:
        data = memoryview((folder / "saved_model.pb").read_bytes())
        allowed = allowed_operators()
        for meta_graph in messages(data, META_GRAPHS):
            if (operator := _forbidden(meta_graph, allowed)) is not None:
                return operator
    except Damaged as error:
        raise BadInput(f"{folder} is damaged: its saved_model.pb {error}. Copy or download it again.") from error
    return None


def _forbidden(meta_graph: memoryview, allowed: frozenset[str]) -> str | None:
    graph = _last(meta_graph, GRAPH)
    top = {node.name: node for node in _nodes(graph, NODES)}
    library = _last(graph, LIBRARY)
    functions: dict[str, tuple[Node, ...]] = {}
    selectable = set()  # functions that TensorFlow may put in place of others
    for function in messages(library, FUNCTIONS):
        name = text(_last(_last(function, FUNCTION_SIGNATURE), NODE_NAME))
        functions[name] = tuple(_nodes(function, FUNCTION_NODES))
        if any(text(_last(entry, KEY)) == "api_implements" for entry in messages(function, FUNCTION_ATTRIBUTES)):
            selectable.add(name)
    saver = _last(meta_graph, SAVER)
    saving, restoring = (
        _reached(top, functions, [_node_name(text(_last(saver, field)))]) for field in (SAVE_TENSOR, RESTORE_OPERATOR)
    )
    others = _reached(top, functions, _roots(meta_graph, top, saving | restoring))
    called = {name for place in others if (name := place.removeprefix(CALL)) != place}
    rest = [name for name in functions if CALL + name not in saving | restoring] + sorted(selectable)
    others |= _reached(top, functions, (), [*called, *rest])
    for place, node in _places(top, functions):
        exempt = frozenset[str]()
        if place not in others:
            in_both = place in saving and place in restoring
            exempt = frozenset() if in_both else SAVING if place in saving else RESTORING
        if node.operator not in allowed and node.operator not in exempt and node.operator not in functions:
            return node.operator or "nameless"
    return None


CALL = "function "


def _places(top: Mapping[str, Node], functions: Mapping[str, tuple[Node, ...]]) -> Iterator[tuple[str, Node]]:
    """Yield each node, with the place that ``_reached`` calls it by: its name, or its function's."""
    yield from top.items()
    for name, nodes in functions.items():
        for node in nodes:
            yield CALL + name, node


def _roots(meta_graph: memoryview, top: Mapping[str, Node], saver: set[str]) -> list[str]:
    """Return the nodes that can be run for another reason than saving and restoring."""
    named = [name for name in top if name not in saver]
    for entry in messages(meta_graph, SIGNATURES):
        signature = _last(entry, VALUE)
        for field in (SIGNATURE_INPUTS, SIGNATURE_OUTPUTS):
            named += [_node_name(text(_last(_last(io, VALUE), 1))) for io in messages(signature, field)]
    for entry in messages(meta_graph, COLLECTIONS):
        if not text(_last(entry, KEY)).startswith(("saved_model_", "legacy_init", "init_op", "main_op", "table_")):
            continue
        for listed in messages(_last(entry, VALUE), NODE_LIST):
            named += [_node_name(text(name)) for name in messages(listed, LISTED_NODES)]
    return named


def _reached(
    top: Mapping[str, Node],
    functions: Mapping[str, tuple[Node, ...]],
    nodes: Iterable[str],
    called: Iterable[str] = (),
) -> set[str]:
    """Return the nodes that these nodes are computed from, and ``CALL`` + the name of each function called there."""
    seen: set[str] = set()
    waiting = [name for name in nodes if name in top] + [CALL + name for name in called]
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        is_call = place.startswith(CALL) and place not in top
        for node in functions.get(place.removeprefix(CALL), ()) if is_call else (top[place],):
            if not is_call:
                waiting += [name for name in node.inputs if name in top]
            waiting += [CALL + name for name in (node.operator, *node.functions) if name in functions]
    return seen


def _node_name(tensor: str) -> str:
    """Return the node of ``name:0``, ``^name`` or ``name``."""
    return tensor.lstrip("^").partition(":")[0]


def _nodes(message: memoryview, field: int) -> Iterator[Node]:
    for node in messages(message, field):
        functions = []
        for entry in messages(node, NODE_ATTRIBUTES):
            value = _last(entry, VALUE)
            functions += [text(_last(message_part, FUNCTION_NAME)) for message_part in messages(value, VALUE_FUNCTION)]
            for listed in messages(value, VALUE_LIST):
                functions += [
                    text(_last(message_part, FUNCTION_NAME)) for message_part in messages(listed, LISTED_FUNCTIONS)
                ]
        yield Node(
            text(_last(node, NODE_NAME)),
            text(_last(node, NODE_OPERATOR)),
            tuple(_node_name(text(name)) for name in messages(node, NODE_INPUTS)),
            tuple(functions),
        )


def _last(message: memoryview, field: int) -> memoryview:
    """Return a field that stands once; its last where it stands more often.

    Protobuf merges messages that stand more often than once. TensorFlow writes none, so such a file is refused.
    """
    values = messages(message, field)
    if len(values) > 1:
        raise Damaged("holds a field twice")
    return values[0] if values else memoryview(b"")
