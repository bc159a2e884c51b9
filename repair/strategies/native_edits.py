"""Set what is wrong in the Target's own file, where weights and settings are all that is: everything else stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...conversion.stage import ConvertedModel
from ...errors import WorkerFailed
from ...formats import ModelFile
from ...models.loaded_model import LoadedModel
from ...records import Diagnosis
from ..acceptance import Candidate, Decision, Gate
from ..context import RepairContext
from ..localization.finding import ConstantChange, SettingChange
from ..located_target import LocatedTarget
from ..native_format.fault_names import Names
from ..native_format.parameters import Parameter, by_change, leftovers, parameters, replaced, unfolded
from ..native_format.settings import reset

Array = np.ndarray[Any, Any]
MAX_ARRAYS_PER_FAULT = 6  # arrays of a model that one fault of its view may stand for


@dataclass(frozen=True)
class NativeChange:
    """What was set in the Target's own file for one fault: arrays or settings by their own names, and their layer."""

    layer: str
    names: tuple[str, ...]
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class OwnFormat:
    """The repaired Target in its own format (None: there is none), and what was set in its own file, by fault."""

    stage: ConvertedModel | None
    changes: Mapping[int, NativeChange] = field(default_factory=dict)


def in_own_format(
    context: RepairContext, gate: Gate, located: LocatedTarget, names: Names, repaired_view: Decision
) -> OwnFormat:
    """Return the repaired Target in its own format.

    That is its own file with corrected weights and settings, where it agrees, or where nothing better can be had: a
    quantised file and its view may both still differ by rounding. Else the repaired view is converted back.
    """
    view, chosen = repaired_view.candidate.model, repaired_view.candidate.faults
    edited = _NativeFile(context, located, names).with_repairs(chosen)
    if edited is None:
        return OwnFormat(context.convert_back(view))
    file, changes = edited
    decision = gate.consider(Candidate(file, chosen, "set in the Target's own file"))
    own_file = OwnFormat(decision.stage, changes)
    if decision.agrees:
        return own_file
    is_closer_but_rounded = not gate.is_unquantized and decision.is_accepted
    if is_closer_but_rounded and not repaired_view.labels_agree:
        return own_file
    stage = context.convert_back(view)
    return own_file if stage is None and is_closer_but_rounded else OwnFormat(stage)


def diagnosed_in_own_file(diagnosis: Diagnosis, change: NativeChange) -> Diagnosis:
    """Return the diagnosis of what was set in the Target's own file, by its own names."""
    words = f"{', '.join(change.names)} set in the Target's own file; in its view: {diagnosis.repair}"
    return dataclasses.replace(
        diagnosis,
        target_node=change.layer or diagnosis.target_node,  # arrays of a TFLite file belong to no layer
        evidence={**diagnosis.evidence, **change.evidence},
        repair=words,
    )


