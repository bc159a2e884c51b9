"""The examples of docs/extend.md are complete: applied to a copy of the code, they do what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "extend.md"
NEW_FILE = "# new file: "
BELOW = re.compile(r"# (\S+), below the line: (.+)")


def examples(section: str) -> list[str]:
    """The Python blocks of one section of the page, in order."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = [text for text in sections if text.startswith(f"{section}\n")]
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def installed(folder: Path) -> Path:
    """A copy of the code as it is installed: ``converters`` and ``repair`` inside of ``safeconvert``."""
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "safeconvert", folder / "safeconvert", ignore=without)
    for package in ("converters", "repair"):
        shutil.copytree(ROOT / package, folder / "safeconvert" / package, ignore=without)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def place_of(copy: Path, name: str) -> Path:
    return copy / (name if name.startswith("safeconvert/") else f"safeconvert/{name}")


def apply(copy: Path, block: str) -> None:
    """Make the change that a block describes in its first line."""
    heading, _, code = block.partition("\n")
    if heading.startswith(NEW_FILE):
        place_of(copy, heading.removeprefix(NEW_FILE)).write_text(code, encoding="utf-8")
        return
    match = BELOW.fullmatch(heading)
    assert match is not None, f"the block says neither {NEW_FILE!r} nor where its lines go: {heading!r}"
    path = place_of(copy, match[1])
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (at,) = [index for index, line in enumerate(lines) if line.rstrip("\n") == match[2]]
    path.write_text("".join([*lines[: at + 1], code, *lines[at + 1 :]]), encoding="utf-8")


def extended(section: str, folder: Path) -> Path:
    copy = installed(folder)
    blocks = examples(section)
    assert blocks
    for block in blocks:
        apply(copy, block)
    return copy


