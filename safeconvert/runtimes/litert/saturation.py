"""Find activations of an integer TFLite file whose range is too narrow for its inputs. Runs in a worker."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..registry import Arrays
from ..trace_store import Array
from .model import interpreted
from .quantization_plan import SaturatedActivation
from .trace import observed

MIN_SHARE = 0.0005  # of an activation's values at an end of its range; files calibrated on extremes reach less
CLIPPED_AT = (0.0, 1.0, 6.0, -1.0)  # where activation functions and softmax end: many values lie there in float too
FIXED_RANGE = ("SOFTMAX", "LOGISTIC", "TANH")  # their ranges are fixed by TFLite


def saturated_activations(path: str, arrays: Arrays) -> list[SaturatedActivation]:
    """Run the file on ``arrays`` (input name -> array, batch first) and list activations that reach a range's end.

    An operator that has the range of its input, as those that only move values on, is left out: it repeats what its
    input reaches. Returned in execution order, so that what a wrong range causes behind it comes later.
    """
    interpreter = observed(path)
    model = interpreted(interpreter)
    details = {int(detail["index"]): detail for detail in interpreter.get_tensor_details()}
    steps = interpreter._get_ops_details()
    counts: dict[int, Array] = {}
    rows = len(next(iter(arrays.values())))
    for row in range(rows):
        model.run({name: array[row : row + 1] for name, array in arrays.items()})
        for step in steps:
            for index in map(int, step["outputs"]):
                if _is_computed(step, index, details):
                    counts[index] = counts.get(index, np.zeros(2)) + _at_the_ends(interpreter, details[index])
    return [
        SaturatedActivation(details[index]["name"], float(share), *map(float, _ends(details[index])))
        for index, (reached, total) in counts.items()
        if reached > rows and (share := reached / total) >= MIN_SHARE  # a single value may be what set the range
    ]


def _is_computed(step: Any, index: int, details: dict[int, Any]) -> bool:
    """Does the operator compute this 8-bit activation in a range of its own?"""
    detail = details[index]
    if detail["dtype"] not in (np.int8, np.uint8) or not detail["quantization"][0] or step["op_name"] in FIXED_RANGE:
        return False
    return all(details[int(i)]["quantization"] != detail["quantization"] for i in step["inputs"] if int(i) >= 0)


def _ends(detail: Any) -> tuple[float, float]:
    """The real numbers at both ends of the tensor's range."""
    (scale, zero_point), limits = detail["quantization"], np.iinfo(detail["dtype"])
    return (limits.min - zero_point) * scale, (limits.max - zero_point) * scale


def _at_the_ends(interpreter: Any, detail: Any) -> Array:
    """How many values lie at an end where no activation function ends, and how many there are."""
    values, limits = interpreter.get_tensor(detail["index"]), np.iinfo(detail["dtype"])
    reached = 0
    for limit, end in zip((limits.min, limits.max), _ends(detail), strict=True):
        if min(abs(end - known) for known in CLIPPED_AT) > detail["quantization"][0]:
            reached += int((values == limit).sum())
    return np.array([reached, values.size])
