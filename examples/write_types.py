"""Write the same object by each write type, and look where its bytes are."""

from __future__ import annotations

import tempfile
from pathlib import Path

import forebay
from forebay.types import WriteType


def main() -> None:
    """Print a line for each write type: what it survives, and whether its file is there."""
    with tempfile.TemporaryDirectory() as directory, forebay.Gateway(directory) as gateway:
        s3 = gateway.client()
        s3.create_bucket(Bucket="lake")
        for write_type in WriteType:

            def choose(request, write_type=write_type, **_):  # type: ignore[no-untyped-def]
                request.headers["x-forebay-write-type"] = write_type

            s3.meta.events.register("before-sign.s3.PutObject", choose)
            answer = s3.put_object(Bucket="lake", Key=write_type, Body=b"1")
            s3.meta.events.unregister("before-sign.s3.PutObject", choose)
            gateway.forebay.persist.drain(timeout=10)
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            there = Path(directory, "lake", write_type).exists()
            print(f"{write_type:14} {headers['x-forebay-durability']:12} file: {there}")


if __name__ == "__main__":
    main()
