"""What a run returns: its verdict, the Target and the report."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import BadInput, Diverged
from ..models.detect import detect
from ..records import Verdict


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """What a run returns.

    ``target`` is the file that now stands at the output path: only where it was verified or repaired; ``unverified`` is
    where a diverged one was kept. ``report`` is the report as in its JSON file. ``reasons`` say why the verdict is not
    ``verified``. ``files`` are all files that the run wrote, with what each is for. ``traceback`` is of what stopped
    the run, empty if nothing did.
    """

    verdict: Verdict
    target: Path | None
    unverified: Path | None
    report: Mapping[str, Any]
    reasons: tuple[str, ...] = ()
    files: tuple[tuple[Path, str], ...] = ()
    traceback: str = ""

    @property
    def exit_code(self) -> int:
        return self.verdict.exit_code

    @property
    def path(self) -> Path | None:
        """The same as ``target``."""
        return self.target

    @cached_property
    def model(self) -> Any:
        """The Target as an object of its own framework, which is imported and loaded when this is first asked for.

        A ``torch.nn.Module`` (whose parameters can be trained), a Keras model, what ``tf.saved_model.load`` returns, an
        ``onnx.ModelProto``, or the bytes of a TFLite file. Raises :class:`Diverged` where there is
        no Target, and :class:`BadInput` after a check, which makes none.
        """
        if self.target is None:
            self.raise_for_verdict()
            raise BadInput("check makes no model. Use convert or repair.")
        file = detect(self.target)
        return file.format.load_object(file)

    def raise_for_verdict(self) -> None:
        """Raise :class:`Diverged`, with the report, unless the verdict is ``verified`` or ``repaired``."""
        if self.verdict not in (Verdict.VERIFIED, Verdict.REPAIRED):
            raise Diverged(f"{self.verdict}: {self._why}", self.verdict, self.report)

    @property
    def _why(self) -> str:
        return "; ".join(self.reasons) or "see the report"

    def __repr__(self) -> str:
        where = self.target or self.unverified
        words = [str(self.verdict), *([str(where)] if where else []), *self.reasons[:1]]
        text = " ".join(", ".join(words).split())
        return f"<Result {text if len(text) <= 150 else text[:147] + '...'}>"

    def _repr_html_(self) -> str:
        """The verdict, its reasons, the faults and the files, as a notebook shows them."""
        faults = [
            f"{fault['type']} at {fault['source_node'] or fault['target_node']}: {fault['repair'] or fault['status']}"
            for fault in self.report["faults"]
        ]
        rows = [("verdict", [str(self.verdict)]), ("reasons", self.reasons), ("faults", faults)]
        rows.append(("files", [f"{path} ({purpose})" for path, purpose in self.files]))
        cells = [
            f"<tr><th>{name}</th><td style='text-align:left'>{'<br>'.join(map(html.escape, lines))}</td></tr>"
            for name, lines in rows
            if lines
        ]
        return f"<table>{''.join(cells)}</table>"
