"""The mutants' parts: how far a mutant moves the outputs, what a table counts, one model from building to verdict."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import mutants
from benchmarks.mutating.drawing import change, wanted

Array = np.ndarray[Any, Any]


def test_a_change_is_measured_in_each_channel_and_in_labels_where_they_are_what_counts() -> None:
    healthy = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32) * np.float32([1000, 1, 0.01])
    moved = healthy + np.float32([0, 0, 0.02])
    assert change([healthy], [healthy], [None], labels=False) == 0
    assert change([healthy], [moved], [None], labels=False) == pytest.approx(2, rel=0.3)
    assert change([healthy], [moved], [-1], labels=True) < 0.1
    assert change([healthy], [-healthy], [-1], labels=True) > 1


def test_what_is_wanted_is_a_seed_a_format_and_a_folder_that_may_hold_colons() -> None:
    assert wanted("3:tflite-int8:/tmp/a:b") == (3, "tflite-int8", Path("/tmp/a:b"))


@pytest.mark.parametrize(
    ("mutation", "verdict", "is_told"),
    [
        (None, "verified", True), (None, "diverged", False), (None, "undecided", False),
        ("bias moved", "diverged", True), ("bias moved", "verified", False), ("bias moved", "undecided", False),
        ("?", "not built", False),
    ],
)  # fmt: skip
def test_only_verified_healthy_targets_and_diverged_mutants_count(
    mutation: str | None, verdict: str, is_told: bool
) -> None:
    row = {"model": "U-Net", "format": "tflite-int8", "seed": 1, "mutation": mutation, "verdict": verdict}
    assert mutants.is_told(row) is is_told
    last = mutants.table([row]).splitlines()[-1]
    cell = f"{int(is_told)}/1"
    assert last == (
        f"| all |  | 0/0 | {cell} | 0/0 | 0/0 |" if mutation is None else f"| all |  | 0/0 | 0/0 | 0/0 | {cell} |"
    )


def test_formats_of_one_model_have_different_mutants() -> None:
    drawn = list(mutants.trials("U-Net", argparse.Namespace(seed=0, per_target=2)))
    seeds = [seed for _, seed in drawn if seed]
    assert len(seeds) == len(set(seeds)) == 10
    assert [format_name for format_name, seed in drawn if seed == 0] == list(mutants.FORMATS["U-Net"])


def test_a_healthy_target_is_verified_and_a_mutant_diverges(tmp_path: Path) -> None:
    name = "two inputs"
    assert mutants.build(name, [(0, "keras"), (1, "keras")], tmp_path) == ""
    rows = [mutants.check(name, "keras", seed, tmp_path, "") for seed in (0, 1)]
    assert [row["verdict"] for row in rows] == ["verified", "diverged"]
    assert rows[1]["mutation"] is not None
    assert rows[1]["change"] > 0
