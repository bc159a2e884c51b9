"""Set what is wrong in the Target's own file, where weights and settings are all that is: everything else stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...conversion.stage import ConvertedModel
from ...errors import WorkerFailed
from ...formats import ModelFile
from ...models.loaded import LoadedModel
from ...records import Fault
from ..acceptance import Candidate, Decision, Gate
from ..localization.finding import ConstantChange, SettingChange
from ..native_format.parameters import Parameter, by_change, leftovers, parameters, replaced, unfolded
from ..native_format.settings import reset

if TYPE_CHECKING:
    from ..located_target import LocatedTarget
    from .view_edits import Repairer

Array = np.ndarray[Any, Any]
Names = Sequence[tuple[str, str]]
"""Native names of each fault's nodes, in the Source and in the Target."""
PIECES = 6  # arrays of a model that one fault of its view may stand for


@dataclass(frozen=True)
class Own:
    """What was set in the Target's own file for one fault: arrays or settings by their own names, and their layer."""

    layer: str
    names: tuple[str, ...]
    evidence: Mapping[str, Any]


def in_own_format(
    repairer: Repairer, located: LocatedTarget, gate: Gate, mended: Decision, names: Names
) -> tuple[ConvertedModel | None, Mapping[int, Own]]:
    """The mended Target, and what was set in it by fault: its own file with other weights or settings, where that
    agrees, or is all that can be had (rounding may be left in a quantised one, and in its view); else the view,
    converted.

    ``mended`` is the gate's decision on the repaired view of the Target.
    """
    view, chosen = mended.candidate.model, mended.candidate.faults
    changed = _set_in_place(repairer, located, chosen, names)
    if changed is None:
        return repairer.back(view), {}
    file, set_in = changed
    decision = gate.consider(Candidate(file, chosen, "set in the Target's own file"))
    if decision.agrees:
        return decision.stage, set_in
    is_closer_but_rounded = not gate.is_unquantized and decision.is_accepted
    if is_closer_but_rounded and not mended.labels_agree:
        return decision.stage, set_in
    back = repairer.back(view)
    return (decision.stage, set_in) if back is None and is_closer_but_rounded else (back, {})


def _set_in_place(
    repairer: Repairer, located: LocatedTarget, chosen: Sequence[int], names: Names
) -> tuple[LoadedModel, dict[int, Own]] | None:
    """The Target's own file with other weights and settings in it, where these are all that is wrong, and which by
    fault.

    None where they are not, or where the model has no such arrays and settings of its own.
    """
    if repairer.target.format.is_view:
        return None
    wanted = {index: located.settings_set(index) for index in chosen}
    others = [index for index in chosen if wanted[index] is None]
    if located.constants_set(others) is None:
        return None
    made, set_in, heavy = repairer.target.file, dict[int, Own](), list[int]()
    try:
        for index in chosen:
            changes = wanted[index]
            found = None if changes is None else _settings(repairer, made, index, changes)
            if found is None:
                heavy.append(index)
            else:
                made, set_in[index] = found
        if heavy:
            constants = located.constants_set(heavy)
            weighted = None if constants is None else _weights(repairer, located, made, heavy, constants, names)
            if weighted is None:
                return None
            made = weighted[0]
            set_in |= weighted[1]
        side = LoadedModel(repairer.workers, "target", made, repairer.target.options)
        if repairer.workers.worker("target", side.framework).framework != side.framework:
            repairer.workers.restart("target")
    except WorkerFailed:
        return None
    return side, set_in


def _settings(
    repairer: Repairer, file: ModelFile, index: int, changes: Sequence[SettingChange]
) -> tuple[ModelFile, Own] | None:
    """The file with these settings of the fault's layer; None where its framework has no words for them."""
    place = repairer.names.place(index)
    if place is None:
        return None
    try:
        found = reset(repairer.workers, repairer.target, file, place, changes)
    except WorkerFailed:  # such as a layer that cannot be built anew
        return None
    if found is None:
        return None
    made, values = found
    return made, Own("", tuple(f"{name} of {place}" for name in values), {"set": values})


def _weights(
    repairer: Repairer,
    located: LocatedTarget,
    file: ModelFile,
    heavy: Sequence[int],
    changes: Sequence[ConstantChange],
    names: Names,
) -> tuple[ModelFile, dict[int, Own]] | None:
    """The file with the arrays of these faults; None where it holds them in other pieces than the others do."""
    own = parameters(repairer.workers, repairer.target)
    # Where both hold their weights in the same pieces, those that differ are told for sure.
    pairs = leftovers(own, parameters(repairer.workers, repairer.source))
    set_in = _assigned(heavy, [one for one, _ in pairs], names)
    if not pairs or len(pairs) > PIECES * len(heavy):
        by_fault = _native_changes(located, own, changes, names) or {}
        pairs = [pair for found in by_fault.values() for pair in found]
        set_in = {index: [one for one, _ in found] for index, found in by_fault.items()}
    if not pairs or len(pairs) > PIECES * len(heavy):
        return None
    repairer.observer.say(f"setting {', '.join(one.name for one, _ in pairs[:3])} in {repairer.target.path.name}")
    values = {one.name: array for one, array in pairs}
    made = replaced(repairer.workers, repairer.target, str(file.path.absolute()), values)
    if made is None:
        return None
    told = {
        index: Own(found[0].layer, tuple(one.name for one in found), {"parameters": [one.name for one in found]})
        for index, found in set_in.items()
    }
    return made, told


def _assigned(chosen: Sequence[int], changed: Sequence[Parameter], names: Names) -> dict[int, list[Parameter]]:
    """Which of the changed arrays belong to which fault: those of its layer, and to a lone fault all."""
    if len(chosen) == 1:
        return {chosen[0]: list(changed)} if changed else {}
    of_layer = {index: [one for one in changed if one.layer == names[index][1]] for index in chosen}
    return {index: found for index, found in of_layer.items() if found}


def _native_changes(
    located: LocatedTarget, own: Sequence[Parameter], changes: Sequence[ConstantChange], names: Names
) -> dict[int, list[tuple[Parameter, Array]]] | None:
    """Each fault's changes of the model's own arrays; None where one has none."""
    by_fault: dict[int, list[tuple[Parameter, Array]]] = {}
    lacking: set[int] = set()
    for change in changes:
        found = by_change(own, change.before, change.after, names[change.fault][1])
        if found is None:
            lacking.add(change.fault)
        else:
            by_fault.setdefault(change.fault, []).append(found)
    if lacking:
        for affine in located.affine_changes(sorted(lacking)) or ():
            before, after = (affine.weights_before, affine.bias_before), (affine.weights_after, affine.bias_after)
            if pieces := unfolded(own, before, after):
                by_fault[affine.fault] = pieces
                lacking.discard(affine.fault)
    return None if lacking else by_fault


def in_own_file(fault: Fault, own: Own) -> Fault:
    """The fault of what was set in the model's own file, by its own names."""
    words = f"{', '.join(own.names)} set in the Target's own file; in its view: {fault.repair}"
    layer = own.layer  # of a TFLite file's arrays nobody knows one: the operator's own name stays
    evidence = {**fault.evidence, **own.evidence}
    return dataclasses.replace(fault, target_node=layer or fault.target_node, evidence=evidence, repair=words)
