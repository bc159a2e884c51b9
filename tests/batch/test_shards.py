"""A check in shards counts exactly what a check in one piece counts, on the same split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import safeconvert
from safeconvert.batch.backends import Backend
from safeconvert.batch.shards import BatchFigures, ShardFigures, added, check_in_shards, incomplete
from safeconvert.checking.source_outputs import batches
from safeconvert.comparison.comparison import Comparison
from safeconvert.errors import BadInput
from tests.conftest import conv_net

INPUTS = 300


class OneAfterAnother(Backend):
    """Runs the tasks in this process, the last one first: their order must not matter."""

    def run(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [function(*each) for each in reversed(arguments)]


@pytest.mark.parametrize("scale", [1.0, 1.003, 1.5])
def test_counts_are_those_of_one_machine(tmp_path: Path, scale: float) -> None:
    other = conv_net("labels")
    weights = {tensor.name: tensor for tensor in other.graph.initializer}
    moved = onnx.numpy_helper.to_array(weights["w_y"]).copy()
    moved[:, 3] *= scale
    weights["w_y"].CopyFrom(onnx.numpy_helper.from_array(moved, "w_y"))
    onnx.save(conv_net("labels"), tmp_path / "source.onnx")
    onnx.save(other, tmp_path / "target.onnx")
    random = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=random.standard_normal((INPUTS, 3, 8, 8), np.float32))
    models = tmp_path / "source.onnx", tmp_path / "target.onnx"
    options = {"inputs": tmp_path / "x.npz", "holdout": 0.3, "seed": 7}
    whole = safeconvert.check(*models, **options)
    sharded = check_in_shards(*models, 3, OneAfterAnother(), **options)
    for key in ("before", "after", "differing", "inputs", "outputs"):
        assert sharded.report["check"][key] == whole.report["check"][key]
    assert (sharded.verdict, sharded.reasons) == (whole.verdict, whole.reasons)
    counts = [whole.report["check"]["after"][name]["count"] for name in ("calibration", "heldout")]
    assert counts == [210, 90]
    if scale == 1.5:
        assert whole.report["check"]["after"]["calibration"]["labels_differ"] > 0


def test_noise_counts_from_the_first_batch_that_differs() -> None:
    def entry(set_number: int, place: int, differ: int) -> BatchFigures:
        plain = Comparison(4, values_differ=differ, near_ties=0)
        return BatchFigures(set_number, place, plain, Comparison(4, values_differ=0, near_ties=2))

    figures = [entry(1, 0, 0), entry(0, 2, 0), entry(0, 1, 3), entry(0, 0, 0)]
    (calibration, heldout), uses_noise = added(figures)
    assert uses_noise
    assert (calibration.count, calibration.values_differ, calibration.near_ties) == (12, 0, 4)
    assert (heldout.count, heldout.near_ties) == (4, 2)
    assert not added([entry(0, 0, 0)])[1]


def test_no_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--shards 0"):
        check_in_shards(tmp_path / "a", tmp_path / "b", 0, Backend())


class LosesTheFirst(OneAfterAnother):
    """A backend one of whose workers cannot read the inputs."""

    def run(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        results = super().run(function, arguments)
        assert all(len(digest) == 64 for shard in results for digest in shard.digests)
        return [ShardFigures(results[0].digests), *results[1:]]


def test_a_shard_without_figures_is_not_counted_as_agreement(tmp_path: Path) -> None:
    onnx.save(conv_net("labels"), tmp_path / "source.onnx")
    onnx.save(conv_net("labels"), tmp_path / "target.onnx")
    inputs = np.random.default_rng(0).standard_normal((INPUTS, 3, 8, 8), np.float32)
    result = check_in_shards(tmp_path / "source.onnx", tmp_path / "target.onnx", 3, LosesTheFirst(), inputs=inputs)
    assert result.verdict == "undecided"
    assert "300 were to be compared" in result.reasons[0]


def test_figures_must_cover_each_input_once_and_be_of_the_same_models() -> None:
    sets, digests = (tuple(range(100)), ()), ("a", "b")
    sizes = [len(batch) for batch in batches(sets[0])]
    entries = [BatchFigures(0, place, Comparison(size), None) for place, size in enumerate(sizes)]
    halves = ShardFigures(digests, tuple(entries[::2])), ShardFigures(digests, tuple(entries[1::2]))
    assert incomplete(halves, digests, sets) is None
    assert "100 were to be compared" in str(incomplete(halves[:1], digests, sets))
    assert "each once" in str(incomplete((*halves, halves[0]), digests, sets))
    assert "another Target" in str(incomplete((halves[0], ShardFigures(("a", "c"), halves[1].batches)), digests, sets))
    assert "another Source" in str(incomplete((halves[0], ShardFigures(("x", "b"), halves[1].batches)), digests, sets))
