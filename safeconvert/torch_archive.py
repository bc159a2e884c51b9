"""Read what a PyTorch file would do when loaded, without loading it.

PyTorch files carry pickles, which can run any code when read, and a ``.pt2`` also carries operator names
and expressions that ``torch.export.load`` resolves and evaluates. Everything here only parses bytes:
``pickletools`` lists the names that a pickle would import, and JSON is searched for targets.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safeconvert.errors import BadInput

LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # torch.save before 1.6: a pickled magic number comes first
# What the pickle of plain tensors in (ordered) dictionaries imports. torch.load(weights_only=True) enforces a
# list like it when a state dict is read; this one is for .pt2, which torch reads without that guard.
HARMLESS = re.compile(
    r"collections OrderedDict"
    r"|torch (Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
    r"|torch\.storage (UntypedStorage|TypedStorage)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_with_state)"
    r"|torch\.nn\.parameter (Parameter|Buffer)"
    r"|torch\._tensor _rebuild_from_type_v2"
    r"|torch (Size|device|float32|float64|float16|bfloat16|int64|int32|int16|int8|uint8|bool)"
    r"|torch\.serialization _get_layout"
    r"|_codecs encode"
)
TARGET = re.compile(
    r"torch\.ops\.[A-Za-z0-9_.]+|_operator\.[a-z_]+|math\.[a-z0-9_]+|torch\._?sym_[a-z_]+|torch\.sym_[a-z_]+"
    r"|torch\._C\._(set_grad_enabled|log_api_usage_once)|torch\._higher_order_ops\.[A-Za-z0-9_.]+"
)
# Sizes: arithmetic over symbols, and calls of the classes that sympy prints (Symbol('s0'), FloorDiv, Max), which
# begin with a capital letter as no builtin function does; no attribute, no dunder.
EXPRESSION = re.compile(
    r"(?!.*__)(?!.*[A-Za-z_)\]]\s*\.)(?!.*\b[a-z_][A-Za-z0-9_]*\s*\()[A-Za-z0-9_+\-*/%(),. <>=&|~!]*"
)
QUOTED_NAME = re.compile(r"'[A-Za-z][A-Za-z0-9_]*'")


def is_legacy_torch(head: bytes) -> bool:
    """Do these first bytes begin a ``torch.save`` file from before the zip format, or any pickle?"""
    return head[:1] == b"\x80" and (LEGACY_MAGIC in head[:32] or (len(head) > 1 and head[1] in range(1, 6)))


def imports(data: bytes) -> set[str]:
    """The ``module name`` pairs that this pickle (or these, one after another) would import.

    Raises :class:`BadInput` where the bytes are no pickle to the end.
    """
    found: set[str] = set()
    stream = io.BytesIO(data)
    strings: list[str] = []
    memo: dict[int, str] = {}
    try:
        while stream.tell() < len(data):
            for opcode, value, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    found.add(str(value))
                elif opcode.name == "STACK_GLOBAL":
                    found.add(" ".join(strings[-2:]) if len(strings) >= 2 else "unknown name")
                elif opcode.name.endswith(("UNICODE", "UNICODE8")):
                    strings.append(str(value))
                elif opcode.name == "MEMOIZE":
                    memo[len(memo)] = strings[-1] if strings else ""
                elif opcode.name in ("BINGET", "LONG_BINGET", "GET") and int(value) in memo:
                    strings.append(memo[int(value)])
                elif opcode.name.startswith("EXT"):
                    found.add("unknown extension")
            if data[stream.tell() : stream.tell() + 1] != b"\x80":
                break  # the legacy format's raw tensor bytes follow its last pickle
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise BadInput(f"a pickle inside is damaged ({error})") from error
    return found


def torch_flavour(path: Path) -> str:
    """``pt2``, ``torchscript``, ``module``, ``state_dict``, or "" for a zip archive that is not PyTorch's."""
    try:
        if not zipfile.is_zipfile(path):
            return _content(imports(path.read_bytes()))
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            tails = {name.partition("/")[2] for name in names}
            if {"archive_format", "models/model.json"} <= tails or any(
                name.endswith(("serialized_exported_program.json", "/models/model.json")) for name in names
            ):
                return "pt2"
            if any(tail == "constants.pkl" or tail.startswith("code/") for tail in tails):
                return "torchscript"
            for name in names:
                if name.endswith("data.pkl"):
                    return _content(imports(archive.read(name)))
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise BadInput(f"{path} is a truncated or damaged archive ({error}). Copy or download it again.") from error
    except BadInput as error:
        raise BadInput(f"{path} cannot be read: {error}.") from error
    return ""


def _content(names: set[str]) -> str:
    return "state_dict" if all(HARMLESS.fullmatch(name) for name in names) else "module"


def code_in_pt2(path: Path) -> str | None:
    """Why loading this ``.pt2`` could run code that is not PyTorch's own, or None where it could not.

    ``torch.export.load`` unpickles some members without restriction, loads compiled libraries, resolves
    operator names from the ``torch`` module and evaluates size expressions: each is checked here.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if "/aotinductor/" in name or name.endswith((".so", ".dll", ".dylib")):
                    return f"compiled code in {name}"
            for name, data in _pickled_members(archive):
                if reason := _pickle_reason(name, data):
                    return reason
            for name in archive.namelist():
                if name.endswith(".json") and (reason := _json_reason(name, json.loads(archive.read(name)))):
                    return reason
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} is a truncated or damaged archive ({error}). Copy or download it again.") from error
    except BadInput as error:
        return str(error)
    return None


def _pickled_members(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    """The members that ``torch.export.load`` unpickles: example inputs, and what the configs flag as pickled."""
    names = set(archive.namelist())
    for name in sorted(names):
        if name.endswith(".pt") or "/sample_inputs/" in name or "/custom_obj" in name or "/opaque_obj" in name:
            yield name, archive.read(name)
        elif name.endswith("_config.json"):
            config = json.loads(archive.read(name)).get("config", {})
            for payload in config.values() if isinstance(config, dict) else ():
                member = f"{name.rpartition('/')[0]}/{payload.get('path_name')}"
                if payload.get("use_pickle") and member in names:
                    yield member, archive.read(member)


def _pickle_reason(name: str, data: bytes) -> str | None:
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            pickles = [inner.read(n) for n in inner.namelist() if n.endswith(".pkl")]
            if any("/code/" in n for n in inner.namelist()):
                return f"a scripted object in {name}"
    else:
        pickles = [data] if data else []
    for pickle in pickles:
        for imported in sorted(imports(pickle)):
            if not HARMLESS.fullmatch(imported):
                return f"a pickle in {name} that imports {imported.replace(' ', '.')}"
    return None


def _json_reason(name: str, value: Any) -> str | None:
    """Search for operator targets and expressions outside what exported programs need."""
    if isinstance(value, list):
        return next((r for item in value if (r := _json_reason(name, item))), None)
    if not isinstance(value, dict):
        return None
    for key, item in value.items():
        if key == "target" and isinstance(item, str) and item.startswith(("torch", "_operator", "math", "#")):
            if not TARGET.fullmatch(item):
                return f"a call of {item} in {name}"
        elif key == "expr_str" and isinstance(item, str) and not EXPRESSION.fullmatch(QUOTED_NAME.sub("q", item)):
            return f"an expression {item[:60]!r} in {name}"
        elif reason := _json_reason(name, item):
            return reason
    return None
