"""What is told of a fault that was repaired in the Target's own file: by the file's own names."""

from __future__ import annotations

from safeconvert.repair.strategies.native_edits import NativeChange, diagnosed_in_own_file

from safeconvert.records import Diagnosis

SEEN = Diagnosis(
    type="WB", hop="", source_node="conv", target_node="Conv_3", evidence={"operator": "Conv"}, repair="weights set"
)


def test_a_fault_is_told_by_the_layer_and_arrays_that_were_set() -> None:
    diagnosis = diagnosed_in_own_file(
        SEEN, NativeChange("conv_1", ("conv_1/kernel", "conv_1/bias"), {"dtype": "float32"})
    )
    assert (diagnosis.type, diagnosis.source_node, diagnosis.target_node) == ("WB", "conv", "conv_1")
    assert diagnosis.evidence == {"operator": "Conv", "dtype": "float32"}
    assert diagnosis.repair == "conv_1/kernel, conv_1/bias set in the Target's own file; in its view: weights set"


def test_arrays_that_belong_to_no_layer_leave_the_name_of_the_view() -> None:
    assert diagnosed_in_own_file(SEEN, NativeChange("", ("arith.constant",), {})).target_node == "Conv_3"
