"""Children that are forked: they never return into what their parent was doing."""

import logging
import os
import pickle
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

from forebay.errors import ForebayError

T = TypeVar("T")
FAILED = 1

log = logging.getLogger("forebay.server")


def in_child(call: Callable[[], T]) -> T:
    """Run `call` in a short-lived child, so that nothing it opens is there when workers fork.

    Raises what it raised, when that is a ForebayError; ForebayError otherwise.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        leave(lambda: _report(call, writing))
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not answer:
        raise ForebayError(f"recovery ended with code {code}; the log says why")
    value = pickle.loads(answer)
    if isinstance(value, ForebayError):
        raise value
    return value  # type: ignore[no-any-return]


def _report(call: Callable[[], object], writing: int) -> int:
    answer: object
    try:
        answer = call()
    except ForebayError as error:
        answer = error
    with open(writing, "wb") as pipe:
        pickle.dump(answer, pipe)
    return 0


def leave(main: Callable[[], int]) -> NoReturn:
    """Run `main` as all that is left of this child's life: nothing of the parent's is unwound."""
    code = FAILED
    try:
        code = main()
    except ForebayError as error:
        log.error("%s", error)
    except KeyboardInterrupt:
        pass  # the parent has it, too, and says so
    except BaseException:
        log.exception("a child of the server failed")
    finally:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
