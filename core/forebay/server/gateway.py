"""A whole gateway inside a program: for tests, notebooks and scripts."""

import importlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from forebay.config import Config, load
from forebay.runtime import Forebay
from forebay.s3.app import create_app
from forebay.server.announce import announce, withdraw
from forebay.server.listeners import bind, url_of
from forebay.server.waitress import Server, make_server


class Gateway:
    """Storage served as S3 by threads of this process, on a free port unless told otherwise.

    >>> import forebay
    >>> with forebay.Gateway("memory://") as gateway:
    ...     s3 = gateway.client()
    ...     _ = s3.create_bucket(Bucket="hello")
    ...     [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    ['hello']

    `storage` is a directory, a URI, a ``.toml`` file or a `Config`. Any number of gateways live in
    one process. Over a directory or a URI the catalog and the cache are private to the gateway and
    gone at its end (in memory for ``memory://``, else in a temporary directory), so an object that
    was not yet persisted is gone with them; `state` names a directory that stays instead. A
    file or a `Config` says by itself where its state is. `plugins` are registered as if they were
    installed.

    A started gateway has `url`, `alluxio_url`, `port`, `config` and `forebay`, the open
    `forebay.runtime.Forebay`.
    """

    url: str
    alluxio_url: str
    port: int
    config: Config
    forebay: Forebay

    def __init__(
        self,
        storage: str | Path | Config,
        *,
        listen: str = "127.0.0.1:0",
        properties: Mapping[str, str] | None = None,
        state: str | Path | None = None,
        plugins: Sequence[object] = (),
    ) -> None:
        if isinstance(storage, Config) and (properties or state):
            raise TypeError("a Config has its own properties and state")
        self._storage, self._listen = storage, listen
        self._properties, self._state, self._plugins = properties, state, plugins
        self._open: ExitStack | None = None
        self._clients: list[Any] = []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Open everything and serve; return the gateway.

        Raises ConfigurationError when the storage or the address cannot be used, RuntimeError
        when it is started already.
        """
        if self._open is not None:
            raise RuntimeError("this gateway is started already")
        with ExitStack() as stack:
            self.config = self._configure(stack)
            listener = bind(self._listen)
            stack.callback(listener.close)
            self.forebay = Forebay(self.config, plugins=self._plugins)
            stack.callback(self.forebay.close)
            self.forebay.start()
            self.url, self.port = url_of(listener), listener.getsockname()[1]
            self.alluxio_url = self.url + self.config.s3.base_path
            app = create_app(self.forebay)
            settings = self.config.server
            server = make_server(
                app, listener, threads=settings.threads, slow_threads=settings.slow_threads
            )
            server.start()
            stack.callback(self._drain, server)
            announce(self.config.state, self.url)
            stack.callback(withdraw, self.config.state, self.url)
            self._open = stack.pop_all()
        return self

    def stop(self) -> None:
        """Finish the requests in flight and close everything; nothing happens if that is done."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    def client(self, user: str | None = None, *, alluxio: bool = False, **options: Any) -> Any:
        """Give a boto3 client of this gateway, which is closed with it.

        Its requests act as `user`, by default the user who runs this program. `alluxio` speaks to
        the Alluxio endpoint. `options` are those of ``boto3.client``. Raises ImportError when
        boto3 is not installed.
        """
        # Not imports: boto3 is no dependency of Forebay.
        boto3 = importlib.import_module("boto3")
        settings = importlib.import_module("botocore.config").Config(
            signature_version="s3v4", s3={"addressing_style": "path"}
        )
        client = boto3.session.Session().client(
            "s3",
            **{
                "endpoint_url": self.alluxio_url if alluxio else self.url,
                "region_name": self.config.server.region,
                "aws_access_key_id": user or self.forebay.launch_user,
                "aws_secret_access_key": "any",
                "config": settings,
                **options,
            },
        )
        self._clients.append(client)
        return client

    def _configure(self, stack: ExitStack) -> Config:
        storage = self._storage
        if isinstance(storage, Config):
            return storage
        if Path(storage).suffix == ".toml":
            if self._state is not None:
                raise TypeError("a file says by itself where its state is")
            return load(storage, listen=self._listen, properties=self._properties)
        if self._state is None and str(storage).startswith("memory://"):
            own = '[metadata]\nkind = "memory"\n'
        else:
            state = self._state or stack.enter_context(
                tempfile.TemporaryDirectory(prefix="forebay-")
            )
            own = f"state = {json.dumps(str(Path(state).absolute()))}\n"
        with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as file:
            file.write(own)
            file.flush()
            return load(
                file.name, storage=str(storage), listen=self._listen, properties=self._properties
            )

    def _drain(self, server: Server) -> None:
        while self._clients:
            self._clients.pop().close()
        server.stop(self.config.server.shutdown_timeout, linger=0)
        server.join()
