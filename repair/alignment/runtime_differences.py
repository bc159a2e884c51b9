"""Two runtimes of one ONNX graph: at which nodes they differ, and what of a Target's difference is theirs alone.

What another runtime (TVM) gave for every tensor is held against onnxruntime. A tensor that differs may only sit behind
a node that differs, so each node is run again in onnxruntime on what the other runtime fed its own: where the two still
differ, the node itself is computed otherwise. Child side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ...runtimes.trace_store import TvmRecord
from .. import rewrites
from ..graph.runner import GraphRunner
from .matching import CLOSE, Array, Contents, Match, distance
from .runtime_difference import RuntimeDifference


def differences(
    path: str,
    arrays: Mapping[str, Array],
    store: str,
    records: Sequence[TvmRecord],
    *,
    atol: float,
    rtol: float,
    keep: str | None = None,
) -> dict[str, Any]:
    """Hold what the other runtime gave for the ONNX file against onnxruntime on the same inputs.

    ``store`` and ``records`` are those of ``runtimes.tvm.model.activations``. Gives "compared" (tensors), "outputs"
    (names of graph outputs that differ by more than ``atol + rtol * max|row|``, NaN and shapes included), "absent"
    (outputs that the other runtime did not give), "max_abs" over all outputs (None: nothing could be subtracted), and
    "nodes": those whose own output differs by more than ``CLOSE`` on the same inputs, in the order of the graph, each
    with "node", "operator", "tensor", "call" and what ``told`` says. ``keep`` becomes the file that
    ``RuntimeActivations`` reads.
    """
    steps = GraphRunner(rewrites.named(onnx.load(path)))
    calls = {record.tensor: record.call for record in records}
    with np.load(store) as stored:
        theirs = {record.tensor: stored[record.key] for record in records}
    ours = steps.everything(arrays)
    shared = [name for name in ours if name in theirs]
    nodes: list[dict[str, Any]] = []
    own: dict[str, Array] = {}
    for node in steps.nodes:
        if all(distance(ours[name], theirs[name]) <= CLOSE for name in node.output if name in ours and name in theirs):
            continue
        values = {name: theirs.get(name, ours.get(name, arrays.get(name))) for name in steps.read(node)}
        fed = {name: _typed(value, ours.get(name)) for name, value in values.items() if value is not None}
        results = dict(zip([name for name in node.output if name], steps.run(node, fed), strict=True))
        for name, value in results.items():
            if name in theirs and isinstance(value, np.ndarray) and not distance(value, theirs[name]) <= CLOSE:
                own[name] = value
                facts = {"node": node.name, "operator": node.op_type, "tensor": name, "call": calls[name]}
                nodes.append(facts | told(value, theirs[name]))
    outputs = {name: _apart(ours[name], theirs[name]) for name in steps.outputs if name in ours and name in theirs}
    sizes = [size for size in outputs.values() if size is not None]
    if keep is not None:
        _write(keep, {**ours, **{n: _typed(v, ours.get(n)) for n, v in theirs.items()}, **dict(arrays)}, own)
    return {
        "compared": len(shared),
        "outputs": [name for name in outputs if not _within(ours[name], theirs[name], atol, rtol)],
        "absent": [name for name in steps.outputs if name not in outputs],
        "max_abs": max(sizes) if len(sizes) == len(outputs) and sizes else None,
        "nodes": nodes,
    }


def told(ours: Array, theirs: Array) -> dict[str, Any]:
    """Where two values of one tensor lie furthest apart: "max_abs", and "onnxruntime" and "tvm" there, as words."""
    if ours.shape != theirs.shape:
        shapes = {"onnxruntime": f"shape {list(ours.shape)}", "tvm": f"shape {list(theirs.shape)}"}
        return {"max_abs": None, **shapes}
    a, b = ours.astype(np.float64).reshape(-1), theirs.astype(np.float64).reshape(-1)
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    at = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
    largest = float(apart[at])
    return {
        "max_abs": largest if np.isfinite(largest) else None,
        "onnxruntime": f"{float(a[at]):.6g}",
        "tvm": f"{float(b[at]):.6g}",
    }


def _typed(value: Array, like: Array | None) -> Array:
    """The value in onnxruntime's dtype: TVM has sizes and indices in other integers."""
    return value if like is None or value.dtype == like.dtype else value.astype(like.dtype)


