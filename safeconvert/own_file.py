"""Set what is wrong in the Target's own file, where weights are all that is wrong: everything else in it stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from safeconvert.compare import Comparison
from safeconvert.errors import ChildFailed
from safeconvert.feeding import Mismatch, plan_feed
from safeconvert.hopping import Stage
from safeconvert.judge import better, over
from safeconvert.model import Fault
from safeconvert.native_weights import Parameter, by_change, leftovers, parameters, replaced, unfolded
from safeconvert.sides import Side
from safeconvert.weighing import ROWS

if TYPE_CHECKING:
    from safeconvert.repairing import Repairer

Array = np.ndarray[Any, Any]
Names = Sequence[tuple[str, str]]
"""Native names of each fault's nodes, in the Source and in the Target."""
PIECES = 6  # arrays of a model that one fault of its view may stand for


def in_own_format(
    repairer: Repairer, view: Side, chosen: Sequence[int], names: Names, mended: Comparison, before: Comparison
) -> tuple[Stage | None, Mapping[int, list[Parameter]]]:
    """The mended Target, and the arrays set in it by fault: its own file with other weights, where that agrees, or
    is all that can be had (rounding may be left in a quantised one, and in its view); else the view, converted.

    ``mended`` is how the mended ``view`` compares with the Source, ``before`` how the Target does as it is.
    """
    found, allowed = _set_in_place(repairer, chosen, names), repairer.options.max_discrepancy
    if found is None:
        return repairer.back(view), {}
    stage, set_in, compared = found
    if compared.agrees(max_discrepancy=allowed, values=repairer.exactly):
        return stage, set_in
    rounded = not repairer.exactly and better(compared, before)
    if rounded and not mended.agrees(max_discrepancy=allowed, values=False):
        return stage, set_in
    back = repairer.back(view)
    return (stage, set_in) if back is None and rounded else (back, {})


def _set_in_place(
    repairer: Repairer, chosen: Sequence[int], names: Names
) -> tuple[Stage, dict[int, list[Parameter]], Comparison] | None:
    """The Target's own file with other weights in it, where weights are all that is wrong, which by fault, and how it
    compares over the calibration inputs looked at.

    None where they are not, or where the model holds its weights in other pieces than its view and the Source.
    """
    if repairer.target.format == "onnx":
        return None
    changes = repairer.workshop.child("light", "light").call("repair.held", "constants_set", chosen=list(chosen))
    if changes is None:
        return None
    try:
        own = parameters(repairer.workshop, repairer.target)
        # Where both hold their weights in the same pieces, those that differ are told for sure.
        pairs = leftovers(own, parameters(repairer.workshop, repairer.source))
        set_in = _assigned(chosen, [one for one, _ in pairs], names)
        if not pairs or len(pairs) > PIECES * len(chosen):
            by_fault = _native_changes(repairer, own, changes, names) or {}
            pairs = [pair for found in by_fault.values() for pair in found]
            set_in = {index: [one for one, _ in found] for index, found in by_fault.items()}
        if not pairs or len(pairs) > PIECES * len(chosen):
            return None
        repairer.observer.say(f"setting {', '.join(one.name for one, _ in pairs[:3])} in {repairer.target.path.name}")
        made = replaced(repairer.workshop, repairer.target, {one.name: array for one, array in pairs})
        side = Side(repairer.workshop, "target", made, repairer.target.options)
        if repairer.workshop.child("target", side.framework).framework != side.framework:
            repairer.workshop.restart("target")
        side.child()
    except ChildFailed:
        return None
    planned = plan_feed(repairer.source.signature, repairer.shapes, side.signature)
    if isinstance(planned, Mismatch):
        return None
    material, options = repairer.material, repairer.options
    rows = material.rows[0][:ROWS]
    compared = over(material, side, planned, rows, None, options, repairer.observer, "weighing a repair")
    return Stage(side, planned), set_in, compared


def _assigned(chosen: Sequence[int], changed: Sequence[Parameter], names: Names) -> dict[int, list[Parameter]]:
    """Which of the changed arrays belong to which fault: those of its layer, and to a lone fault all."""
    if len(chosen) == 1:
        return {chosen[0]: list(changed)} if changed else {}
    of_layer = {index: [one for one in changed if one.layer == names[index][1]] for index in chosen}
    return {index: found for index, found in of_layer.items() if found}


def _native_changes(
    repairer: Repairer, own: Sequence[Parameter], changes: Sequence[tuple[int, Array, Array]], names: Names
) -> dict[int, list[tuple[Parameter, Array]]] | None:
    """Each fault's changes of the model's own arrays; None where one has none."""
    by_fault: dict[int, list[tuple[Parameter, Array]]] = {}
    lacking: set[int] = set()
    for index, before, after in changes:
        found = by_change(own, before, after, names[index][1])
        if found is None:
            lacking.add(index)
        else:
            by_fault.setdefault(index, []).append(found)
    if lacking:
        whole = repairer.workshop.child("light", "light").call("repair.held", "folded", chosen=sorted(lacking))
        for index, w0, w1, b0, b1 in whole or ():
            if pieces := unfolded(own, (w0, b0), (w1, b1)):
                by_fault[index] = pieces
                lacking.discard(index)
    return None if lacking else by_fault


def in_own_file(fault: Fault, changed: Sequence[Parameter]) -> Fault:
    """The fault of weights that were set in the model's own file, by their own names."""
    names = ", ".join(one.name for one in changed)
    evidence = {**fault.evidence, "parameters": [one.name for one in changed]}
    words = f"{names} set in the Target's own file; in its view: {fault.repair}"
    layer = changed[0].layer  # of a TFLite file's arrays nobody knows one: the operator's own name stays
    return dataclasses.replace(fault, target_node=layer or fault.target_node, evidence=evidence, repair=words)
