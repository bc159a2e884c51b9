"""The conversions that a TOML file lists, read and checked before any work is done for them."""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..formats import FORMAT_NAMES, ModelFile, format_named
from ..inputs.presets import load_preprocess
from ..live.output_folder import default_output
from ..models.detect import detect
from ..options import Options

OWN_KEYS = ("model", "to", "output")
TOP_KEYS = ("defaults", "convert")
PATH_OPTIONS = ("images", "inputs", "labels")


@dataclass(frozen=True)
class Conversion:
    """One model to convert: the arguments of ``safeconvert.convert``, with absolute paths."""

    model: Path
    to: str
    output: Path
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.model.name} -> {self.to}"


def read_plan(path: Path) -> tuple[Conversion, ...]:
    """Return the conversions of a TOML file; relative paths in it start at its folder.

    ``[[convert]]`` has ``model``, ``to``, perhaps ``output``, and any option of the command line by its name;
    ``[defaults]`` has options for all of them. Raises :class:`BadInput` with every mistake in the file, each with its
    place. No framework is loaded.
    """
    plan = _parsed(path)
    folder = path.absolute().parent
    mistakes = [f"unknown table [{key}]; known: [defaults], [[convert]]" for key in plan if key not in TOP_KEYS]
    defaults, entries = plan.get("defaults", {}), plan.get("convert", [])
    if not isinstance(defaults, dict):
        mistakes, defaults = [*mistakes, "[defaults] is not a table of options"], {}
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        mistakes, entries = [*mistakes, "write [[convert]], with two brackets, for each model"], []
    elif not entries:
        mistakes.append("no [[convert]] is in it; add one for each model")
    mistakes += [f"[defaults]: {mistake}" for mistake in option_mistakes(defaults)]
    conversions = []
    for number, entry in enumerate(entries, 1):
        conversion, wrong = _conversion(defaults, entry, folder)
        name = f"[[convert]] {number} ({entry.get('model', 'no model')})"
        mistakes += [f"{name}: {mistake}" for mistake in wrong]
        conversions += [] if conversion is None else [conversion]
    mistakes += same_outputs(conversions)
    if mistakes:
        raise BadInput(f"{path} has {_counted(len(mistakes))}:\n  " + "\n  ".join(mistakes))
    return tuple(conversions)


def _counted(count: int) -> str:
    return f"{count} mistake{'' if count == 1 else 's'}"


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}.") from error


def _conversion(
    defaults: Mapping[str, Any], entry: Mapping[str, Any], folder: Path
) -> tuple[Conversion | None, list[str]]:
    """Return the conversion of one entry, None where it has none, and what is wrong with it."""
    own_options = {key: value for key, value in entry.items() if key not in OWN_KEYS}
    mistakes = option_mistakes(own_options)
    file, wrong = _model(entry, folder)
    mistakes += wrong
    if (to := entry.get("to")) not in FORMAT_NAMES:
        mistakes.append(f"to = {to!r} is no format; known: {', '.join(FORMAT_NAMES)}" if to else "'to' is missing")
    elif file is not None and file.format.name == to:
        mistakes.append(f"the model is {file.format.description} model already; there is nothing to convert")
    output = entry.get("output")
    if output is not None and not isinstance(output, str):
        mistakes.append(f"output = {output!r} is not a path")
    options, wrong = _options({**defaults, **own_options}, folder)
    mistakes += wrong
    if mistakes or file is None:
        return None, mistakes
    final = folder / output if output else default_output(file, format_named(str(to)))
    if not final.parent.is_dir():
        return None, [f"the folder {final.parent} of the output does not exist; make it first"]
    return Conversion(file.path, str(to), final, options), []


def _model(entry: Mapping[str, Any], folder: Path) -> tuple[ModelFile | None, list[str]]:
    model = entry.get("model")
    if not isinstance(model, str) or not model:
        return None, ["'model' is missing" if model is None else f"model = {model!r} is not a path"]
    try:
        return detect(folder / model), []
    except BadInput as error:
        return None, [str(error)]


def _options(table: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the options as keywords, their paths absolute, and what no run could use of them."""
    chosen = {key.replace("-", "_"): value for key, value in table.items()}
    mistakes = []
    for name in PATH_OPTIONS:
        if isinstance(chosen.get(name), str):
            chosen[name] = folder / chosen[name]
            if not chosen[name].exists():
                mistakes.append(f"{name} = {str(table[name])!r} does not exist in {folder}")
    if option_mistakes(table):
        return chosen, mistakes  # the others are told where they stand
    for name in ("preprocess", "target_preprocess"):
        if str(chosen.get(name, "")).endswith(".json"):
            chosen[name] = str(folder / chosen[name])
    try:
        Options.of(chosen)
        for name in ("preprocess", "target_preprocess"):
            if name in chosen:
                load_preprocess(chosen[name])
    except (BadInput, OSError) as error:
        mistakes.append(str(error))
    return chosen, mistakes


def option_mistakes(table: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each entry that is no option, or whose value is of another kind than the option takes."""
    known = {key: hint for key, hint in typing.get_type_hints(Options).items() if key in Options.__dataclass_fields__}
    mistakes = []
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *OWN_KEYS], 2)
            mistakes.append(f"unknown option {key!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
        elif not _fits(value, kinds := tuple(_kinds(known[name]))):
            words = " or ".join(dict.fromkeys(KIND_WORDS[kind] for kind in kinds))
            mistakes.append(f"{key} = {value!r} is not {words}")
    return mistakes


KIND_WORDS: dict[type, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text", dict: "a table", list: "a list",
}  # fmt: skip


def _kinds(hint: Any) -> Iterator[type]:
    """Yield the kinds of TOML value that an option's type takes."""
    origin = typing.get_origin(hint) or hint
    if origin in (types.UnionType, typing.Union):
        for part in typing.get_args(hint):
            yield from _kinds(part)
    elif origin in (bool, int, float, str):
        yield origin
    elif origin is Path:
        yield str
    elif origin is tuple:
        yield list
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield dict


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def same_outputs(conversions: list[Conversion]) -> list[str]:
    """Return a sentence for each two conversions that would write the same file."""
    firsts: dict[Path, Conversion] = {}
    mistakes = []
    for conversion in conversions:
        other = firsts.setdefault(conversion.output.resolve(), conversion)
        if other is not conversion:
            mistakes.append(
                f"{other.model.name} and {conversion.model.name} would both be written at {conversion.output}; "
                "give one of them another output"
            )
    return mistakes
