"""The commands named for two formats, ``safeconvert torch2keras`` and the rest, and how help lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..formats import FORMAT_NAMES, Format
from .all_mistakes import Command
from .arguments import options
from .execution import run_command

PAIRS = tuple(f"{a}2{b}" for a in FORMAT_NAMES for b in FORMAT_NAMES if a != b)


class Commands(click.Group):
    """Lists the twenty pair commands in one line instead of twenty."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [("SRC2DST", f"Convert and verify; SRC and DST are two of {', '.join(FORMAT_NAMES)}.")]
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden and name not in PAIRS:
                rows.append((name, command.get_short_help_str(90)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def pair_command(source: Format, target: Format) -> click.Command:
    """Return the command that converts from one format to the other."""
    name = f"{source}2{target}"

    @click.command(
        name,
        cls=Command,
        help=f"Convert {source} to {target}; you get a file only if its predictions match the original's.",
        epilog=f"\b\nExample:\n  safeconvert {name} {source.example} --images photos/ -o {target.example}",
        context_settings={"max_content_width": 110},
    )
    @click.argument("model", type=click.Path(path_type=Path))
    @options()
    def run(model: Path, **arguments: Any) -> None:
        def check(output: Path | None, **chosen: Any) -> None:
            from ..runs.early_checks import check_conversion

            check_conversion(model, target.name, chosen, output, source)

        def work(observer: Any, output: Path | None, **chosen: Any) -> Any:
            from ..api import convert

            return convert(model, target.name, output=output, observer=observer, **chosen)

        run_command(check, work, arguments)

    return run
