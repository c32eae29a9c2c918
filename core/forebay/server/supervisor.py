"""Serving until a signal ends it, by one process or by a parent that watches several.

The parent opens no store. It keeps every listening socket, so a successor inherits the very
socket, and a connection the kernel has queued outlives the worker it waited for.
"""

import gc
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from forebay.errors import ForebayError
from forebay.server.children import FAILED, leave
from forebay.server.signals import STOPS, Signals
from forebay.server.waitress import make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MakeApp = Callable[[], tuple["WSGIApplication", Callable[[], None]]]
"""Opens what an application stands on; gives it and the function that closes that again."""


@runtime_checkable
class KeepsHouse(Protocol):
    """What opens an application and, in a child of its own, the work behind all of them."""

    def keep_house(self) -> Callable[[], None]:
        """Begin that work; give the function that ends it."""
        ...


BACK_OFF = (0.1, 5.0)
SOON = 1.0  # a worker that lived shorter makes its successor wait
CLOSING = 10.0  # after a drain, for closing the stores

log = logging.getLogger("forebay.server")


class _Serving:
    """What both ways of serving are given."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        make_app: MakeApp,
        *,
        threads: int,
        slow_threads: int,
        shutdown_timeout: float,
        reload: Callable[[], MakeApp] | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Take over the `listeners`; nothing is opened or forked yet."""
        self._listeners = list(listeners)
        self._make_app = make_app
        self._threads = {"threads": threads, "slow_threads": slow_threads}
        self._timeout = shutdown_timeout
        self._reload = reload
        self._on_ready = on_ready

    def _reloaded(self) -> MakeApp | None:
        """Ask for the new application; None, and a line in the log, when it cannot be had."""
        assert self._reload is not None
        try:
            return self._reload()
        except ForebayError as error:
            log.error("reload: the old configuration stays: %s", error)
        except Exception:
            log.exception("reload: the old configuration stays")
        return None

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()


class Alone(_Serving):
    """One process that serves by itself; a reload makes it pause, nothing queued is lost."""

    def run(self) -> int:
        """Serve until a signal ends it; return the exit code."""
        make_app = self._make_app
        try:
            with Signals(*STOPS, signal.SIGHUP, impatient=True) as signals:
                while True:
                    try:
                        app, close = make_app()
                    except Exception:
                        if make_app is self._make_app:
                            raise
                        log.exception("reload: back to the old configuration")
                        make_app = self._make_app
                        continue
                    self._make_app = make_app
                    try:
                        next_up = self._serve(app, signals)
                    finally:
                        close()
                    log.info("drained")
                    if isinstance(next_up, int):
                        return next_up
                    make_app = next_up
        finally:
            self._close_listeners()

    def _serve(self, app: "WSGIApplication", signals: Signals) -> MakeApp | int:
        """Serve one configuration; give what opens the next one, or the exit code."""
        server = make_server(app, self._listeners[0].dup(), **self._threads)
        server.start(on_end=signals.wake)
        log.info("serving in one process, pid %d", os.getpid())
        self._on_ready()
        self._on_ready = lambda: None
        successor: MakeApp | None = None
        while server.running and successor is None:
            seen, _ = signals.wait()
            if signal.SIGHUP in seen and self._reload and not seen & set(STOPS):
                successor = self._reloaded()
            elif seen:
                break
        healthy = server.running
        if successor is None:
            self._close_listeners()
        log.info("draining")
        server.stop(self._timeout)
        server.join()
        return successor or (0 if healthy else FAILED)


@dataclass(slots=True, eq=False)
class _Worker:
    """One child; `ready` is the pipe in which it says that it serves, -1 when that is done.

    The one that keeps `house` has the slot behind those of the listeners.
    """

    pid: int
    slot: int
    make_app: MakeApp
    ready: int
    born: float
    house: bool = False
    serving: bool = False
    leaving: bool = False

    def __str__(self) -> str:
        if self.house:
            return f"housekeeping (pid {self.pid})"
        return f"worker {self.slot + 1} (pid {self.pid})"

    def look(self) -> bool:
        """Read the pipe; tell whether the worker has begun to serve just now."""
        if self.ready < 0:
            return False
        try:
            said = os.read(self.ready, 1)
        except BlockingIOError:
            return False
        os.close(self.ready)
        self.ready = -1
        self.serving = bool(said)
        return self.serving


