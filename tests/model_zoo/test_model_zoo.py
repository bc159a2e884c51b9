"""Photos in ImageNet's layouts for the model zoo, and the arithmetic of the table of the paper's cases."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.faults.seeding import Seeded
from benchmarks.paper_cases.cases import CASES
from benchmarks.paper_cases.counting import counted, percentages, totals
from benchmarks.paper_cases.published import ROWS, TYPES
from benchmarks.paper_cases.showing import HEADS, cells, last_line, markdown
from model_zoo import NETWORKS, choose, link
from model_zoo.photos import find, numbered

ROOT = Path(__file__).resolve().parents[2]


def photo(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (4, 3), (shade, 0, 0))
    image.save(path, "PNG" if path.suffix == ".png" else "JPEG")
    return path


def names(paths: list[Path], folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in paths]


# --- photos


def test_photos_of_a_flat_folder_are_found_whatever_their_suffix_is_written_like(tmp_path: Path) -> None:
    for name in ("ILSVRC2012_val_00000002.JPEG", "ILSVRC2012_val_00000001.JPEG", "b.jpg", "c.png"):
        photo(tmp_path / name)
    (tmp_path / "labels.txt").write_text("no photo")
    assert names(find(tmp_path), tmp_path) == [
        "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG", "b.jpg", "c.png",
    ]  # fmt: skip


def test_photos_in_one_folder_a_class_are_found_in_the_order_of_the_classes(tmp_path: Path) -> None:
    for name in ("n01484850/b.JPEG", "n01440764/z.JPEG", ".cache/hidden.JPEG"):
        photo(tmp_path / name)
    assert names(find(tmp_path), tmp_path) == ["n01440764/z.JPEG", "n01484850/b.JPEG"]


def test_numbered_classes_of_imagenet_v2_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10/a.jpeg", "2/b.jpeg", "999/c.jpeg", "0/d.jpeg"):
        photo(tmp_path / name)
    assert names(find(tmp_path), tmp_path) == ["0/d.jpeg", "2/b.jpeg", "10/a.jpeg", "999/c.jpeg"]


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match="holds no photos"):
        find(tmp_path)


def test_photos_are_chosen_evenly_from_the_folder_given(tmp_path: Path) -> None:
    for number in range(9):
        photo(tmp_path / "val" / f"{number}" / "p.jpeg")
    chosen = choose(NETWORKS["mobilenet_v2"], tmp_path, 3, tmp_path / "val")
    assert names(chosen, tmp_path / "val") == ["0/p.jpeg", "4/p.jpeg", "8/p.jpeg"]


def test_a_stand_in_is_compared_on_its_fitted_photos_and_real_weights_on_any(tmp_path: Path) -> None:
    for number in range(300):
        photo(tmp_path / "images/dev" / f"{number:04}.jpg")
    network = NETWORKS["resnet101"]
    assert len(choose(network, tmp_path, 300)) == network.fitted_in(tmp_path) == 200
    (tmp_path / "models").mkdir()
    (tmp_path / "models/resnet101_imagenet_torch.pth").write_bytes(b"real")
    assert network.fitted_in(tmp_path) is None
    assert len(choose(network, tmp_path, 300)) == 300


def test_photos_of_one_name_in_two_classes_are_both_linked(tmp_path: Path) -> None:
    photos = [photo(tmp_path / "in/0/same.jpeg", 10), photo(tmp_path / "in/1/same.jpeg", 200)]
    folder = link(photos, tmp_path / "out")
    assert sorted(path.resolve() for path in folder.iterdir()) == sorted(path.resolve() for path in photos)
    link(photos[1:], folder)
    assert [path.resolve() for path in folder.iterdir()] == [photos[1].resolve()]


def test_photos_are_numbered_so_that_the_stand_in_can_be_fitted_on_any(tmp_path: Path) -> None:
    photos = [photo(tmp_path / "in" / name) for name in ("n02/a.JPEG", "n01/b.png")]
    folder = numbered(photos, tmp_path / "out")
    assert sorted(path.name for path in folder.glob("*.jpg")) == ["0000_a.jpg", "0001_b.jpg"]


# --- the table


def fault(type_: str, node: str, *also: str) -> dict[str, Any]:
    return asdict(replace(Seeded("", node, "kind", "detail", also), type=type_))


def report(*faults: tuple[str, str, str]) -> dict[str, Any]:
    return {"faults": [{"type": t, "target_node": node, "status": status} for t, node, status in faults]}


def test_only_the_right_type_at_the_right_node_is_located() -> None:
    seeded = [fault("WB", "conv_1"), fault("LH", "conv_2"), fault("PP", "preprocess")]
    counts = counted(
        seeded, report(("WB", "conv_1", "repaired"), ("WB", "conv_2", "repaired"), ("PP", "x", "unrepaired"))
    )
    assert counts["seeded"] == {"PP": 1, "WB": 1, "LH": 1}
    assert counts["located"] == {"PP": 1, "WB": 1, "LH": 0}
    assert counts["repaired"] == {"PP": 0, "WB": 1, "LH": 0}
    assert counts["false_faults"] == 1


def test_a_neighbour_and_a_fault_named_twice_are_false_faults() -> None:
    counts = counted(
        [fault("WB", "conv_1", "bn_1")],
        report(("WB", "conv_1", "repaired"), ("WB", "bn_1", "repaired"), ("WB", "conv_9", "unrepaired")),
    )
    assert (counts["located"], counts["repaired"], counts["false_faults"]) == ({"WB": 1}, {"WB": 1}, 2)


def test_one_reported_fault_does_not_stand_for_two_seeded_ones() -> None:
    counts = counted([fault("LH", "pad_1", "conv"), fault("LH", "pad_2", "conv")], report(("LH", "conv", "repaired")))
    assert (counts["seeded"], counts["located"], counts["false_faults"]) == ({"LH": 2}, {"LH": 1}, 0)


def test_no_report_locates_nothing() -> None:
    counts = counted([fault("ID", "x")], {})
    assert (counts["located"], counts["repaired"], counts["false_faults"]) == ({"ID": 0}, {"ID": 0}, 0)
    assert set(percentages({}).values()) == {None}


def test_percentages_are_of_calibration_and_held_out_photos_before_and_after() -> None:
    def part(calibration: float, heldout: float) -> dict[str, Any]:
        return {"calibration": {"percent": calibration}, "heldout": {"percent": heldout}}

    both = percentages({"check": {"before": part(30.0, 40.0), "after": part(1.0, 2.0)}})
    assert both == {
        "percent_before": 30.0, "percent_after": 1.0, "heldout_percent_before": 40.0, "heldout_percent_after": 2.0,
    }  # fmt: skip


def row(number: int, **more: Any) -> dict[str, Any]:
    case = next(case for case in CASES if case.number == number)
    seeded = [fault("WB", "a"), fault("WB", "b")]
    said = counted(seeded, report(("WB", "a", "repaired"), ("WB", "b", "unrepaired"), ("CG", "c", "repaired")))
    shown = {"seconds": 60.0, "natural": case.natural, "photos": 40, "origin": "made up", "exit_code": 0, "message": ""}
    shown["verdict"] = "repaired"
    return {"case": number, "model": case.model, "pair": case.pair, **said, **shown, **more}


def test_the_last_line_sums_located_repaired_and_false_faults_beside_the_papers_totals() -> None:
    rows = [row(5), row(8, exit_code=1, message="diverged")]
    assert totals(rows)["WB"] == (4, 4, 2)
    line = last_line(rows)
    assert "WB 4/2 of 4 (paper 438/430)" in line
    assert "false faults 2; 1 of 2 cases verified or repaired, 2 minutes" in line


def test_the_table_shows_the_papers_figures_and_ours_side_by_side() -> None:
    shown = dict(zip(HEADS, cells(row(5, heldout_percent_before=10.0, heldout_percent_after=0.0)), strict=True))
    assert shown["paper: ILSVRC2017"] == "9.70 -> 0.00"
    assert shown["ours: held out"] == "10.00 -> 0.00"
    assert (shown["located"], shown["repaired"], shown["false"]) == ("WB 2/2", "WB 1/2", "1")
    assert shown["what is wrong"].startswith("natural: ")
    assert "| 5 | mobilenet_v2 | tf-tflite | 9.70 -> 0.00 |" in markdown([row(5)])
    assert "Not run: 1, 2, 3, 4, 6," in markdown([row(5)])


def test_every_case_of_the_paper_is_recreated_once_with_types_that_it_names() -> None:
    assert sorted(case.number for case in CASES) == sorted(ROWS) == list(range(1, 16))
    for case in CASES:
        types = {type_ for type_, _ in case.faults} | ({"PP"} if case.deployed else set())
        types |= {"WB"} if case.weights else set()
        named = {type_ for type_ in TYPES if type_ in ROWS[case.number].types}
        assert types <= named or ROWS[case.number].types == "none", case


def test_finished_cases_are_not_run_again_and_other_photos_are_not_mixed_in(tmp_path: Path) -> None:
    file = tmp_path / "paper.json"
    file.write_text(json.dumps({"cases": [row(5)]}))
    command = [sys.executable, str(ROOT / "benchmarks/paper_table.py"), "--data", str(tmp_path), "--cases", "5"]
    command += ["--json", str(file), "--work", str(tmp_path / "work"), "--markdown", str(tmp_path / "table.md")]
    again = subprocess.run([*command, "--quick"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "WB 2/1 of 2 (paper 438/430)" in again.stdout
    assert "tf-tflite" in (tmp_path / "table.md").read_text()
    other = subprocess.run([*command, "--photos", "60"], capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert "holds results on 40 photos, not 60" in other.stderr
