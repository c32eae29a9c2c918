"""The contract of an under store: six methods, which is all that a storage plugin writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from forebay.events import Event
from forebay.streams import Reader
from forebay.types import (
    Attributes,
    ByteRange,
    Capabilities,
    CommonPrefix,
    ObjectInfo,
    StoredPart,
)


class ObjectReader(Reader, Protocol):
    """An open object of an under store; its bytes are all of one version."""

    info: ObjectInfo
    """The version that is being read; `size` is the whole object's, not the range's."""

    def fileno(self) -> int:
        """Give the descriptor of the file that holds the object from its byte 0.

        Only stores with the capability `local_files` have it; the others raise NotSupported.
        """
        ...


class UnderStore(Protocol):
    """Storage behind a mount. Keys are `str` without a leading slash being special.

    Methods may be called by several threads at once. They raise `forebay.errors.StorageError`
    and its children only, the original exception as ``__cause__``.
    """

    capabilities: Capabilities

    def head(self, key: str, /) -> ObjectInfo:
        """Tell of one object. Raises NotFound. Fills `attributes` where the store keeps them."""
        ...

    def open(
        self, key: str, /, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> AbstractContextManager[ObjectReader]:
        """Open an object, or the given bytes of it, for reading.

        Gives bytes of one version only. With `if_match` (a fingerprint) another version is
        PreconditionFailed; a version that changes midway is SourceChanged, never a mixture.
        A range that reaches beyond the end is cut at the end. Raises NotFound.
        """
        ...

    def put(
        self,
        key: str,
        /,
        body: Reader,
        *,
        size: int | None,
        attributes: Attributes,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> ObjectInfo:
        """Store an object whole, or not at all.

        Reads `body` to its end before anything is visible; an exception of `body.read` leaves
        nothing visible and passes through unchanged. `size` is the length if known: a body of
        another length is StorageError. `if_match` is a fingerprint, `if_none_match` asks that
        no object be there: PreconditionFailed, or NotSupported where the store cannot tell.
        A key that ends with ``/`` is an object like any other. Returns the new object's info,
        with the fingerprint that `head` will give; `last_modified` may be by another clock than
        the store's. Raises NoSpace, InvalidKey, PermissionDenied.
        """
        ...

    def delete(self, key: str, /) -> None:
        """Remove an object; a missing one is success."""
        ...

    def list(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = ""
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List objects lazily, strictly increasing by the UTF-8 bytes of key or prefix.

        `start_after` is exclusive. With a delimiter, keys that hold it behind the prefix are
        rolled into one CommonPrefix, which is left out when it is not greater than
        `start_after`, or when `start_after` begins with it. `attributes` may be None.
        A directory store shows an empty directory as the 0-byte key ``x/``.
        """
        ...

    def close(self) -> None:
        """Let go of everything; no method is called after it."""
        ...


class SupportsCopy(Protocol):
    """An under store that can copy within itself without moving the bytes through us."""

    def copy(
        self, source: str, target: str, /, *, attributes: Attributes, if_match: str | None
    ) -> ObjectInfo:
        """Copy `source`, if it still has the fingerprint `if_match`, to `target`.

        Makes the whole object or none, with `attributes` and nothing of the source's; the two
        keys may be the same. Returns the new object's info as `put` does. Raises NotFound and
        PreconditionFailed where there is no such version, Unavailable; after any other storage
        error, NotSupported before all, the bytes are read and put instead.
        """
        ...


class SupportsMultipart(Protocol):
    """An under store that takes an object in parts, and shows it when they are complete.

    An upload is named by its key and a token, for every process that opens the same URI, for
    days. Nothing of it is visible before its completion.
    """

    def begin_upload(self, key: str, /, *, attributes: Attributes) -> str:
        """Begin an upload of an object with `attributes`; give its token."""
        ...

    def put_part(
        self, key: str, token: str, number: int, body: Reader, /, *, size: int, md5: str
    ) -> str:
        """Take a part, whole or not at all, in place of an earlier one of its number; name it.

        `number` is 1 to 10,000, `md5` that of the `size` bytes, in hex: a store may refuse
        others with StorageError, and does so if they are not `size`. An exception of
        `body.read` passes through unchanged. Raises NotFound where there is no such upload.
        """
        ...

    def complete_upload(self, key: str, token: str, parts: Sequence[StoredPart], /) -> ObjectInfo:
        """Make the object of `parts`, one or more, their numbers ascending; forget all others.

        Whole or not at all, in place of what is there. Returns the new object's info as `put`
        does, with or without attributes. Raises NotFound, and changes nothing, where there is
        no such upload or no part of that number and tag in it; Unavailable, when it may have
        been done; after any other storage error the bytes are put instead. Once more, it
        changes nothing: NotFound, or the answer that was given.
        """
        ...

    def abort_upload(self, key: str, token: str, /) -> None:
        """Forget an upload and its parts; a missing one, or one that is complete, is success."""
        ...


class SupportsEvents(Protocol):
    """An under store, or a layer around one, that has news to tell."""

    def on_event(self, track: Callable[[Event], None], /) -> None:
        """Call `track` with every event from now on; called once, when the store is open."""
        ...


UnderStoreFactory = Callable[[str, Mapping[str, Any]], UnderStore]
"""``factory(uri, options)``: opens a store. `options` are the mount's own, and always
`durability` (``disk`` or ``process``), which a store without a use for it ignores.
Raises ConfigurationError for a URI or option that cannot be, Unavailable when it is down."""
