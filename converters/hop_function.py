"""What the function of a hop takes and gives back. Both sides of the process border know these types.

A hop function is called as ``function(path=..., target=..., **arguments)``: it converts the model at ``path``, writes
the result to ``target`` and returns a :class:`HopAnswer`. Of :class:`HopArguments` it declares as keyword-only
parameters what its converter needs, and its ``Hop`` names the same in ``takes``. This file needs the standard library
alone: converters in an environment of their own import it too.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypedDict

Shapes = dict[str, list[int | None]]  # input name -> shape of this run, batch first; None is a free size
Calibration = dict[str, str]  # input name -> path of a .npy file whose first axis are the rows


@dataclass(frozen=True)
class InputPermutation:
    """Image inputs that the Target takes in the other layout.

    ``names`` are the rank-4 inputs; ``axes`` is the permutation that turns the *new* input into what the model takes:
    (0, 3, 1, 2) where the new input is channels-last, (0, 2, 3, 1) where it is channels-first.
    """

    names: tuple[str, ...]
    axes: tuple[int, ...]


class HopArguments(TypedDict, total=False):
    """Everything that a hop function may take, by parameter name, beside ``path`` and ``target``.

    ``shapes``: the input shapes of this run. ``opset``: the ONNX opset to write; None leaves it to the converter.
    ``form``: the equivalent form of the model that the converter is to be fed, one of the hop's ``forms``; "" is the
    model as it is. ``signature``: which signature of a SavedModel; None is the default one. ``quantize``: ``none``,
    ``float16`` (weights), ``dynamic`` (8-bit weights) or ``int8`` (weights and activations, which ``calibration`` is
    for). ``input_permutation``: inputs that the Target takes in the other layout. ``dequantize``: write float
    arithmetic for a quantised model.
    """

    shapes: Shapes
    opset: int | None
    form: str
    signature: str | None
    quantize: str
    calibration: Calibration | None
    input_permutation: InputPermutation | None
    dequantize: bool


class HopAnswer(enum.Enum):
    """What a hop function says when it ends without an exception."""

    WRITTEN = "the Target stands at the path that was asked for"
    UNCHANGED = "nothing was written: the form that was asked for would be the model as it is"
