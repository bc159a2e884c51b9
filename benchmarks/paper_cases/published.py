"""What the paper reports of its fifteen erroneous conversions (FetaFix, arXiv 2312.15101), as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TYPES = ("PP", "ID", "TSS", "WB", "LH", "CG")


@dataclass(frozen=True)
class Published:
    """One row: discrepancy in percent before and after repair on ILSVRC2017 and ImageNetV2, and the types repaired
    with their numbers where the paper gives them."""

    ilsvrc2017: tuple[float, float]
    imagenet_v2: tuple[float, float]
    types: str


ROWS: Mapping[int, Published] = MappingProxyType(
    {
        1: Published((83.41, 0), (74.85, 0), "PP"),
        2: Published((49.34, 0.33), (31.87, 0.28), "PP, WB 96"),
        3: Published((68.21, 0), (53.77, 0), "PP"),
        4: Published((47.21, 0), (26.44, 0), "PP, ID, TSS"),
        5: Published((9.70, 0), (6.32, 0), "WB 66 of 68"),
        6: Published((48.90, 0), (31.56, 0), "PP"),
        7: Published((36, 0), (89, 0), "PP"),
        8: Published((3.12, 1.50), (1.58, 0.66), "WB 174 of 180"),
        9: Published((72.30, 0), (53.41, 0), "PP, ID"),
        10: Published((73.90, 0), (56.15, 0), "PP"),
        11: Published((100, 0), (100, 0), "LH 4, CG 3"),
        12: Published((2.70, 2.70), (1.32, 1.32), "none"),
        13: Published((34.85, 0), (17.59, 0), "ID, TSS, LH 1, CG 1"),
        14: Published((32.38, 0), (15.89, 0), "PP, ID, TSS, LH 7"),
        15: Published((4.36, 0), (1.53, 0), "WB 94"),
    }
)

TOTALS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"PP": (9, 9), "ID": (4, 4), "TSS": (3, 3), "WB": (438, 430), "LH": (254, 12), "CG": (47, 4)}
)
"""Faults located and repaired, by type, over all the paper's experiments."""
