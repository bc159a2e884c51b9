"""Write an ONNX file in an equivalent form for a converter that goes wrong on the file as it is. Worker side."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from .. import rewrites

FORMS: dict[str, tuple[str, ...]] = {
    "canonical": rewrites.CANONICAL,
    "missing": rewrites.MISSING,
    "plain": rewrites.PLAIN,
    "other": (*rewrites.PLAIN, *rewrites.ALTERNATIVES),
}
"""From the mildest to the most primitive: what is said otherwise in each. ``other`` takes second forms of operators
that have two."""


def write(path: str, target: str, form: str, opset: int, nodes: Collection[str] | None = None) -> list[dict[str, str]]:
    """Write the model at ``path`` to ``target`` in that form, at that opset at most; gives what was rewritten.

    ``nodes`` restricts the form to these nodes (by the names of ``rewrites.named``), and leaves the opset alone.
    Nothing is written, and the list is empty, where the form would be the file as it is.
    """
    model = onnx.load(path)
    written = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    changed: list[dict[str, str]] = []
    if written < rewrites.OLDEST:
        changed.append({"rewrite": f"opset {written} to 13", "node": "", "operator": "", "fault_type": "LH"})
    if written > opset and nodes is None:
        model = rewrites.prepare(model, opset)
        changed.append({"rewrite": f"opset {written} to {opset}", "node": "", "operator": "", "fault_type": "CG"})
    model, applied = rewrites.rewrite(model, names=FORMS[form], nodes=nodes)
    changed += [
        {"rewrite": a.rewrite, "node": a.node, "operator": a.op_type, "fault_type": a.fault_type} for a in applied
    ]
    if changed:
        onnx.save(model, target)
    return changed
