"""What stands around each fault of a Target, Source beside Target: parent side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ..conversion.onnx_view import Pair
from ..errors import WorkerFailed
from ..workers.pool import WorkerPool
from .graph.neighbour import Neighbour
from .localization.finding import FaultSummary
from .remote_functions import NEIGHBOURHOODS


def neighbours(workers: WorkerPool, pair: Pair, faults: Sequence[FaultSummary]) -> list[list[dict[str, Any]]]:
    """Return the neighbours of each fault in the two ONNX views; none where they cannot be read."""
    sides = []
    for path, nodes in (
        (pair.source_view.path, [fault.source_node for fault in faults]),
        (pair.target_view.path, [fault.target_node for fault in faults]),
    ):
        try:
            near = NEIGHBOURHOODS(workers.worker("onnx_tflite", "onnx_tflite"), None, path=str(path), nodes=nodes)
        except WorkerFailed:
            near = {}
        sides.append([near.get(node, []) for node in nodes])
    return [side_by_side(source, target) for source, target in zip(*sides, strict=True)]


def side_by_side(source: Sequence[Neighbour], target: Sequence[Neighbour]) -> list[dict[str, Any]]:
    """Pair the neighbours that stand at the same distance, in their order; "" stands where one side has none."""
    rows = []
    for position in sorted({near.position for near in (*source, *target)}):
        columns = [
            [f"{near.operator} {near.node}" for near in side if near.position == position] for side in (source, target)
        ]
        rows += [
            {"position": position, "source": left, "target": right}
            for left, right in itertools.zip_longest(*columns, fillvalue="")
        ]
    return rows
