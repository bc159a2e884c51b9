"""Compare two runtimes of one ONNX graph: at which nodes do they differ, and which differences are no fault?

TVM's value of every tensor is compared with onnxruntime's. A tensor that differs may only lie behind a node that
differs, so each such node is run again in onnxruntime on TVM's inputs of it: where the two still differ, the runtimes
compute the node itself differently. Worker side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ...runtimes.trace_store import TvmRecord
from .. import rewrites
from ..graph.runner import GraphRunner
from .matching import CLOSE, Array, Contents, Match, distance
from .runtime_difference import LargestDifference, NodeOutputDifference, RuntimeDifference, RuntimeDifferences


def compare_runtimes(
    path: str,
    arrays: Mapping[str, Array],
    store: str,
    records: Sequence[TvmRecord],
    *,
    atol: float,
    rtol: float,
    keep: str | None = None,
) -> RuntimeDifferences:
    """Compare what TVM computed for the ONNX file at ``path`` with what onnxruntime computes for the same ``arrays``.

    ``store`` and ``records`` are those of ``runtimes.tvm.model.activations``. Outputs differ where they are further
    apart than ``atol + rtol * max|row|``, in shape or in being finite; a node differs where its own output, on TVM's
    inputs of the node, is further apart than ``CLOSE``. ``keep`` is the file to write for ``RuntimeActivations``.
    """
    runner = GraphRunner(rewrites.named(onnx.load(path)))
    with np.load(store) as stored:
        tvm = {record.tensor: stored[record.key] for record in records}
    onnxruntime = runner.everything(arrays)
    calls = {record.tensor: record.call for record in records}
    nodes: list[NodeOutputDifference] = []
    differing: dict[str, Array] = {}
    for node in runner.nodes:
        for name, value in _differing_outputs(runner, node, arrays, onnxruntime, tvm).items():
            differing[name] = value
            values = largest_difference(value, tvm[name])
            nodes.append(NodeOutputDifference(node.name, node.op_type, name, calls[name], values))
    if keep is not None:
        typed = {name: _with_dtype_of(value, onnxruntime.get(name)) for name, value in tvm.items()}
        _write(keep, {**onnxruntime, **typed, **dict(arrays)}, differing)
    shared = [name for name in runner.outputs if name in onnxruntime and name in tvm]
    distances = [_distance(onnxruntime[name], tvm[name]) for name in shared]
    known = [distance for distance in distances if distance is not None]
    return RuntimeDifferences(
        compared_tensors=sum(name in tvm for name in onnxruntime),
        differing_outputs=tuple(name for name in shared if not _is_within(onnxruntime[name], tvm[name], atol, rtol)),
        absent_outputs=tuple(name for name in runner.outputs if name not in shared),
        max_abs=max(known) if known and len(known) == len(distances) else None,
        nodes=tuple(nodes),
    )


def _differing_outputs(
    runner: GraphRunner,
    node: onnx.NodeProto,
    arrays: Mapping[str, Array],
    onnxruntime: Mapping[str, Array],
    tvm: Mapping[str, Array],
) -> dict[str, Array]:
    """What onnxruntime computes at a node on TVM's inputs of it, for the outputs that then differ from TVM's."""
    shared = [name for name in node.output if name in onnxruntime and name in tvm]
    if all(distance(onnxruntime[name], tvm[name]) <= CLOSE for name in shared):
        return {}
    values = {name: tvm.get(name, onnxruntime.get(name, arrays.get(name))) for name in runner.read(node)}
    inputs = {name: _with_dtype_of(value, onnxruntime.get(name)) for name, value in values.items() if value is not None}
    results = dict(zip([name for name in node.output if name], runner.run(node, inputs), strict=True))
    return {
        name: value
        for name, value in results.items()
        if name in tvm and isinstance(value, np.ndarray) and not distance(value, tvm[name]) <= CLOSE
    }


def largest_difference(onnxruntime: Array, tvm: Array) -> LargestDifference:
    """Find where two values of one tensor lie furthest apart."""
    if onnxruntime.shape != tvm.shape:
        return LargestDifference(None, f"shape {list(onnxruntime.shape)}", f"shape {list(tvm.shape)}")
    a, b = onnxruntime.astype(np.float64).reshape(-1), tvm.astype(np.float64).reshape(-1)
    with np.errstate(invalid="ignore"):
        distances = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    at = int(np.argmax(np.where(np.isnan(distances), np.inf, distances)))
    largest = float(distances[at])
    return LargestDifference(largest if np.isfinite(largest) else None, f"{float(a[at]):.6g}", f"{float(b[at]):.6g}")


def _with_dtype_of(value: Array, other: Array | None) -> Array:
    """The value in onnxruntime's dtype: TVM has sizes and indices in other integers."""
    return value if other is None or value.dtype == other.dtype else value.astype(other.dtype)


def _distance(onnxruntime: Array, tvm: Array) -> float | None:
    return largest_difference(onnxruntime, tvm).max_abs if onnxruntime.size else 0.0


def _is_within(onnxruntime: Array, tvm: Array, atol: float, rtol: float) -> bool:
    """Whether each row differs by at most ``atol + rtol * max|row|``; what is not finite differs."""
    if onnxruntime.shape != tvm.shape or not np.isfinite(tvm).all() or not np.isfinite(onnxruntime).all():
        return False
    a, b = (array.reshape(len(array) if array.ndim else 1, -1).astype(np.float64) for array in (onnxruntime, tvm))
    allowed = atol + rtol * np.abs(a).max(axis=1, initial=0.0)
    return bool(np.all(np.abs(a - b).max(axis=1, initial=0.0) <= allowed))


def _write(path: str, values: Mapping[str, Array], differing: Mapping[str, Array]) -> None:
    """Write the file for ``RuntimeActivations``. Names stand apart from arrays: not every name can be a file's."""
    arrays = [*values.values(), *differing.values()]
    np.savez(path, *arrays, values=np.array(list(values), str), own=np.array(list(differing), str))


@dataclass(frozen=True)
class RuntimeMatch(Match):
    """A tensor of the Target that holds what onnxruntime computes at a node of the Source where TVM differs."""


class RuntimeActivations(Contents):
    """The Source's tensors as TVM computed them, read from the file that ``compare_runtimes`` kept.

    ``own`` has, for the tensors at which the runtimes differ, what onnxruntime computes from the same inputs of the
    node. A Target that runs in onnxruntime and equals the Source computes that: it counts as right.
    """

    def __init__(self, path: str, *, is_unquantized: bool = True) -> None:
        with np.load(path) as stored:
            names, own = (list(map(str, stored[key])) for key in ("values", "own"))
            arrays = [stored[f"arr_{index}"] for index in range(len(names) + len(own))]
        super().__init__(dict(zip(names, arrays, strict=False)), is_unquantized=is_unquantized)
        self.own = Contents(dict(zip(own, arrays[len(names) :], strict=True)), is_unquantized=is_unquantized)

    def find(self, array: Array) -> list[Match]:
        matches = super().find(array)
        shaped = (match for match in self.own.find(array) if self._same_shape(match.name))
        return matches or [RuntimeMatch(match.name, match.arrangement, match.difference) for match in shaped]

    def fits(self, match: Match, value: Array) -> bool:
        if super().fits(match, value):
            return True
        own = self.own.tensors.get(match.name)
        return own is not None and bool(self.difference(match.arrangement.of(own), value) <= self.limit)

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
                    values = largest_difference(self.own.tensors[match.name], self.tensors[match.name])
                    differences[match.name] = RuntimeDifference(
                        node.name, source.maker[match.name].name, node.op_type, values
                    )
        return tuple(differences.values())
