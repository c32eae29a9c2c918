"""S3's additional checksums: made over bytes, and joined from those of parts."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol

from awscrt import checksums as crt


class Checksum(Protocol):
    """A checksum under way."""

    def update(self, block: bytes, /) -> None:
        """Take the next bytes."""
        ...

    def digest(self) -> bytes:
        """Give the checksum of the bytes so far, big-endian."""
        ...

    def base64(self) -> str:
        """Give the checksum of the bytes so far as S3 writes it."""
        ...


class Crc:
    """A cyclic redundancy check of `digest_size` bytes, computed by `step(block, previous)`."""

    def __init__(self, step: Callable[[bytes, int], int], digest_size: int) -> None:
        self._step = step
        self._size = digest_size
        self._value = 0

    def update(self, block: bytes, /) -> None:
        """Take the next bytes."""
        self._value = self._step(block, self._value)

    def digest(self) -> bytes:
        """Give the checksum of the bytes so far, big-endian."""
        return self._value.to_bytes(self._size, "big")

    def base64(self) -> str:
        """Give the checksum of the bytes so far as S3 writes it."""
        return base64.b64encode(self.digest()).decode("ascii")


class Sha:
    """A hash of hashlib's."""

    def __init__(self, name: str) -> None:
        self._hash = hashlib.new(name, usedforsecurity=False)

    def update(self, block: bytes, /) -> None:
        """Take the next bytes."""
        self._hash.update(block)

    def digest(self) -> bytes:
        """Give the hash of the bytes so far."""
        return self._hash.digest()

    def base64(self) -> str:
        """Give the hash of the bytes so far as S3 writes it."""
        return base64.b64encode(self._hash.digest()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One of S3's checksum algorithms; `digest_size` in bytes.

    `combine(first, second, length of second)` joins the values of two neighbouring stretches;
    None where the checksum of a whole cannot be had from those of its parts.
    """

    name: str
    digest_size: int
    new: Callable[[], Checksum]
    combine: Callable[[int, int, int], int] | None = None

    @property
    def combinable(self) -> bool:
        """Whether `full_object` works."""
        return self.combine is not None


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        algorithm.name: algorithm
        for algorithm in (
            Algorithm("crc32", 4, partial(Crc, crt.crc32, 4), crt.combine_crc32),
            Algorithm("crc32c", 4, partial(Crc, crt.crc32c, 4), crt.combine_crc32c),
            Algorithm("crc64nvme", 8, partial(Crc, crt.crc64nvme, 8), crt.combine_crc64nvme),
            Algorithm("sha1", 20, partial(Sha, "sha1")),
            Algorithm("sha256", 32, partial(Sha, "sha256")),
        )
    }
)
"""Every algorithm by its S3 name in lower case."""


def parse_base64(name: str, text: str) -> bytes:
    """Give the digest that `text` spells; ValueError if it is not one of algorithm `name`."""
    return parse_digest(text, ALGORITHMS[name].digest_size)


def parse_digest(text: str, size: int) -> bytes:
    """Give the `size` bytes that `text` spells in base64; ValueError if it spells others."""
    try:
        digest = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError("not base64") from error
    if len(digest) != size:
        raise ValueError(f"{len(digest)} bytes, not {size}")
    return digest


def composite(name: str, parts: Sequence[str]) -> str:
    """Give the checksum of the checksums of `parts` (base64), with ``-N`` behind it."""
    whole = ALGORITHMS[name].new()
    for part in parts:
        whole.update(parse_base64(name, part))
    return f"{whole.base64()}-{len(parts)}"


def full_object(name: str, parts: Sequence[tuple[str, int]]) -> str:
    """Give the checksum (base64) of an object from those of its parts and their lengths.

    Raises ValueError for an algorithm that is not `combinable`.
    """
    algorithm = ALGORITHMS[name]
    if algorithm.combine is None:
        raise ValueError(f"{name} of a whole cannot be had from its parts")
    value = 0
    for text, length in parts:
        value = algorithm.combine(value, int.from_bytes(parse_base64(name, text), "big"), length)
    return base64.b64encode(value.to_bytes(algorithm.digest_size, "big")).decode("ascii")