class Supervisor(_Serving):
    """The parent of the workers: one slot, with its listener, for each; one more for the house."""

    def run(self) -> int:
        """Serve until a signal ends it; return the exit code."""
        count = len(self._listeners) + isinstance(self._make_app, KeepsHouse)
        self._workers: list[_Worker] = []
        self._current: list[_Worker | None] = [None] * count
        self._short_lives = [0] * count
        self._due: dict[int, float] = {}  # slots whose successor waits, and until when
        self._coming: _Worker | None = None  # the successor a reload waits for
        self._to_replace: deque[int] = deque()
        self._reload_again = False
        self._begun = False
        self._stopping = False
        self._kill_at: float | None = None
        self._code = 0
        self._life, life_held = os.pipe()  # workers see its other end close when this one is gone
        gc.collect()
        gc.freeze()
        try:
            with Signals(*STOPS, signal.SIGHUP, signal.SIGCHLD) as self._signals:
                self._life_held = life_held
                for slot in range(count):
                    self._current[slot] = self._spawn(slot, self._make_app)
                while self._workers or self._due:
                    self._step()
        finally:
            for worker in self._workers:
                os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)
            os.close(self._life)
            os.close(life_held)
            self._close_listeners()
            gc.unfreeze()
        log.info("stopped")
        return self._code

    def _step(self) -> None:
        moments = [*self._due.values(), *([self._kill_at] if self._kill_at else [])]
        pause = max(0.0, min(moments) - time.monotonic()) if moments else None
        pipes = {worker.ready: worker for worker in self._workers if worker.ready >= 0}
        seen, readable = self._signals.wait(pause, pipes)
        for number in seen - {signal.SIGCHLD}:
            self._on_signal(number)
        for pipe in readable:
            self._look(pipes[pipe])
        self._reap()
        now = time.monotonic()
        for slot in [slot for slot, moment in self._due.items() if moment <= now]:
            try:
                self._current[slot] = self._spawn(slot, self._make_app)
                del self._due[slot]
            except OSError as error:
                log.error("worker %d cannot be forked: %s", slot + 1, error)
                self._due[slot] = now + BACK_OFF[1]
        if self._kill_at and now >= self._kill_at:
            self._kill_at = None
            self._signal_all(signal.SIGKILL)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP and self._reload:
            if self._coming or not self._begun:
                self._reload_again = True
            elif not self._stopping:
                self._begin_reload()
        elif not self._stopping:
            log.info("%s: draining", signal.Signals(number).name)
            self._stop()
        elif number in STOPS:
            log.warning("%s again: ending at once", signal.Signals(number).name)
            self._code = 128 + number
            self._signal_all(signal.SIGKILL)

    def _stop(self) -> None:
        self._stopping = True
        self._kill_at = time.monotonic() + self._timeout + CLOSING
        self._due.clear()
        # First here, so that the worker that closes the listener next is the last to hold it.
        self._close_listeners()
        # The house last: workers that drain may still need room.
        self._signal_all(signal.SIGTERM, [one for one in self._workers if not one.house])
        self._end_house()

    def _end_house(self) -> None:
        """Let the house go when it is all that is left."""
        if self._stopping and all(worker.house for worker in self._workers):
            self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals, workers: "list[_Worker] | None" = None) -> None:
        for worker in self._workers if workers is None else workers:
            os.kill(worker.pid, number)

    # --- birth and death

    def _spawn(self, slot: int, make_app: MakeApp) -> _Worker:
        ready, say_ready = os.pipe()
        # A signal to the child waits until the child has handlers of its own.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOPS, signal.SIGHUP))
        try:
            pid = os.fork()
        except OSError:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(ready)
            os.close(say_ready)
            raise
        if not pid:
            leave(lambda: self._work(slot, make_app, ready, say_ready))
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(say_ready)
        os.set_blocking(ready, False)
        house = slot == len(self._listeners)
        worker = _Worker(pid, slot, make_app, ready, time.monotonic(), house)
        self._workers.append(worker)
        return worker

    def _work(self, slot: int, make_app: MakeApp, ready: int, say_ready: int) -> int:
        """Be the worker: let go of what is the parent's, serve, drain."""
        self._signals.abandon()
        os.close(self._life_held)
        os.close(ready)
        for worker in self._workers:
            if worker.ready >= 0:
                os.close(worker.ready)
        for other, listener in enumerate(self._listeners):
            if other != slot:
                listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with Signals(signal.SIGTERM, ignored=(signal.SIGINT, signal.SIGHUP)) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOPS, signal.SIGHUP))
            if slot == len(self._listeners):
                return self._keep_house(make_app, signals, say_ready)
            app, close = make_app()
            try:
                server = make_server(app, self._listeners[slot], **self._threads)
                server.start(on_end=signals.wake)
                self._say(say_ready)
                while server.running:
                    seen, parent_gone = signals.wait(readable=(self._life,))
                    if seen or parent_gone:
                        break
                healthy = server.running
                server.stop(self._timeout)
                server.join()
            finally:
                close()
        return 0 if healthy else FAILED

    def _keep_house(self, make_app: MakeApp, signals: Signals, say_ready: int) -> int:
        """Be the child that does what is behind the requests."""
        assert isinstance(make_app, KeepsHouse)
        close = make_app.keep_house()
        try:
            self._say(say_ready)
            signals.wait(readable=(self._life,))
        finally:
            close()
        return 0

    @staticmethod
    def _say(ready: int) -> None:
        os.write(ready, b"1")
        os.close(ready)

    def _look(self, worker: _Worker) -> None:
        """See whether the worker serves now, and what waited for that."""
        if not worker.look():
            return
        log.info("%s serves", worker)
        if worker is self._coming:
            self._replace(worker)
        elif not self._begun and all(one and one.serving for one in self._current):
            self._begun = True
            self._on_ready()
            self._next_reload()

    def _reap(self) -> None:
        """Take leave of the children that are dead, and see to their successors."""
        for worker in list(self._workers):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._look(worker)
                self._workers.remove(worker)
                if worker.ready >= 0:
                    os.close(worker.ready)
                self._died(worker, os.waitstatus_to_exitcode(status))
                self._end_house()

    def _died(self, worker: _Worker, code: int) -> None:
        if self._current[worker.slot] is worker:
            self._current[worker.slot] = None
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        if self._stopping or worker.leaving:
            log.info("%s ended %s", worker, how)
        elif not worker.serving and not self._begun:
            log.error("%s ended %s before it served: giving up", worker, how)
            self._code = FAILED
            self._stop()
        else:
            log.error("%s ended %s", worker, how)
            if worker is self._coming:
                self._give_up_reload("the new worker did not start")
            if self._current[worker.slot] is None and worker.slot not in self._due:
                self._succeed(worker)

    def _succeed(self, worker: _Worker) -> None:
        """Let a successor start: at once, or later and later while the lives are short."""
        if self._coming and self._coming.slot == worker.slot:
            return
        now, slot, (first, last) = time.monotonic(), worker.slot, BACK_OFF
        short = now - worker.born < SOON
        lives = self._short_lives[slot] = self._short_lives[slot] + 1 if short else 0
        self._due[slot] = now + (min(last, first * 2 ** min(lives - 1, 16)) if lives else 0.0)

    # --- reload

    def _next_reload(self) -> None:
        if self._reload_again and not self._stopping:
            self._reload_again = False
            self._begin_reload()

    def _begin_reload(self) -> None:
        if make_app := self._reloaded():
            log.info("reload: replacing the workers one after another")
            self._to_replace.extend(range(len(self._current)))
            self._replace_next(make_app)

    def _replace_next(self, make_app: MakeApp) -> None:
        self._coming = None
        if not self._to_replace:
            log.info("reload: done")
            self._next_reload()
            return
        try:
            self._coming = self._spawn(self._to_replace.popleft(), make_app)
        except OSError as error:
            self._give_up_reload(f"no worker can be forked: {error}")

    def _give_up_reload(self, why: str) -> None:
        log.error("reload: given up, the workers not replaced yet stay as they are: %s", why)
        self._coming = None
        self._to_replace.clear()
        self._next_reload()

    def _replace(self, worker: _Worker) -> None:
        """Let `worker` take the place of the one in its slot, which drains."""
        self._make_app = worker.make_app
        old, self._current[worker.slot] = self._current[worker.slot], worker
        self._due.pop(worker.slot, None)
        self._short_lives[worker.slot] = 0
        if old:
            old.leaving = True
            os.kill(old.pid, signal.SIGTERM)
        if not self._stopping:
            self._replace_next(worker.make_app)
