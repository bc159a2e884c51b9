"""What the verified converters do where a model differs, and what they compare on."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadInput

VARIABLE = "SAFECONVERT_POLICY"


class Policy(enum.StrEnum):
    """What happens where predictions differ."""

    REPAIR = "repair"
    RAISE = "raise"
    WARN = "warn"


class UnverifiedWarning(UserWarning):
    """A converter's model differs from its Source or could not be compared with it, or the converter raised."""


@dataclass(frozen=True)
class Settings:
    """``policy`` is None where the environment decides; ``options`` are those of ``safeconvert.check``."""

    policy: Policy | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, policy: str | None, options: Mapping[str, Any]) -> Settings:
        return Settings(self.policy if policy is None else policy_named(policy), {**self.options, **options})

    @property
    def policy_in_force(self) -> Policy:
        """Raises :class:`BadInput` where the environment names no policy."""
        return self.policy or policy_named(os.environ.get(VARIABLE) or Policy.REPAIR)


_SETTINGS: ContextVar[Settings | None] = ContextVar("settings", default=None)


def policy_named(name: str) -> Policy:
    """Return the policy of that name. Raises :class:`BadInput` for any other."""
    try:
        return Policy(name)
    except ValueError:
        raise BadInput(f"the policy {name!r} is not one of {', '.join(Policy)}. Set it, or {VARIABLE}.") from None


def current() -> Settings:
    return _SETTINGS.get() or Settings()


def configure(policy: str | None = None, **options: Any) -> None:
    """Set the policy and the options of ``safeconvert.check`` (such as ``inputs``) for what follows."""
    _SETTINGS.set(current().changed(policy, options))


@contextlib.contextmanager
def using(policy: str | None = None, **options: Any) -> Iterator[None]:
    """Set the policy and the options of ``safeconvert.check`` (such as ``inputs``) for the block."""
    token = _SETTINGS.set(current().changed(policy, options))
    try:
        yield
    finally:
        _SETTINGS.reset(token)
