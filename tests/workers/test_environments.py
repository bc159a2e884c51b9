"""Environments of their own: when they count as installed, and what is said where one cannot be made."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from safeconvert.errors import BadInput
from safeconvert.workers import environments
from safeconvert.workers.environments import (
    Recipe,
    find_python,
    install,
    installed_version,
    interpreter,
    packages_beside,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))


def test_an_environment_counts_once_it_is_installed_whole() -> None:
    python = environments.folder("tool") / "bin" / "python"
    assert (interpreter("tool"), installed_version("tool")) == (None, None)
    python.parent.mkdir(parents=True)
    python.touch()
    assert interpreter("tool") is None
    record = environments.folder("tool") / "installed.json"
    record.write_text("{")
    assert installed_version("tool") is None
    record.write_text(json.dumps({"version": "1.2"}))
    assert (interpreter("tool"), installed_version("tool")) == (str(python), "1.2")


def test_this_python_is_taken_where_it_is_new_enough() -> None:
    assert find_python((3, 8)) == sys.executable
    assert find_python((4, 0)) is None


def test_a_recipe_that_no_python_here_can_run_is_refused() -> None:
    recipe = Recipe("tool", (((4, 1), ("tool==2",)), ((4, 0), ("tool==1",))), "for this test")
    with pytest.raises(BadInput, match=r"tool needs Python 4\.0 or newer"):
        install(recipe)
    assert not environments.folder("tool").exists()


def test_what_pip_says_is_passed_on(tmp_path: Path) -> None:
    missing = tmp_path / "no_such_package-1.0-py3-none-any.whl"
    recipe = Recipe("tool", (((3, 8), (str(missing),)),), "for this test")
    with pytest.raises(BadInput, match=r"the environment tool could not be made: .*ERROR"):
        install(recipe)
    assert interpreter("tool") is None


def wheel(folder: Path, name: str, version: str, *requires: str) -> Path:
    """A package of one empty module, as pip installs it."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    place = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "")
        file.writestr(f"{place}/METADATA", metadata + "".join(f"Requires-Dist: {r}\n" for r in requires))
        file.writestr(f"{place}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        listed = (f"{name}.py", *(f"{place}/{part}" for part in ("METADATA", "WHEEL", "RECORD")))
        file.writestr(f"{place}/RECORD", "".join(f"{entry},,\n" for entry in listed))
    return path


def test_packages_of_safeconverts_own_environment_are_shared_and_other_versions_constrained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = wheel(tmp_path, "tool", "1.5", "part", "numpy")
    for version in ("1.0", "2.0"):
        wheel(tmp_path, "part", version)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("part==1.0\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # NumPy is not there to be installed: it must be seen
    recipe = Recipe("tool", (((3, 8), (str(tool),)),), "for this test", shared="numpy", constraints=constraints)
    assert install(recipe) == "1.5"
    python = interpreter("tool")
    assert python is not None
    code = "import numpy, importlib.metadata as m; print(m.version('part'), numpy.__file__)"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert answer[0] == "1.0"
    assert answer[1].startswith(packages_beside("numpy") or "-")
    record = environments.folder("tool") / "installed.json"
    record.write_text(record.read_text().replace(json.dumps(packages_beside("numpy")), '"/elsewhere"'))
    assert (interpreter("tool"), installed_version("tool")) == (None, None)


def test_an_environment_cannot_share_what_is_not_installed() -> None:
    recipe = Recipe("tool", (((3, 8), ("tool",)),), "for this test", shared="torch_x")
    with pytest.raises(BadInput, match=r"which lacks it: pip install 'safeconvert\[torch_x\]'"):
        install(recipe)
