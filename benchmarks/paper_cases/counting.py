"""What a report says, held against what was wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.paper_cases.published import TYPES
from benchmarks.seeded_faults import named

Row = dict[str, Any]


def counted(seeded: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> Row:
    """By type: faults seeded, located (named with the right type at the right node) and repaired; and false faults.

    One reported fault stands for one seeded fault at most, and the other way round; whatever is reported beyond is
    false: another type, a neighbour, a fault named twice.
    """
    reported = [
        {"type": f["type"], "node": f.get("target_node") or f.get("source_node") or "", "status": f["status"]}
        for f in report.get("faults") or []
    ]
    free = list(range(len(reported)))
    located, repaired = _none(), _none()
    for fault in seeded:
        match = next((i for i in free if _same(fault, reported[i])), None)
        if match is None:
            continue
        free.remove(match)
        located[fault["type"]] += 1
        repaired[fault["type"]] += reported[match]["status"] == "repaired"
    of_type = _none()
    for fault in seeded:
        of_type[fault["type"]] += 1
    return {
        "seeded": _some(of_type, of_type),
        "located": _some(located, of_type),
        "repaired": _some(repaired, of_type),
        "false_faults": len(free),
        "reported": reported,
    }


def percentages(report: Mapping[str, Any]) -> Row:
    """Discrepancy in percent, None where it was not measured; without ``before`` nothing was changed."""
    check = report.get("check") or {}
    after = check.get("after")
    before = check.get("before") or after
    return {
        f"{prefix}percent_{when}": None if percentage is None else percentage[part]["percent"]
        for prefix, part in (("", "calibration"), ("heldout_", "heldout"))
        for when, percentage in (("before", before), ("after", after))
    }


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int, int]]:
    """Over all cases: seeded, located and repaired, by type."""
    keys = ("seeded", "located", "repaired")
    return {type_: _three([sum(row.get(key, {}).get(type_, 0) for row in rows) for key in keys]) for type_ in TYPES}


def _three(numbers: Sequence[int]) -> tuple[int, int, int]:
    first, two, three = numbers
    return first, two, three


def _same(fault: Mapping[str, Any], reported: Mapping[str, Any]) -> bool:
    """A preparation by the deployment has no node in the model: its type says it."""
    if fault["type"] != reported["type"]:
        return False
    return fault["node"] == "preprocess" or named(reported["node"], dict(fault))


def _none() -> dict[str, int]:
    return dict.fromkeys(TYPES, 0)


def _some(numbers: Mapping[str, int], of_type: Mapping[str, int]) -> dict[str, int]:
    return {type_: numbers[type_] for type_ in TYPES if of_type[type_]}
