"""The worker's side: requests and what becomes of what they raise, and packages mounted without their ``__init__``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from safeconvert.workers import child


def test_a_request_is_answered_by_the_function_it_names() -> None:
    assert child.answer("inputs.base", "split", {"count": 3, "holdout": 0.0, "seed": 0}) == ("result", ((0, 1, 2), ()))


def test_whatever_a_request_raises_is_an_answer() -> None:
    kind, error = child.answer("workers.no_such_module", "x", {})
    assert (kind, error["kind"]) == ("raised", "ModuleNotFoundError")  # type: ignore[index]
    kind, error = child.answer("workers.child", "mount", {"folders": 3})
    assert (kind, error["kind"]) == ("raised", "AttributeError")  # type: ignore[index]
    assert "Traceback" in error["details"]  # type: ignore[index]


def test_a_mounted_package_is_imported_without_its_init(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "outer" / "__init__.py").write_text("raise RuntimeError('this is not to be run')")
    (inner / "__init__.py").write_text("")
    (inner / "number.py").write_text("from ..base import HALF\nVALUE = 2 * HALF")
    (tmp_path / "outer" / "base.py").write_text("HALF = 21")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import child\n"
        "child.mount({'outer': sys.argv[2]})\n"
        "from outer.inner.number import VALUE; print(VALUE)"
    )
    command = [sys.executable, "-P", "-c", code, str(Path(child.__file__).parent), str(tmp_path / "outer")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "42\n"
