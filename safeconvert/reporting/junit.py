"""JUnit XML of conversions and comparisons, for systems that show tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

NOT_IN_XML = {code: "?" for code in range(32) if code not in (9, 10, 13)}


@dataclass(frozen=True)
class Case:
    """One conversion or comparison: ``verdict`` is None where an input, an option or the program prevented one."""

    name: str
    verdict: str | None
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return self.verdict in ("verified", "repaired")


def case_of_report(name: str, report: Mapping[str, Any]) -> Case:
    """Return the case of one run's report."""
    return Case(name, report["verdict"], tuple(report["reasons"]), report["timings"].get("total", 0.0))


def case_of_record(record: Mapping[str, Any]) -> Case:
    """Return the case of one conversion of a batch."""
    name = f"{record['model']} -> {record['to']}"
    return Case(name, record["verdict"], tuple(record["reasons"]), record["seconds"] or 0.0)


def render(cases: Sequence[Case]) -> str:
    """Return the XML: ``diverged`` is a failure; ``failed``, ``undecided`` and no verdict are errors."""
    failures = sum(case.verdict == "diverged" for case in cases)
    bad = sum(not case.is_good for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": str(bad - failures), "skipped": "0"}
    seconds = f"{sum(case.seconds for case in cases):.3f}"
    suites = ElementTree.Element("testsuites", {**counts, "time": seconds})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "safeconvert", **counts, "time": seconds})
    for case in cases:
        attributes = {"classname": "safeconvert", "name": _clean(case.name), "time": f"{case.seconds:.3f}"}
        element = ElementTree.SubElement(suite, "testcase", attributes)
        if not case.is_good:
            word = "failure" if case.verdict == "diverged" else "error"
            kind = case.verdict or "no verdict"
            message = _clean(case.reasons[0] if case.reasons else kind)
            ElementTree.SubElement(element, word, {"type": kind, "message": message}).text = _clean(
                "\n".join(case.reasons)
            )
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """XML 1.0 takes no control characters, not even escaped."""
    return text.translate(NOT_IN_XML)
