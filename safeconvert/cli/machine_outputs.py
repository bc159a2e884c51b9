"""What a command writes for machines: JUnit XML, GitHub's annotations, node data for Model Explorer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..batch.summary import write_text
from ..errors import BadInput
from ..reporting import annotations as github
from ..reporting import junit, node_data
from ..reporting.junit import Case


@dataclass(frozen=True)
class MachineOutputs:
    """Where one command's outputs for machines go, None for those that were not asked for.

    ``name`` is what the command's one case is called.
    """

    name: str
    junit: Path | None = None
    node_data: Path | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Tell machines of an error in the block too, which is raised on."""
        try:
            yield
        except Exception as error:
            self.write([Case(self.name, None, (str(error) or type(error).__name__,))])
            raise

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Write the outputs of a run. Raises :class:`BadInput` where a file cannot be written."""
        self.write([junit.case_of_report(self.name, report)])
        if self.node_data is not None:
            write_text(self.node_data, node_data.render(report))

    def write(self, cases: Sequence[Case]) -> None:
        """Write the JUnit file, and the annotations where the process runs in GitHub Actions."""
        if github.is_wanted():
            for line in filter(None, map(github.annotation, cases)):
                click.echo(line, err=True)
        if self.junit is not None:
            write_text(self.junit, junit.render(cases))

    def check(self) -> None:
        """Raise :class:`BadInput` where a file cannot be written, before any work is done."""
        for option, path in (("--junit", self.junit), ("--node-data", self.node_data)):
            if path is not None and (not path.absolute().parent.is_dir() or path.is_dir()):
                raise BadInput(f"{option} {path}: give the path of a file in a folder that exists.")
