"""The Python of docs/python.md runs as it stands, each section as a script of its own; so does README's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"


def scripts(page: Path) -> dict[str, str]:
    """The Python of each section of a page that has any, by the section's title."""
    sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = {text.partition("\n")[0]: re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) for text in sections}
    return {title: "\n".join(code) for title, code in blocks.items() if code}


def run(code: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("title", ["Models in, models out", "Converter calls that verify"])
def test_a_section_runs(title: str, tmp_path: Path) -> None:
    run(scripts(PAGE)[title], tmp_path)


def test_every_section_with_code_is_run() -> None:
    assert set(scripts(PAGE)) == {"Models in, models out", "Converter calls that verify"}


def test_the_readmes_example_runs(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for seed in range(6):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{seed}.png")
    code = scripts(ROOT / "README.md")
    model = code["Command line"] + "\nmodel = torch.export.load('model.pt2')\n"
    run(f"{model}\n{code['Python']}\nassert result.path.exists() and keras_model.layers", tmp_path)
