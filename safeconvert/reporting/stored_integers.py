"""The integers that a quantised model takes and gives, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def stored_lines(document: Mapping[str, Any]) -> list[str]:
    """Return a line for each input and output of Source and Target that the file stores as integers."""
    return [
        f"{side} {noun} {tensor['name']}: {tensor['dtype']} stored as {stored_words(tensor['stored'])}"
        for side in ("source", "target")
        for noun in ("input", "output")
        for tensor in (document[side] or {}).get(f"{noun}s", ())
        if "stored" in tensor
    ]


def stored_words(stored: Mapping[str, Any]) -> str:
    """Return dtype, scale and zero point: "int8, scale 0.0039, zero point -128"."""
    return f"{stored['dtype']}, scale {stored['scale']:.6g}, zero point {stored['zero_point']}"
