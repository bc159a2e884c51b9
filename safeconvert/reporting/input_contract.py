"""The Target's input contract: what an application needs to run it elsewhere, and a test vector."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..comparison.output_rules import OutputRule
from ..formats import Format
from ..records import Signature

Array = np.ndarray[Any, Any]

MEANINGS = {
    "labels": "a score for each class; the class with the largest is the prediction",
    "map": "a score for each class at each position; the class with the largest is the position's label",
    "boxes": "boxes: coordinates, and scores where there are more than four channels",
    "values": "numbers that are used as they are",
    "ids": "whole numbers, truth values or text that are used as they are",
}
BINARY_MEANING = "the probability of the class; from 0.5 on it is predicted"
ROUNDING = (
    "resized pixels are rounded to whole numbers from 0 to 255; the formula's result is rounded once, to the dtype"
)

COMPARISON = """\
for number, output in enumerate(outputs):
    numpy.testing.assert_allclose(output, test[f"expected_{number}"], rtol=1e-3, atol=1e-3 * abs(output).max())
print("the model answers as it did when it was checked")
"""


def extended(
    contract: str,
    *,
    is_assumed: bool,
    target: Signature,
    rules: Sequence[OutputRule],
    predictions: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return a contract with what it leaves open: how it resizes and rounds, its origin, and what each output means.

    ``contract`` is what ``EvaluationSet.contract`` returns; ``rules`` say what the outputs are, in the Source's order;
    ``predictions`` is that section of the report, which may know the names of classes.
    """
    values: dict[str, Any] = json.loads(contract)
    resizes = values["resize"] != "none"
    return {
        **values,
        "antialias": resizes and values["interpolation"] != "nearest",
        "rounding": ROUNDING,
        "origin": "assumed: no --preprocess was given" if is_assumed else "given",
        "stored": _stored(target, values["input_name"]),
        "outputs": _outputs(target, rules, predictions or {}),
    }


def _stored(target: Signature, input_name: str) -> dict[str, Any] | None:
    """Return the integers that the runtime takes, with their scale and zero point; None where it takes the numbers."""
    stored = next((spec.stored for spec in target.inputs if spec.name == input_name), None)
    return None if stored is None else asdict(stored)


def _outputs(target: Signature, rules: Sequence[OutputRule], predictions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describe the Target's outputs by the Source's rules: by name where names are the same, else by position."""
    by_name = {rule.name: rule for rule in rules}
    described = []
    for index, spec in enumerate(target.outputs):
        rule = by_name.get(spec.name) or (rules[index] if len(rules) == len(target.outputs) else None)
        entry: dict[str, Any] = spec.to_json()
        if rule is not None:
            entry["kind"] = rule.kind.kind
            entry["class_axis"] = rule.kind.class_axis
            if rule.name == predictions.get("output") and predictions["class_names"]:
                entry["class_names"] = predictions["class_names"]
            entry["meaning"] = BINARY_MEANING if rule.kind.is_binary else MEANINGS[rule.kind.kind]
        described.append(entry)
    return described


def with_test_vector(
    contract: Mapping[str, Any], *, format: Format, model_name: str, test_name: str, image: str, output_count: int
) -> dict[str, Any]:
    """Return the contract with the file of the test vector, and Python that runs it on the Target's runtime alone.

    The snippet is None where the format has none.
    """
    entry: dict[str, Any] = {"file": test_name, "image": image, "input": "input"}
    entry["expected"] = [f"expected_{number}" for number in range(output_count)]
    outputs = [output["name"] for output in contract["outputs"]]
    snippet = _snippet(format, model_name, test_name, contract["input_name"], outputs) if format.snippet else None
    return {**contract, "test_vector": entry, "snippet": snippet}


def _snippet(format: Format, model_name: str, test_name: str, input_name: str, outputs: Sequence[str]) -> str:
    """Return the Python text; it runs in the Target's folder."""
    text = format.snippet.replace("(OUTPUTS)", repr(list(outputs)))
    for word, value in (("MODEL", model_name), ("TEST", test_name), ("INPUT", input_name)):
        text = text.replace(f"({word}", f"({value!r}").replace(f"{{{word}:", f"{{{value!r}:")
    return text + COMPARISON


def vector_arrays(arrays: Mapping[str, Array], outputs: Sequence[Array]) -> dict[str, Array]:
    """Return the arrays of the file: the Target's only input, and its outputs in its own order."""
    (model_input,) = arrays.values()
    return {"input": model_input, **{f"expected_{number}": output for number, output in enumerate(outputs)}}
