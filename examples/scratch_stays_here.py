"""A plugin that decides write types: what lies under ``tmp/`` never reaches the under store.

Installed, it would be named by an entry point of the group ``forebay``; here it is handed to the
gateway as an object.
"""

from __future__ import annotations

import forebay
from forebay.hookspecs import hookimpl
from forebay.types import WriteType


class ScratchStaysHere:
    """Answers one hook."""

    @hookimpl
    def write_type(self, key: str) -> WriteType | None:
        """Keep scratch objects in the cache; leave the others to whoever answers next."""
        return WriteType.MUST_CACHE if key.startswith("tmp/") else None


def main() -> None:
    """Show where two objects go."""
    with forebay.Gateway("memory://", plugins=[ScratchStaysHere()]) as gateway:
        s3 = gateway.client()
        s3.create_bucket(Bucket="lake")
        for key in ("tmp/scratch", "kept"):
            answer = s3.put_object(Bucket="lake", Key=key, Body=b"1")
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            print(key, headers["x-forebay-write-type"])


if __name__ == "__main__":
    main()
