"""How a float TFLite file is to be quantised, and what is measured of the result. Values; nothing runs here."""

from __future__ import annotations

from dataclasses import dataclass

STATIC_KINDS = ("int8", "int16x8")  # activations are integers too, so that their ranges must be known
RANGES = ("minmax", "percentile 99.99", "percentile 99.9", "mse")


@dataclass(frozen=True)
class QuantizationPlan:
    """One way to quantise a float TFLite file.

    ``kind`` is ``float16`` or ``weights`` (8-bit) with float arithmetic, ``dynamic`` (8-bit weights, activations
    rounded while the model runs), ``int8`` or ``int16x8`` (integer arithmetic, activations of 8 or 16 bits).
    ``ranges`` says how the range of an activation is taken from its calibration values. ``int16`` names the operators
    whose activations have 16 bits instead of 8, ``float_activations`` those that compute in float32 with 8-bit
    weights, ``floats`` those that stay in float32, each by its first output tensor. ``io_type`` is the dtype of inputs
    and outputs; other kinds than ``int8`` have float32.
    """

    kind: str
    ranges: str = "minmax"
    int16: tuple[str, ...] = ()
    float_activations: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    io_type: str = "float32"

    @property
    def is_static(self) -> bool:
        return self.kind in STATIC_KINDS

    @property
    def words(self) -> str:
        """Describe the plan: "int8, ranges by mse, 2 operators in float32"."""
        parts = [self.kind]
        parts += [f"ranges by {self.ranges}"] if self.is_static and self.ranges != "minmax" else []
        parts += [f"{len(self.int16)} operators with int16 activations"] if self.int16 else []
        if self.float_activations:
            parts += [f"{len(self.float_activations)} operators with float activations"]
        parts += [f"{len(self.floats)} operators in float32"] if self.floats else []
        return ", ".join(parts)


@dataclass(frozen=True)
class OperatorUse:
    """One operator of a TFLite file: ``name`` is its first output tensor, ``arithmetic`` ``integer``, ``float`` or
    ``conversion`` (between the two). ``multiplications`` are those of one input, 0 where the operator has no weights.
    """

    name: str
    operator: str
    arithmetic: str
    multiplications: int


@dataclass(frozen=True)
class LayerError:
    """How far one operator's output is off: noise over signal power, and how much of that its inputs did not have."""

    name: str
    operator: str
    noise_to_signal: float
    added: float


@dataclass(frozen=True)
class IntegerTensor:
    """An input or output of a file as an application must fill or read it: ``real = (q - zero_point) * scale``."""

    name: str
    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class SaturatedActivation:
    """An activation of which this ``share`` of values lies at an end of its range, from ``low`` to ``high``."""

    name: str
    share: float
    low: float
    high: float

    @property
    def words(self) -> str:
        """Describe it with the remedy."""
        return (
            f"{self.share:.1%} of the values of {self.name} reach an end of its range ({self.low:.4g} to "
            f"{self.high:.4g}): its scale or zero point is wrong, or it was calibrated on other inputs; quantise again"
        )
