"""The error along the network as bars, before and after the repair: each layer on the Source's own values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 600, 140  # of the drawing, in its own units; it is stretched to the page
MIN_SCORE, MAX_SCORE = 1e-4, 1e4  # the ends of the logarithmic axis, in multiples of the tolerance


@dataclass(frozen=True)
class LayerBar:
    """One layer: its place in the drawing, and its error in multiples of the tolerance, None where infinite.

    ``after`` and ``height_after`` are of the repaired Target; None where that was not measured.
    """

    node: str
    operator: str
    x: float
    width: float
    before: float | None
    height: float
    fault: str
    after: float | None = None
    height_after: float | None = None


@dataclass(frozen=True)
class LayerErrorChart:
    """The bars in the network's order; ``tolerance_y`` is where the line of the tolerance stands."""

    bars: list[LayerBar]
    tolerance_y: float
    has_after: bool


def layer_error_chart(document: Mapping[str, Any]) -> LayerErrorChart | None:
    """Return the chart of ``localisation.layers``; None where localisation has no such figures."""
    localisation = document["localisation"]
    layers = [] if localisation is None else localisation.get("layers", [])
    if not layers:
        return None
    faults = {fault["source_node"]: fault["id"] for fault in document["faults"]}
    step = WIDTH / len(layers)
    bars = []
    for index, layer in enumerate(layers):
        bars.append(
            LayerBar(
                layer["source_node"],
                layer["operator"],
                round(index * step + step * 0.1, 2),
                round(step * 0.8, 2),
                layer["before"],
                _height(layer["before"]),
                faults.get(layer["source_node"], ""),
                layer.get("after"),
                _height(layer["after"]) if "after" in layer else None,
            )
        )
    return LayerErrorChart(bars, HEIGHT - _height(1.0), any("after" in layer for layer in layers))


def _height(score: float | None) -> float:
    """The height of a bar on the logarithmic axis; None, which is infinite, reaches the top."""
    if score is None:
        return HEIGHT
    share = math.log(min(max(score, MIN_SCORE), MAX_SCORE) / MIN_SCORE) / math.log(MAX_SCORE / MIN_SCORE)
    return round(max(2.0, HEIGHT * share), 2)
