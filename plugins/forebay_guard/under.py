"""A guarded under store: calls that may be repeated are, and a store that is down is left alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from forebay.errors import ConfigurationError, Unavailable
from forebay.events import BreakerClosed, BreakerOpened, Event
from forebay.stores.checked import Checked
from forebay.stores.under import ObjectReader, UnderStore, UnderStoreFactory
from forebay.streams import Reader, SupportsReadInto
from forebay.types import Attributes, ByteRange, CommonPrefix, ObjectInfo
from forebay_guard.breaker import Breaker, LeftAlone
from forebay_guard.options import GuardOptions, take, without

_PAUSE, _LONGEST = 0.1, 2.0
"""Seconds before a call is repeated: doubled each time, with jitter, up to the longest."""

T = TypeVar("T")


def guarded(factory: UnderStoreFactory, uri: str, options: Mapping[str, Any]) -> GuardedStore:
    """Open a store of `factory` and guard it. Raises as the factory does."""
    guard, rest = take(options)
    return GuardedStore(factory(uri, rest), uri, guard)


def check(factory: UnderStoreFactory, uri: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError with what is wrong with the guard's options and the store's own."""
    faults: list[str] = []
    try:
        take(options)
    except ConfigurationError as error:
        faults += error.faults
    if isinstance(factory, Checked):
        try:
            factory.check(uri, without(options))
        except ConfigurationError as error:
            faults += error.faults
    if faults:
        raise ConfigurationError(*faults)


class GuardedStore:
    """An under store behind two breakers, one for reading and one for writing.

    What may be repeated without harm is repeated when the store is down: head, delete, copy
    and the beginning and end of uploads where the store has them, open and list until they gave
    something, put of an object or a part until it read of its body. A completion may have been
    done, so it is not. All else is the store's own.
    """

    def __init__(self, store: UnderStore, uri: str, options: GuardOptions) -> None:
        """Take over `store`; it is closed with the guard."""
        self.inner = store
        self.capabilities = store.capabilities
        place = urlsplit(uri)
        self._under = place._replace(netloc=place.netloc.rpartition("@")[2], query="").geturl()
        self._retries = options.retries
        self._track: Callable[[Event], None] = lambda _: None
        self._reading, self._writing = (
            Breaker(
                f"{what} {self._under}",
                failures=options.breaker_failures,
                pause=options.breaker_pause,
                patience=options.call_timeout,
                changed=partial(self._tell, what),
            )
            for what in ("reading from", "writing to")
        )

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        # No methods of the class: whoever asks for the power must not find it where it is not.
        if name in ("copy", "begin_upload", "abort_upload"):
            return partial(self._again, found)
        if name == "put_part":
            return partial(self._put_part, found)
        return partial(self._once, found) if name == "complete_upload" else found

    def on_event(self, track: Callable[[Event], None], /) -> None:
        """Tell `track` of breakers that open and close."""
        self._track = track

    def head(self, key: str, /) -> ObjectInfo:
        """Tell of one object."""
        return self._repeat(self._reading, lambda: self.inner.head(key))

    @contextmanager
    def open(
        self, key: str, /, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> Iterator[ObjectReader]:
        """Open an object; what goes wrong later, while it is read, is not repeated."""
        with ExitStack() as stack:

            def begin() -> ObjectReader:
                return stack.enter_context(self.inner.open(key, byte_range, if_match=if_match))

            reader = self._repeat(self._reading, begin)
            into = isinstance(reader, SupportsReadInto)
            yield (_GuardedIntoReader if into else _GuardedReader)(reader, self._reading)

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
        """Store an object; tried again only while nothing of the body was asked for."""
        watched = _Watched(body)
        return self._repeat(
            self._writing,
            lambda: self.inner.put(
                key,
                watched,
                size=size,
                attributes=attributes,
                if_match=if_match,
                if_none_match=if_none_match,
            ),
            may_repeat=lambda: not watched.begun,
            # A body may be read from another store, which is the one that is down.
            blamed=lambda error: error is not watched.failure,
        )

    def delete(self, key: str, /) -> None:
        """Remove an object."""
        self._repeat(self._writing, lambda: self.inner.delete(key))

    def _again(self, call: Callable[..., T], /, *args: Any, **options: Any) -> T:
        return self._repeat(self._writing, lambda: call(*args, **options))

    def _once(self, call: Callable[..., T], /, *args: Any, **options: Any) -> T:
        return self._repeat(self._writing, lambda: call(*args, **options), lambda: False)

    def _put_part(
        self,
        put: Callable[..., str],
        key: str,
        token: str,
        number: int,
        body: Reader,
        /,
        **options: Any,
    ) -> str:
        watched = _Watched(body)
        return self._repeat(
            self._writing,
            lambda: put(key, token, number, watched, **options),
            may_repeat=lambda: not watched.begun,
            blamed=lambda error: error is not watched.failure,
        )

    def list(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = ""
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List objects; tried again only until the first entry came."""
        found: list[Iterator[ObjectInfo | CommonPrefix]] = []

        def begin() -> ObjectInfo | CommonPrefix | None:
            found[:] = [iter(self.inner.list(prefix, delimiter=delimiter, start_after=start_after))]
            return next(found[0], None)

        entry = self._repeat(self._reading, begin)
        while entry is not None:
            yield entry
            with self._reading.call(begun=True):
                entry = next(found[0], None)

    def close(self) -> None:
        """Close the store."""
        self.inner.close()

    def _repeat(
        self,
        breaker: Breaker,
        call: Callable[[], T],
        may_repeat: Callable[[], bool] = lambda: True,
        blamed: Callable[[Unavailable], bool] = lambda _: True,
    ) -> T:
        pause = _PAUSE
        for left in range(self._retries, -1, -1):
            try:
                with breaker.call(blamed=blamed):
                    return call()
            except LeftAlone:
                raise
            except Unavailable:
                if not left or breaker.is_open or not may_repeat():
                    raise
            time.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, _LONGEST)
        raise AssertionError("the last try returns or raises")

    def _tell(self, what: str, reason: str | None) -> None:
        operations = "reads" if what.startswith("reading") else "writes"
        if reason is None:
            self._track(BreakerClosed(self._under, operations))
        else:
            self._track(BreakerOpened(self._under, operations, reason))


class _GuardedReader:
    """An open object whose failures the breaker counts."""

    def __init__(self, reader: ObjectReader, breaker: Breaker) -> None:
        self._reader = reader
        self._breaker = breaker
        self.info = reader.info

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, whatever the breaker thinks of new calls by now."""
        with self._breaker.call(begun=True):
            return self._reader.read(size)

    def fileno(self) -> int:
        """Give the descriptor, where the store has one."""
        return self._reader.fileno()


class _GuardedIntoReader(_GuardedReader):
    """An open object that can put its bytes where they are wanted."""

    def read_into(self, room: memoryview, /) -> int:
        """Do as `read`, into `room`."""
        assert isinstance(self._reader, SupportsReadInto)
        with self._breaker.call(begun=True):
            return self._reader.read_into(room)


class _Watched:
    """A body of which is known whether anybody asked for its bytes, and how that failed."""

    def __init__(self, body: Reader) -> None:
        self._body = body
        self.begun = False
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes."""
        self.begun = True
        try:
            return self._body.read(size)
        except Exception as error:
            self.failure = error
            raise
