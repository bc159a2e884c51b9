"""The example notebook, executed as Jupyter does: live models from framework to framework, each step verified."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "live_conversion.ipynb"
CELL_SECONDS = 300


@pytest.mark.filterwarnings("default")  # those of Jupyter's own packages
def test_the_notebook_runs_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nbclient.NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": tmp_path}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    tables = [output["data"]["text/html"] for output in shown if "text/html" in output.get("data", {})]
    assert sum("verified" in table for table in tables) >= 2
    assert not list(tmp_path.glob("safeconvert-" + "[0-9a-f]" * 12)), "the scratch folders of runs are removed"
