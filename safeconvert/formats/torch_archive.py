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
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import BadInput

LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # torch.save before 1.6: a pickled magic number comes first
LEGACY_PICKLES = 5  # magic number, protocol, system, object, storage keys; raw tensor bytes follow them
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
    r"torch\.ops\.(aten|prims?|torchvision|quantized|quantized_decomposed|mkldnn|onednn)\.(?!save\b|from_file\b|load)"
    r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?"
    r"|torch\.ops\.higher_order\.(?!triton|inductor|aoti|call_torchbind)[a-z0-9_]+"
    r"|torch\._higher_order_ops\.[a-z0-9_]+\.(?!triton|inductor|aoti|call_torchbind)[a-z0-9_]+"
    r"|_operator\.(eq|ne|l[et]|g[et]|neg|pos|not_|abs|mul|add|sub|floordiv|truediv|mod|pow|and_|or_|[lr]shift|getitem)"
    r"|math\.[a-z0-9_]+|torch\._?sym_[a-z_]+"
    r"|torch\._C\._(set_grad_enabled|log_api_usage_once)"
)
# Sizes: arithmetic over symbols, and calls of the classes that sympy prints (Symbol('s0'), FloorDiv, Max), which
# begin with a capital letter as no builtin function does; no attribute, no dunder, no call of what is in
# parentheses or is a number: (eval)(...) would be one.
EXPRESSION = re.compile(
    r"(?!.*__)(?!.*[A-Za-z0-9_)\]]\s*\.\s*[A-Za-z_])(?!.*\b[a-z_][A-Za-z0-9_]*\s*\()(?!.*[)\]0-9]\s+\()(?!.*\)\()"
    r"[A-Za-z0-9_+\-*/%(),. <>=&|~!]*"
)
QUOTED_NAME = re.compile(
    r"'([A-Za-z][A-Za-z0-9_]*|-?[0-9.]+(e[+-]?[0-9]+)?)'"
)  # or a number: Float('0.5', precision=53)
# Names become Python source when the program's graph module is made: a placeholder's is written as it stands
# into the head of a function, a path of attributes between double quotes.
IDENTIFIER = re.compile(r"[A-Za-z0-9_]*")
UNQUOTED = re.compile(r"[^\"'\\\x00-\x1f(){};]*")
GRAPH_NAMES = ("name", "as_name", "graph_name")
PATHS = ("fqn", "parameter_name", "buffer_name", "tensor_constant_name", "custom_obj_name", "user_input_name")
REACHING_OUT = re.compile(rb"\b(save|from_file|load_tensor|rpc_(sync|async|remote))\s*\(")
MEMBER = re.compile(r"[A-Za-z0-9_]+")


def is_legacy_torch(head: bytes) -> bool:
    """Do these first bytes begin a ``torch.save`` file from before the zip format, or any pickle?"""
    return head[:1] == b"\x80" and (LEGACY_MAGIC in head[:32] or (len(head) > 1 and head[1] in range(1, 6)))


def imports(data: bytes) -> set[str]:
    """The ``module name`` pairs that this pickle (or these, one after another) would import.

    A name that the pickle computes, rather than spells right before it is used, is "a computed name".
    Raises :class:`BadInput` where the bytes are no pickle to the end.
    """
    imported: set[str] = set()
    stream = io.BytesIO(data)
    legacy = LEGACY_MAGIC in data[:32]
    read = 0
    try:
        while stream.tell() < len(data) and not (legacy and read == LEGACY_PICKLES):
            imported |= _imports_of_pickle(stream)
            read += 1
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise BadInput(f"a pickle inside is damaged ({shortened(error)})") from error
    return imported


def shortened(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _imports_of_pickle(stream: io.BytesIO) -> set[str]:
    """The imports of the pickle that begins here; the stream is left behind its end."""
    imported: set[str] = set()
    memo: dict[int, str | None] = {}
    last: list[str | None] = [None, None]  # what the last two operations pushed, where they pushed text
    value: Any
    for opcode, value, _ in pickletools.genops(stream):
        name = opcode.name
        if name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if name == "MEMOIZE" else int(value)] = last[1]
            continue  # leaves the stack as it is
        if name in ("GLOBAL", "INST"):
            imported.add(str(value))
        elif name == "STACK_GLOBAL":
            imported.add("a computed name" if None in last else f"{last[0]} {last[1]}")
        elif name.startswith("EXT"):
            imported.add("an extension")
        pushed = None
        if name.endswith(("UNICODE", "UNICODE8")):
            pushed = str(value)
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            pushed = memo.get(int(value))
        last = [last[1], pushed]
    return imported


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
                # One that reaches beyond its tensors is code to be trusted, as a pickled module is.
                with path.open("rb") as file:
                    outside = _two_faced(archive, file) or _script_reaches_out(archive)
                return "module" if outside else "torchscript"
            for name in names:
                if name.endswith("data.pkl"):
                    return _content(imports(archive.read(name)))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise BadInput(
            f"{path} is a truncated or damaged archive ({shortened(error)}). Copy or download it again."
        ) from error
    except BadInput as error:
        raise BadInput(f"{path} is truncated or damaged: {error}. Copy or download it again.") from error
    return ""


def _script_reaches_out(archive: zipfile.ZipFile) -> bool:
    """Does the TorchScript call an operator that reads or writes files, or another machine?"""
    sources = (archive.read(name) for name in archive.namelist() if name.lower().endswith(".py"))
    return any(REACHING_OUT.search(source) for source in sources)


def _content(names: set[str]) -> str:
    return "state_dict" if all(HARMLESS.fullmatch(name) for name in names) else "module"


