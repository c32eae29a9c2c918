"""What workers tell the process that has the residency: datagrams, each of which may be lost.

A lost note delays an eviction, or makes one a worse choice; the shelves are the truth and are
listed now and then. Nothing here ever waits for the other side, but a question does, shortly.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from forebay.cache.residency import Eviction, Report, Residency, TierReport, Whereabouts
from forebay.cache.tier import Tier
from forebay.types import PageId

_log = logging.getLogger(__name__)

T = TypeVar("T")
What = Literal["report", "whereabouts", "hits", "evictions"]
Kind = Literal["put", "hit", "gone", "refused", "missed", "need", "trash"]

_EVERY = 0.05
"""Seconds that a note waits for others to go along with."""
_TOGETHER = 200
"""Notes in one datagram at most."""
_SEEN = 1 << 17
"""Pages that a worker remembers to have seen before all are forgotten again."""
_ANSWER = 0.5
"""Seconds that a question waits."""
_LARGEST = 1 << 17
"""Bytes of the largest datagram."""
_PAGES = 500
"""Pages that one answer tells of."""


class Note(msgspec.Struct, array_like=True, omit_defaults=True, gc=False, frozen=True):
    """One thing that happened on tier number `tier`, or a wish."""

    kind: Kind
    tier: int = 0
    segment: str = ""
    page_size: int = 0
    index: int = 0
    size: int = 0
    times: int = 1

    @property
    def page(self) -> PageId:
        """The page that it speaks of."""
        return PageId(self.segment, self.page_size, self.index)


class Question(msgspec.Struct, array_like=True, frozen=True):
    """What a worker wants to know: of all, or of a segment from page `start` of the answer.

    Of hits, `start` is the index of a page of `page_size` in the segment.
    """

    number: int
    what: What
    segment: str = ""
    start: int = 0
    page_size: int = 0


class Message(msgspec.Struct, array_like=True, frozen=True):
    """One datagram to the residency."""

    notes: list[Note] = []
    question: Question | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Messenger:
    """A worker's line to the residency; stands in for it."""

    def __init__(self, address: Path, names: Sequence[str]) -> None:
        """Prepare to speak to `address`; `names` of the tiers, in their order."""
        self._address = address
        self._tiers = [TierNotes(self, number) for number in range(len(names))]
        self._names = list(names)
        self._lock = threading.Lock()
        self._notes: list[Note] = []
        self._hits: dict[tuple[int, PageId, int], int] = {}
        self._asked = 0
        self._asking = threading.Lock()
        self._socket = _open()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notes", daemon=True)
        self.own: Callable[[], list[TierReport]] = list

    def start(self) -> None:
        """Begin to send what was noted."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is left, and hang up."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._flush()
        self._socket.close()

    def of_tier(self, number: int) -> TierNotes:
        """Give the notes of a tier."""
        return self._tiers[number]

    # --- telling ---------------------------------------------------------------------

    def note(self, note: Note) -> None:
        """Take a note along with the next datagram."""
        with self._lock:
            self._notes.append(note)
            full = len(self._notes) >= _TOGETHER
        if full or note.kind in ("need", "trash"):
            self._flush()

    def hit(self, tier: int, page: PageId, size: int) -> None:
        """Count a use of a page, to be told once for all until the next datagram."""
        use = (tier, page, size)
        with self._lock:
            self._hits[use] = self._hits.get(use, 0) + 1

    def missed(self, segment: str) -> None:
        """Take note that a page of a segment has to be fetched."""
        self.note(Note("missed", segment=segment))

    def trash_waits(self) -> None:
        """Say that there is something to clean up."""
        self.note(Note("trash"))

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY):
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            notes, self._notes = self._notes, []
            hits, self._hits = self._hits, {}
        for (tier, page, size), times in hits.items():
            notes.append(Note("hit", tier, page.segment, page.page_size, page.index, size, times))
        for first in range(0, len(notes), _TOGETHER):
            self._send(self._socket, Message(notes[first : first + _TOGETHER]))

    def _send(self, line: socket.socket, message: Message) -> bool:
        try:
            _send_to(line, self._address, _encode(message))
        except OSError as error:
            # Nobody listens, or not fast enough.
            _log.debug("a note was lost: %s", error)
            return False
        return True

    # --- asking ----------------------------------------------------------------------

    def report(self) -> Report:
        """Tell how the node's cache does; without an answer, what this process can tell."""
        answer = self._ask("report", Report)
        return Report(self.own(), [], complete=False) if answer is None else answer

    def whereabouts(self, segment: str) -> list[Whereabouts]:
        """Give every page of a segment, by tier and index; what was answered in time."""
        found: list[Whereabouts] = []
        while True:
            some = self._ask("whereabouts", list[Whereabouts], segment, len(found))
            found += some or []
            if some is None or len(some) < _PAGES:
                return found

    def hits(self, segment: str, page_size: int, first: int, stop: int) -> dict[int, int]:
        """Count the uses of pages `first` to `stop`, by index; what was answered in time."""
        found: dict[int, int] = {}
        for start in range(first, stop, _PAGES):
            some = self._ask("hits", dict[int, int], segment, start, page_size)
            if some is None:
                break
            found |= {index: hits for index, hits in some.items() if index < stop}
        return found

    def evictions(self, segment: str) -> dict[PageId, Eviction]:
        """Give the last eviction of each page of a segment, as far as they are remembered."""
        found: dict[PageId, Eviction] = {}
        while True:
            some = self._ask("evictions", list[tuple[PageId, Eviction]], segment, len(found))
            found |= dict(some or [])
            if some is None or len(some) < _PAGES:
                return found

    def _ask(
        self,
        what: What,
        kind: type[T],
        segment: str = "",
        start: int = 0,
        page_size: int = 0,
    ) -> T | None:
        """Ask, and wait a moment for the answer."""
        with self._asking, _open() as line:
            self._asked += 1
            line.bind("")  # a name of its own in the abstract name space, to be answered at
            line.settimeout(_ANSWER)
            question = Question(self._asked, what, segment, start, page_size)
            if not self._send(line, Message(question=question)):
                return None
            try:
                number, answer = msgspec.msgpack.decode(
                    line.recv(_LARGEST), type=tuple[int, msgspec.Raw]
                )
                return msgspec.msgpack.decode(answer, type=kind) if number == self._asked else None
            except (OSError, msgspec.MsgspecError) as error:
                _log.debug("the residency does not answer: %s", error)
                return None


