"""A batch on a local Dask cluster of two worker processes, one of which is killed in the middle of a conversion."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.batch_with_lost_worker import MODELS, measure

pytest.importorskip("distributed")


def test_every_model_is_done_once_though_a_worker_is_killed(tmp_path: Path) -> None:
    result = measure("dask", tmp_path)
    assert (result["counts"], result["exit_code"]) == ({"verified": MODELS}, 0)
    assert (result["finished_once"], result["finished_twice"], result["reports"]) == (MODELS, 0, 1)
    assert result["killed"] in result["workers"]
    assert result["started_again"] == 1
