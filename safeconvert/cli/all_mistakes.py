"""A command that tells every wrong value of its options and arguments at once, where click stops at the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

USAGE_MISTAKES = "safeconvert.usage_mistakes"
"""The key of ``click.Context.meta`` under which the command finds what was wrong; its values are without the wrong."""


class Command(click.Command):
    """Is run even where values are wrong: what it checks itself is told together with them (see ``execution``)."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        mistakes, is_incomplete = self._mistakes(ctx, args)
        if is_incomplete:
            raise click.UsageError("\n".join(mistakes), ctx)
        if mistakes:
            ctx.meta[USAGE_MISTAKES] = mistakes
            ctx.resilient_parsing = True  # wrong values become None
        return super().parse_args(ctx, args)

    def _mistakes(self, ctx: click.Context, args: Sequence[str]) -> tuple[list[str], bool]:
        """Return what is wrong, and whether the command line lacks a model or has words that belong to nothing."""
        trial = click.Context(self, parent=ctx.parent, info_name=ctx.info_name)
        values, rest, order = self.make_parser(trial).parse_args(args=list(args))
        mistakes: list[str] = []
        is_incomplete = bool(rest)
        for param in sorted(self.get_params(trial), key=lambda each: (not each.is_eager, each not in order)):
            try:
                param.handle_parse_result(trial, values, [])
            except click.MissingParameter as error:
                mistakes.append(error.format_message())
                is_incomplete = True
            except click.UsageError as error:
                mistakes.append(error.format_message())
        if rest:
            plural = "s" if len(rest) > 1 else ""
            mistakes.append(f"Got unexpected extra argument{plural} ({' '.join(rest)})")
        return mistakes, is_incomplete


def usage_mistakes(context: click.Context) -> list[str]:
    mistakes: Any = context.meta.get(USAGE_MISTAKES, ())
    return list(mistakes)
