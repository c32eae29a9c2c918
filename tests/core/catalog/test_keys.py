"""Rows sort as what they name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.catalog import keys

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
IDS = st.integers(1, 2**62)


@given(IDS, TEXT, IDS, TEXT)
def test_object_rows_sort_by_bucket_and_then_by_the_bytes_of_the_key(one, first, two, second):
    expected = (one, first.encode()) < (two, second.encode())
    assert expected == (keys.object_row(one, first) < keys.object_row(two, second))


@given(IDS, TEXT)
def test_a_location_comes_back_from_its_row(bucket_id, key):
    assert keys.Location(bucket_id, key) == keys.location(keys.object_row(bucket_id, key))
    assert keys.Location(bucket_id, key) == keys.location(keys.queue_row(5, bucket_id, key), 9)


@given(IDS, TEXT, TEXT)
def test_every_key_with_a_prefix_lies_before_the_end_of_the_prefix(bucket_id, prefix, rest):
    begin = keys.object_row(bucket_id, prefix)
    assert begin <= keys.object_row(bucket_id, prefix + rest) < keys.end(begin)


def test_no_kind_of_row_lies_among_those_of_another():
    kinds = [
        keys.bucket_row("b"), keys.hidden_bucket_row("b"), keys.object_row(1, "k"),
        keys.dirty_row(1, "k"), keys.intent_row(1, "k"), keys.job_row(1, "k"),
        keys.queue_row(1, 1, "k"), keys.lease_row(1, 1, "k"), keys.whiteout_row("b", "k"),
        keys.inline_row("i"), keys.segments_row("i", 0), keys.use_row("s", "i"),
        keys.place_row("i"), keys.trash_row(1), keys.read_row(1, 1),
        keys.upload_row(1, "k", "u"), keys.part_row("u", 1), keys.completed_row("u"),
        keys.mount_row("/"), keys.deleted_row(1), keys.SEQ,
    ]  # fmt: skip
    assert len(kinds) == len({row[:1] for row in kinds})


@pytest.mark.parametrize(("low", "high"), [(0, 1), (255, 256), (2**40, 2**40 + 1)])
def test_numbers_sort_as_numbers(low, high):
    assert keys.number(low) < keys.number(high)


def test_parts_sort_by_number():
    rows = [keys.part_row("u", number) for number in (1, 2, 255, 256, 10_000)]
    assert sorted(rows) == rows
    assert all(row.startswith(keys.parts_prefix("u")) for row in rows)
