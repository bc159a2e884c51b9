"""A converter that crashed, shown on single nodes: which of those it was fed otherwise does it not take alone either?

A crash is no fault of the Target, which another form or another converter gave. But whoever mends the converter wants
the node that it stumbles over, and whoever gets no Target at all wants to know what stands in the way.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..converters.hop import Hop
from ..errors import WorkerFailed
from .findings import Crash
from .route_search import Router
from .stage import ConvertedModel


def crashes(router: Router, target: ConvertedModel | None) -> list[Crash]:
    """What stood in the way of the Target's own converters; of all that crashed, where there is no Target."""
    found = []
    for attempt, (stage, hop) in router.attempt_runner.crashed.items():
        if hop.script is None or not stage.mapping or router.hop_runner.has_permuted_inputs(stage):
            continue
        only = None if target is None else _rewritten(router, target, hop)
        if only == [] or not router.hop_runner.repair_time.allows():
            continue
        with router.hop_runner.repair_time.running():
            nodes = _kinds(router, stage, only)
            crash = router.node_repair.refused(attempt, stage, hop, nodes, router.rows(stage, ())) if nodes else None
        found += [] if crash is None else [crash]
    return found


def _rewritten(router: Router, target: ConvertedModel, hop: Hop) -> list[str] | None:
    """The nodes that had to be rewritten before the converter took the graph; None where that was the graph's opset."""
    changes = [
        change
        for attempt in target.attempts
        if (router.attempts[attempt].hop, router.attempts[attempt].converter) == (hop.label, hop.converter)
        for change in router.attempt_runner.changes.get(attempt, ())
    ]
    return None if any(not change["node"] for change in changes) else [change["node"] for change in changes]


def _kinds(router: Router, stage: ConvertedModel, only: Sequence[str] | None) -> Sequence[str]:
    """The first of these nodes (None: of all) of each kind: operator, settings and number of inputs."""
    light = router.hop_runner.workers.worker("onnx_tflite", "onnx_tflite")
    try:
        named: list[str] = light.call(
            "repair.localization.node_replay",
            "kinds",
            timeout=router.hop_runner.timeout,
            path=stage.side.location,
            only=only,
        )
    except WorkerFailed:
        return ()
    return named
