"""One canonical hash for everything that names an object: inputs, settings, engine, weights, frame range."""

from __future__ import annotations

import enum
import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

from google.protobuf.message import Message

DigestPart: TypeAlias = (
    "str | bytes | int | float | bool | Fraction | enum.Enum | Message"
    " | Sequence[DigestPart] | Mapping[str, DigestPart] | None"
)


def digest_of(*parts: DigestPart) -> str:
    """SHA-256 over typed, length-prefixed parts, so that no two different lists of parts give the same input.

    Maps count without their order. A proto message counts with its type name and its deterministic serialisation: a
    field that is unset and one that is set to its default differ where the schema says `optional`.

    Returns: 64 lower-case hexadecimal digits.
    Raises: ValueError: NaN, which equals nothing. TypeError: a part of another type.
    """
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(_encoded(part))
    return hasher.hexdigest()


def sha256_of(content: bytes | bytearray | memoryview) -> str:
    """SHA-256 of plain bytes: 64 lower-case hexadecimal digits, as in `ObjectRef.sha256`."""
    return hashlib.sha256(content).hexdigest()


def _encoded(part: DigestPart) -> bytes:  # noqa: C901, PLR0912  # one case for each type
    """Tag, length and body of a part. The order of the cases matters: an enum's member may be an int, bool is one."""
    match part:
        case None:
            tag, body = b"n", b""
        case enum.Enum():
            tag, body = b"e", f"{type(part).__qualname__}.{part.name}".encode()
        case bool():
            tag, body = b"t", b"\x01" if part else b"\x00"
        case int():
            tag, body = b"i", str(part).encode()
        case float():
            if math.isnan(part):
                raise ValueError("NaN has no digest")
            tag, body = b"f", struct.pack(">d", part + 0.0)  # + 0.0 turns -0.0 into 0.0, which equals it
        case Fraction():
            tag, body = b"r", f"{part.numerator}/{part.denominator}".encode()
        case str():
            tag, body = b"s", part.encode()
        case bytes():
            tag, body = b"b", part
        case Message():
            name = _tagged(b"s", part.DESCRIPTOR.full_name.encode())
            tag, body = b"m", name + part.SerializeToString(deterministic=True)
        case Mapping():
            tag, body = b"d", b"".join(_encoded(key) + _encoded(part[key]) for key in sorted(part))
        case Sequence():
            tag, body = b"l", b"".join(map(_encoded, part))
        case _:
            raise TypeError(f"{type(part).__name__} has no digest")
    return _tagged(tag, body)


def _tagged(tag: bytes, body: bytes) -> bytes:
    return tag + len(body).to_bytes(8, "big") + body
