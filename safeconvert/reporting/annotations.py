"""Annotations of GitHub Actions: one line each on standard error, which the runner shows beside the change."""

from __future__ import annotations

import os

from .junit import Case


def is_wanted() -> bool:
    """Does this process run in GitHub Actions?"""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotation(case: Case) -> str | None:
    """Return ``::error ...`` for a case that is not good, ``::notice ...`` for a repaired one, None for a verified."""
    if case.verdict == "verified":
        return None
    level, message = ("notice", "differed and was repaired") if case.is_good else ("error", "; ".join(case.reasons))
    title = f"safeconvert {case.verdict or 'error'}: {case.name}"
    return f"::{level} title={_property(title)}::{_data(message or 'see the report')}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
