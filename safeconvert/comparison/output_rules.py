"""How each output of a Target is held against the Source's: its kind, the tolerance of its channels, its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from .figures import judged_ranges
from .output_kinds import KindChoices, OutputKind, decide_kind
from .source_noise import is_ill_conditioned
from .tolerance import ChannelScales, ScaleMeter, Tolerance

Array = np.ndarray[Any, Any]
MAX_ERROR_PERCENT = 5.0  # of a quantised output: positions of a map that differ, or share of a channel's range
UNCERTAIN_LABELS_FACTOR = 2.0  # labels known by their shape alone: their values may be off by this multiple


@dataclass(frozen=True, eq=False)
class OutputRule:
    """What one output is held to.

    ``noise``: how far the Source's own answers move, at each position (see ``checking.source_noise``); None where that
    was not measured. ``max_error_percent`` is the limit of a quantised output. ``has_one_label``: the Source gives all
    inputs the same label, so labels show nothing.
    """

    name: str
    kind: OutputKind
    scales: ChannelScales
    tolerance: Tolerance
    noise: Array | None = None
    is_quantized: bool = False
    max_error_percent: float = MAX_ERROR_PERCENT
    max_error_origin: str = "default"
    has_one_label: bool = False

    @cached_property
    def allowed(self) -> Array:
        """The largest difference that is let pass at each position of the output, without its batch.

        The noise of an ill-conditioned output lets nothing pass: it would let everything pass.
        """
        return self.scales.allowed(self.tolerance, None if self.ill_conditioned else self.noise)

    def on_other_inputs(self, scales: ChannelScales) -> OutputRule:
        """The rule for inputs of another kind, whose scales these are: held to the wider of both, without noise."""
        return replace(self, scales=self.scales.widened(scales), noise=None)

    def with_noise(self, noise: Array | None) -> OutputRule:
        return replace(self, noise=noise)

    def allowed_without_noise(self) -> Array:
        return self.scales.allowed(self.tolerance)

    @property
    def ranges(self) -> Array:
        """The range of each channel that a quantised Target's error is a share of."""
        return judged_ranges(self.scales.channels)

    @property
    def judges_values(self) -> bool:
        """Of a quantised output: are its values judged too, since labels alone would prove too little?"""
        return not self.kind.has_labels or not self.kind.is_certain or self.has_one_label

    @property
    def value_limit_percent(self) -> float:
        """The share of a channel's range that a quantised output may be off."""
        return self.max_error_percent * (UNCERTAIN_LABELS_FACTOR if self.kind.has_labels else 1.0)

    @property
    def ill_conditioned(self) -> bool:
        """Does the Source's own noise drown what it says?"""
        return self.noise is not None and is_ill_conditioned(self.noise, self.scales)

    def to_json(self) -> dict[str, Any]:
        """The rule for the report."""
        scales, noise = self.scales, self.noise
        return {
            "name": self.name,
            "kind": self.kind.kind,
            "kind_origin": self.kind.origin,
            "class_axis": self.kind.class_axis,
            "is_quantized": self.is_quantized,
            "is_constant": scales.is_constant,
            "ill_conditioned": self.ill_conditioned,
            "tolerance": {
                "rule": self.words,
                "origin": self.tolerance.origin,
                "rtol": self.tolerance.rtol,
                "atol": self.tolerance.atol if self.tolerance.has_atol else None,
                "smallest": _smallest(self.allowed),
                "largest": float(self.allowed.max()),
                "smallest_spread": _smallest(scales.spread),
                "largest_spread": float(scales.spread.max()),
                "largest_noise": None if noise is None or not noise.size else float(noise.max()),
                "max_error_percent": self.max_error_percent if self.is_quantized else None,
                "max_error_origin": self.max_error_origin if self.is_quantized else None,
            },
        }

    @property
    def words(self) -> str:
        """What the output is held to, in words."""
        if self.kind.kind == "ids":
            return "equal"
        if self.is_quantized:
            limit = f"{self.max_error_percent:g} %"
            return {
                "labels": "equal labels"
                + (f", values within {self.value_limit_percent:g} % of their range" if self.judges_values else ""),
                "map": f"at most {limit} of the positions have another label, IoU",
                "boxes": f"IoU, and each channel within {limit} of its range",
                "values": f"each channel within {limit} of its range (RMS)",
            }[self.kind.kind]
        absolute = f"{self.tolerance.atol:g}" if self.tolerance.has_atol else "rounding"
        return f"{absolute} + {self.tolerance.rtol:g} * spread of the channel"


def rules_from_arrays(
    names: Sequence[str],
    arrays: Sequence[Array],
    tolerance: Tolerance,
    *,
    channels_last: bool = False,
    choices: KindChoices | None = None,
) -> tuple[OutputRule, ...]:
    """The rules of outputs of which only these arrays are known, batch first."""
    meters = [ScaleMeter() for _ in arrays]
    for meter, array in zip(meters, arrays, strict=True):
        meter.add(array)
    return rules_from_meters(names, arrays, meters, tolerance, channels_last=channels_last, choices=choices)


def rules_from_meters(
    names: Sequence[str],
    few: Sequence[Array],
    meters: Sequence[ScaleMeter],
    tolerance: Tolerance,
    *,
    channels_last: bool,
    choices: KindChoices | None = None,
) -> tuple[OutputRule, ...]:
    """The rules of the outputs: kinds from ``few`` answers of the Source, scales from what was measured of more."""
    rules = []
    for index, (array, meter) in enumerate(zip(few, meters, strict=True)):
        name = names[index] if index < len(names) else f"output {index}"
        kind = decide_kind(name, array, channels_last=channels_last, choices=choices)
        rules.append(OutputRule(name, kind, meter.scales(kind.class_axis), tolerance))
    return tuple(rules)


def with_max_errors(rules: Sequence[OutputRule], max_errors: Mapping[str, float]) -> tuple[OutputRule, ...]:
    """The rules with the limits of ``--max-error``, by output name."""
    return tuple(
        replace(rule, max_error_percent=max_errors[rule.name], max_error_origin="--max-error")
        if rule.name in max_errors
        else rule
        for rule in rules
    )


def _smallest(values: Array) -> float:
    return float(values.min()) if values.size else 0.0