def _apart(ours: Array, theirs: Array) -> float | None:
    size = told(ours, theirs)["max_abs"] if ours.size else 0.0
    return None if size is None else float(size)


def _within(ours: Array, theirs: Array, atol: float, rtol: float) -> bool:
    """The rule of the verdict: each row differs by at most ``atol + rtol * max|row|``; what is not finite differs."""
    if ours.shape != theirs.shape or not np.isfinite(theirs).all() or not np.isfinite(ours).all():
        return False
    a, b = (array.reshape(len(array) if array.ndim else 1, -1).astype(np.float64) for array in (ours, theirs))
    allowed = atol + rtol * np.abs(a).max(axis=1, initial=0.0)
    return bool(np.all(np.abs(a - b).max(axis=1, initial=0.0) <= allowed))


def _write(path: str, values: Mapping[str, Array], own: Mapping[str, Array]) -> None:
    """Names stand apart from arrays: a tensor's name may be no name of a file."""
    arrays = [*values.values(), *own.values()]
    np.savez(path, *arrays, values=np.array(list(values), str), own=np.array(list(own), str))


@dataclass(frozen=True)
class RuntimeMatch(Match):
    """A tensor of the Target that holds what onnxruntime computes at a node of the Source where TVM gives otherwise."""


class RuntimeActivations(Contents):
    """The Source's tensors as another runtime gave them, read from the file that ``differences`` kept.

    ``own`` has, for the tensors at which the runtimes differ, what onnxruntime gives for the same inputs of the node. A
    Target that runs in onnxruntime and does the same as the Source gives that: it counts as right.
    """

    def __init__(self, path: str, *, is_unquantized: bool = True) -> None:
        with np.load(path) as stored:
            names, own = (list(map(str, stored[key])) for key in ("values", "own"))
            arrays = [stored[f"arr_{index}"] for index in range(len(names) + len(own))]
        super().__init__(dict(zip(names, arrays, strict=False)), is_unquantized=is_unquantized)
        self.own = Contents(dict(zip(own, arrays[len(names) :], strict=True)), is_unquantized=is_unquantized)

    def find(self, array: Array) -> list[Match]:
        found = super().find(array)
        shaped = (one for one in self.own.find(array) if self._same_shape(one.name))
        return found or [RuntimeMatch(one.name, one.arrangement, one.apart) for one in shaped]

    def fits(self, match: Match, given: Array) -> bool:
        if super().fits(match, given):
            return True
        own = self.own.tensors.get(match.name)
        return own is not None and bool(self.apart(match.arrangement.of(own), given) <= self.limit)

    def _same_shape(self, name: str) -> bool:
        """Can one value stand in for the other? Where even the shapes differ, what follows could not be compared."""
        return bool(self.own.tensors[name].shape == self.tensors[name].shape)

    def exempt_differences(
        self, steps: GraphRunner, source: GraphRunner, aligned: Mapping[str, Sequence[Match]]
    ) -> tuple[RuntimeDifference, ...]:
        """List the Target's nodes that differ as the runtimes do: for each node of the Source one, in graph order."""
        differences: dict[str, RuntimeDifference] = {}
        for node in steps.nodes:
            for name in node.output:
                match = aligned[name][0] if aligned.get(name) else None
                if isinstance(match, RuntimeMatch) and match.name not in differences:
                    values = told(self.own.tensors[match.name], self.tensors[match.name])
                    differences[match.name] = RuntimeDifference(
                        node.name, source.maker[match.name].name, node.op_type, **values
                    )
        return tuple(differences.values())
