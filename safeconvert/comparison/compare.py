"""Compare what Source and Target answer: labels, boxes, values, output by output, each as its rule says.

A missing output, another shape, a NaN or an infinity differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .comparators import TOP1, Comparator
from .comparison import Comparison, OutputComparison
from .output_rows import OutputRows, all_rows_of_output_differ, compare_rows_of_output
from .output_rules import OutputRule, rules_from_arrays
from .predictions import predictions
from .tolerance import Tolerance

Array = np.ndarray[Any, Any]


def compare(
    rows: Sequence[int],
    source: Sequence[Array],
    target: Sequence[Array],
    names: Sequence[str],
    rules: Tolerance | Sequence[OutputRule],
    by: Comparator = TOP1,
) -> Comparison:
    """Compare the outputs of the two models on the same inputs.

    ``rows`` are the inputs' numbers, one for each entry of the arrays' first axis; ``names`` name the Source's
    outputs. Outputs are matched by position: see ``input_mapping`` for how positions are found. ``rules`` say what each
    output is held to; with a tolerance alone they are made of the Source's outputs at hand. ``by`` says what makes an
    input differ; raises :class:`BadInput` where that is a person's own function which does not say it.
    """
    count = len(rows)
    if not count:
        return Comparison()
    if isinstance(rules, Tolerance):
        rules = rules_from_arrays(names, source, rules)
    problems: list[str] = []
    if len(source) != len(target):
        problems.append(f"the Source has {len(source)} outputs, the Target {len(target)}")
    outputs: list[OutputComparison] = []
    seen: list[OutputRows] = []
    for index, expected in enumerate(source):
        rule = rules[index]
        if index >= len(target):
            seen.append(all_rows_of_output_differ(count))
            continue
        output = target[index]
        shapes = tuple(expected.shape[1:]), tuple(output.shape[1:])
        if shapes[0] != shapes[1]:
            problems.append(
                f"output {rule.name!r} has shape {list(shapes[0])} in the Source, {list(shapes[1])} in the Target"
            )
        if expected.shape[1:] != output.shape[1:] and expected.size == output.size and len(output) == count:
            output = output.reshape(expected.shape)
        fits = expected.shape == output.shape
        result = compare_rows_of_output(rule, expected, output, by) if fits else all_rows_of_output_differ(count)
        seen.append(result)
        differ = int((result.values_differ & ~result.source_not_finite).sum())
        outputs.append(
            OutputComparison(
                rule.name, *shapes, result.max_abs, result.ratio, differ, rule.is_quantized, rule, result.figures
            )
        )
    return _joined_outputs(rows, source, target, names, rules, seen, outputs, problems, by)


def _joined_outputs(
    rows: Sequence[int],
    source: Sequence[Array],
    target: Sequence[Array],
    names: Sequence[str],
    rules: Sequence[OutputRule],
    seen: Sequence[OutputRows],
    outputs: Sequence[OutputComparison],
    problems: Sequence[str],
    by: Comparator,
) -> Comparison:
    """The comparison of all outputs together: an input differs where any output does."""
    count = len(rows)
    no = np.zeros(count, bool)
    bad_source, bad_target = _or(no, [r.source_not_finite for r in seen]), _or(no, [r.target_not_finite for r in seen])
    values, near = _or(no, [r.values_differ for r in seen]), _or(no, [r.near_ties for r in seen])
    order, rounded = _or(no, [r.order_differs for r in seen]), _or(no, [r.predictions_differ for r in seen])
    wrong, ties = no.copy(), no.copy()
    for rule, result in zip(rules, seen, strict=True):
        # Hardly a rounded map has every position's label: an input differs where too many do.
        is_rounded_map = rule.is_quantized and rule.kind.kind == "map"
        wrong |= result.predictions_differ if is_rounded_map else result.labels_differ
        decided = result.predictions_differ if rule.is_quantized else result.values_differ
        ties |= result.labels_differ & decided
    labelled = any(r.has_labels for r in seen)
    decides = _decides(rules, seen, no)
    if by.judging is not None and not problems:
        pairs = [dict(zip(names, arrays, strict=False)) for arrays in (source, target)]
        wrong |= ~by.agreed(pairs[0], pairs[1], count) | bad_target
        labelled, ties, decides = True, wrong, wrong
    elif not by.top:
        wrong |= values
        ties, decides = wrong, wrong
    elif not labelled:
        wrong |= decides
        ties = wrong
    # Where the Source itself gives no number there is nothing to agree with: counted apart, see undecidable.
    wrong, values, order = wrong & ~bad_source, values & ~bad_source, order & ~bad_source
    rounded, decides = rounded & ~bad_source, (decides | (wrong & ties)) & ~bad_source
    return Comparison(
        count,
        int(wrong.sum()),
        int(near.sum()),
        int((near & wrong).sum()),
        int(order.sum()),
        int(values.sum()),
        int(bad_source.sum()),
        int((bad_target & ~bad_source).sum()),
        labelled,
        tuple(outputs),
        tuple(problems),
        tuple(int(rows[int(i)]) for i in np.flatnonzero(decides)),
        by,
        int((wrong & ~ties).sum()),
        int(rounded.sum()),
        predictions(rows, rules, source, target),
    )


def _decides(rules: Sequence[OutputRule], seen: Sequence[OutputRows], no: Array) -> Array:
    """The inputs on which some output differs as its rule says."""
    return _or(
        no,
        [r.predictions_differ if rule.is_quantized else r.values_differ for rule, r in zip(rules, seen, strict=True)],
    )


def _or(no: Array, parts: Sequence[Array]) -> Array:
    return np.asarray(np.logical_or.reduce([no, *parts]))
