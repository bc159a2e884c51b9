"""Without --engine tvm nothing is asked of TVM; differences of runtimes that the search told are refused as such."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from safeconvert.repair.alignment.runtime_difference import LargestDifference, RuntimeDifference
from safeconvert.repair.tvm_exemptions import TvmExemptions

from safeconvert.options import Options

NO_WORKERS: Any = None  # what asks a worker fails


def test_the_walk_goes_along_the_view_as_it_is() -> None:
    exemptions = TvmExemptions(NO_WORKERS, Options())
    assert exemptions.before(Path("source.onnx"), {}, Path("target.onnx"), {}) == (Path("source.onnx"), None)
    assert exemptions.engine == "onnxruntime"


def test_a_difference_of_runtimes_is_refused_and_ends_no_search() -> None:
    values = LargestDifference(0.25, "0.5", "0.25")
    difference = RuntimeDifference("resize", "resize", "Resize", values)
    located: Any = SimpleNamespace(
        faults=[], result=SimpleNamespace(runtime_differences=(difference,), stop_reason="the time was over")
    )
    exemptions = TvmExemptions(NO_WORKERS, Options())
    assert exemptions.after(located) == "the time was over"
    (refusal,) = exemptions.refused
    assert (refusal.type, refusal.target_node) == ("CG", "resize")
    assert "Resize gives 0.5 in onnxruntime and 0.25 in TVM" in refusal.reason