def code_in_pt2(path: Path) -> str | None:
    """Why loading this ``.pt2`` could run code that is not PyTorch's own, or None where it could not.

    ``torch.export.load`` unpickles some members without restriction, loads compiled libraries, resolves
    operator names from the ``torch`` module, evaluates size expressions and writes names into Python
    source: each is checked here. An archive that PyTorch's reader could see otherwise than Python's is refused too.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            if reason := _two_faced(archive, file):
                return f"{reason}, so that nobody can say what PyTorch would read"
            for name in archive.namelist():
                if "/aotinductor/" in name.lower() or name.lower().endswith((".so", ".dll", ".dylib")):
                    return f"compiled code in {name}"
            for name, data in _pickled_members(archive):
                if reason := _pickle_reason(name, data):
                    return reason
            for name in archive.namelist():
                # Whatever stands in models/ is read as a program, also without the ending.
                program = name.lower().endswith(".json") or "/models/" in name.lower()
                if program and (reason := _json_reason(name, json.loads(archive.read(name)))):
                    return reason
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError, EOFError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"{path} is a truncated or damaged archive ({shortened(error)}). Copy or download it again."
        ) from error
    except BadInput as error:
        return str(error)
    return None


def _two_faced(archive: zipfile.ZipFile, file: IO[bytes]) -> str | None:
    """Why PyTorch's zip reader could find other members here than Python's, or None.

    PyTorch's ignores case, takes the table of contents where the file's end says and not where it would have
    to stand, and keeps what follows a NUL in a name.
    """
    names = [info.orig_filename for info in archive.infolist()]
    if any(info.filename != info.orig_filename for info in archive.infolist()):
        return "a member's name holds a NUL or a backslash"
    folded = [name.lower() for name in names]
    if len(set(folded)) != len(folded):
        return f"the member {next(n for n in names if folded.count(n.lower()) > 1)} is in it twice"
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 98))
    tail = file.read().rjust(98, b"\0")
    end, locator, end64 = tail[76:], tail[56:76], tail[:56]
    if not end.startswith(b"PK\5\6") or end[20:] != b"\0\0":
        return "something follows its table of contents"
    length, begin = struct.unpack("<LL", end[12:20])
    table_end = size - 22
    if locator.startswith(b"PK\6\7"):
        table_end = size - 98
        length, begin = struct.unpack("<QQ", end64[40:56])
        if not end64.startswith(b"PK\6\6") or struct.unpack("<Q", locator[8:16])[0] != table_end:
            return "its two tables of contents differ"
    return None if begin + length == table_end else "its table of contents is not where it says"


def _pickled_members(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    """The members that ``torch.export.load`` unpickles: example inputs, and what the configs flag as pickled."""
    names = set(archive.namelist())
    for name in sorted(names):
        folded = name.lower()
        if folded.endswith(".pt") or any(part in folded for part in ("/sample_inputs/", "/custom_obj", "/opaque_obj")):
            yield name, archive.read(name)
        elif folded.endswith("_config.json"):
            content = json.loads(archive.read(name))
            config = content.get("config", {}) if isinstance(content, dict) else {}
            for payload in config.values() if isinstance(config, dict) else ():
                path_name = payload.get("path_name") if isinstance(payload, dict) else None
                member = f"{name.rpartition('/')[0]}/{path_name}"
                if not isinstance(path_name, str) or not MEMBER.fullmatch(path_name) or member not in names:
                    raise BadInput(f"{name} names a member {str(path_name)[:60]!r}, which is not in the archive")
                if payload.get("use_pickle"):
                    yield member, archive.read(member)


def _pickle_reason(name: str, data: bytes) -> str | None:
    if not data:
        return None
    if not data.startswith(b"PK\x03\x04"):
        return f"a pickle of the old format in {name}"
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream) as inner:
        if reason := _two_faced(inner, stream):
            return f"an archive in {name} of which {reason}"
        tails = {member.lower().partition("/")[2]: member for member in inner.namelist()}
        if any(tail.startswith("code/") or tail == "constants.pkl" for tail in tails):
            return f"a scripted object in {name}"
        pickles = [inner.read(member) for tail, member in tails.items() if tail.endswith(".pkl")]
    if not pickles:
        return f"an archive without a pickle in {name}"
    for pickle in pickles:
        for imported in sorted(imports(pickle)):
            if not HARMLESS.fullmatch(imported):
                return f"a pickle in {name} that imports {imported.replace(' ', '.')[:80]}"
    return None


def _json_reason(name: str, value: Any) -> str | None:
    """Search for operator targets, expressions and names outside what exported programs need."""
    if isinstance(value, list):
        return next((r for item in value if (r := _json_reason(name, item))), None)
    if isinstance(value, str):
        # Descriptions of nested inputs import the modules that these name.
        return f"an import of a module in {name}" if "__enum__" in value or "default_factory" in value else None
    if not isinstance(value, dict):
        return None
    for key, item in value.items():
        if (
            key in ("target", "as_operator")
            and isinstance(item, str)
            and item.startswith(("torch", "_operator", "math", "#"))
        ):
            if not TARGET.fullmatch(item):
                return f"a call of {shown(item)} in {name}"
        elif key == "expr_str" and isinstance(item, str) and not EXPRESSION.fullmatch(QUOTED_NAME.sub("q", item)):
            return f"an expression {shown(item)} in {name}"
        elif (key in GRAPH_NAMES and isinstance(item, str) and not IDENTIFIER.fullmatch(item)) or (
            key in PATHS and isinstance(item, str) and not UNQUOTED.fullmatch(item)
        ):
            return f"a name {shown(item)} in {name}"
        elif reason := _json_reason(name, item):
            return reason
    return None


def shown(text: str) -> str:
    return repr(text[:60])
