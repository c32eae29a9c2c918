"""What a test does in another process: put, look, write, and die without a farewell."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from forebay.errors import NotFound
from forebay.streams import BLOCK, BytesReader
from forebay.types import Attributes, PageId

Opening = tuple[Callable[..., Any], tuple[Any, ...]]
"""What opens one store in any process: a factory that can be imported, and its arguments."""

THERE, MISSING = 0, 3
KILLED = -signal.SIGKILL

_CHILD = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
function, args = pickle.load(sys.stdin.buffer)
sys.exit(function(*args))
"""


def elsewhere(function: Callable[..., int | None], *args: Any, seconds: float = 60) -> int:
    """Call an importable function in a new process; return its exit code (negative: a signal).

    What it says on stderr is shown with the test when it is neither of the codes here.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=pickle.dumps(sys.path) + pickle.dumps((function, args)),
        stderr=subprocess.PIPE,
        check=False,
        timeout=seconds,
    )
    if done.returncode not in (THERE, MISSING, KILLED):
        raise AssertionError(f"the other process failed:\n{done.stderr.decode()}")
    return done.returncode


def opened(opening: Opening) -> Any:
    """Open the store."""
    factory, args = opening
    return factory(*args)


# --- under stores ------------------------------------------------------------------------


class _Deadly:
    """A body of `blocks` blocks that kills its reader instead of giving block `fatal`."""

    def __init__(self, blocks: int, fatal: int) -> None:
        self._left = blocks
        self._fatal = fatal

    def read(self, size: int, /) -> bytes:
        """Give a block, the end, or death."""
        if self._fatal == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._fatal -= 1
        self._left -= 1
        return b"d" * min(size, BLOCK) if self._left >= 0 else b""


def put_object(opening: Opening, key: str, content: bytes) -> None:
    """Put one object and let go of the store."""
    store = opened(opening)
    store.put(key, BytesReader(content), size=len(content), attributes=Attributes())
    store.close()


def look_at_object(opening: Opening, key: str, content: bytes) -> int:
    """Tell whether the object of these bytes is there."""
    store = opened(opening)
    try:
        with store.open(key) as reader:
            found = b"".join(iter(lambda: reader.read(BLOCK), b""))
    except NotFound:
        return MISSING
    finally:
        store.close()
    assert found == content
    return THERE


def die_while_putting(opening: Opening, key: str, blocks: int, fatal: int) -> None:
    """Put an object of some blocks and die before block `fatal`; the one behind all is the end."""
    opened(opening).put(key, _Deadly(blocks, fatal), size=None, attributes=Attributes())


# --- page stores -------------------------------------------------------------------------


def die_while_writing(opening: Opening, done: PageId, undone: PageId, content: bytes) -> None:
    """Commit one page, write another, and die before its commit."""
    store = opened(opening)
    writer = store.writer(done, len(content))
    writer.write(content)
    writer.commit(sync=True)
    store.writer(undone, 2 * len(content)).write(content)
    os.kill(os.getpid(), signal.SIGKILL)


# --- metadata stores ---------------------------------------------------------------------


def die_while_changing(opening: Opening, done: bytes, undone: bytes) -> None:
    """Commit one key durably, set another, and die inside of that transaction."""
    store = opened(opening)

    def die(transaction: Any) -> None:
        transaction.put(undone, b"never")
        transaction.put(done, b"never")
        os.kill(os.getpid(), signal.SIGKILL)

    store.write(lambda transaction: transaction.put(done, b"kept"))
    store.write(die)


def count_up(opening: Opening, key: bytes, turns: int, crowd: int) -> None:
    """Add one to a number, `turns` times, each in a transaction of its own.

    Begins when `crowd` processes have come.
    """
    store = opened(opening)

    def come(transaction: Any) -> None:
        transaction.put(b"here %d" % os.getpid(), b"")

    def count(transaction: Any) -> None:
        transaction.put(key, b"%d" % (int(transaction.get(key) or b"0") + 1))

    store.write(come)
    while len(store.read(lambda snapshot: list(snapshot.scan(b"here", b"hes")))) < crowd:
        time.sleep(0.01)
    for _ in range(turns):
        store.write(count, durable=False)
    store.close()
