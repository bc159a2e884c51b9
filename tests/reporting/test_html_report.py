"""The page for people: what it says first, that no text of a model can change it, and that everybody can read it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from safeconvert.reporting.document import schema
from safeconvert.reporting.headline import headline
from safeconvert.reporting.html_report import html_report
from safeconvert.reporting.next_steps import next_steps
from tests.support.report_documents import document

VERDICTS = ("verified", "repaired", "diverged", "failed", "undecided")
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
VOID = {"meta", "link", "br", "img"}
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)


class Page(HTMLParser):
    """The elements of a page; fails where one is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page(verdict: str, **changes: Any) -> str:
    report = document(verdict, **changes)
    jsonschema.validate(report, schema())
    return html_report(report, {"/photos/0000.jpg": PICTURE})


def test_the_first_sentence_says_who_was_wrong_where_how_much_and_that_it_is_fixed() -> None:
    sentence = headline(document("repaired"))
    assert sentence.sentence == (
        "onnx2keras changed a setting of the MaxPool layer /MaxPool. That changed the prediction for 30 of 200 images "
        "(15 %). This is fixed: now none of 200 change."
    )
    assert sentence.detail.startswith(
        "0 of 100 images that the repair never looked at differ: with 95 % confidence, less"
    )
    assert "less than 3.6 % of all inputs" in sentence.detail


def test_a_target_that_differs_is_not_called_safe_and_one_that_agrees_is() -> None:
    badges = {verdict: headline(document(verdict)).badge for verdict in VERDICTS}
    assert badges["diverged"] == "Do not use"
    assert "safe" in badges["repaired"]
    assert "Safe" in badges["verified"]
    assert not any("afe" in badges[verdict] for verdict in ("diverged", "failed", "undecided"))


def test_each_verdict_says_what_to_do() -> None:
    assert next_steps(document("verified"))[0] == "Use net.keras in place of net.pt2."
    assert next_steps(document("diverged"))[0].startswith("Do not ship net.keras")
    without_repair = document("diverged", command="safeconvert torch2keras net.pt2 --no-repair")
    assert any("without --no-repair" in step for step in next_steps(without_repair))
    assert headline(without_repair).sentence.endswith("no repair was tried.")
    assert "could not be fixed" in headline(document("diverged")).sentence
    assert not any("without --no-repair" in step for step in next_steps(document("diverged")))
    assert any("converter" in step for step in next_steps(document("failed")))
    assert any("untested" in step for step in next_steps(document("undecided")))


def test_a_quantised_model_without_a_budget_is_not_said_to_be_untested() -> None:
    undecided = {**document("undecided"), "quantization": {"table": [{"command": "safeconvert keras2tflite a.keras"}]}}
    shown = headline(undecided)
    assert shown.badge == "No budget set"
    assert "no budget says how much it may" in shown.sentence
    assert not any("untested" in step for step in next_steps(undecided))
    assert "run its command" in next_steps(undecided)[0]


def test_an_undecided_comparison_is_not_said_to_be_none() -> None:
    none = document("undecided")
    assert "could not be compared" in headline(none).sentence
    compared = {**none, "check": document("verified")["check"]}
    assert "does not decide" in headline(compared).sentence


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_page_is_whole_and_asks_nothing_of_the_network(verdict: str) -> None:
    text = page(verdict)
    parsed = Page(text)
    assert ("html", {"lang": "en"}) in parsed.elements
    assert not [tag for tag, _ in parsed.elements if tag in ("script", "iframe", "object", "embed", "form")]
    for tag, attributes in parsed.elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert "url(" not in text
    assert "@import" not in text
    for tag, attributes in parsed.elements:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["aria-label"]


def test_names_of_models_nodes_and_files_cannot_become_markup() -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}</style>&lt;"
    text = html_report(_poisoned(document("repaired"), evil), {f"{evil}": PICTURE})
    parsed, plain = Page(text), Page(page("repaired"))
    assert "<script>alert" not in text
    allowed = {name for _, attributes in plain.elements for name in attributes}
    assert {name for _, attributes in parsed.elements for name in attributes} <= allowed
    assert {tag for tag, _ in parsed.elements} <= {tag for tag, _ in plain.elements}
    assert any("<script>alert(1)</script>" in piece for piece in parsed.texts)
    assert not any("49" in piece and "onerror" in piece for piece in parsed.texts)


FIXED_WORDS = {"verdict", "type", "id", "status", "kind", "set", "schema", "hop", "method", "comparator"}


def _poisoned(value: Any, evil: str, key: str = "") -> Any:
    """The same document with ``evil`` in place of every text that a model, a file or a converter may choose."""
    if isinstance(value, Mapping):
        return {name: _poisoned(item, evil, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_poisoned(item, evil, key) for item in value]
    return evil if isinstance(value, str) and key not in FIXED_WORDS else value


def _colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(first: str, second: str) -> float:
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_stands_out_from_what_is_behind_it(scheme: str) -> None:
    css = resources.files("safeconvert.reporting").joinpath("templates/style.css").read_text(encoding="utf-8")
    blocks = [_colours(block) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)]
    assert len(blocks) == 3
    colours = blocks[["light", "dark", "print"].index(scheme)]
    backgrounds = ["page", "card", "code", "good-page", "bad-page", "unsure-page"]
    for background in backgrounds:
        assert _contrast(colours["text"], colours[background]) >= 7
        assert _contrast(colours["soft"], colours[background]) >= 4.5
    for tone in ("good", "bad", "unsure"):
        for background in ("card", f"{tone}-page"):
            assert _contrast(colours[tone], colours[background]) >= 4.5
    for shape in ("bar", "bad", "good"):
        assert _contrast(colours[shape], colours["code"]) >= 3


FRAME = """<!doctype html><title>frame</title><body style="margin:0">
<iframe id="report" style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe><pre id="seen"></pre>
<script>
document.getElementById("report").onload = event => {{
  const inside = event.target.contentDocument;
  for (const details of inside.querySelectorAll("details")) details.open = true;
  const root = inside.documentElement, width = root.clientWidth;
  const outside = [...inside.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > width + 1);
  document.getElementById("seen").textContent =
    "SEEN" + JSON.stringify([root.scrollWidth, width, outside.map(e => e.tagName)]) + "SEEN";
}};
</script>"""


@pytest.mark.skipif(not CHROMIUM, reason="needs a browser: apt-get install chromium")
@pytest.mark.parametrize("verdict", ["verified", "repaired", "diverged"])
def test_in_a_browser_nothing_is_wider_than_a_phone_and_the_console_stays_empty(tmp_path: Path, verdict: str) -> None:
    long_name = "functional_11_1/" + "conv1_1_BiasAdd_convolution_Squeeze1" * 4
    report = document(verdict)
    report["source"]["path"] = f"/models/{long_name}.pt2"
    for each in report["faults"]:
        each["source_node"] = each["target_node"] = long_name
    text = html_report(report, {"/photos/0000.jpg": PICTURE}).replace("&", "&amp;").replace('"', "&quot;")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=400, page=text), encoding="utf-8")
    run = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=5000", "--enable-logging=stderr", "--dump-dom", frame.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    seen = re.search(r'id="seen">SEEN(.*?)SEEN<', run.stdout)
    assert seen is not None, run.stderr[-2000:]
    scroll_width, width, outside = json.loads(seen[1].replace("&lt;", "<").replace("&quot;", '"'))
    assert (scroll_width, outside) == (width, [])
    assert 380 <= width <= 400  # a scroll bar stands at the side
    assert "CONSOLE" not in run.stderr, run.stderr[-2000:]
