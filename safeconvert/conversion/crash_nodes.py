"""Find the nodes that a converter crashes on: of the nodes that were rewritten for it, those it fails on alone too.

A crash is no fault of the Target, which another form or another converter gave. But whoever repairs the converter wants
the node that it stumbles over, and whoever gets no Target at all wants to know what stands in the way.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..converters.hop import Hop
from ..errors import WorkerFailed
from .findings import Crash
from .remote_functions import NODE_KINDS
from .route_search import RouteSearch
from .stage import ConvertedModel


def crashes(search: RouteSearch, target: ConvertedModel | None) -> list[Crash]:
    """Return the crashes of the Target's own converters; of all converters, where there is no Target."""
    crashed_hops = []
    for attempt, (stage, hop) in search.attempt_runner.crashed.items():
        if hop.script is None or not stage.mapping or search.hop_runner.has_permuted_inputs(stage):
            continue
        only = None if target is None else _rewritten_nodes(search, target, hop)
        if only == [] or not search.hop_runner.repair_time.allows():
            continue
        with search.hop_runner.repair_time.running():
            crash = _crash(search, attempt, stage, hop, only)
        crashed_hops += [] if crash is None else [crash]
    return crashed_hops


def _crash(
    search: RouteSearch, attempt: int, stage: ConvertedModel, hop: Hop, only: Sequence[str] | None
) -> Crash | None:
    """Return the crash with its nodes; None where the converter takes each of them (``only`` these) alone."""
    nodes = _first_of_each_kind(search, stage, only)
    if not nodes:
        return None
    return search.node_localization.failing_nodes(attempt, stage, hop, nodes, search.rows(stage, ()))


def _rewritten_nodes(search: RouteSearch, target: ConvertedModel, hop: Hop) -> list[str] | None:
    """Return the nodes that were rewritten before the converter took the graph; None if the graph's opset was."""
    changes = [
        change
        for attempt in target.attempts
        if (search.attempts[attempt].hop, search.attempts[attempt].converter) == (hop.label, hop.converter)
        for change in search.attempt_runner.changes.get(attempt, ())
    ]
    return None if any(not change["node"] for change in changes) else [change["node"] for change in changes]


def _first_of_each_kind(search: RouteSearch, stage: ConvertedModel, only: Sequence[str] | None) -> Sequence[str]:
    """Return the first of these nodes (None: of all) of each kind: operator, settings and number of inputs."""
    worker = search.hop_runner.workers.worker("onnx_tflite", "onnx_tflite")
    try:
        return NODE_KINDS(worker, search.hop_runner.timeout, path=stage.model.location, only=only)
    except WorkerFailed:
        return ()
