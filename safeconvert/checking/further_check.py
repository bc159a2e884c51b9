"""What a check beside the comparison over the person's inputs came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class CheckResult:
    """What a check came to. ``reason`` is a sentence for the report; ``figures`` hold what was counted.

    ``differs`` makes the verdict ``diverged``; ``undecided`` makes it ``undecided`` where nothing else differs;
    ``not run`` has a reason and decides nothing.
    """

    name: str
    outcome: Literal["agrees", "differs", "undecided", "not run"]
    reason: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "outcome": self.outcome, "reason": self.reason, "figures": dict(self.figures)}