@dataclass(frozen=True)
class _NativeFile:
    """The Target's own file, in which the repairs of located faults are set."""

    context: RepairContext
    located: LocatedTarget
    names: Names

    def with_repairs(self, chosen: Sequence[int]) -> tuple[LoadedModel, dict[int, NativeChange]] | None:
        """The file with other weights and settings in it, and what was set for each fault.

        None where these are not all that is wrong, or where the file has no such arrays and settings of its own.
        """
        context, target = self.context, self.context.target
        if target.format.is_view:
            return None
        setting_changes = {index: self.located.settings_set(index) for index in chosen}
        if self.located.constants_set([i for i in chosen if setting_changes[i] is None]) is None:
            return None
        file, changes, without_setting = target.file, dict[int, NativeChange](), list[int]()
        try:
            for index in chosen:
                wanted = setting_changes[index]
                edited = None if wanted is None else self._with_settings(file, index, wanted)
                if edited is None:
                    without_setting.append(index)
                else:
                    file, changes[index] = edited
            if without_setting:
                constants = self.located.constants_set(without_setting)
                weighted = None if constants is None else self._with_weights(file, without_setting, constants)
                if weighted is None:
                    return None
                file = weighted[0]
                changes |= weighted[1]
            model = LoadedModel(context.workers, "target", file, target.options)
            if context.workers.worker("target", model.framework).framework != model.framework:
                context.workers.restart("target")
        except WorkerFailed:
            return None
        return model, changes

    def _with_settings(
        self, file: ModelFile, index: int, changes: Sequence[SettingChange]
    ) -> tuple[ModelFile, NativeChange] | None:
        """The file with these settings of the fault's layer; None where its framework has no words for them."""
        layer = self.names.place(index)
        if layer is None:
            return None
        try:
            edited = reset(self.context.workers, self.context.target, file, layer, changes)
        except WorkerFailed:  # such as a layer that cannot be built with them
            return None
        if edited is None:
            return None
        new_file, values = edited
        return new_file, NativeChange("", tuple(f"{name} of {layer}" for name in values), {"set": values})

    def _with_weights(
        self, file: ModelFile, faults: Sequence[int], changes: Sequence[ConstantChange]
    ) -> tuple[ModelFile, dict[int, NativeChange]] | None:
        """The file with the arrays of these faults; None where it holds them in other pieces than the view does."""
        workers, target = self.context.workers, self.context.target
        model_parameters = parameters(workers, target)
        # Where Source and Target hold their weights in the same pieces, those that differ are known for sure.
        pairs = leftovers(model_parameters, parameters(workers, self.context.source))
        by_fault = self._assigned(faults, [parameter for parameter, _ in pairs])
        if not pairs or len(pairs) > MAX_ARRAYS_PER_FAULT * len(faults):
            native = self._native_changes(model_parameters, changes) or {}
            pairs = [pair for each in native.values() for pair in each]
            by_fault = {index: [parameter for parameter, _ in each] for index, each in native.items()}
        if not pairs or len(pairs) > MAX_ARRAYS_PER_FAULT * len(faults):
            return None
        self.context.observer.say(f"setting {', '.join(each.name for each, _ in pairs[:3])} in {target.path.name}")
        values = {parameter.name: array for parameter, array in pairs}
        new_file = replaced(workers, target, str(file.path.absolute()), values)
        if new_file is None:
            return None
        return new_file, {
            index: NativeChange(each[0].layer, names := tuple(p.name for p in each), {"parameters": list(names)})
            for index, each in by_fault.items()
        }

    def _assigned(self, faults: Sequence[int], changed: Sequence[Parameter]) -> dict[int, list[Parameter]]:
        """Which of the changed arrays belong to which fault: those of its layer, and to a lone fault all."""
        if len(faults) == 1:
            return {faults[0]: list(changed)} if changed else {}
        of_layer = {index: [each for each in changed if each.layer == self.names.pairs[index][1]] for index in faults}
        return {index: each for index, each in of_layer.items() if each}

    def _native_changes(
        self, model_parameters: Sequence[Parameter], changes: Sequence[ConstantChange]
    ) -> dict[int, list[tuple[Parameter, Array]]] | None:
        """Each fault's changes of the model's own arrays; None where one has none."""
        by_fault: dict[int, list[tuple[Parameter, Array]]] = {}
        lacking: set[int] = set()
        for change in changes:
            native = by_change(model_parameters, change.before, change.after, self.names.pairs[change.fault][1])
            if native is None:
                lacking.add(change.fault)
            else:
                by_fault.setdefault(change.fault, []).append(native)
        if lacking:
            for affine in self.located.affine_changes(sorted(lacking)) or ():
                before, after = (affine.weights_before, affine.bias_before), (affine.weights_after, affine.bias_after)
                if pieces := unfolded(model_parameters, before, after):
                    by_fault[affine.fault] = pieces
                    lacking.discard(affine.fault)
        return None if lacking else by_fault
