"""An assertion that two models predict the same, for any test framework."""

from __future__ import annotations

from typing import Any


def assert_same_predictions(source: Any, target: Any, inputs: Any = None, **options: Any) -> None:
    """Raise AssertionError, with the reasons, unless ``safeconvert.check`` says ``verified``.

    Source and Target are paths or live models, ``inputs`` what ``safeconvert.check`` takes (probes where None);
    ``options`` are its options, such as ``images`` or ``max_discrepancy``. Undecided is no agreement.
    """
    from ..api import check

    result = check(source, target, inputs=inputs, **options)
    if result.exit_code != 0:
        reasons = "\n  ".join(result.reasons) or "see the report"
        raise AssertionError(f"the models do not predict the same: {result.verdict}\n  {reasons}")
