"""Break the build unless the quantised model keeps within its budget.

python deploy_edge.py MODEL INPUTS.npz TARGET.tflite MAX_DISCREPANCY_PERCENT MAX_MB
"""

from __future__ import annotations

import sys

import safeconvert


def main(model: str, inputs: str, target: str, discrepancy: str, megabytes: str) -> None:
    result = safeconvert.convert(
        model,
        "tflite",
        output=target,
        inputs=inputs,
        quantize="int8",
        max_discrepancy=float(discrepancy),
        max_size=float(megabytes),
        force=True,
    )
    if result.target is None:
        sys.exit(f"the build stops: {'; '.join(result.reasons)}")
    (shipped,) = [step for step in result.report["quantization"]["frontier"] if step["shipped"]]
    heldout = shipped["heldout"]
    print(
        f"ship {result.target}: {shipped['plan']}, {shipped['size'] / 1e6:.3f} MB, {heldout['percent']:.2f} % of "
        f"{heldout['count']} held-out predictions differ (95 % bound {heldout['upper_bound_95']:.2f} %)"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
