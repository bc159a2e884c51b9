"""Every command and snippet of docs/cluster.md, docs/ci.md and examples/ does what is said of it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from safeconvert.cli.main import cli
from tests.conftest import conv_net
from tests.support.command import safeconvert

ROOT = Path(__file__).resolve().parents[2]
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("cluster", "ci")}
EXAMPLES = sorted((ROOT / "examples").glob("*.y*ml"))  # scripts are run by tests/quantization


def blocks(page: str, language: str) -> list[str]:
    every = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in every if name == language]


def commands(text: str) -> list[list[str]]:
    return [
        shlex.split(line)[1:] for line in re.findall(r"(?<=entry: |- run: )safeconvert .*|^safeconvert .*", text, re.M)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The models and inputs that the pages name."""
    place = tmp_path / "work"
    place.mkdir()
    for name, scale in (("small", 1.0), ("small_copy", 1.0), ("large", 2.0), ("wrong", 1.1)):
        onnx.save(conv_net("labels", scale), place / f"{name}.onnx")
    np.savez(place / "inputs.npz", x=np.random.default_rng(0).standard_normal((8, 3, 8, 8), np.float32))
    (place / "models.toml").write_text(blocks("cluster", "toml")[0])
    return place


def test_the_pages_have_commands() -> None:
    assert [words[0] for page in PAGES for words in commands("".join(blocks(page, "")))] == [
        "batch", "matrix", "check", "check", "repair",
    ]  # fmt: skip


@pytest.mark.parametrize("words", [words for page in PAGES for words in commands("".join(blocks(page, "")))])
def test_commands_of_the_pages_end_well(folder: Path, words: list[str]) -> None:
    done = safeconvert(*words, folder=folder, timeout=600)
    assert done.code == 0, done.out + done.err
    files = {"batch": "models.batch.html", "matrix": "matrix/matrix.svg", "check": "check.xml", "repair": "nodes.json"}
    file = "shards.report.json" if "--shards" in words else files[words[0]]
    assert (folder / file).exists()


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_commands_of_the_examples_end_well(folder: Path, path: Path) -> None:
    (words,) = commands(path.read_text(encoding="utf-8"))
    done = safeconvert(*words, folder=folder)
    assert done.code == 0, done.out + done.err


def test_commands_for_clusters_are_understood() -> None:
    rows = re.findall(r"`safeconvert (batch [^`]*--backend[^`]*)`", PAGES["cluster"])
    assert len(rows) == 2
    for row in rows:
        name, *words = shlex.split(row)
        command = cli.commands[name]
        assert command.make_context(name, words).params["scheduler"].startswith(("tcp://HOST", "HOST"))


def test_the_tests_of_the_page_pass(folder: Path) -> None:
    (text,) = blocks("ci", "python")
    (folder / "test_page.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
