"""The histogram of margins as bars: how sure the Source was of the inputs whose prediction changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 600, 120  # of the drawing, in its own units; it is stretched to the page
GAP = 4


@dataclass(frozen=True)
class MarginBar:
    """One bin of the histogram: its place in the drawing, and the counts it stands for."""

    low: float
    high: float
    x: float
    width: float
    all: int
    changed_before: int | None
    changed_after: int
    heights: tuple[float, float, float]  # of all inputs, of those changed before the repair, and after it


def margin_chart(margins: Mapping[str, Any]) -> list[MarginBar] | None:
    """Return the bars; None where there are no inputs to show."""
    largest = max(margins["all"], default=0)
    if not largest:
        return None
    edges, before = margins["edges"], margins["changed_before"]
    step = WIDTH / len(margins["all"])
    bars = []
    for index, count in enumerate(margins["all"]):
        earlier, now = (0 if before is None else before[index]), margins["changed_after"][index]
        heights = tuple(round(HEIGHT * part / largest, 2) for part in (count, earlier, now))
        bars.append(
            MarginBar(
                edges[index],
                edges[index + 1],
                round(index * step + GAP / 2, 2),
                round(step - GAP, 2),
                count,
                None if before is None else earlier,
                now,
                (heights[0], heights[1], heights[2]),
            )
        )
    return bars
