"""One task of a batch: a conversion through the Python API, in the worker process that a backend chose."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..api import convert
from ..errors import BadInput
from ..runs.result import Result
from .plan import Conversion
from .state import StateFolder


def run_conversion(conversion: Conversion, key: str, state: StateFolder) -> None:
    """Convert, and leave a record in the state folder; a conversion that is done already is not done again.

    Raises nothing of the conversion's: what went wrong with it is in its record.
    """
    with state.sole_worker(key):
        if state.finished(key) is not None:
            return
        options = dict(conversion.options)
        if state.was_started(key):
            options["force"] = True  # what stands at the output is of a run of this task that was lost
        elif options.get("force") or not conversion.output.exists():
            state.mark_started(key)
        state.log("started", key, conversion.name)
        begun = time.monotonic()
        outcome = _outcome(conversion, options)
        state.write(key, {**_description(conversion), **outcome, "seconds": round(time.monotonic() - begun, 3)})
        state.log("finished", key, conversion.name)


def _outcome(conversion: Conversion, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        result = convert(conversion.model, conversion.to, output=conversion.output, **options)
    except (BadInput, OSError) as error:
        return no_verdict(2, str(error))
    except Exception as error:  # noqa: BLE001 - one model's failure is not the others'
        return no_verdict(3, f"unexpected {type(error).__name__}: {error}")
    return _of_result(conversion, result)


def _description(conversion: Conversion) -> dict[str, Any]:
    return {"model": str(conversion.model), "to": conversion.to, "output": str(conversion.output)}


def _of_result(conversion: Conversion, result: Result) -> dict[str, Any]:
    report = result.report
    return {
        "source": report["source"]["format"],
        "verdict": str(result.verdict),
        "exit_code": result.exit_code,
        "reasons": list(result.reasons),
        "before": _discrepancy(report["check"]["before"]),
        "after": _discrepancy(report["check"]["after"]),
        "faults": len(report["faults"]),
        "report": f"{conversion.output}.report.json",
        "target": None if result.target is None else str(result.target),
        "target_sha256": None if result.target is None else report["target"]["sha256"],
    }


def _discrepancy(sets: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the inputs compared, those that differ, and their share in percent, over both sets."""
    if sets is None:
        return None
    count = sum(figures["count"] for figures in sets.values())
    differ = sum(figures["labels_differ"] for figures in sets.values())
    return {"count": count, "labels_differ": differ, "percent": 100.0 * differ / count if count else None}


def no_verdict(exit_code: int, error: str) -> dict[str, Any]:
    """Return what a record says of a conversion that came to no verdict, which the next run does again."""
    nothing = dict.fromkeys(("source", "verdict", "before", "after", "report", "target", "target_sha256"))
    return {**nothing, "exit_code": exit_code, "reasons": [error], "faults": 0}


def lost_record(conversion: Conversion, rounds: int) -> dict[str, Any]:
    """Return the record of a conversion that no worker lived to end."""
    return {**_description(conversion), **no_verdict(3, f"its worker was lost {rounds} times"), "seconds": None}
