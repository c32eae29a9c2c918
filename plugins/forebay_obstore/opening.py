"""From a URI and options to an open store."""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forebay.errors import ConfigurationError
from forebay_obstore import options as table
from forebay_obstore.uri import AZURE, GCS, PROVIDERS, S3, Place, parse

if TYPE_CHECKING:
    from forebay_obstore.under import ObstoreUnderStore

_THREADS = 32
_LONGEST = timedelta(hours=1)
"""What a request with its bytes may take altogether; a client may be slow."""
_GCS = {
    "service_account": "service_account",
    "service_account_key": "service_account_key",
    "application_credentials": "application_credentials",
    "bearer_token": "bearer_token",
    "endpoint_url": "base_url",
    "anonymous": "skip_signature",
}
_AZURE = {
    "account_name": "account_name",
    "account_key": "account_key",
    "sas_token": "sas_key",
    "tenant_id": "tenant_id",
    "client_id": "client_id",
    "client_secret": "client_secret",
    "bearer_token": "token",
    "use_azure_cli": "use_azure_cli",
    "use_emulator": "use_emulator",
    "endpoint_url": "endpoint",
    "anonymous": "skip_signature",
}


def open_store(uri: str, options: Mapping[str, Any]) -> ObstoreUnderStore:
    """Open the store at `uri`; nothing is asked of it yet. Raises ConfigurationError."""
    place = parse(uri)
    table.check(place, options)
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="forebay-obstore")
    try:
        return (_s3 if place.provider == S3 else _other)(uri, place, options, pool)
    except BaseException:
        pool.shutdown()
        raise


def check(uri: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError with what keeps the store from being opened; asks nothing of it."""
    faults: list[str] = []
    try:
        place = parse(uri)
    except ConfigurationError as error:
        faults += error.faults
        place = Place(PROVIDERS[uri.partition("://")[0].lower()], "")
    try:
        table.check(place, options)
    except ConfigurationError as error:
        faults += error.faults
    package = "urllib3" if place.provider == S3 else "obstore"
    if importlib.util.find_spec(package) is None:
        faults.append(str(_missing(uri, package)))
    if not faults:
        # Both read files of this machine, and connect to nothing.
        _ = _tls(options) if place.provider == S3 else _library_store(uri, place, options)
    if faults:
        raise ConfigurationError(*faults)


def _missing(uri: str, package: str) -> ConfigurationError:
    extra = {S3: "s3", GCS: "gcs", AZURE: "azure"}[PROVIDERS[uri.partition("://")[0]]]
    told = f"the package {package} is not installed; pip install 'forebay[{extra}]'"
    return ConfigurationError(f"{uri}: {told}")


def _s3(
    uri: str, place: Place, options: Mapping[str, Any], pool: ThreadPoolExecutor
) -> ObstoreUnderStore:
    try:
        from forebay_obstore.wire import Wire, provider_of
    except ImportError as error:
        raise _missing(uri, "urllib3") from error
    from forebay_obstore.s3 import S3Requests
    from forebay_obstore.under import S3UnderStore

    address = table.s3_address(place, options)
    patience = table.patience_of(options)
    tls = _tls(options)
    wire = Wire(address.base, address.region, provider_of(options), patience, tls)
    carrier = S3Requests(place.bucket, wire, pool, counts=address.is_aws)

    def close() -> None:
        pool.shutdown(wait=False, cancel_futures=True)
        wire.close()

    return S3UnderStore(place, carrier, close, strong_etag=True)


def _tls(options: Mapping[str, Any]) -> ssl.SSLContext:
    tls = ssl.create_default_context()
    if "ca_file" in options:
        try:
            tls.load_verify_locations(options["ca_file"])
        except (OSError, ssl.SSLError) as error:
            raise _no_authority(options, error) from error
    return tls


def _other(
    uri: str, place: Place, options: Mapping[str, Any], pool: ThreadPoolExecutor
) -> ObstoreUnderStore:
    store = _library_store(uri, place, options)
    from forebay_obstore.library import Library
    from forebay_obstore.under import ObstoreUnderStore

    carrier = Library(place.provider, store, pool)
    close = partial(pool.shutdown, wait=False, cancel_futures=True)
    return ObstoreUnderStore(place, carrier, close, strong_etag=False)


def _library_store(uri: str, place: Place, options: Mapping[str, Any]) -> Any:
    """Make the library's store of a place; it asks nothing."""
    try:
        import obstore.store as library
    except ImportError as error:
        raise _missing(uri, "obstore") from error
    from obstore.exceptions import BaseError

    names = _GCS if place.provider == GCS else _AZURE
    chosen: dict[str, Any] = {
        names[name]: value for name, value in options.items() if name in names
    }
    if place.account:
        if options.get("account_name", place.account) != place.account:
            raise ConfigurationError(f"account_name contradicts {place.account} of the URI")
        chosen["account_name"] = place.account
    patience = table.patience_of(options)
    plain = str(options.get("endpoint_url", "")).startswith("http:")
    client = _client(patience, options, plain=plain or bool(options.get("use_emulator")))
    if place.provider == GCS and options.get("anonymous"):
        # The library would sign writes all the same, with what it finds on the machine.
        chosen["credential_provider"] = _nobody
    kind = library.GCSStore if place.provider == GCS else library.AzureStore
    chosen |= {"client_options": client, "retry_config": _retries(patience)}
    try:
        return kind(place.bucket, **chosen)
    except BaseError as error:
        raise ConfigurationError(f"{uri}: {str(error).partition(chr(10))[0]}") from error


def _nobody() -> dict[str, Any]:
    raise PermissionError("this under store is anonymous")


def _no_authority(options: Mapping[str, Any], error: Exception) -> ConfigurationError:
    return ConfigurationError(f"ca_file = {options['ca_file']!r}: {error}")


def _client(patience: table.Patience, options: Mapping[str, Any], *, plain: bool) -> dict[str, Any]:
    """Give the library's client options."""
    client: dict[str, Any] = {
        "read_timeout": timedelta(seconds=patience.timeout),
        "timeout": _LONGEST,
        "connect_timeout": timedelta(seconds=patience.connect),
        "allow_http": bool(options.get("allow_http", plain)),
    }
    if "ca_file" in options:
        try:
            client["root_certificate"] = Path(options["ca_file"]).read_bytes()
        except OSError as error:
            raise _no_authority(options, error) from error
    return client


def _retries(patience: table.Patience) -> dict[str, Any]:
    return {
        "max_retries": patience.retries,
        "retry_timeout": timedelta(seconds=patience.total),
        "backoff": {
            "init_backoff": timedelta(seconds=0.1),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }
