"""From a URI and options to an open store."""

from __future__ import annotations

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
    try:
        import obstore.store as library
    except ImportError as error:
        extra = uri.partition("://")[0]
        extra = {S3: "s3", GCS: "gcs", AZURE: "azure"}[PROVIDERS[extra]]
        raise ConfigurationError(
            f"{uri}: the package obstore is not installed; pip install 'forebay[{extra}]'"
        ) from error
    from obstore.exceptions import BaseError

    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="forebay-obstore")
    try:
        if place.provider == S3:
            return _s3(library, place, options, pool)
        return _other(library, place, options, pool)
    except BaseError as error:
        pool.shutdown()
        raise ConfigurationError(f"{uri}: {str(error).partition(chr(10))[0]}") from error
    except ConfigurationError:
        pool.shutdown()
        raise


def _s3(
    library: Any, place: Place, options: Mapping[str, Any], pool: ThreadPoolExecutor
) -> ObstoreUnderStore:
    from forebay_obstore.library import Library
    from forebay_obstore.s3 import S3Requests
    from forebay_obstore.under import S3UnderStore
    from forebay_obstore.wire import Wire, for_library, provider_of

    address = table.s3_address(place, options)
    patience = table.patience_of(options)
    provider = provider_of(options)
    client, tls = _client(patience, options, plain=address.base.startswith("http:"))
    store = library.S3Store(
        place.bucket,
        endpoint=address.service,
        region=address.region,
        virtual_hosted_style_request=address.virtual,
        skip_signature=provider is None,
        disable_bulk_delete=True,  # one key at a time, and not every store has the other
        client_options=client,
        retry_config=_retries(patience),
        credential_provider=None if provider is None else for_library(provider, patience),
    )
    wire = Wire(address.base, address.region, provider, patience, tls)
    carrier = S3Requests(place.bucket, wire, Library(S3, store, pool), pool, counts=address.is_aws)

    def close() -> None:
        pool.shutdown(wait=False, cancel_futures=True)
        wire.close()

    return S3UnderStore(place, carrier, close, strong_etag=True)


def _other(
    library: Any, place: Place, options: Mapping[str, Any], pool: ThreadPoolExecutor
) -> ObstoreUnderStore:
    from forebay_obstore.library import Library
    from forebay_obstore.under import ObstoreUnderStore

    names = _GCS if place.provider == GCS else _AZURE
    chosen = {names[name]: value for name, value in options.items() if name in names}
    if place.account:
        if options.get("account_name", place.account) != place.account:
            raise ConfigurationError(f"account_name contradicts {place.account} of the URI")
        chosen["account_name"] = place.account
    patience = table.patience_of(options)
    plain = str(options.get("endpoint_url", "")).startswith("http:")
    client, _ = _client(patience, options, plain=plain or bool(options.get("use_emulator")))
    if place.provider == GCS and options.get("anonymous"):
        # The library would sign writes all the same, with what it finds on the machine.
        chosen["credential_provider"] = _nobody
    kind = library.GCSStore if place.provider == GCS else library.AzureStore
    store = kind(place.bucket, client_options=client, retry_config=_retries(patience), **chosen)
    carrier = Library(place.provider, store, pool)
    close = partial(pool.shutdown, wait=False, cancel_futures=True)
    return ObstoreUnderStore(place, carrier, close, strong_etag=False)


def _nobody() -> dict[str, Any]:
    raise PermissionError("this under store is anonymous")


def _client(
    patience: table.Patience, options: Mapping[str, Any], *, plain: bool
) -> tuple[dict[str, Any], ssl.SSLContext]:
    """Give the library's client options, and the same as a context of our own."""
    client: dict[str, Any] = {
        "read_timeout": timedelta(seconds=patience.timeout),
        "timeout": _LONGEST,
        "connect_timeout": timedelta(seconds=patience.connect),
        "allow_http": bool(options.get("allow_http", plain)),
    }
    tls = ssl.create_default_context()
    if "ca_file" in options:
        try:
            client["root_certificate"] = Path(options["ca_file"]).read_bytes()
            tls.load_verify_locations(options["ca_file"])
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"ca_file = {options['ca_file']!r}: {error}") from error
    return client, tls


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
