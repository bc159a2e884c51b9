"""The list of strategies: every module is on it, and what hides the most is tried first."""

from __future__ import annotations

from pathlib import Path

from safeconvert.repair import strategies
from safeconvert.repair.strategies import STRATEGIES, second_runtime

HELPS_ANOTHER = {
    "native_edits",  # sets the repairs of view_edits in the Target's own file
    "input_changes",  # lists what input_shapes tries
}


def test_every_module_is_on_the_list() -> None:
    folder = Path(strategies.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"} - HELPS_ANOTHER
    assert {strategy.propose.__module__.rpartition(".")[2] for strategy in STRATEGIES} == modules


def test_the_order() -> None:
    assert [strategy.name for strategy in STRATEGIES] == [
        "give the inputs the Source's dimensions",
        "prepare images as the Source does",
        "restore float weights",
        "edit the Target",
        "convert the Source again",
        "restore float weights",
        second_runtime.NAME,
        "build the deployment's preprocessing into the Target",
    ]
