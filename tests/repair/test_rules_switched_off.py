"""Each rule of the repair core, switched off: a Target on which it is right with the rule and wrong without."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safeconvert.repair import acceptance
from safeconvert.repair.alignment.matching import Match
from safeconvert.repair.alignment.walk import Walk
from safeconvert.repair.localization import explanation, locate

from safeconvert import api
from tests.support.seeded_faults import ENOUGH, SINGLE, agrees, broken
from tests.support.seeded_nets import CLASSES, Looked, inputs, look, net, weights
from tests.support.seeded_nets import Builder as Net


def right(looked: Looked, *names: str) -> bool:
    return sorted(looked.brief) == sorted(SINGLE[name][:2] for name in names) and agrees(looked)


def yes(*_: Any) -> bool:
    return True


def tried(*looking: Any) -> Looked | None:
    """What is found; None where the repaired view does not even run."""
    try:
        return look(*looking)
    except Exception:  # noqa: BLE001 - a mutant may write anything
        return None


@pytest.mark.parametrize("name", ["norm mean and variance"])
def test_a_proposal_is_taken_only_where_the_nodes_then_agree(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert right(look(tmp_path, net(), broken(name)), name)
    monkeypatch.setattr(explanation, "holds", yes)
    looked = tried(tmp_path, net(), broken(name))
    assert looked is None or not right(looked, name)


def test_a_pair_of_tensors_is_believed_only_where_what_follows_agrees_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "activation missing"
    assert right(look(tmp_path, net(), broken(name)), name)
    monkeypatch.setattr(Walk, "continues", yes)
    looked = tried(tmp_path, net(), broken(name))
    assert looked is None or not right(looked, name)


def test_content_counts_as_turned_only_where_what_follows_then_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "conv weights scaled"
    assert right(look(tmp_path, net(), broken(name)), name)
    monkeypatch.setattr(Walk, "continues_from", yes)
    looked = tried(tmp_path, net(), broken(name))
    assert looked is None or not right(looked, name)


def chain(drift: float) -> Any:
    """Thirteen matrices one after the other, each too large by ``drift``."""
    b = Net(3)
    x = b.node("Flatten", ["x"], "fl")
    sizes = [3 * 6 * 5, *[24] * 11, CLASSES]
    for i, (before, after) in enumerate(itertools.pairwise(sizes)):
        x = b.node("MatMul", [x, b.weight(f"w{i}", before, after)], "y" if i == len(sizes) - 2 else f"m{i}")
    model = b.model({"y": [CLASSES]}, (3, 6, 5))
    for i in range(len(sizes) - 1):
        weights(model, f"w{i}", lambda a: a * (1 + drift))
    return model


def test_what_adds_up_over_layers_is_nobodys_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(tmp_path, chain(0), chain(3e-5)).faults == []

    def left_as_computed(self: Walk, tensor: str, matches: list[Match]) -> None:
        self.aligned[tensor] = matches
        if tensor not in self.values:
            self.values[tensor] = matches[0].arrangement.of(self.contents.tensors[matches[0].name])

    monkeypatch.setattr(Walk, "align", left_as_computed)
    assert look(tmp_path, chain(0), chain(3e-5)).faults


def test_a_target_with_other_weights_is_not_rewritten_into_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = look(tmp_path, net(), net(seed=5))
    assert looked.why
    assert looked.after > 0.1
    monkeypatch.setattr(locate, "UNRELATED", 2.0)
    looked = look(tmp_path, net(), net(seed=5))
    assert not looked.why
    assert looked.after < ENOUGH


# --- what the parent does with what was found


def repaired(folder: Path, source: onnx.ModelProto, target: onnx.ModelProto) -> dict[str, Any]:
    """The report of a repair, run in this process (its children in theirs)."""
    for name, model in (("source", source), ("target", target)):
        onnx.save(model, folder / f"{name}.onnx")
    np.savez(folder / "x.npz", inputs(source, 0, 24))
    paths = [folder / f"{name}.onnx" for name in ("source", "target", "fixed")]
    result = api.repair(*paths[:2], output=paths[2], inputs=folder / "x.npz", force=True)
    return dict(result.report)


def harmless_and_not() -> onnx.ModelProto:
    """A wrong setting, and weights that are off by less than the outputs' tolerance shows."""
    model = broken("dilated")
    weights(model, "c4_w", lambda a: a * (1 + 5e-4))
    return model


def test_a_repair_without_which_the_target_agrees_too_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = repaired(tmp_path, net(), harmless_and_not())
    assert (report["verdict"], len(report["faults"]), len(report["refused"])) == ("repaired", 1, 1)
    monkeypatch.setattr(acceptance, "MAX_FAULTS_MEASURED_ALONE", 0)
    assert len(repaired(tmp_path, net(), harmless_and_not())["faults"]) == 2


def test_a_repair_is_kept_only_where_fewer_inputs_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> str:
        return "refused"

    monkeypatch.setattr(acceptance, "refusal", never)
    report = repaired(tmp_path, net(), broken("conv weights scaled"))
    assert report["verdict"] == "diverged"
    assert {fault["status"] for fault in report["faults"]} == {"unrepaired"}