def run(copy: Path, *command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with the copy in place of the installed package."""
    quiet = {**os.environ, "PYTHONPATH": str(copy), "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    words = [sys.executable, "-W", "ignore", *map(str, command)]
    return subprocess.run(words, cwd=folder, env=quiet, capture_output=True, text=True, timeout=400, check=False)


def guards(copy: Path, *files: str) -> subprocess.CompletedProcess[str]:
    """Run guards on the copy: those of hops if no files are named."""
    options = ["-q", "-x", "-p", "no:cacheprovider", "-o", f"pythonpath={copy} {ROOT}"]
    return run(copy, "-m", "pytest", *options, *(files or ["tests/guards/test_hops.py"]), folder=ROOT)


@pytest.fixture(scope="module")
def with_hop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extended("Add a hop", tmp_path_factory.mktemp("hop"))


def test_the_hop_of_the_page_passes_the_guards(with_hop: Path) -> None:
    done = guards(with_hop)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\b(\d+) passed", done.stdout) is not None
    assert "litert" in run(with_hop, "-m", "safeconvert", "routes", "keras", "tflite", folder=with_hop).stdout


def test_the_guards_see_a_hop_that_names_a_parameter_that_its_function_lacks(tmp_path: Path) -> None:
    copy = extended("Add a hop", tmp_path)
    path = copy / "safeconvert" / "converters" / "keras_litert.py"
    code = path.read_text(encoding="utf-8").replace(
        "input_permutation: InputPermutation | None = None", "opset: int = 1"
    )
    path.write_text(code, encoding="utf-8")
    assert guards(copy).returncode == 1


def test_the_hop_of_the_page_converts(with_hop: Path, keras_models: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.tflite"
    source = keras_models / "model.keras"
    done = run(with_hop, "-m", "safeconvert", "keras2tflite", source, "-o", target, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["verdict"] == "verified"
    assert [(entry["converter"], entry["status"]) for entry in report["route"]] == [
        ("keras Model.export (litert)", "ok")
    ]
    assert target.exists()


@pytest.fixture(scope="module")
def with_format(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extended("Add a format", tmp_path_factory.mktemp("format"))


def test_the_format_of_the_page_passes_the_guards(with_format: Path) -> None:
    done = guards(with_format, "tests/guards/test_formats.py", "tests/guards/test_hops.py")
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_format_of_the_page_is_converted_to_and_checked(
    with_format: Path, onnx_models: Path, tmp_path: Path
) -> None:
    source, target = onnx_models / "labels.onnx", tmp_path / "model.ort"
    done = run(with_format, "-m", "safeconvert", "onnx2ort", source, "-o", target, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert (report["verdict"], report["target"]["format"]) == ("verified", "ort")
    for model, code in (("labels.onnx", 0), ("labels_off.onnx", 1)):
        done = run(with_format, "-m", "safeconvert", "check", onnx_models / model, target, folder=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr


REWRITTEN = """
import numpy, onnx, onnxruntime
from onnx import TensorProto, helper
from safeconvert.repair.rewrites import rewrite
from safeconvert.repair.rewrites.forms import FORMS

x = numpy.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("float32")
for p in (1, 2, 3):
    node = helper.make_node("GlobalLpPool", ["x"], ["y"], "pool", p=p)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", x.shape), ("y", (2, 3, 1, 1)))]
    graph = helper.make_graph([node], "net", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for form in ("missing", "plain"):
        changed, applied = rewrite(model, names=FORMS[form])
        assert [a.rewrite for a in applied][0] == "global-lp-pool", applied
        assert "GlobalLpPool" not in {n.op_type for n in changed.graph.node}
        results = [onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0] for m in (model, changed)]
        numpy.testing.assert_allclose(*results, rtol=1e-5)
print("equal")
"""


def test_the_rewrite_of_the_page_equals_its_operator_and_is_fed_to_converters(tmp_path: Path) -> None:
    copy = extended("Add a rewrite", tmp_path)
    done = run(copy, "-c", REWRITTEN, folder=tmp_path)
    assert done.stdout.endswith("equal\n"), done.stderr[-2000:]


EXCHANGED = """
import sys, onnx
from safeconvert.repair.faults.fault_types import FAULT_TYPES
from tests.support.seeded_nets import CLASSES, Builder, look
from pathlib import Path

def net(exchanged):
    b = Builder(2)
    x = b.node("Relu", [b.conv("x", "first", 3, 6)], "active")
    pair = [b.conv(x, "left", 6, 6), b.node("Sigmoid", [x], "right")]
    x = b.node("Sub", pair[::-1] if exchanged else pair, "difference")
    x = b.node("Flatten", [b.node("GlobalAveragePool", [b.node("Relu", [x], "after")], "gap")], "flat")
    b.node("Gemm", [x, b.weight("fc_w", 6, CLASSES), b.weight("fc_b", CLASSES)], "y")
    return b.model({"y": [CLASSES]}, (3, 9, 7))

looked = look(Path(sys.argv[1]), net(False), net(True))
assert looked.brief == [("OO", "difference")], looked.faults
assert looked.after < 1e-5 < looked.before, looked
print("named")
"""


def test_the_fault_type_of_the_page_names_its_fault_and_repairs_it(tmp_path: Path) -> None:
    copy = extended("Add a fault type", tmp_path / "code")
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nsys.path.append({str(ROOT)!r})\n{EXCHANGED}", encoding="utf-8")
    done = run(copy, script, tmp_path, folder=tmp_path)
    assert done.stdout.endswith("named\n"), done.stderr[-2000:]


def test_without_its_line_in_the_list_the_fault_type_of_the_page_names_nothing(tmp_path: Path) -> None:
    copy = extended("Add a fault type", tmp_path / "code")
    path = copy / "safeconvert" / "repair" / "faults" / "fault_types.py"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "OPERAND_ORDER" not in line), encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nsys.path.append({str(ROOT)!r})\n{EXCHANGED}", encoding="utf-8")
    done = run(copy, script, tmp_path, folder=tmp_path)
    assert "AssertionError" in done.stderr
    assert "named" not in done.stdout


def test_the_guard_sees_every_part_of_the_fault_type_of_the_page(tmp_path: Path) -> None:
    copy = extended("Add a fault type", tmp_path)
    options = ["-q", "-p", "no:cacheprovider", "-o", f"pythonpath={copy} {ROOT}"]
    done = run(copy, "-m", "pytest", *options, "tests/guards/test_fault_types.py", folder=ROOT)
    assert re.search(r"^1 failed", done.stdout.splitlines()[-1]), done.stdout[-2000:]
    assert "test_milder_types_come_first" in done.stdout, "only the list of codes in order is not told of the new one"
