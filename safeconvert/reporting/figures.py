"""Numbers and names of the report as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..comparison.comparison import Comparison
from .wording import converter_of, first_name

KILOBYTE = 1000
INPUT_NOUNS = {
    "images": ("image", "images"),
    "tensors": ("input", "inputs"),
    "probes": ("random input", "random inputs"),
}
FAULT_WORDS = {
    "PP": "how images are prepared at",
    "ID": "the size of the input at",
    "TSS": "the order or shape of the values at",
    "WB": "the weights of",
    "LH": "a setting of",
    "CG": "the computation of",
}
"""What is wrong with a Target, by fault type; the name of the layer follows."""


@dataclass(frozen=True)
class Totals:
    """The figures of calibration and held-out set together; ``max_abs`` is None where nothing could be subtracted."""

    count: int
    differ: int
    max_abs: float | None

    @property
    def percent(self) -> float:
        return 100.0 * self.differ / self.count if self.count else 0.0

    @property
    def upper_bound_95(self) -> float | None:
        """The upper end of the 95 % Clopper-Pearson interval, in percent; None where nothing was compared."""
        return Comparison(self.count, labels_differ=self.differ).upper_bound_95


def totals(sets: Mapping[str, Any] | None, names: Sequence[str] = ("calibration", "heldout")) -> Totals | None:
    """Return the figures of these sets together; None where nothing was compared."""
    if sets is None:
        return None
    parts = [sets[name] for name in names if sets[name]["count"]]
    if not parts:
        return None
    largest = [part["max_abs"] for part in parts]
    max_abs = None if any(value is None for value in largest) else max(largest)
    return Totals(sum(part["count"] for part in parts), sum(part["labels_differ"] for part in parts), max_abs)


def input_noun(check: Mapping[str, Any]) -> tuple[str, str]:
    """Return what one input is called, and several."""
    return INPUT_NOUNS.get(check["inputs"]["kind"] or "tensors", ("input", "inputs"))


def fault_words(fault: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Say what is wrong, such as ``onnx2keras changed a setting of the MaxPool layer /MaxPool``."""
    converter = converter_of(fault["hop"], document)
    operator = fault["evidence"].get("operator") or ""
    node = first_name(fault["source_node"] or fault["target_node"])
    layer = " ".join(["the", *([operator] if operator else []), "layer", *([node] if node else [])])
    return f"{converter or 'The converted model'} changed {FAULT_WORDS[fault['type']]} {layer}{_settings(fault)}"


def _settings(fault: Mapping[str, Any]) -> str:
    """The settings that differ, where they are known."""
    settings = fault["evidence"].get("settings", ())
    parts = [f"{each['name']} is {each['target']} instead of {each['source']}" for each in settings]
    return f" ({', '.join(parts)})" if parts else ""


def formatted_percent(value: float | None) -> str:
    """``0 %``, ``1.2 %``, ``34 %``: two significant digits, and never ``0 %`` or ``100 %`` for another number."""
    if value is None:
        return "-"
    if 99.95 <= value < 100:
        return "over 99.9 %"
    if value == 0 or value >= 10:
        return f"{value:.3g} %" if value < 100 and value != round(value) else f"{value:.0f} %"
    return f"{value:.2g} %" if value >= 0.01 else "under 0.01 %"


def formatted_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def formatted_shape(shape: Sequence[int | None] | None) -> str:
    """``? × 3 × 224 × 224``; a question mark is any size."""
    if shape is None:
        return "not known"
    return " × ".join("?" if size is None else str(size) for size in shape) or "one number"


def byte_size(size: int | None) -> str:
    if size is None:
        return "-"
    for unit in ("bytes", "kB", "MB"):
        if size < KILOBYTE:
            return f"{size:.3g} {unit}"
        size = size / KILOBYTE  # type: ignore[assignment]
    return f"{size:.3g} GB"
