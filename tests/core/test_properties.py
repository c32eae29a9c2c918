import pytest

from forebay.properties import NAMES, Properties, property_keys, read_properties
from forebay.settings import Reading
from forebay.types import DeleteType, WriteType

P = "alluxio.proxy.s3."


@pytest.fixture
def reading(tmp_path):
    return Reading(tmp_path)


def test_every_property_of_the_page_is_known():
    assert set(NAMES) == {
        P + name
        for name in (
            "complete.multipart.upload.keepalive.time.interval",
            "complete.multipart.upload.pool.size",
            "deletetype",
            "header.metadata.max.size",
            "multipart.temporary.dir.suffix",
            "multipart.upload.cleaner.pool.size",
            "multipart.upload.cleaner.retry.count",
            "multipart.upload.cleaner.retry.delay",
            "multipart.upload.timeout",
            "tagging.restrictions.enabled",
            "writetype",
            "bucket.naming.restrictions.enabled",
        )
    }


def test_values_are_written_as_in_alluxio(reading):
    table = {
        P + "writetype": "ASYNC_THROUGH",
        P + "deletetype": "alluxio_only",
        P + "header.metadata.max.size": "4KB",
        P + "multipart.upload.timeout": "10min",
        P + "complete.multipart.upload.keepalive.time.interval": "1500",
        P + "complete.multipart.upload.pool.size": "7",
        P + "tagging.restrictions.enabled": "False",
        P + "bucket.naming.restrictions.enabled": False,
    }
    assert read_properties(reading, table, {}) == Properties(
        writetype=WriteType.ASYNC_THROUGH,
        deletetype=DeleteType.ALLUXIO_ONLY,
        header_metadata_max_size=4096,
        multipart_upload_timeout=600.0,
        complete_keepalive_interval=1.5,
        complete_pool_size=7,
        tagging_restrictions=False,
        bucket_naming_restrictions=False,
    )
    assert reading.faults == []


def test_dotted_keys_without_quotes_are_the_same(reading):
    table = {"alluxio": {"proxy": {"s3": {"writetype": "THROUGH"}}}}
    assert read_properties(reading, table, {}).writetype == WriteType.THROUGH
    assert reading.faults == []


def test_the_command_line_outranks_the_file(reading):
    table = {P + "writetype": "THROUGH", P + "header.metadata.max.size": "0"}
    read = read_properties(reading, table, {P + "writetype": "MUST_CACHE"})
    assert (read.writetype, read.header_metadata_max_size) == (WriteType.MUST_CACHE, 0)


def test_an_unknown_property_is_answered_with_the_nearest(reading):
    read_properties(reading, {P + "write.type": "THROUGH"}, {"alluxio.user.block.size": "1MB"})
    assert reading.faults[0] == (
        f"properties.{P}write.type: unknown property; did you mean {P}writetype?"
    )
    assert reading.faults[1].startswith("--property.alluxio.user.block.size: unknown property; did")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("writetype", "TRY_CACHE"),
        ("header.metadata.max.size", "much"),
        ("multipart.upload.timeout", "-1"),
        ("complete.multipart.upload.pool.size", "0"),
        ("multipart.upload.cleaner.retry.count", "-1"),
        ("tagging.restrictions.enabled", "yes"),
    ],
)
def test_a_value_that_cannot_be_is_a_fault(reading, name, value):
    read_properties(reading, {P + name: value}, {})
    assert len(reading.faults) == 1
    assert reading.faults[0].startswith(f"properties.{P}{name}: ")


def test_defaults_are_described_as_they_are(reading):
    for row in property_keys():
        assert read_properties(reading, {row.path: row.default}, {}) == Properties(), row
    assert reading.faults == []
