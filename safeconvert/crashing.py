"""A converter that crashed, shown on single nodes: which of those it was fed otherwise does it not take alone either?

A crash is no fault of the Target, which another form or another converter gave. But whoever mends the converter wants
the node that it stumbles over, and whoever gets no Target at all wants to know what stands in the way.
"""

from __future__ import annotations

from collections.abc import Sequence

from safeconvert.errors import ChildFailed
from safeconvert.findings import Crash
from safeconvert.hopping import Stage
from safeconvert.model import Hop
from safeconvert.reproduce import ALONE
from safeconvert.router import Router


def crashes(router: Router, target: Stage | None) -> list[Crash]:
    """What stood in the way of the Target's own converters; of all that crashed, where there is no Target."""
    found = []
    for attempt, (stage, hop) in router.trier.crashed.items():
        if hop.converter not in ALONE or not stage.feeds or router.hopper.turning(stage):
            continue
        nodes = _kinds(router, stage) if target is None else _helped(router, target, hop)
        if nodes and router.hopper.repair_time.allows():
            with router.hopper.repair_time.running():
                crash = router.mender.refused(attempt, stage, hop, nodes, router.rows(stage, ()))
            found += [] if crash is None else [crash]
    return found


def _helped(router: Router, target: Stage, hop: Hop) -> list[str]:
    """The first node of each operator that had to be rewritten before the converter took the graph."""
    first: dict[str, str] = {}
    for attempt in target.attempts:
        taken = router.attempts[attempt]
        if (taken.hop, taken.converter) == (hop.label, hop.converter):
            for change in router.trier.changes.get(attempt, ()):
                if change["node"]:
                    first.setdefault(change["operator"], change["node"])
    return list(first.values())


def _kinds(router: Router, stage: Stage) -> Sequence[str]:
    """The first node of each kind: operator, settings and number of inputs."""
    light = router.hopper.workshop.child("light", "light")
    try:
        named: list[str] = light.call("repair.replay", "kinds", timeout=router.hopper.timeout, path=stage.side.location)
    except ChildFailed:
        return ()
    return named
