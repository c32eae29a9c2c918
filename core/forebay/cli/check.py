"""``forebay check``: show what a configuration would serve, or every reason why it cannot."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forebay.cli.choices import Refusal, chooses_config, described, plainly
from forebay.config import Config, MountConfig
from forebay.errors import ConfigurationError, PluginError
from forebay.making import faults_of
from forebay.plugins import Plugins
from forebay.settings import hide_password
from forebay.units import show_size, show_time

_EPILOG = """
\b
Examples:
  forebay check --config forebay.toml
  forebay check ./data --json
"""


@click.command(epilog=_EPILOG, short_help="What would be served, or every fault.")
@chooses_config
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(as_json: bool, **choices: Any) -> None:
    """Show what would be served, or every fault; nothing is opened or changed.

    Exit status 0 when it can be served, 2 when it cannot.
    """
    try:
        config = examined(**choices)
    except ConfigurationError as error:
        if as_json:
            click.echo(msgspec.json.encode({"ok": False, "faults": error.faults}))
            raise click.exceptions.Exit(Refusal.exit_code) from error
        with plainly():
            raise
    if as_json:
        click.echo(msgspec.json.encode({"ok": True, **outline(config)}))
    else:
        draw(config, Console(highlight=False))


def examined(**choices: Any) -> Config:
    """Give the configuration that the command line describes, checked as far as it can be.

    Nothing is opened. Raises ConfigurationError with every fault.
    """
    config, faults = described(**choices)
    faults += missing(config, faults)
    if faults:
        raise ConfigurationError(*faults)
    return config


def missing(config: Config, known: Sequence[str] = ()) -> list[str]:
    """Give every fault that the plugins find, beside those that are `known`."""
    try:
        plugins = Plugins(blocked=config.plugins_blocked)
    except PluginError as error:
        return [str(error)]
    return faults_of(config, plugins, known)


def endpoint_of(config: Config) -> str:
    """Give the URL under which a client on this machine reaches the endpoint."""
    host, port = config.server.host, config.server.port
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{port}"


def place_of(mount: MountConfig) -> str:
    """Give the under store of a mount as people write it: a path, or a URI without password."""
    if mount.under.startswith("file://"):
        return unquote(mount.under.removeprefix("file://"))
    return hide_password(mount.under)


def is_there(mount: MountConfig) -> bool:
    """Tell whether a directory is there; of other stores nothing is asked."""
    return not mount.under.startswith("file://") or os.path.isdir(place_of(mount))


def outline(config: Config) -> dict[str, Any]:
    """Give what matters of a configuration as plain values, secrets left out."""
    return {
        "endpoint": endpoint_of(config),
        "base_path": config.s3.base_path,
        "durability": config.durability,
        "state": config.state,
        "metadata": {"kind": config.metadata.kind, "path": config.metadata.path},
        "tiers": [
            {"name": t.name, "kind": t.kind, "path": t.path, "capacity": t.capacity}
            for t in config.cache.tiers
        ],
        "mounts": [
            {
                "path": m.path,
                "under": hide_password(m.under),
                "write_type": m.write_type,
                "delete_type": m.delete_type,
                "metadata_sync": m.metadata_sync,
                "read_only": m.read_only,
            }
            for m in config.mounts.values()
        ],
    }


def draw(config: Config, console: Console) -> None:
    """Print what would be served as tables."""
    mounts = Table("mount", "under store", "writes", "deletes", "asked again after")
    for mount in config.mounts.values():
        sync = mount.metadata_sync
        mounts.add_row(
            escape(mount.path),
            escape(place_of(mount) + ("" if is_there(mount) else "  (serve makes it)")),
            "refused" if mount.read_only else mount.write_type,
            "refused" if mount.read_only else mount.delete_type,
            "never" if sync is None else show_time(sync) if sync else "each time",
        )
    tiers = Table("tier", "kind", "path", "capacity", "eviction")
    for tier in config.cache.tiers:
        tiers.add_row(
            escape(tier.name),
            escape(tier.kind),
            escape(tier.path),
            show_size(tier.capacity),
            escape(tier.eviction),
        )
    metadata = " ".join(filter(None, (config.metadata.kind, config.metadata.path)))
    console.print(mounts, tiers)
    console.print(f"catalog     {escape(metadata)}")
    console.print(
        f"endpoint    {endpoint_of(config)}/ and {endpoint_of(config)}{config.s3.base_path}/"
    )
    console.print(f"durability  {config.durability}")
