"""The quantised files that were tried, as points: size against changed predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 600.0, 200.0  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 40.0, 590.0, 10.0, 175.0  # where the points lie: the numbers of the axes stand outside
MIN_TOP_PERCENT = 0.1  # of the vertical axis, so that files without a changed prediction lie at the bottom


@dataclass(frozen=True)
class FrontierPoint:
    """One file: its place in the drawing, and what it stands for.

    ``y`` is of the calibration inputs; ``heldout_y`` and ``bound_y`` of the held-out inputs and their 95 % upper bound,
    None where the file was not run on them. ``is_best`` says that no file is smaller and changes fewer predictions.
    """

    plan: str
    x: float
    y: float
    heldout_y: float | None
    bound_y: float | None
    is_shipped: bool
    is_best: bool


@dataclass(frozen=True)
class FrontierChart:
    """``points`` in the order tried, ``line`` through the best ones, and the ends of both axes in MB and percent."""

    points: tuple[FrontierPoint, ...]
    line: str
    smallest_mb: float
    largest_mb: float
    top_percent: float


def frontier_chart(quantization: Mapping[str, Any] | None) -> FrontierChart | None:
    """Return the chart of the report's ``quantization``; None where fewer than two files were compared."""
    part = quantization or {}
    steps = _distinct((*part.get("frontier", ()), *part.get("table", ())))
    if len(steps) < 2:
        return None
    sizes = [step["size"] for step in steps]
    low, span = min(sizes), (max(sizes) - min(sizes)) or 1
    top = max(MIN_TOP_PERCENT, *(percent for step in steps for percent in _percents(step) if percent is not None))

    def height(percent: float | None) -> float | None:
        return None if percent is None else round(BOTTOM - (BOTTOM - TOP) * percent / top, 2)

    points = []
    for step in steps:
        calibration, heldout, bound = (height(percent) for percent in _percents(step))
        assert calibration is not None
        x = round(LEFT + (RIGHT - LEFT) * (step["size"] - low) / span, 2)
        best = not any(_is_better(other, step) for other in steps)
        points.append(FrontierPoint(step["plan"], x, calibration, heldout, bound, step["shipped"], best))
    line = " ".join(f"{p.x},{p.y}" for p in sorted(points, key=lambda p: (p.x, -p.y)) if p.is_best)
    return FrontierChart(tuple(points), line, low / 1e6, max(sizes) / 1e6, top)


def _distinct(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The steps that were compared, each plan once: the table repeats the file of the search."""
    compared = [step for step in steps if step["calibration"]["percent"] is not None]
    return list({step["plan"]: step for step in reversed(compared)}.values())[::-1]


def _percents(step: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Changed predictions of the calibration inputs, of the held-out inputs, and the latter's upper bound."""
    heldout = step["heldout"] or {}
    return step["calibration"]["percent"], heldout.get("percent"), heldout.get("upper_bound_95")


def _is_better(other: Mapping[str, Any], step: Mapping[str, Any]) -> bool:
    """Is the other file no worse in size and changed predictions, and better in one of them?"""
    costs, reference = ((s["size"], s["calibration"]["percent"]) for s in (other, step))
    return all(a <= b for a, b in zip(costs, reference, strict=True)) and costs != reference
