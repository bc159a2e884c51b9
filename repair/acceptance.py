"""Which repairs are needed: views with some of them made, each compared with the Source on calibration inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..checking.verdict import compare_rows, is_closer
from ..comparison.compare import Comparison, all_rows_differ
from ..errors import WorkerFailed
from ..models.input_mapping import Mismatch, map_inputs
from ..models.loaded import LoadedModel, shorten
from ..records import Recognised

if TYPE_CHECKING:
    from .strategies.view_edits import Repairer

ROWS = 64  # calibration inputs on which a repair is weighed
ALONE = 12  # faults that are each weighed alone; more are weighed together only


def needed(
    repairer: Repairer, usable: Sequence[int], before: Comparison
) -> tuple[LoadedModel | None, Comparison, list[int], dict[int, float | None]]:
    """The Target's view with the repairs made that are needed, how it compares, which they are, and each one's
    discrepancy in percent if it alone is left out. No view where they do not help.

    ``usable`` are the findings that can be repaired, by their places in ``repair/localization/session.py``.
    """
    side, compared = _with(repairer, usable)
    if not is_closer(compared, before):
        return None, compared, [], {}
    percents: dict[int, float | None] = {}
    chosen = list(usable)
    for index in reversed(usable) if 1 < len(usable) <= ALONE else ():
        if not repairer.budget.allows():
            break
        fewer = [other for other in chosen if other != index]
        if not fewer:
            continue
        other, without = _with(repairer, fewer)
        if without.agrees(values=repairer.is_unquantized) or not is_closer(compared, without):
            chosen, side, compared = fewer, other, without
        else:
            percents[index] = without.percent
    return side, compared, chosen, percents


def _with(repairer: Repairer, chosen: Sequence[int]) -> tuple[LoadedModel, Comparison]:
    """The Target's view with these repairs made, compared with the Source."""
    path = repairer.workers.scratch("repaired.onnx")
    repairer.workers.worker("onnx_tflite", "onnx_tflite").call(
        "repair.localization.session", "write", path=str(path), chosen=list(chosen)
    )
    side = LoadedModel(repairer.workers, "onnx_tflite", Recognised(path, "onnx", "onnx"))
    try:
        side.worker()
    except WorkerFailed as error:
        return side, all_rows_differ(1, shorten(str(error)))
    planned = map_inputs(repairer.source.signature, repairer.shapes, side.signature)
    if isinstance(planned, Mismatch):
        return side, all_rows_differ(1, planned.reason)
    rows = repairer.evaluation_set.rows[0][:ROWS]
    return side, compare_rows(repairer.evaluation_set, side, planned, rows, "comparing a repair")
