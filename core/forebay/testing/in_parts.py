"""A layer that lets any store take objects in parts, for tests of what needs such a store."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from forebay.errors import NotFound, StorageError
from forebay.streams import BLOCK, BytesReader, Reader
from forebay.testing.faults import Around
from forebay.types import Attributes, ObjectInfo, StoredPart


class TakesParts(Around):
    """Keeps parts as files in the directory `place`, so that they outlive the process.

    What was made of parts has the ETag that S3 gives it.
    """

    def __init__(self, store: Any, place: str | Path) -> None:
        super().__init__(store)
        self.place = Path(place)
        self.place.mkdir(exist_ok=True)

    def head(self, key: str, /) -> ObjectInfo:
        """Tell of an object, with the ETag of its parts."""
        info: ObjectInfo = self.inner.head(key)
        note = self._note(key)
        fingerprint, etag = note.read_text().split("\n") if note.exists() else ("", "")
        return replace(info, etag=etag) if fingerprint == info.fingerprint else info

    def begin_upload(self, key: str, /, *, attributes: Attributes) -> str:
        """Begin an upload: a directory."""
        token = secrets.token_hex(8)
        (self.place / token).mkdir()
        (self.place / token / "begun").write_text(json.dumps([key, asdict(attributes)]))
        return token

    def put_part(
        self, key: str, token: str, number: int, body: Reader, /, *, size: int, md5: str
    ) -> str:
        """Take a part: a file that is moved to its name."""
        self._begun(key, token)
        content = b"".join(iter(lambda: body.read(BLOCK), b""))
        if len(content) != size:
            raise StorageError(f"{len(content)} bytes are not {size}")
        new = self.place / token / f"new-{secrets.token_hex(4)}"
        new.write_bytes(content)
        try:
            os.replace(new, self.place / token / str(number))
        except FileNotFoundError as gone:
            raise NotFound(token) from gone
        return hashlib.md5(content, usedforsecurity=False).hexdigest()

    def complete_upload(self, key: str, token: str, parts: Sequence[StoredPart], /) -> ObjectInfo:
        """Put what the parts are together, then forget them."""
        attributes = self._begun(key, token)
        whole, hashes = b"", b""
        for one in parts:
            file = self.place / token / str(one.number)
            content = file.read_bytes() if file.exists() else b""
            digest = hashlib.md5(content, usedforsecurity=False)
            if not file.exists() or digest.hexdigest() != one.tag:
                raise NotFound(f"no part {one.number} that is {one.tag}")
            whole, hashes = whole + content, hashes + digest.digest()
        info: ObjectInfo = self.inner.put(
            key, BytesReader(whole), size=len(whole), attributes=attributes
        )
        joined = hashlib.md5(hashes, usedforsecurity=False).hexdigest()
        etag = f"{joined}-{len(parts)}"
        self._note(key).write_text(f"{info.fingerprint}\n{etag}")
        shutil.rmtree(self.place / token)
        return replace(info, etag=etag)

    def abort_upload(self, key: str, token: str, /) -> None:
        """Forget an upload."""
        shutil.rmtree(self.place / token, ignore_errors=True)

    def under_way(self) -> int:
        """Count the uploads that are neither complete nor aborted."""
        return sum(entry.is_dir() for entry in self.place.iterdir())

    def _begun(self, key: str, token: str) -> Attributes:
        try:
            begun, attributes = json.loads((self.place / token / "begun").read_text())
        except FileNotFoundError as gone:
            raise NotFound(token) from gone
        if begun != key:
            raise NotFound(token)
        return Attributes(**attributes)

    def _note(self, key: str) -> Path:
        return self.place / f"etag-{hashlib.sha256(key.encode()).hexdigest()}"
