"""What a person should do next, by the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from .headline import has_table_without_budget


def next_steps(document: Mapping[str, Any]) -> list[str]:
    """Return the steps as plain sentences, the most important one first."""
    steps = _STEPS[document["verdict"]](document)
    return steps + _own_data(document) + _assumptions(document) + _bug_reports(document)


def _name(document: Mapping[str, Any], role: str) -> str:
    return PurePath(document[role]["path"]).name


def _use(document: Mapping[str, Any]) -> list[str]:
    if document["target"] is None:
        return []
    name = _name(document, "target")
    if document["command"].startswith("safeconvert check "):
        return [f"Use {name}: it can take the place of {_name(document, 'source')}."]
    steps = [f"Use {name} in place of {_name(document, 'source')}."]
    if document["check"]["inputs"]["preprocess"] is not None:
        steps.append(f"Prepare images in your application as {name}.input.json says: the verdict holds for that only.")
    return steps


def _diverged(document: Mapping[str, Any]) -> list[str]:
    steps = []
    if document["target"] is not None:
        steps.append(
            f"Do not ship {_name(document, 'target')}: its answers are not those of {_name(document, 'source')}."
        )
    command = document["command"]
    if "--no-repair" in command:
        steps.append("Run the command again without --no-repair: repairs were not tried.")
    elif command.startswith("safeconvert check "):
        steps.append("Run `safeconvert repair` with the same two models: a check only compares and repairs nothing.")
    if any("--repair-time" in reason or "time for repair" in reason for reason in document["reasons"]):
        steps.append("Give the repair more time with --repair-time SECONDS.")
    if document["target"] is not None and document["target"]["quantized"]:
        steps.append(
            "The model is quantised, which rounds its numbers. Try --quantize float16, give more and more typical "
            "images with --images, or allow for the loss with --max-discrepancy PERCENT."
        )
    elif not document["faults"] and not command.startswith("safeconvert check "):
        steps.append("Try another format on the way: `safeconvert routes` shows which converters there are.")
    return steps


def _failed(document: Mapping[str, Any]) -> list[str]:
    environments = any("safeconvert env install" in hop["message"] for hop in document["route"])
    steps = ["Read below what each converter says, and replace the layers that it does not know in the original model."]
    if environments:
        steps.append("Install the missing converters: --auto-env does so, or the command given in the table below.")
    return [
        *steps,
        "`safeconvert routes` shows other formats that can be reached; `safeconvert doctor` what is missing.",
    ]


def _undecided(document: Mapping[str, Any]) -> list[str]:
    if has_table_without_budget(document):
        return ["Pick a row of the table below and run its command: it sets the budget that this row needs."]
    steps = ["Read the reason above. Until it is removed, treat the converted model as untested."]
    if document["check"]["inputs"]["count"] == 0:
        steps.append("Give inputs that can be read with --images FOLDER or --inputs FILE.npz.")
    return steps


def _own_data(document: Mapping[str, Any]) -> list[str]:
    if document["check"]["inputs"]["kind"] != "probes":
        return []
    return ["Run the command again with --images FOLDER or --inputs FILE.npz, so that your own data are compared."]


def _assumptions(document: Mapping[str, Any]) -> list[str]:
    assumed = [note for note in document["notes"] if note.startswith("assumed preprocessing")]
    return [f"Check how images are prepared ({note})." for note in assumed]


def _bug_reports(document: Mapping[str, Any]) -> list[str]:
    ready = [fault for fault in document["faults"] if "issue" in fault.get("reproduce", {})]
    failing = [node for hop in document["route"] for node in hop.get("fails_on", ()) if "issue" in node]
    if not ready and not failing:
        return []
    return ["Tell the converter's project: a ready bug report stands below, beside what went wrong."]


_STEPS = {"verified": _use, "repaired": _use, "diverged": _diverged, "failed": _failed, "undecided": _undecided}
