"""What the operator decided: `Config`, a plain value, and how it is read from ``forebay.toml``.

Every field that is declared with `key` is a key of the file; the others are derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from forebay.errors import ConfigurationError
from forebay.places import (
    PORT,
    default_state,
    default_tiers,
    is_loopback,
    mount_uri,
    refused,
    split_address,
)
from forebay.properties import Properties, read_properties
from forebay.settings import Guarded, Reading, key, read_toml
from forebay.types import DeleteType, WriteType
from forebay.units import parse_size, parse_time


def _workers(given: object) -> object:
    if isinstance(given, str) and given != "auto":
        raise ValueError(f"{given!r} is neither a number nor auto")
    return None if given == "auto" else given


def _sync(given: object) -> float | None:
    return {"never": None, "always": 0.0}[given] if given in ("never", "always") else _age(given)


def _age(given: object) -> float:
    try:
        return parse_time(given)
    except ValueError as error:
        raise ValueError(f"{error}, or never, or always") from None


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and how requests are taken; `workers` None lets the server decide."""

    listen: Annotated[str, key("Address to listen on, `host:port`; port 0 takes a free one.")] = (
        f"127.0.0.1:{PORT}"
    )
    region: Annotated[str, key("Region that clients are told.")] = "us-east-1"
    workers: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=256)] | None,
        key(
            "Processes that serve requests.",
            parse=_workers,
            kind="number or auto",
            default="auto",
        ),
    ] = None
    threads: Annotated[int, key("Requests served at once by each process.", ge=1, le=1024)] = 4
    slow_threads: Annotated[
        int,
        key(
            "Further requests of each process that may wait for under stores; one mount gets three"
            " quarters of them.",
            ge=1,
            le=4096,
        ),
    ] = 128
    shutdown_timeout: Annotated[
        float,
        key(
            "How long requests under way may take to end when the server stops.",
            parse=parse_time,
            kind="time",
            default="30s",
        ),
    ] = 30.0

    @property
    def host(self) -> str:
        """The host of `listen`, without the brackets of an IPv6 address."""
        return split_address(self.listen)[0]

    @property
    def port(self) -> int:
        """The port of `listen`; 0 asks for a free one."""
        return split_address(self.listen)[1]


class S3Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the two dialects of the S3 endpoint live."""

    base_path: Annotated[
        str, key("Path of the Alluxio dialect; the AWS dialect lives under `/`.")
    ] = "/api/v1/s3"
    domain: Annotated[
        str | None, key("Domain below which `bucket.domain` addresses a bucket by its host name.")
    ] = None


class MetadataConfig(Guarded, frozen=True):
    """Which metadata store keeps the catalog, and where; `path` is empty where it needs none."""

    kind: Annotated[str, key("Kind of metadata store: `sqlite`, `memory` or a plugin's.")] = (
        "sqlite"
    )
    path: Annotated[
        str, key("File of the catalog; never on a network.", default="`<state>/catalog.db`")
    ] = ""
    plugin: Annotated[str | None, key("Plugin that must make it, where several could.")] = None
    options: Annotated[dict[str, Any], key("Options of the metadata store.")] = {}


class KeyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One access key: its secret, and the user requests act as."""

    secret: Annotated[str, key("Secret of the access key.")]
    user: Annotated[str, key("User whom its requests act as.")]

    def __repr__(self) -> str:
        return f"KeyConfig(secret='…', user={self.user!r})"


class AuthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is believed, and what owning a bucket means."""

    kind: Annotated[
        Literal["simple", "sigv4"],
        key("`simple`: the access key is the user's name, nothing is verified (as in Alluxio)."),
    ] = "simple"
    authorization: Annotated[
        Literal["owner", "open"],
        key("Whether a bucket is closed to all but its owner, or open to everybody."),
    ] = "owner"
    keys: Annotated[
        dict[str, KeyConfig],
        key("Access keys of the built-in credential store.", kind="access key"),
    ] = {}
    plugin: Annotated[str | None, key("Plugin that must make the credential store.")] = None
    non_loopback: Annotated[
        bool, key("Consent to `simple` on an address that other machines can reach.")
    ] = False


class TierConfig(Guarded, frozen=True, kw_only=True):
    """One tier of the cache, the fastest first."""

    name: Annotated[str, key("Name of the tier in status and metrics.")]
    kind: Annotated[str, key("Kind of page store: `disk`, `memory` or a plugin's.")] = "disk"
    path: Annotated[str, key("Directory of a `disk` tier.")] = ""
    capacity: Annotated[
        int, key("Bytes the tier may hold.", parse=parse_size, kind="size", ge=1 << 20)
    ]
    eviction: Annotated[
        str, key("Eviction policy: `s3fifo`, `lru`, `sieve`, `arc`, `none` or a plugin's.")
    ] = "s3fifo"
    high_watermark: Annotated[
        float, key("Share of the capacity above which pages are evicted ahead.", ge=0.1, le=1)
    ] = 0.97
    low_watermark: Annotated[
        float, key("Share of the capacity down to which they are evicted.", ge=0.1, le=1)
    ] = 0.94
    min_free: Annotated[
        int, key("Bytes of its file system that stay free.", parse=parse_size, kind="size")
    ] = 0
    plugin: Annotated[str | None, key("Plugin that must make the page store.")] = None
    options: Annotated[dict[str, Any], key("Options of the page store.")] = {}


class CacheConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How bytes are kept close at hand."""

    page_size: Annotated[
        int,
        key(
            "Size of the pages that are fetched from under stores.",
            parse=parse_size,
            kind="size",
            default="1 MiB",
            ge=1 << 12,
            le=1 << 26,
        ),
    ] = 1 << 20
    inline_size: Annotated[
        int,
        key(
            "Largest body that is kept in the metadata store.",
            parse=parse_size,
            kind="size",
            default="16 KiB",
            le=1 << 20,
        ),
    ] = 16384
    parallel_reads: Annotated[
        int, key("Ranges of 8 MiB fetched at once for one reader.", ge=1, le=64)
    ] = 8
    load_workers: Annotated[
        int, key("Objects that load jobs of operators bring at once.", ge=1, le=256)
    ] = 8
    fetch_memory: Annotated[
        int,
        key(
            "Memory that fetches may take in each process; a quarter stays for the next ones.",
            parse=parse_size,
            kind="size",
            default="256 MiB",
            ge=16 << 20,
        ),
    ] = 256 << 20
    verify: Annotated[
        Literal["first", "always"],
        key("Whether the checksum of a page is verified at its first use or at each."),
    ] = "first"
    tiers: Annotated[list[TierConfig], key("The tiers.")] = []


class MountConfig(Guarded, frozen=True):
    """One mount: a place in the namespace and the storage under it.

    `path` is absolute and normal: ``/``, ``/raw``, ``/raw/archive``. `metadata_sync` is an age
    in seconds, 0.0 for always, None for never.
    """

    path: str
    under: Annotated[str, key("URI of the under store, or the path of a directory.")]
    options: Annotated[dict[str, Any], key("Options of the under store.")] = {}
    write_type: Annotated[
        WriteType, key("Where a write goes before it is acknowledged.", default="from the property")
    ] = WriteType.CACHE_THROUGH
    delete_type: Annotated[
        DeleteType, key("Whether a delete reaches the under store.", default="from the property")
    ] = DeleteType.ALLUXIO_AND_UFS
    metadata_sync: Annotated[
        float | None,
        key(
            "Age at which the under store is asked again whether an object changed.",
            parse=_sync,
            kind="time, always or never",
            default="always for `file://` and `memory://`, else 60s",
        ),
    ] = 0.0
    negative_sync: Annotated[
        float,
        key(
            "Age at which the under store is asked again for an object it did not have.",
            parse=parse_time,
            kind="time",
            default="1s",
        ),
    ] = 1.0
    pin: Annotated[bool, key("Keep what is cached of the mount, as far as there is room.")] = False
    ttl: Annotated[
        float | None,
        key(
            "Time after which an object of the mount is freed or deleted.",
            parse=parse_time,
            kind="time",
            default="none",
        ),
    ] = None
    ttl_action: Annotated[
        Literal["free", "delete"],
        key("Whether `ttl` drops the cached copy, or the object in the under store as well."),
    ] = "free"
    cache_quota: Annotated[
        int | None,
        key(
            "Bytes of all tiers together that the mount's objects may take.",
            parse=parse_size,
            kind="size",
            default="no limit",
        ),
    ] = None
    read_only: Annotated[bool, key("Refuse every write and delete below the mount.")] = False
    allow_requested_types: Annotated[
        bool, key("Let clients choose by `x-forebay-write-type` and `x-forebay-delete-type`.")
    ] = True
    plugin: Annotated[str | None, key("Plugin that must make the under store.")] = None


class PersistConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How ASYNC_THROUGH objects reach their under stores."""

    workers: Annotated[int, key("Objects persisted at once.", ge=1, le=256)] = 4
    max_dirty: Annotated[
        int,
        key(
            "Bytes that may wait for their under store; above it writes get SlowDown.",
            parse=parse_size,
            kind="size",
            default="half of the first disk tier, else 1 GiB",
        ),
    ] = 1 << 30


class AdminConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether operators' commands are answered, and who may give them."""

    enabled: Annotated[bool, key("Answer operators' commands under `/-/admin`.")] = True
    token: Annotated[
        str,
        key(
            "Bearer token that operators' requests must carry.",
            default="made at first start, kept in `<state>/admin.token`",
        ),
    ] = ""

    def __repr__(self) -> str:
        return f"AdminConfig(enabled={self.enabled}, token={'…' if self.token else ''!r})"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything an operator decides. `state` is empty where nothing is kept on disk."""

    mounts: Annotated[dict[str, MountConfig], key("The mounts, by path.", kind="path")]
    server: Annotated[ServerConfig, key("")] = ServerConfig()
    s3: Annotated[S3Config, key("")] = S3Config()
    metadata: Annotated[MetadataConfig, key("")] = MetadataConfig()
    auth: Annotated[AuthConfig, key("")] = AuthConfig()
    cache: Annotated[CacheConfig, key("")] = CacheConfig()
    persist: Annotated[PersistConfig, key("")] = PersistConfig()
    admin: Annotated[AdminConfig, key("")] = AdminConfig()
    properties: Properties = Properties()
    durability: Annotated[
        Literal["disk", "process"],
        key("What a 200 survives: a power cut, or only the death of a process."),
    ] = "disk"
    state: Annotated[
        str,
        key(
            "Directory of the catalog and the default tier.",
            default="`$XDG_STATE_HOME/forebay/<hash of the root URI>`",
        ),
    ] = ""
    plugins_blocked: Annotated[list[str], key("Installed plugins that stay out.")] = []


def load(
    path: str | Path | None = None,
    *,
    storage: str | None = None,
    listen: str | None = None,
    workers: int | None = None,
    properties: Mapping[str, str] | None = None,
) -> Config:
    """Read the file at `path`, if any, and what the command line puts on top of it.

    `storage` (a directory or a URI) is the mount ``/``. Relative paths in the file begin at the
    file's directory. Raises ConfigurationError with every fault.
    """
    config, faults = read(
        path, storage=storage, listen=listen, workers=workers, properties=properties
    )
    if faults:
        raise ConfigurationError(*faults)
    return config


def read(
    path: str | Path | None = None,
    *,
    storage: str | None = None,
    listen: str | None = None,
    workers: int | None = None,
    properties: Mapping[str, str] | None = None,
) -> tuple[Config, list[str]]:
    """Do as `load`, but give what could be read, and every fault, for further checks of it.

    What is faulty is left out or has its default. Raises ConfigurationError for what is no TOML.
    """
    raw = read_toml(Path(path)) if path is not None else {}
    reading = Reading(Path(path).resolve().parent if path is not None else Path.cwd())
    properties_read = read_properties(reading, raw.pop("properties", {}), properties or {})
    mounts = _mounts(reading, raw.pop("mounts", {}), storage, properties_read)
    if isinstance(server := raw.setdefault("server", {}), dict):
        overrides = {"listen": listen, "workers": workers}
        server.update({name: value for name, value in overrides.items() if value is not None})
    persist = raw.get("persist")
    given_dirty = isinstance(persist, dict) and "max_dirty" in persist
    values = reading.values(Config, {**raw, "mounts": {}}, "")
    config = Config(**{**values, "mounts": mounts, "properties": properties_read})
    config = _settle(reading, config, given_dirty=given_dirty)
    _check(reading, config)
    return config, reading.faults


def _mounts(
    reading: Reading, raw: object, storage: str | None, properties: Properties
) -> dict[str, MountConfig]:
    """Read ``[mounts]``; `storage` takes the place of the root's under store and options."""
    if not isinstance(raw, dict):
        reading.fault("mounts", "must be a table")
        raw = {}
    if storage is not None:
        root = raw["/"] if isinstance(raw.get("/"), dict) else {}
        root = {name: value for name, value in root.items() if name != "options"}
        raw = {**raw, "/": {**root, "under": storage}}
    mounts: dict[str, MountConfig] = {}
    for given, table in raw.items():
        folder = Path.cwd() if given == "/" and storage is not None else reading.folder
        mount = read_mount(reading, given, table, properties, folder)
        if "/" + given.strip("/") in mounts:
            reading.fault(f"mounts.{given}", f"/{given.strip('/')} is mounted twice")
        if mount is not None:
            mounts[mount.path] = mount
    if "/" not in raw:
        reading.fault(
            "mounts./", 'must be given: name a directory or URI, or write [mounts."/"] in the file'
        )
    return mounts


