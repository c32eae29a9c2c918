"""`serve`: as many processes as the machine and the stores allow, behind one address."""

import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from forebay.config import Config
from forebay.errors import ConfigurationError
from forebay.objects.tiers import Role
from forebay.runtime import Forebay, recover
from forebay.s3.app import create_app
from forebay.server.announce import announce, withdraw
from forebay.server.children import in_child
from forebay.server.listeners import bind, raise_descriptor_limit, share, url_of
from forebay.server.supervisor import Alone, MakeApp, Supervisor
from forebay.server.waitress import SLOW_THREADS

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

FIXED = (
    "server.listen",
    "server.workers",
    "server.threads",
    "server.slow_threads",
    "server.shutdown_timeout",
)

log = logging.getLogger("forebay.server")


def serve(
    config: Config,
    *,
    reload: Callable[[], Config] | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
) -> int:
    """Serve `config` until a signal ends it; return the exit code.

    SIGTERM and SIGINT drain, a second one ends at once. SIGHUP asks `reload` for a new
    configuration and replaces the workers one after another; without `reload` it drains.
    `on_ready` is called with the URL once every worker serves. Raises ConfigurationError when
    the address cannot be had or the configuration cannot be used.
    """
    raise_descriptor_limit()
    server = config.server
    # The address first: a second instance must fail before it touches the state of the first.
    first = bind(server.listen)
    try:
        count = processes(config)
        listeners = share(first, count)
    except BaseException:
        first.close()
        raise
    url = url_of(first)

    def reloaded() -> MakeApp:
        assert reload is not None
        new = reload()
        if _fixed(new) != _fixed(config):
            log.warning("reload: %s change only with a restart", ", ".join(FIXED))
        if count > 1 and (private := in_child(lambda: recover(new).private)):
            raise _cannot_share(count, private)
        return Application(new, count)

    def ready() -> None:
        announce(config.state, url)
        on_ready(url)

    try:
        return run(
            listeners,
            Application(config, count),
            threads=server.threads,
            slow_threads=server.slow_threads,
            shutdown_timeout=server.shutdown_timeout,
            reload=reloaded if reload else None,
            on_ready=ready,
        )
    finally:
        withdraw(config.state, url)


def run(
    listeners: Sequence[socket.socket],
    make_app: MakeApp,
    *,
    threads: int,
    slow_threads: int = SLOW_THREADS,
    shutdown_timeout: float,
    reload: Callable[[], MakeApp] | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """Serve on `listeners`, a process for each; one listener is served without forking."""
    how = Alone if len(listeners) == 1 else Supervisor
    return how(
        listeners,
        make_app,
        threads=threads,
        slow_threads=slow_threads,
        shutdown_timeout=shutdown_timeout,
        reload=reload,
        on_ready=on_ready,
    ).run()


class Application:
    """Opens a Forebay of `config`, with its S3 application or for what is behind that."""

    def __init__(self, config: Config, workers: int = 1) -> None:
        """Prepare to be opened in each of `workers` processes."""
        self._config = config
        self._workers = workers

    def __call__(self) -> tuple["WSGIApplication", Callable[[], None]]:
        """Open it for requests; give the application, and what closes it."""
        forebay = self._open(Role.ALONE if self._workers == 1 else Role.WORKER)
        try:
            return create_app(forebay), forebay.close
        except BaseException:
            forebay.close()
            raise

    def keep_house(self) -> Callable[[], None]:
        """Open it in the process that keeps house for all workers; give what closes it."""
        return self._open(Role.HOUSEKEEPING).close

    def _open(self, role: Role) -> Forebay:
        forebay = Forebay(self._config, role=role)
        try:
            forebay.start()
        except BaseException:
            forebay.close()
            raise
        return forebay


def processes(config: Config) -> int:
    """Give the number of worker processes, after recovery where there may be several.

    Unless configured it is one for each CPU, and 1 when something of the configuration cannot be
    shared between processes. Raises ConfigurationError when several are configured for such.
    """
    wanted = config.server.workers or len(os.sched_getaffinity(0))
    private = in_child(lambda: recover(config).private) if wanted > 1 else ()
    if not private:
        return wanted
    if config.server.workers is None:
        log.info("one worker: only one process can use %s", ", ".join(private))
        return 1
    raise _cannot_share(wanted, private)


def _cannot_share(count: int, private: Sequence[str]) -> ConfigurationError:
    return ConfigurationError(
        f'server.workers: {count} processes cannot share {", ".join(private)}; write 1 or "auto"'
    )


def _fixed(config: Config) -> list[object]:
    return [getattr(config.server, name.removeprefix("server.")) for name in FIXED]
