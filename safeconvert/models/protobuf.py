"""Read the fields of a protobuf message from its bytes, without its framework and without copying them."""

from __future__ import annotations

from collections.abc import Sequence


class Damaged(ValueError):
    """The bytes are no protobuf message."""


def text(data: memoryview) -> str:
    return bytes(data).decode("utf-8", "replace")


def messages(message: memoryview, *fields: int) -> list[memoryview]:
    """Return the values of these fields with a length (messages, strings and bytes) in their order."""
    values = []
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, at = _varint(message, at)
            if at + length > end:
                raise Damaged("is cut off")
            if key >> 3 in fields:
                values.append(message[at : at + length])
            at += length
        else:
            raise Damaged("is no protobuf message")
    if at != end:
        raise Damaged("is cut off")
    return values


def nested(outer: Sequence[memoryview], *fields: int) -> list[memoryview]:
    """Return the values of these fields of all the messages, in their order."""
    return [value for message in outer for value in messages(message, *fields)]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at ``at``, and where it ends."""
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise Damaged("is cut off")