def read_mount(
    reading: Reading, given: str, table: object, properties: Properties, folder: Path
) -> MountConfig | None:
    """Read one mount at the path `given`; None when too much of it is faulty.

    A relative path of an under store begins at `folder`. Faults go to `reading`. Mounts that
    come at run time are read here too, so they are held to the same rules.
    """
    where = f"mounts.{given}"
    path = "/" + given.strip("/")
    if reason := refused(given, path):
        reading.fault(where, reason)
    values = reading.values(MountConfig, table, where)
    if "under" not in values:
        return None
    try:
        under = mount_uri(values["under"], folder)
    except ValueError as error:
        reading.fault(f"{where}.under", str(error))
        return None
    local = under.startswith(("file://", "memory://"))
    derived = {
        "write_type": properties.writetype,
        "delete_type": properties.deletetype,
        "metadata_sync": 0.0 if local else 60.0,
    }
    return MountConfig(**{**derived, **values, "path": path, "under": under})


def _settle(reading: Reading, config: Config, *, given_dirty: bool) -> Config:
    """Fill in what follows from other keys: absolute paths, state, catalog, tiers, limits."""
    replace = msgspec.structs.replace
    metadata, state = config.metadata, config.state
    absolute = reading.folder.joinpath
    if state:
        state = str(absolute(Path(state).expanduser()))
    elif metadata.kind != "memory" and "/" in config.mounts:
        state = default_state(config.mounts["/"].under)
    if metadata.path:
        metadata = replace(metadata, path=str(absolute(Path(metadata.path).expanduser())))
        state = state if config.state else str(Path(metadata.path).parent)
    elif metadata.kind == "sqlite" and state:
        metadata = replace(metadata, path=str(Path(state) / "catalog.db"))
    tiers = [
        replace(tier, path=str(absolute(Path(tier.path).expanduser()))) if tier.path else tier
        for tier in config.cache.tiers
    ] or [TierConfig(**values) for values in default_tiers(state)]
    durable = next((tier.capacity // 2 for tier in tiers if tier.kind == "disk"), None)
    persist = config.persist
    if durable is not None and not given_dirty:
        persist = replace(persist, max_dirty=durable)
    s3 = replace(config.s3, base_path=config.s3.base_path.rstrip("/"))
    cache = replace(config.cache, tiers=tiers)
    return replace(config, metadata=metadata, state=state, cache=cache, persist=persist, s3=s3)


def _check(reading: Reading, config: Config) -> None:
    """Find what no single key can show to be wrong."""
    fault = reading.fault
    try:
        host = config.server.host
    except ValueError as error:
        fault("server.listen", str(error))
        host = "localhost"
    if config.auth.kind == "sigv4":
        fault("auth.kind", 'sigv4 comes with a later version; use "simple" on a loopback address')
    elif not is_loopback(host) and not config.auth.non_loopback:
        fault(
            "server.listen",
            f"{config.server.listen} can be reached by other machines, and auth.kind = "
            '"simple" believes every access key; listen on 127.0.0.1, or write '
            "non_loopback = true under [auth] if that is what you want",
        )
    base = config.s3.base_path
    if not base.startswith("/") or "//" in base or base == "/-" or base.startswith("/-/"):
        fault("s3.base_path", f"{base!r} must begin with /, be more than / and not be below /-")
    token = config.admin.token
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        fault("admin.token", "must be printable ASCII without blanks")
    names: set[str] = set()
    paths: set[str] = set()
    for number, tier in enumerate(config.cache.tiers):
        where = f"cache.tiers[{number}]"
        if tier.name and tier.name in names:
            fault(f"{where}.name", f"two tiers are called {tier.name}")
        if tier.kind == "disk" and not tier.path:
            fault(f"{where}.path", "must be given for a disk tier")
        elif tier.path in paths:
            fault(f"{where}.path", f"two tiers share {tier.path}")
        if tier.low_watermark > tier.high_watermark:
            fault(f"{where}.low_watermark", "must not be above high_watermark")
        names.add(tier.name)
        paths.update({tier.path} - {""})
