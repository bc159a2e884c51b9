"""``safeconvert batch`` and ``matrix`` as commands: what is wrong is told, what is done is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safeconvert.batch.backends import Backend
from safeconvert.cli.machine_outputs import MachineOutputs
from safeconvert.cli.many_models import run_batch
from safeconvert.errors import BadInput
from tests.batch.test_runner import finished
from tests.support.command import installed_safeconvert


@pytest.fixture
def plan(tmp_path: Path, onnx_models: Path) -> Path:
    """A TOML file with one conversion, which has been done already."""
    from safeconvert.batch.plan import read_plan
    from safeconvert.batch.state import StateFolder

    path = tmp_path / "work" / "models.toml"
    path.parent.mkdir()
    path.write_text(f'[[convert]]\nmodel = "{onnx_models}/labels.onnx"\nto = "torch"\noutput = "labels.onnx"\n')
    state = StateFolder(path.with_name("models.batch.state"))
    state.path.mkdir()
    finished(state, read_plan(path)[0])
    return path


def test_a_batch_that_is_done_is_shown_again(plan: Path) -> None:
    done = installed_safeconvert("batch", plan, folder=plan.parent)
    assert done.code == 0, done.err
    assert "verified (earlier)" in done.out
    assert "models.batch.html" in done.out
    done = installed_safeconvert("batch", plan, "--json", "--junit", "batch.xml", folder=plan.parent)
    assert 'tests="1" failures="0"' in (plan.parent / "batch.xml").read_text()
    assert json.loads(done.out)["counts"] == {"verified": 1}


def test_mistakes_end_the_batch_with_exit_code_2(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "models.toml").write_text('[[convert]]\nmodel = "none.onnx"\nto = "kears"\n')
    done = installed_safeconvert("batch", "models.toml", folder=folder)
    assert (done.code, done.out) == (2, "")
    assert "2 mistakes" in done.err
    done = installed_safeconvert("matrix", "none.onnx", folder=folder)
    assert done.code == 2
    assert "none.onnx does not exist" in done.err


def test_an_output_in_no_folder_is_refused(plan: Path) -> None:
    outputs = MachineOutputs("batch", plan.parent / "junit.xml")
    with pytest.raises(BadInput, match="does not exist"):
        run_batch(plan, plan.parent / "no" / "x", Backend(), outputs, as_json=False, quiet=True, verbose=False)
    assert 'errors="1"' in (plan.parent / "junit.xml").read_text()
    with pytest.raises(BadInput, match="--junit"):
        MachineOutputs("batch", plan.parent / "no" / "x.xml").check()
