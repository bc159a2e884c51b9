"""The part of the graph around a fault, Source beside Target, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .figures import formatted_number, formatted_shape


@dataclass(frozen=True)
class GraphRow:
    """One line of the comparison: what is compared, and what Source and Target have there."""

    name: str
    source: str
    target: str
    is_fault: bool = False


def graph_parts(fault: Mapping[str, Any]) -> list[GraphRow]:
    """Return the rows for a fault, from its evidence."""
    evidence = fault["evidence"]
    operator = evidence.get("operator") or ""
    near = [(each["position"], each["source"], each["target"]) for each in evidence.get("neighbours", ())]
    rows = [_neighbour(*each) for each in near if each[0] < 0]
    rows.append(GraphRow("the fault", fault["source_node"] or "none", fault["target_node"] or "none", is_fault=True))
    rows.append(
        GraphRow(
            "operators",
            " → ".join(evidence.get("source_operators") or [evidence.get("source_operator") or operator]),
            " → ".join(evidence.get("target_operators") or [operator]),
        )
    )
    rows += _settings(evidence) + _weights(evidence) + _outputs(evidence)
    return rows + [_neighbour(*each) for each in near if each[0] > 0]


def _neighbour(position: int, source: str, target: str) -> GraphRow:
    """``position`` is the distance from the fault in nodes, negative before it."""
    where = "before" if position < 0 else "after"
    return GraphRow(f"{abs(position)} {where} it", source or "none", target or "none")


def _settings(evidence: Mapping[str, Any]) -> list[GraphRow]:
    return [
        GraphRow(str(setting["name"]), str(setting.get("source")), str(setting.get("target")), is_fault=True)
        for setting in evidence.get("settings", ())
    ]


def _weights(evidence: Mapping[str, Any]) -> list[GraphRow]:
    return [
        GraphRow(
            f"{array['role']} {array['tensor']}",
            f"shape {formatted_shape(array['shape'])}",
            f"{array['values_that_differ']} values differ, by up to {formatted_number(array['max_abs'])}",
            is_fault=True,
        )
        for array in evidence.get("tensors", ())
    ]


def _outputs(evidence: Mapping[str, Any]) -> list[GraphRow]:
    """The shape of the layer's output, and how far its values are off on the Source's own activations."""
    rows = []
    source_shape, target_shape = evidence.get("source_shape"), evidence.get("target_shape")
    if source_shape is not None:
        target = "the converter fails" if target_shape is None else formatted_shape(target_shape)
        rows.append(
            GraphRow("output shape", formatted_shape(source_shape), target, is_fault=source_shape != target_shape)
        )
    if (largest := evidence.get("local_max_abs")) is not None:
        rows.append(GraphRow("output values", "right", f"off by up to {formatted_number(largest)}", is_fault=True))
    elif (share := evidence.get("local_difference")) is not None:
        rows.append(
            GraphRow("output values", "right", f"off by {formatted_number(100 * share)} % of their size", is_fault=True)
        )
    return rows