class TierNotes:
    """What a worker tells of one tier; remembers what it saw there."""

    def __init__(self, messenger: Messenger, number: int) -> None:
        self._messenger = messenger
        self._number = number
        self._seen: dict[PageId, int] = {}

    def put(self, page: PageId, size: int) -> None:
        """Tell of a page that was put on the shelf; its size in bytes."""
        self._see(page, size)
        self._tell("put", page, size)

    def hit(self, page: PageId, size: int) -> None:
        """Tell of a use."""
        if page not in self._seen:
            self._see(page, size)
        self._messenger.hit(self._number, page, size)

    def gone(self, page: PageId) -> None:
        """Tell that a page is not on the shelf, if this process thought that it is."""
        if self._seen.pop(page, None) is not None:
            self._tell("gone", page, 0)

    def refused(self) -> None:
        """Tell that a page found no room."""
        self._messenger.note(Note("refused", self._number))

    def need(self, size: int) -> None:
        """Ask for room."""
        self._messenger.note(Note("need", self._number, size=size))

    def size_of(self, page: PageId) -> int | None:
        """Give the size in bytes of a page that was seen."""
        return self._seen.get(page)

    def _see(self, page: PageId, size: int) -> None:
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen[page] = size

    def _tell(self, kind: Kind, page: PageId, size: int) -> None:
        note = Note(kind, self._number, page.segment, page.page_size, page.index, size)
        self._messenger.note(note)


class Listener:
    """The residency's end of the line: hears notes and answers questions, on a thread."""

    def __init__(
        self, address: Path, tiers: Sequence[Tier], residency: Residency, trash: threading.Event
    ) -> None:
        """Prepare to listen at `address`; `trash` is set when there is something to clean up."""
        self._address = address
        self._tiers = list(tiers)
        self._residency = residency
        self._trash = trash
        self._socket = _open()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="notes", daemon=True)

    def start(self) -> None:
        """Take the address, from a dead one if need be, and listen."""
        with suppress(FileNotFoundError):
            self._address.unlink()
        with _short(self._address) as short:
            self._socket.bind(short)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._thread.start()

    def stop(self) -> None:
        """Hang up."""
        self._stopping = True
        if self._thread.is_alive():
            with suppress(OSError), _open() as line:
                _send_to(line, self._address, _encode(Message()))
            self._thread.join()
        with suppress(FileNotFoundError):
            self._address.unlink()
        self._socket.close()

    def _run(self) -> None:
        while not self._stopping:
            try:
                message, sender = self._socket.recvfrom(_LARGEST)
                said = _decode(message)
            except (OSError, msgspec.MsgspecError) as error:
                _log.warning("a note cannot be read: %s", error)
                continue
            try:
                for note in said.notes:
                    self._hear(note)
                if said.question is not None:
                    self._answer(said.question, sender)
            except Exception:
                _log.exception("a note could not be followed")

    def _hear(self, note: Note) -> None:
        stock = self._tiers[note.tier].stock
        match note.kind:
            case "put":
                stock.put(note.page, note.size)
            case "hit":
                stock.hit(note.page, note.size, note.times)
            case "gone":
                stock.gone(note.page)
            case "refused":
                stock.refused()
            case "missed":
                self._residency.missed(note.segment)
            case "need":
                self._residency.need(note.tier, note.size)
                self._trash.set()
            case "trash":
                self._trash.set()

    def _answer(self, question: Question, sender: str | bytes) -> None:
        stop = question.start + _PAGES
        answer: object
        match question.what:
            case "report":
                answer = self._residency.report()
            case "whereabouts":
                answer = self._residency.whereabouts(question.segment)[question.start : stop]
            case "hits":
                pages = question.segment, question.page_size, question.start, stop
                answer = self._residency.hits(*pages)
            case "evictions":
                found = list(self._residency.evictions(question.segment).items())
                answer = found[question.start : stop]
        with suppress(OSError):
            self._socket.sendto(_encode((question.number, answer)), socket.MSG_DONTWAIT, sender)


def _open() -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _LARGEST)
    return line


def _send_to(line: socket.socket, address: Path, message: bytes) -> None:
    with _short(address) as short:
        line.sendto(message, socket.MSG_DONTWAIT, short)


class _short:
    """A short name of a socket's path while it is used: the system takes 107 bytes at most."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) < 100:
            return str(self._path)
        self._fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._fd}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
