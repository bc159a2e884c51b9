"""Say in plain sentences what a report holds: for the terminal and for the HTML report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..formats import format_named

GRAPHS = {
    "": "unchanged",
    "canonical": "rewritten (canonical operators)",
    "missing": "rewritten (unsupported operators)",
    "plain": "rewritten (all)",
    "other": "rewritten (all, with other operators)",
    "decomposed": "rewritten (decomposed)",
}
"""What a converter was given, by the ``form`` of an attempt in the report's route."""


MAX_OPERATORS_LISTED = 6


def graph_of(attempt: Mapping[str, Any]) -> str:
    """Return what the converter was given in this attempt, such as ``rewritten (all)``."""
    form = attempt["form"]
    return GRAPHS.get(form, f"rewritten ({form})")


def fault_sentence(fault: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Return what went wrong, where, and what was done about it, for one entry of the report's ``faults``."""
    status = "Fixed" if fault["status"] == "repaired" else "Not fixed"
    return f"{_what(fault, report)} ({_place(fault, report)}). {status}: {fault['repair']}"


def _what(fault: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    operator = fault["evidence"].get("operator") or "the node"
    if converter := converter_of(fault["hop"], report):
        return f"{converter} mistranslates {operator}"
    return f"the Target's {operator} differs from the Source's"


def converter_of(hop: str, report: Mapping[str, Any]) -> str:
    """Return the converter that ran this hop and differed; "" where the Target was made elsewhere."""
    attempts = [attempt for attempt in report["route"] if attempt["hop"] == hop]
    differing = [attempt for attempt in attempts if attempt["status"] == "diverged"]
    return next((attempt["converter"] for attempt in differing), "")


def _place(fault: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Return the names that Source and Target give the place, such as ``/MaxPool; Keras layer LAYER_1``."""
    source, target = (first_name(fault[key]) for key in ("source_node", "target_node"))
    part = format_named(fault["hop"].rpartition("->")[2]).part
    names = [source] if source else []
    if target and target != source:
        names.append(f"{part} {target}")
    return "; ".join(names) or "no single node"


def first_name(name: str) -> str:
    """Return the first of the names that TFLite gives an operator fused of several."""
    first, _, others = name.partition(";")
    return f"{first};..." if others else first


def discrepancy_sentence(check: Mapping[str, Any]) -> str:
    """Return how many inputs differ, before and after repair, over both sets; "" where nothing was compared."""
    if check["after"] is None:
        return ""
    after = _counted(check["after"], check)
    if check["before"] in (None, check["after"]):
        return f"{after} differ between Source and Target"
    return f"{_counted(check['before'], check)} differed before repair, {after} after"


def _counted(sets: Mapping[str, Any], check: Mapping[str, Any]) -> str:
    parts = [sets["calibration"], sets["heldout"]]
    count, differ = (sum(part[key] for part in parts) for key in ("count", "labels_differ"))
    noun = "labels" if check["comparator"] == "top1" else "inputs"
    share = f" ({100 * differ / count:.2f} %)" if count else ""
    return f"{differ} of {count} {noun}{share}"


def operator_lines(operators: Mapping[str, Any], most: int = MAX_OPERATORS_LISTED) -> list[str]:
    """Say how many operators of a quantised file compute with integers, and name those that compute with floats."""
    integers, floats = operators["integer"], operators["float"]
    line = f"{len(integers)} operators compute with integers, {len(floats)} with floats"
    if (percent := operators["integer_multiplications_percent"]) is not None:
        line += f"; {percent:.0f} % of the multiplications are of integers"
    named = [f"{operator['operator']} {operator['name']}" for operator in floats[:most]]
    more = [f"and {len(floats) - most} more: see the report"] if len(floats) > most else []
    return [line, *([f"in float: {', '.join([*named, *more])}"] if named else [])]
