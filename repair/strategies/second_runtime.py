"""Name the operators of a TFLite Target that its second runtime computes in another way; nothing is changed."""

from __future__ import annotations

from ...errors import WorkerFailed
from ...records import Diagnosis
from ..context import Findings, Proposal, RepairContext, RepairState
from ..second_runtime_faults import differing_operators

NAME = "name operators that a second runtime computes in another way"


def applies(context: RepairContext, state: RepairState) -> bool:
    """The Target as it was differed only in its second runtime."""
    return state.in_second_runtime is not None


def propose(context: RepairContext, state: RepairState) -> Proposal | None:
    """Return the differing operators as diagnoses; a Target that was replaced repairs them."""
    target = state.in_second_runtime
    assert target is not None
    evaluation_set = context.evaluation_set
    arrays = evaluation_set.inputs.read(evaluation_set.rows[0][:1])
    try:
        operators = differing_operators(context.source, target.model, target.mapping, arrays, context.options.tolerance)
    except WorkerFailed:
        return None  # the Target is judged without it
    before = state.judgement.before or state.judgement.compared
    words = "the Target was replaced by one that is right in both runtimes" if state.is_good else ""
    diagnoses = tuple(
        Diagnosis(
            type=operator.type,
            hop=context.hop,
            source_node=operator.source_node,
            target_node=operator.target_node,
            evidence=operator.evidence,
            repair=words,
            percent_before=None if before is None else before[0].percent,
            is_repaired=state.is_good,
        )
        for operator in operators
    )
    return Proposal(findings=Findings(diagnoses))
