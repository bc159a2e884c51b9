"""A converter's result, compared with its Source, and handed over, repaired, or refused."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import api
from ..errors import BadInput
from ..formats import format_named
from ..live.output_folder import new_folder
from ..records import Verdict
from ..runs.result import Result
from .settings import Policy, UnverifiedWarning, current

_LAST: list[Result] = []


@dataclass(frozen=True)
class Conversion:
    """What a converter was given and gave, as paths or live models.

    ``returned`` is its answer; ``replaced`` makes, of a good result, what is returned instead. ``options`` are of
    ``safeconvert.convert``, from what the converter was given; a person's own win over them. ``to`` is the format that
    the converter writes. Where predictions differ, the Target itself is repaired; with ``is_converted_anew`` the Source
    is converted again, since the Target that was compared is not of the kind that the converter returns.
    """

    converter: str
    to: str
    source: Any
    target: Any
    returned: Any
    replaced: Callable[[Result], Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    is_converted_anew: bool = False


def last_result() -> Result | None:
    """Return what the last verified conversion of this process came to, with its report; None before the first."""
    return _LAST[-1] if _LAST else None


def settled(conversion: Conversion) -> Any:
    """Return what the converter returned, or a repaired model in its place.

    Raises :class:`Diverged` where predictions differ and the policy is not to warn.
    """
    _LAST.clear()
    settings = current()
    policy, options = settings.policy_in_force, _options(conversion, settings.options)
    try:
        result = api.check(conversion.source, conversion.target, **_for(api.check, options))
    except BadInput as error:
        if policy is Policy.RAISE:
            raise
        return _warned(conversion, f"could not be verified: {error}")
    _remember(result)
    if result.verdict in (Verdict.VERIFIED, Verdict.REPAIRED):
        return conversion.returned
    if policy is Policy.WARN or (policy is Policy.REPAIR and result.verdict is Verdict.UNDECIDED):
        return _warned(conversion, f"{result.verdict}: {'; '.join(result.reasons)}")
    if policy is Policy.REPAIR:
        result = _repaired(conversion, options)
        _remember(result)
    result.raise_for_verdict()
    return conversion.replaced(result)


def settled_after_crash(conversion: Conversion, crash: Exception) -> Any:
    """Return what safeconvert makes of the Source where the converter raised and the policy is to repair.

    Raises the converter's own error where the policy is another, or nothing verified comes of it.
    """
    _LAST.clear()
    settings = current()
    if settings.policy_in_force is not Policy.REPAIR:
        raise crash
    try:
        result = _converted(conversion, _options(conversion, settings.options))
    except BadInput as error:
        raise crash from error
    _remember(result)
    if result.verdict not in (Verdict.VERIFIED, Verdict.REPAIRED):
        raise crash
    event = f"raised {type(crash).__name__}; another conversion is {result.verdict} and is returned in its place"
    warnings.warn(f"{conversion.converter} {event}", UnverifiedWarning, stacklevel=3)
    return conversion.replaced(result)


def _repaired(conversion: Conversion, options: Mapping[str, Any]) -> Result:
    if conversion.is_converted_anew:
        return _converted(conversion, options)
    return api.repair(conversion.source, conversion.target, **_for(api.repair, options))


def _converted(conversion: Conversion, options: Mapping[str, Any]) -> Result:
    output = new_folder() / f"model{format_named(conversion.to).suffix}"
    return api.convert(conversion.source, conversion.to, output=output, **_for(api.convert, options))


def _options(conversion: Conversion, own: Mapping[str, Any]) -> dict[str, Any]:
    has_own_inputs = own.get("inputs") is not None or own.get("images") is not None
    drawn = {name: value for name, value in conversion.options.items() if name != "inputs" or not has_own_inputs}
    return {**drawn, **own}


def _for(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that the function takes; the others are for repair. Raises TypeError for what is no option."""
    if unknown := sorted(set(options) - set(inspect.signature(api.convert).parameters)):
        raise TypeError(f"{unknown[0]!r} is no option of safeconvert.convert")
    return {name: value for name, value in options.items() if name in inspect.signature(function).parameters}


def _remember(result: Result) -> None:
    _LAST[:] = [result]


def _warned(conversion: Conversion, event: str) -> Any:
    warnings.warn(f"{conversion.converter}: {event}", UnverifiedWarning, stacklevel=4)
    return conversion.returned
