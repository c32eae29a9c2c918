"""The commit: everything that makes an object, and everything it retires, in one transaction."""

from __future__ import annotations

import msgspec
import pytest

from forebay.catalog import catalog, keys
from forebay.catalog.catalog import Catalog
from forebay.catalog.records import Bucket, Job, Record, SegmentRef, Trash, decode, encode
from forebay.errors import CatalogTooNew, NoSuchBucket, SlowDown
from forebay.types import PersistState
from forebay_memory.metadata import MemoryMetadataStore

BUCKET = Bucket(1, "bucket", 0)


def record(object_id, seq, *, state=PersistState.PERSISTED, size=10, modified=100, **more):
    return Record(object_id, seq, size, "etag", modified, state, 1, **more)


@pytest.fixture
def store():
    store = MemoryMetadataStore()
    yield store
    store.close()


@pytest.fixture
def book(store):
    book = Catalog(store)
    book.write(lambda tx: tx.put(keys.bucket_row("bucket"), encode(BUCKET)))
    return book


def rows(book, kind):
    return book.read(lambda s: [row for row, _ in s.scan(kind, keys.end(kind))])


def trash(book):
    return book.read(lambda s: [t for _, t in catalog.rows(s, keys.TRASH, Trash)])


def commit(book, key, new, **more):
    return book.write(lambda tx: catalog.commit(tx, BUCKET, key, new, **more))


def test_a_newer_format_is_refused(store):
    store.write(lambda tx: tx.put(keys.FORMAT, b"99"))
    with pytest.raises(CatalogTooNew, match="99"):
        Catalog(store)


def test_sequence_numbers_only_go_up(book):
    taken = [book.write(catalog.next_seq) for _ in range(3)]
    assert sorted(set(taken)) == taken


def test_a_bucket_of_the_same_name_is_not_the_same_bucket(book):
    namesake = Bucket(2, "bucket", 0)
    with pytest.raises(NoSuchBucket):
        book.write(lambda tx: catalog.commit(tx, namesake, "k", record("a", 1)))


def test_an_overwrite_retires_what_the_old_object_held(book):
    old = record("old", 1, segments=[SegmentRef("seg", 10)])
    commit(book, "k", old)
    commit(book, "k", record("new", 2, size=0))
    assert [Trash("old", [("seg", 10)], pages=10)] == trash(book)
    assert book.read(lambda s: catalog.get_record(s, 1, "k")).object_id == "new"


def test_last_modified_moves_past_that_of_the_predecessor(book):
    commit(book, "k", record("old", 1, modified=500))
    assert commit(book, "k", record("new", 2, modified=100)).modified == 501


def test_an_unpersisted_object_has_its_job_from_the_first_moment(book):
    commit(book, "k", record("a", 1, state=PersistState.TO_BE_PERSISTED), now=77)
    job = book.read(lambda s: catalog.get(s, keys.job_row(1, "k"), Job))
    assert (job.object_id, job.due) == ("a", 77)
    assert [keys.queue_row(77, 1, "k")] == rows(book, keys.QUEUE)
    assert book.read(lambda s: catalog.get_number(s, keys.DIRTY)) == 10


def test_an_overwrite_takes_the_old_job_back(book):
    commit(book, "k", record("a", 1, state=PersistState.TO_BE_PERSISTED), now=77)
    commit(book, "k", record("b", 2, state=PersistState.NOT_PERSISTED), now=78)
    assert [] == rows(book, keys.QUEUE) == rows(book, b"j")
    assert [keys.dirty_row(1, "k")] == rows(book, b"d")
    assert book.read(lambda s: catalog.get_number(s, keys.DIRTY)) == 0


def test_too_much_unpersisted_is_refused_and_changes_nothing(book):
    with pytest.raises(SlowDown):
        commit(book, "k", record("a", 1, state=PersistState.TO_BE_PERSISTED), max_dirty=9)
    assert [] == rows(book, b"o") == rows(book, b"j")


def test_the_segments_of_many_parts_come_back_in_order(book):
    refs = [SegmentRef(f"s{n}", n, n) for n in range(1, 1000)]
    whole = record("u", 1, size=sum(r.length for r in refs), parts=len(refs))
    commit(book, "k", whole, refs=refs)
    assert refs == book.read(lambda s: catalog.segments(s, whole))
    assert len(rows(book, b"l")) == 4


def test_an_inline_body_goes_with_its_object(book):
    commit(book, "k", record("a", 1, inline=True), body=b"0123456789")
    assert [keys.inline_row("a")] == rows(book, b"n")
    book.write(lambda tx: catalog.remove(tx, BUCKET, "k", record("a", 1, inline=True), 2))
    assert [] == rows(book, b"n") == rows(book, b"o")
    assert book.read(lambda s: catalog.get_number(s, keys.deleted_row(1))) == 2


def test_several_things_go_to_the_trash_in_one_transaction(book):
    book.write(lambda tx: [catalog.discard(tx, 5, Trash(str(n))) for n in range(3)])
    assert [each.object_id for each in trash(book)] == ["0", "1", "2"]


def test_a_file_of_the_under_store_leaves_nothing_to_clean(book):
    commit(book, "k", record("a", 1, local=True))
    commit(book, "k", record("b", 2, local=True))
    assert trash(book) == []


def test_decoding_is_exact():
    some = msgspec.structs.replace(record("a", 1), tags={"ä": "ö"})
    assert some == decode(Record, encode(some))
