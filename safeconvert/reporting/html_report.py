"""The HTML report: one file for people who never heard of ONNX, without network, script or other files.

The templates in ``templates/`` hold the page's structure; what they show is computed here and in ``headline``,
``next_steps``, ``layer_errors``, ``margin_chart``, ``frontier_chart`` and ``graph_parts``. Every text of a model or a
file is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import jinja2

from ..repair import FAULT_TYPES
from .accuracies import accuracy_lines
from .figures import (
    byte_size,
    fault_words,
    formatted_number,
    formatted_percent,
    formatted_shape,
    input_noun,
    totals,
)
from .frontier_chart import frontier_chart
from .graph_parts import graph_parts
from .headline import headline
from .layer_errors import layer_error_chart
from .margin_chart import margin_chart
from .next_steps import next_steps
from .stored_integers import stored_words
from .wording import graph_of


def _input_name(document: Mapping[str, Any]) -> Callable[[str], str]:
    """Return how an input's path is shown: its last part, with its folder where inputs lie in several."""
    names = [PurePath(each["input"]) for each in (document["check"]["predictions"] or {"changed": ()})["changed"]]
    parts = 2 if len({name.parent for name in names}) > 1 else 1
    return lambda name: "/".join(PurePath(name).parts[-parts:])


def html_report(document: Mapping[str, Any], thumbnails: Mapping[str, str] | None = None) -> str:
    """Return the page. ``thumbnails`` are data URIs by the input's name in ``check.predictions.changed``."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("safeconvert.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": formatted_percent,
        "number": formatted_number,
        "size": byte_size,
        "shape": formatted_shape,
        "graph": graph_of,
        "stored": stored_words,
        "input_name": _input_name(document),
    }
    check, predictions = document["check"], document["check"]["predictions"]
    return environment.get_template("page.html.j2").render(
        report=document,
        types=FAULT_TYPES,
        headline=headline(document),
        steps=next_steps(document),
        noun=input_noun(check),
        before=None if check["before"] == check["after"] else totals(check["before"]),
        after=totals(check["after"]),
        thumbnails=thumbnails or {},
        predictions=predictions,
        margin_bars=None if predictions is None else margin_chart(predictions["margins"]),
        layer_errors=layer_error_chart(document),
        accuracies=accuracy_lines(check),
        frontier=frontier_chart(document.get("quantization")),
        fault_words={fault["id"]: fault_words(fault, document) for fault in document["faults"]},
        graph_parts={fault["id"]: graph_parts(fault) for fault in document["faults"]},
    )
