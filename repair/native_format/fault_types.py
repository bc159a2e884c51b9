"""The types of faults as the models' own layers show them: a view folds settings and normalisations into weights, and
leaves out a factor of 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ...records import Diagnosis
from .fault_names import Names


def natively_typed(faults: Sequence[Diagnosis], names: Names) -> list[Diagnosis]:
    """The faults, with the types that the models' own arrays give those which a view alone cannot tell."""
    typed = [_of_an_extra_layer(fault, names.trained) for fault in faults]
    typed = [_of_a_layer(fault, names.trained) if _scales(fault) else fault for fault in typed]
    if any(fault.type == "WB" for fault in typed) and names.changed == ([], []):
        typed = [_not_of_weights(fault) for fault in typed]
    return typed


def _scales(fault: Diagnosis) -> bool:
    """Is it a constant factor or summand that only one of the views has, as of a normalisation that does nothing?"""
    difference, operator = fault.evidence.get("difference"), fault.evidence.get("operator")
    kinds = fault.evidence.get("missing", [operator]) if difference == "missing nodes" else [operator]
    return difference in ("missing nodes", "a node too many") and {"Mul", "Add"}.issuperset(kinds)


def _of_an_extra_layer(fault: Diagnosis, trained: Mapping[str, bool]) -> Diagnosis:
    """Return the fault as a node too many, where it scales or shifts in a layer without arrays that the Source lacks.

    In the views such a layer's constant looks like a weight. ``trained`` is empty where the layers cannot be told.
    """
    is_extra = fault.evidence.get("source_nodes") == [] and fault.evidence.get("operator") in ("Mul", "Add")
    if fault.type != "WB" or not is_extra or not trained or fault.target_node in trained:
        return fault
    return dataclasses.replace(fault, type="CG", evidence={**fault.evidence, "difference": "a node too many"})


def _of_a_layer(fault: Diagnosis, trained: Mapping[str, bool]) -> Diagnosis:
    """A factor that only one view has, of a layer with arrays: exporters leave out a factor of 1. It is one of weights
    where they are not the Source's, and a setting where those of all layers are (see ``Names.trained``)."""
    if fault.target_node not in trained:
        return fault
    if all(trained.values()):
        return dataclasses.replace(fault, type="LH")
    return fault if trained[fault.target_node] else dataclasses.replace(fault, type="WB")


def _not_of_weights(fault: Diagnosis) -> Diagnosis:
    """A fault that a view shows as one of weights, of a model whose own weights are right: a setting, like epsilon."""
    if fault.type != "WB":
        return fault
    evidence = {**fault.evidence, "weights": "the Target's own arrays are the Source's: a setting of the layer differs"}
    return dataclasses.replace(fault, type="LH", evidence=evidence)


def merged(faults: Sequence[Diagnosis]) -> list[Diagnosis]:
    """One fault for each type and native node: a view may show one layer's fault in several of its nodes."""
    by_place: dict[tuple[str, str, str], Diagnosis] = {}
    for fault in faults:
        key = fault.type, fault.target_node, fault.source_node
        first = by_place.get(key)
        if first is None:
            by_place[key] = fault
        elif fault.repair not in first.repair:
            by_place[key] = dataclasses.replace(first, repair=f"{first.repair}; {fault.repair}")
    return list(by_place.values())
