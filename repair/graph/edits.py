"""Changes to a Target's ONNX view, as values: each can be made on a copy, left out, and described in a report.

An edit names nodes and tensors of the view as they were before any edit. Worker side.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Edit(abc.ABC):
    """One change. ``words`` describe it in the report."""

    words: str

    @abc.abstractmethod
    def make(self, model: onnx.ModelProto) -> None:
        """Change the model in place."""


@dataclass(frozen=True)
class SetConstant(Edit):
    """Give input number ``index`` of a node another constant (float weights or integer settings)."""

    node: str
    index: int
    value: Array = field(repr=False)

    def make(self, model: onnx.ModelProto) -> None:
        node = find(model, self.node)
        while len(node.input) <= self.index:
            node.input.append("")
        name = fresh(model, f"{self.node}/repaired_{self.index}")
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(self.value), name))
        node.input[self.index] = name


@dataclass(frozen=True)
class DropInput(Edit):
    """Take an optional input away from a node."""

    node: str
    index: int

    def make(self, model: onnx.ModelProto) -> None:
        node = find(model, self.node)
        node.input[self.index] = ""
        while node.input and not node.input[-1]:
            node.input.pop()


@dataclass(frozen=True)
class SetAttributes(Edit):
    """Give a node other attributes; those not named stay, those set to None go."""

    node: str
    attributes: Mapping[str, Any]

    def make(self, model: onnx.ModelProto) -> None:
        node = find(model, self.node)
        other_attributes = [a for a in node.attribute if a.name not in self.attributes]
        new = [onnx.helper.make_attribute(k, v) for k, v in self.attributes.items() if v is not None]
        del node.attribute[:]
        node.attribute.extend([*other_attributes, *new])


@dataclass(frozen=True)
class DeclareInput(Edit):
    """Declare other sizes at an input, the batch first; 0 is a free size. Part of a graph may be without that input."""

    name: str
    sizes: Sequence[int]

    def make(self, model: onnx.ModelProto) -> None:
        for value in model.graph.input:
            if value.name == self.name:
                elements = value.type.tensor_type.elem_type
                shape = [size or f"axis_{axis}" for axis, size in enumerate(self.sizes)]
                value.CopyFrom(onnx.helper.make_tensor_value_info(self.name, elements, shape))


@dataclass(frozen=True)
class Rewire(Edit):
    """Let nodes read (or the graph give) ``after`` where they read ``before``; ``nodes`` of None means all.

    ``added`` come right behind the maker of ``after``'s own inputs; ``constants`` are what they need.
    """

    before: str
    after: str
    nodes: tuple[str, ...] | None = None
    added: Sequence[onnx.NodeProto] = ()
    constants: Mapping[str, Array] = field(default_factory=dict, repr=False)

    def reading(self, instead: Mapping[str, str]) -> Rewire:
        """The same edit where others have been made before it, and ``instead`` says what is read for what since."""

        def now(name: str) -> str:
            while name in instead:
                name = instead[name]
            return name

        added = []
        for node in self.added:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [now(name) for name in node.input]
            added.append(copy)
        return replace(self, before=now(self.before), after=now(self.after), added=added)

    def make(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        new = {node.name for node in self.added}
        for name, value in self.constants.items():
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        graph.node.extend(self.added)
        for node in graph.node:
            if node.name not in new and (self.nodes is None or node.name in self.nodes):
                node.input[:] = [self.after if name == self.before else name for name in node.input]
        if self.nodes is None and any(o.name == self.before for o in graph.output):
            _give(model, self.before, self.after)
        in_order(model)


@dataclass(frozen=True)
class Give(Edit):
    """Make these tensors the model's outputs, under these names, in this order."""

    outputs: tuple[tuple[str, str], ...]

    def make(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        names = [name for _, name in self.outputs]
        tensors = {tensor: tensor for tensor, _ in self.outputs}
        for tensor, name in self.outputs:  # an output's name may be that of another tensor: it steps aside
            if tensor != name and any(name in node.output for node in graph.node):
                aside = fresh(model, f"{name}/before")
                rename(model, name, aside)
                tensors = {k: aside if v == name else v for k, v in tensors.items()}
        infos = {o.name: o for o in graph.output}
        del graph.output[:]
        for name in names:
            info = onnx.ValueInfoProto(name=name)
            old = infos.get(name)
            info.type.tensor_type.elem_type = old.type.tensor_type.elem_type if old is not None else 1
            graph.output.append(info)
        for tensor, name in self.outputs:
            if tensors[tensor] != name:
                node = onnx.helper.make_node("Identity", [tensors[tensor]], [name], fresh(model, f"{name}/output"))
                graph.node.append(node)
        in_order(model)


def applied(model: onnx.ModelProto, edits: Sequence[Edit]) -> onnx.ModelProto:
    """A copy with the edits made, and without the nodes and constants that nothing needs any more."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    instead: dict[str, str] = {}  # what is read in place of a tensor that all its readers ought not to read
    for edit in edits:
        if isinstance(edit, Rewire):
            edit = edit.reading(instead)
            readers = {node.name for node in copy.graph.node if edit.before in node.input}
            is_graph_output = any(output.name == edit.before for output in copy.graph.output)
            everyone = edit.nodes is None or (readers <= {*edit.nodes} and not is_graph_output)
            if everyone and edit.before != edit.after:
                instead[edit.before] = edit.after
        edit.make(copy)
    if edits:
        tidy(copy)
    return copy


def find(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def fresh(model: onnx.ModelProto, wanted: str) -> str:
    """A name that no node and no tensor has."""
    used_names = {n for node in model.graph.node for n in (node.name, *node.output)}
    used_names |= {t.name for t in model.graph.initializer} | {i.name for i in model.graph.input}
    name, count = wanted, 1
    while name in used_names:
        name, count = f"{wanted}_{count}", count + 1
    return name


def rename(model: onnx.ModelProto, before: str, after: str) -> None:
    for node in model.graph.node:
        node.input[:] = [after if name == before else name for name in node.input]
        node.output[:] = [after if name == before else name for name in node.output]


def _give(model: onnx.ModelProto, before: str, after: str) -> None:
    """Let the output called ``before`` have the values of ``after``; its name stays."""
    inner = fresh(model, f"{before}/before")
    rename(model, before, inner)
    source = inner if after == before else after
    model.graph.node.append(onnx.helper.make_node("Identity", [source], [before], fresh(model, f"{before}/output")))


def in_order(model: onnx.ModelProto) -> None:
    """Sort the nodes so that each comes after what it reads."""
    from .runner import captured

    produced = {name for node in model.graph.node for name in node.output if name}
    have = {t.name for t in model.graph.initializer} | {i.name for i in model.graph.input}
    pending, done = list(model.graph.node), []
    while pending:
        later = []
        for node in pending:
            if all(not n or n in have or n not in produced for n in (*node.input, *captured(node))):
                done.append(node)
                have.update(node.output)
            else:
                later.append(node)
        if len(later) == len(pending):
            raise ValueError("the edited graph has a cycle")
        pending = later
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in done]
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def tidy(model: onnx.ModelProto) -> None:
    """Drop what no output needs; shapes noted for inner tensors may be wrong now and go too."""
    from .runner import captured

    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    pending, needed, read = [o.name for o in graph.output], set(), {o.name for o in graph.output}
    while pending:
        maker = makers.get(pending.pop())
        if maker is None or maker.name in needed:
            continue
        needed.add(maker.name)
        names = [n for n in (*maker.input, *captured(maker)) if n]
        read.update(names)
        pending += names
    needed_nodes = [n for n in graph.node if n.name in needed]
    constants = [t for t in graph.initializer if t.name in read]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(needed_nodes)
    graph.initializer.extend(constants)
