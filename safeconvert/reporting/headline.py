"""The verdict in one or two sentences, for someone who knows neither the converters nor the words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .figures import Totals, fault_words, formatted_percent, input_noun, totals


@dataclass(frozen=True)
class Headline:
    """``badge`` is the verdict in two or three words, ``sentence`` what happened, ``detail`` how sure that is."""

    badge: str
    sentence: str
    detail: str


def has_table_without_budget(document: Mapping[str, Any]) -> bool:
    """Whether the run ended in a table of what each kind of quantisation costs, since no budget was set."""
    return bool(document.get("quantization", {}).get("table"))


BADGES = {
    "verified": "Safe to use",
    "repaired": "Repaired, safe to use",
    "diverged": "Do not use",
    "failed": "No model was made",
    "undecided": "Not decided",
}


def headline(document: Mapping[str, Any]) -> Headline:
    """Return the headline of a report."""
    verdict = document["verdict"]
    badge = "No budget set" if has_table_without_budget(document) else BADGES[verdict]
    return Headline(badge, _SENTENCES[verdict](document), _detail(document))


def _failed(document: Mapping[str, Any]) -> str:
    return "No converter produced a model, so there is nothing to use."


def _undecided(document: Mapping[str, Any]) -> str:
    if has_table_without_budget(document):
        return (
            "The quantised model differs from the original and no budget says how much it may, so no file was made: "
            "the table shows what each kind of quantisation costs."
        )
    if totals(document["check"]["after"]) is None:
        return "The two models could not be compared, so nothing is known about the converted one."
    return "The comparison of the two models does not decide whether the converted one is right."


def _verified(document: Mapping[str, Any]) -> str:
    """Nothing differs, or no more than was allowed."""
    after, noun = totals(document["check"]["after"]), input_noun(document["check"])[1]
    if after is None:
        return "The converted model answers as the original does."
    if after.differ:
        return (
            f"The converted model predicts otherwise for {after.differ} of {after.count} {noun} "
            f"({formatted_percent(after.percent)}), which is within what was allowed."
        )
    return f"The converted model gives the same {_answers(document)} as the original for all {after.count} {noun}."


def _repaired(document: Mapping[str, Any]) -> str:
    before, after = (totals(document["check"][name]) for name in ("before", "after"))
    if before is None or after is None:
        return f"{_cause(document)}. This is fixed."
    now = _now(after) if before.differ else f"the values of all {after.count} agree"
    return f"{_cause(document)}. {_changed(before, document)}. This is fixed: now {now}."


def _now(after: Totals) -> str:
    return f"{after.differ or 'none'} of {after.count} {'changes' if after.differ == 1 else 'change'}"


def _diverged(document: Mapping[str, Any]) -> str:
    check = document["check"]
    after = totals(check["after"])
    if after is None:
        return "The converted model does not answer as the original does."
    repaired = [fault for fault in document["faults"] if fault["status"] == "repaired"]
    changes = _changed(after, document)
    if not document["faults"]:
        if document["target"] is not None and document["target"]["quantized"]:
            return f"{changes}. The converted model is quantised: its numbers are rounded to few digits."
        if document["command"].startswith("safeconvert check "):
            return f"{changes}. A check compares only: where the difference comes from was not looked for."
        return f"{changes}. What is wrong could not be located." if after.differ else f"{changes}."
    more = f" {len(repaired)} of {len(document['faults'])} faults found were fixed." if repaired else ""
    end = "no repair was tried" if "--no-repair" in document["command"].split() else "it could not be fixed"
    return f"{_cause(document)}. {changes}, and {end}.{more}"


def _cause(document: Mapping[str, Any]) -> str:
    """What was wrong with the Target; the first of several faults that stay, or else the first."""
    faults = document["faults"]
    if not faults:
        return "The converted model did not answer as the original does"
    fault = min(faults, key=lambda each: each["status"] == "repaired")
    words = fault_words(fault, document)
    more = len(faults) - 1
    return words if not more else f"{words}, and there {'is 1 more fault' if more == 1 else f'are {more} more faults'}"


def _changed(figures: Totals, document: Mapping[str, Any]) -> str:
    """How many predictions changed."""
    noun = input_noun(document["check"])[1]
    if not figures.differ:
        verb = "differed" if document["verdict"] == "repaired" else "differ"
        return f"The labels of all {figures.count} {noun} stay, and other values {verb} by more than the tolerance"
    share = f"{figures.differ} of {figures.count} {noun} ({formatted_percent(figures.percent)})"
    verb = "changed" if document["verdict"] == "repaired" else "changes"
    return (
        f"That {verb} the {_answers(document)} for {share}"
        if document["faults"]
        else (f"The {_answers(document)} for {share} {'changed' if verb == 'changed' else 'differs from the original'}")
    )


def _answers(document: Mapping[str, Any]) -> str:
    has_labels = any(rule["kind"] in ("labels", "map") for rule in document["check"]["outputs"])
    return "prediction" if has_labels else "output"


def _detail(document: Mapping[str, Any]) -> str:
    """How far what was seen can be trusted."""
    check = document["check"]
    is_repaired = document["verdict"] == "repaired"
    figures = totals(check["after"], ("heldout",)) if is_repaired else totals(check["after"])
    figures = figures or totals(check["after"])
    if figures is None or figures.upper_bound_95 is None or document["verdict"] not in ("verified", "repaired"):
        return ""
    bound = formatted_percent(figures.upper_bound_95)
    noun = input_noun(check)[1]
    where = f"{figures.differ} of {figures.count} {noun}"
    if is_repaired and check["inputs"]["heldout"]:
        where += " that the repair never looked at"
    words = f"{where} differ: with 95 % confidence, less than {bound} of all inputs like these do."
    if check["inputs"]["kind"] == "probes":
        words += " Only random inputs were compared, which says less than your own data would."
    return words


_SENTENCES = {
    "verified": _verified,
    "repaired": _repaired,
    "diverged": _diverged,
    "failed": _failed,
    "undecided": _undecided,
}
