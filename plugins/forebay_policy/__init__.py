"""The decisions Forebay takes when no other plugin takes them."""

from __future__ import annotations

from typing import Protocol

from forebay.hookspecs import hookimpl
from forebay.types import DeleteType, WriteType


class Mount(Protocol):
    """What the decisions look at of a mount's configuration."""

    @property
    def write_type(self) -> WriteType:
        """What a write is unless somebody says otherwise."""
        ...

    @property
    def delete_type(self) -> DeleteType:
        """What a delete is unless somebody says otherwise."""
        ...


@hookimpl(trylast=True)
def write_type(mount: Mount, requested: WriteType | None) -> WriteType:
    """Take what the client asked for, else what the mount says."""
    return requested or mount.write_type


@hookimpl(trylast=True)
def delete_type(mount: Mount, requested: DeleteType | None) -> DeleteType:
    """Take what the client asked for, else what the mount says."""
    return requested or mount.delete_type


@hookimpl(trylast=True)
def authorize() -> bool:
    """Allow everything; ownership is looked at behind this hook."""
    return True
