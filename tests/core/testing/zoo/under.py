"""Under stores with one lie each; every one is honest in all the rest."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from forebay.errors import NotFound, NotSupported, PreconditionFailed, StorageError, Unavailable
from forebay.streams import BLOCK, BytesReader
from forebay.testing import UnderStoreTests
from forebay.types import Attributes, ByteRange, CommonPrefix, ObjectInfo
from forebay_local.under import LocalUnderStore
from forebay_memory.under import MemoryReader, MemoryUnderStore, _Object

# --- honest ones, and how the kit gets around them ---------------------------------------


POKED = itertools.count()


class Honest(MemoryUnderStore):
    """The store in memory, with the powers to copy and to take parts, and a plug to pull."""

    down = False

    def __init__(self):
        super().__init__()
        self.uploads = {}

    def _get(self, key):
        self._ask()
        return super()._get(key)

    def put(self, key, body, **kwargs):
        self._ask()
        return super().put(key, body, **kwargs)

    def delete(self, key):
        self._ask()
        super().delete(key)

    def list(self, prefix="", **kwargs):
        self._ask()
        return super().list(prefix, **kwargs)

    def copy(self, source, target, *, attributes, if_match):
        with self.open(source, if_match=if_match) as reader:
            return self.put(target, reader, size=reader.info.size, attributes=attributes)

    def begin_upload(self, key, *, attributes):
        token = f"upload-{len(self.uploads)}"
        self.uploads[token] = (key, attributes, {})
        return token

    def put_part(self, key, token, number, body, *, size, md5):
        parts = self._upload(key, token)[2]
        content = b"".join(iter(lambda: body.read(BLOCK), b""))
        if len(content) != size:
            raise StorageError("another size")
        parts[number] = content
        return hashlib.md5(content).hexdigest()

    def complete_upload(self, key, token, parts):
        _, attributes, have = self._upload(key, token)
        chosen = self._chosen(have, parts)
        info = self.put(key, BytesReader(chosen), size=None, attributes=attributes)
        self.uploads[token] = None
        return info

    def abort_upload(self, key, token):
        self.uploads[token] = None

    def _upload(self, key, token):
        found = self.uploads[token]
        if found is None or found[0] != key:
            raise NotFound("no such upload")
        return found

    def _chosen(self, have, parts):
        for one in parts:
            if hashlib.md5(have.get(one.number, b"none")).hexdigest() != one.tag:
                raise NotFound("no such part")
        return b"".join(have[one.number] for one in parts)

    def _ask(self):
        if self.down:
            raise Unavailable("no answer") from ConnectionRefusedError("no answer")


class HonestFiles(LocalUnderStore):
    """The store of files: it outlives a process and is seen by others."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.path = args[0]


class TestHonest(UnderStoreTests):
    store = Honest
    many = 600

    @pytest.fixture
    def under(self):
        return self.store()

    def poke(self, under, key, content):
        info = ObjectInfo(key, len(content), datetime.now(UTC), f"poked-{next(POKED)}")
        under._objects[key] = _Object(info, content)
        under._keys[:] = sorted(under._objects)

    def peek(self, under, key):
        found = under._objects.get(key)
        return found and found.content

    def opening(self, under):
        return self.store, ()

    def twin(self, under):
        return under.twin() if hasattr(under, "twin") else self.store()

    def steps(self, under, call):
        looked = []

        class Watched(dict):
            def __getitem__(self, key):
                looked.append(key)
                return super().__getitem__(key)

        under._objects = Watched(under._objects)
        call()
        return len(looked)

    def sever(self, under):
        under.down = True
        return True


WALKED = []
sys.addaudithook(lambda event, args: WALKED.append(args) if event == "os.scandir" else None)


class TestHonestFiles(UnderStoreTests):
    store = HonestFiles

    @pytest.fixture
    def under(self, tmp_path):
        store = self.store(str(tmp_path), durable=False)
        yield store
        store.close()

    def poke(self, under, key, content):
        with open(f"{under.path}/{key}", "wb") as file:
            file.write(content)

    def opening(self, under):
        return self.store, (under.path,)

    def poke_directory(self, under, key):
        os.makedirs(f"{under.path}/{key}")
        return True

    def steps(self, under, call):
        WALKED.clear()
        call()
        return len(WALKED)


# --- putting -----------------------------------------------------------------------------


class CommitsOnException(Honest):
    caught_by = "test_exception_of_the_body_passes_through_and_nothing_is_visible"

    def put(self, key, body, *, size, **kwargs):
        kept = []
        try:
            kept.extend(iter(lambda: body.read(BLOCK), b""))
        finally:
            content = b"".join(kept)
            info = super().put(key, BytesReader(content), size=size or len(content), **kwargs)
        return info


class SwallowsTheReadError(Honest):
    caught_by = "test_exception_of_the_body_passes_through_and_nothing_is_visible"

    def put(self, key, body, **kwargs):
        try:
            return super().put(key, body, **kwargs)
        except ValueError:
            return None


class WrapsTheReadError(Honest):
    caught_by = "test_exception_of_the_body_passes_through_and_nothing_is_visible"

    def put(self, key, body, **kwargs):
        try:
            return super().put(key, body, **kwargs)
        except OSError as error:
            raise StorageError("while reading") from error


class StopsAtTheAnnouncedSize(Honest):
    caught_by = "test_exception_of_the_body_passes_through_and_nothing_is_visible"

    def put(self, key, body, *, size, **kwargs):
        if size is None:
            return super().put(key, body, size=size, **kwargs)
        return super().put(key, BytesReader(body.read(size)), size=size, **kwargs)


class ShowsWhatIsNotWhole(Honest):
    caught_by = "test_put_shows_nothing_before_the_end_of_the_body"

    def put(self, key, body, **kwargs):
        if key not in self._objects:
            super().put(key, BytesReader(b""), size=None, attributes=Attributes())
        return super().put(key, body, **kwargs)


class DeletesBeforeItOverwrites(Honest):
    caught_by = "test_overwriting_shows_the_old_object_until_the_new_is_whole"

    def put(self, key, body, **kwargs):
        self.delete(key)
        return super().put(key, body, **kwargs)


class AcceptsAnotherLength(Honest):
    caught_by = "test_body_of_another_length_is_refused"

    def put(self, key, body, *, size, **kwargs):
        return super().put(key, body, size=None, **kwargs)


class NeedsTheSize(Honest):
    caught_by = "test_put_takes_a_body_of_unknown_length"

    def put(self, key, body, *, size, **kwargs):
        return super().put(key, body, size=size or 0, **kwargs)


class GivesAnotherFingerprintLater(Honest):
    caught_by = "test_head_gives_the_fingerprint_that_put_gave"

    def put(self, key, body, **kwargs):
        return replace(super().put(key, body, **kwargs), fingerprint="of the staging file")


class FingerprintsBySize(Honest):
    caught_by = "test_fingerprint_changes_whenever_the_bytes_do"

    def put(self, key, body, **kwargs):
        info = super().put(key, body, **kwargs)
        info = replace(info, fingerprint=f"size-{info.size}")
        self._objects[key] = replace(self._objects[key], info=info)
        return info


class TellsAnotherSize(Honest):
    caught_by = "test_head_tells_of_the_object"

    def head(self, key):
        info = super().head(key)
        return replace(info, size=info.size + 1)


class CountsInSeconds(HonestFiles):
    caught_by = "test_fingerprint_tells_apart_what_is_written_at_once"

    def put(self, key, body, **kwargs):
        super().put(key, body, **kwargs)
        return self.head(key)

    def head(self, key):
        info = super().head(key)
        seconds = int(info.last_modified.timestamp())
        return replace(info, fingerprint=f"{info.size:x}-{seconds:x}")

    @contextmanager
    def open(self, key, byte_range=None, *, if_match=None):
        if if_match not in (None, self.head(key).fingerprint):
            raise PreconditionFailed(key)
        with super().open(key, byte_range) as reader:
            yield reader


class RemembersWhatItSaw(Honest):
    caught_by = "test_fingerprint_changes_whenever_the_bytes_do"

    def __init__(self):
        super().__init__()
        self._seen = {}

    def put(self, key, body, **kwargs):
        self._seen[key] = super().put(key, body, **kwargs)
        return self._seen[key]

    def head(self, key):
        return self._seen.get(key) or super().head(key)


class KeepsWhatItOnlyRemembers(Honest):
    caught_by = "test_put_reaches_the_storage"

    def put(self, key, body, **kwargs):
        return super().put(f"elsewhere/{key}", body, **kwargs)

    def head(self, key):
        return super().head(f"elsewhere/{key}")


class DropsTheAttributes(Honest):
    caught_by = "test_attributes_are_given_back_as_claimed"

    def put(self, key, body, *, attributes, **kwargs):
        return super().put(key, body, attributes=Attributes(), **kwargs)


class KeepsAttributesItDenies(Honest):
    caught_by = "test_attributes_are_given_back_as_claimed"
    capabilities = replace(Honest.capabilities, attributes=False)


class KeepsAttributesOfTheOldObject(Honest):
    caught_by = "test_attributes_go_with_the_object_they_came_with"

    def put(self, key, body, *, attributes, **kwargs):
        if attributes == Attributes() and key in self._objects:
            attributes = self._objects[key].info.attributes
        return super().put(key, body, attributes=attributes, **kwargs)


class IgnoresIfMatchOfOpen(Honest):
    caught_by = "test_open_honours_if_match"

    def open(self, key, byte_range=None, *, if_match=None):
        return super().open(key, byte_range)


class TakesRangesForClosed(Honest):
    caught_by = "test_open_gives_a_range"

    def open(self, key, byte_range=None, **kwargs):
        longer = byte_range and ByteRange(byte_range.start, byte_range.stop + 1)
        return super().open(key, longer, **kwargs)


class RefusesRangesBeyondTheEnd(Honest):
    caught_by = "test_range_beyond_the_end_is_cut"

    def open(self, key, byte_range=None, **kwargs):
        if byte_range and byte_range.start >= self.head(key).size:
            raise StorageError("416")
        return super().open(key, byte_range, **kwargs)


class MixesVersions(Honest):
    caught_by = "test_open_gives_bytes_of_one_version_only"

    @contextmanager
    def open(self, key, byte_range=None, *, if_match=None):
        with super().open(key, byte_range, if_match=if_match) as reader:
            at = itertools.count()
            step = 1000

            def read(size):
                start = next(at) * step
                return self._objects[key].content[start : start + step]

            reader.read = read
            yield reader


class FillsMoreThanCame(Honest):
    caught_by = "test_read_into_gives_what_read_gives"

    @contextmanager
    def open(self, key, byte_range=None, **kwargs):
        with super().open(key, byte_range, **kwargs) as reader:

            def read_into(room):
                block = reader.read(len(room))
                room[:] = block.ljust(len(room), b"\0")
                return len(block)

            reader.read_into = read_into
            yield reader


class GivesAFileItDenies(Honest):
    caught_by = "test_fileno_is_given_as_claimed"

    @contextmanager
    def open(self, key, byte_range=None, **kwargs):
        with super().open(key, byte_range, **kwargs) as reader:
            reader.fileno = lambda: 0
            yield reader


class ClaimsFilesItHasNot(Honest):
    caught_by = "test_fileno_is_given_as_claimed"
    capabilities = replace(Honest.capabilities, local_files=True)


class IgnoresIfNoneMatch(Honest):
    caught_by = "test_if_none_match_of_put_is_honoured_or_refused"

    def put(self, key, body, *, if_none_match=False, **kwargs):
        return super().put(key, body, **kwargs)


class IgnoresIfMatchOfPut(Honest):
    caught_by = "test_if_match_of_put_is_honoured_or_refused"

    def put(self, key, body, *, if_match=None, **kwargs):
        return super().put(key, body, **kwargs)


class IgnoresConditionsItDenies(Honest):
    caught_by = "test_if_none_match_of_put_is_honoured_or_refused"
    capabilities = replace(Honest.capabilities, conditional_put=False)

    def put(self, key, body, *, if_match=None, if_none_match=False, **kwargs):
        return super().put(key, body, **kwargs)


class RefusesAfterItStored(Honest):
    caught_by = "test_if_match_of_put_is_honoured_or_refused"
    capabilities = replace(Honest.capabilities, conditional_put=False)

    def put(self, key, body, *, if_match=None, if_none_match=False, **kwargs):
        info = super().put(key, body, **kwargs)
        if if_match or if_none_match:
            raise NotSupported("no conditions here")
        return info


class LooksBeforeItReads(Honest):
    caught_by = "test_one_of_many_conditional_puts_wins"

    def __init__(self):
        super().__init__()
        self.looked = 0

    def put(self, key, body, *, if_none_match=False, **kwargs):
        if if_none_match and key in self._objects:
            raise PreconditionFailed(key)
        wait_for_another(self)
        return super().put(key, body, **kwargs)


def wait_for_another(store):
    """Return when somebody else has looked too."""
    store.looked += 1
    for _ in range(10_000):
        if store.looked > 1:
            break
        time.sleep(0.001)


class ClaimsAnotherEtag(Honest):
    caught_by = "test_etag_is_the_md5_as_claimed"

    def head(self, key):
        return replace(super().head(key), etag="quoted")


class FailsToDeleteWhatIsMissing(Honest):
    caught_by = "test_delete_of_a_missing_key_is_success"

    def delete(self, key):
        self.head(key)
        super().delete(key)


class DeletesNothing(Honest):
    caught_by = "test_delete_removes_the_object"

    def delete(self, key):
        pass


class DeletesBelowToo(Honest):
    caught_by = "test_delete_leaves_other_keys_alone"

    def delete(self, key):
        for below in [k for k in self._objects if k.startswith(f"{key}/")]:
            super().delete(below)
        super().delete(key)


class CannotTellMissing(Honest):
    caught_by = "test_head_of_a_missing_key_is_not_found"

    def head(self, key):
        try:
            return super().head(key)
        except NotFound:
            raise StorageError("404") from None


class OpensWhatIsMissing(Honest):
    caught_by = "test_open_of_a_missing_key_is_not_found"

    def open(self, key, byte_range=None, **kwargs):
        if key not in self._objects:  # an empty body is so much easier
            return nullcontext(MemoryReader(None, b""))
        return super().open(key, byte_range, **kwargs)


class LosesTheEndOfABody(Honest):
    caught_by = "test_open_gives_the_bytes"

    def open(self, key, byte_range=None, **kwargs):
        size = self.head(key).size
        whole = ByteRange(0, min(size, 2 * BLOCK))
        return super().open(key, byte_range or whole, **kwargs)


class ForgetsFolderMarkers(Honest):
    caught_by = "test_key_that_ends_with_a_slash_is_an_object"

    def list(self, prefix="", *, delimiter="", start_after=""):
        for entry in super().list(prefix, delimiter=delimiter, start_after=start_after):
            if isinstance(entry, CommonPrefix) or not entry.key.endswith("/"):
                yield entry


class TrimsKeys(Honest):
    caught_by = "test_odd_key_is_held_literally_or_refused"

    def put(self, key, body, **kwargs):
        return super().put(key.replace("//", "/"), body, **kwargs)

    def head(self, key):
        return super().head(key.replace("//", "/"))


class TakesAnythingForAKey(Honest):
    caught_by = "test_what_is_no_key_is_refused"

    def put(self, key, body, **kwargs):
        return super().put(key.replace("\0", ""), body, **kwargs)


class ListsByDirectory(Honest):
    caught_by = "test_list_is_strictly_increasing_by_utf8_bytes"

    def list(self, prefix="", **kwargs):
        yield from sorted(super().list(prefix, **kwargs), key=lambda e: e.key.split("/"))


class ListsByUtf16(Honest):
    caught_by = "test_list_is_strictly_increasing_by_utf8_bytes"

    def list(self, prefix="", **kwargs):
        yield from sorted(super().list(prefix, **kwargs), key=lambda e: e.key.encode("utf-16-be"))


class ListsSomeTwice(Honest):
    caught_by = "test_list_gives_every_object_once"

    def list(self, prefix="", **kwargs):
        for number, entry in enumerate(super().list(prefix, **kwargs)):
            yield entry
            if number % 100 == 99:  # the page and its end
                yield entry


class StopsAfterAPage(Honest):
    caught_by = "test_list_gives_every_object_once"

    def list(self, prefix="", **kwargs):
        return itertools.islice(super().list(prefix, **kwargs), 100)


class ListsAnotherFingerprint(Honest):
    caught_by = "test_list_tells_what_head_tells"

    def list(self, prefix="", **kwargs):
        for entry in super().list(prefix, **kwargs):
            yield entry if isinstance(entry, CommonPrefix) else replace(entry, fingerprint="-")


class ListsIntoAList(Honest):
    caught_by = "test_list_is_an_iterator"

    def list(self, prefix="", **kwargs):
        return list(super().list(prefix, **kwargs))


class StartsAtStartAfter(Honest):
    caught_by = "test_start_after_is_exclusive"

    def list(self, prefix="", *, delimiter="", start_after=""):
        if start_after in self._objects and start_after.startswith(prefix) and not delimiter:
            yield self.head(start_after)
        yield from super().list(prefix, delimiter=delimiter, start_after=start_after)


class TakesPrefixesForDirectories(Honest):
    caught_by = "test_prefix_need_not_end_at_a_slash"

    def list(self, prefix="", **kwargs):
        whole = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
        return super().list(whole, **kwargs)


class KnowsOneDelimiter(Honest):
    caught_by = "test_delimiter_rolls_keys_up"

    def list(self, prefix="", *, delimiter="", start_after=""):
        return super().list(prefix, delimiter=delimiter and "/", start_after=start_after)


class RepeatsCommonPrefixes(Honest):
    caught_by = "test_common_prefix_is_not_repeated_behind_start_after"

    def list(self, prefix="", *, delimiter="", start_after=""):
        cut = start_after.rfind(delimiter) if delimiter else -1
        bound = start_after[:cut] if cut > len(prefix) else start_after
        return super().list(prefix, delimiter=delimiter, start_after=bound)


class SkipsAtThePageEnd(Honest):
    caught_by = "test_pages_by_start_after_give_everything_once"

    def list(self, prefix="", *, delimiter="", start_after=""):
        entries = super().list(prefix, delimiter=delimiter, start_after=start_after)
        return itertools.islice(entries, 1 if start_after else 0, None)


class LosesWhatStays(Honest):
    caught_by = "test_list_under_way_keeps_what_stays"

    def list(self, prefix="", *, delimiter="", start_after=""):
        if delimiter or start_after:
            yield from super().list(prefix, delimiter=delimiter, start_after=start_after)
            return
        at = 0
        while at < len(self._keys):  # a position, where a name is needed
            if self._keys[at].startswith(prefix):
                yield self._objects[self._keys[at]].info
            at += 1


class FindsNothingFromOutside(Honest):
    caught_by = "test_head_sees_what_came_behind_its_back"

    def _get(self, key):
        found = super()._get(key)
        if found.info.fingerprint.startswith("poked"):
            raise NotFound(key)
        return found


class LetsKeysMeet(Honest):
    caught_by = "test_keys_that_begin_alike_do_not_meet"

    def put(self, key, body, **kwargs):
        if any(k.startswith(f"{key}/") for k in self._objects):
            self.delete(f"{key}/")
        return super().put(key, body, **kwargs)


class SharesWhatItDenies(Honest):
    caught_by = "test_other_stores_of_the_uri_see_the_same_as_claimed"

    def twin(self):
        other = type(self)()
        other._objects, other._keys = self._objects, self._keys
        return other


class SharesNothingItClaims(Honest):
    caught_by = "test_other_stores_of_the_uri_see_the_same_as_claimed"
    capabilities = replace(Honest.capabilities, shared_between_processes=True)


class MixesThreads(Honest):
    caught_by = "test_several_threads_may_call_at_once"

    def put(self, key, body, **kwargs):
        self._staging = key  # one place for every thread
        kept = b"".join(iter(lambda: body.read(100), b""))
        time.sleep(0.001)
        return super().put(self._staging, BytesReader(kept), **kwargs)


class DeletesTheFolderMarkerToo(Honest):
    caught_by = "test_store_behaves_as_a_dictionary"

    def delete(self, key):
        super().delete(f"{key}/")
        super().delete(key)


class ReplacesWithTheLonger(Honest):
    caught_by = "test_put_replaces_the_object"

    def put(self, key, body, *, size, **kwargs):
        content = b"".join(iter(lambda: body.read(BLOCK), b""))
        if key in self._objects and len(content) == size:  # no truncation
            content += self._objects[key].content[size:]
        return super().put(
            key, BytesReader(content), size=None if len(content) != size else size, **kwargs
        )


# --- what is half done, half read, or done meanwhile -------------------------------------


class RangesOfAnyVersion(Honest):
    caught_by = "test_range_honours_if_match"

    def open(self, key, byte_range=None, *, if_match=None):
        return super().open(key, byte_range, if_match=None if byte_range else if_match)


class LocksWhatIsHalfRead(Honest):
    caught_by = "test_reader_may_be_left_early"
    locked = False

    @contextmanager
    def open(self, key, byte_range=None, **kwargs):
        with super().open(key, byte_range, **kwargs) as reader:
            self.locked = True
            yield reader
            self.locked = reader.read(1) != b""

    def put(self, key, body, **kwargs):
        if self.locked:
            raise StorageError("423 Locked")
        return super().put(key, body, **kwargs)


class TranslatesTheCallersErrors(Honest):
    caught_by = "test_open_leaves_the_exception_of_its_caller_alone"

    @contextmanager
    def open(self, key, byte_range=None, **kwargs):
        try:
            with super().open(key, byte_range, **kwargs) as reader:
                yield reader
        except OSError as error:
            raise Unavailable(key) from error


class ListsAllAtOnce(Honest):
    caught_by = "test_list_is_lazy"

    def list(self, prefix="", **kwargs):
        yield from list(super().list(prefix, **kwargs))


class ReadsFromTheBeginning(Honest):
    caught_by = "test_list_is_lazy"

    def list(self, prefix="", *, delimiter="", start_after=""):
        if delimiter:
            yield from super().list(prefix, delimiter=delimiter, start_after=start_after)
            return
        for entry in super().list(prefix):
            if entry.key > start_after:
                yield entry


class WalksTheWholeTree(HonestFiles):
    caught_by = "test_list_is_lazy"

    def list(self, prefix="", **kwargs):
        yield from sorted(super().list(prefix, **kwargs), key=lambda entry: entry.key)


class HidesEmptyDirectories(HonestFiles):
    caught_by = "test_empty_directory_is_listed_as_an_empty_object"

    def list(self, prefix="", **kwargs):
        return (entry for entry in super().list(prefix, **kwargs) if not entry.key.endswith("/"))


class LooksBeforeItReplaces(LooksBeforeItReads):
    caught_by = "test_one_of_many_replacements_wins"

    def put(self, key, body, *, if_match=None, **kwargs):
        if if_match is None:
            return Honest.put(self, key, body, **kwargs)
        if self.head(key).fingerprint != if_match:
            raise PreconditionFailed(key)
        wait_for_another(self)
        return Honest.put(self, key, body, **kwargs)


class DecidesBeforeTheBody(Honest):
    caught_by = "test_condition_holds_when_the_object_is_published"

    def put(self, key, body, *, if_none_match=False, **kwargs):
        if if_none_match and key in self._objects:
            raise PreconditionFailed(key)
        return super().put(key, body, **kwargs)


# --- copying -----------------------------------------------------------------------------


class CopiesTheAttributesToo(Honest):
    caught_by = "test_copy_makes_an_object_of_the_same_bytes"

    def copy(self, source, target, *, attributes, if_match):
        kept = self.head(source).attributes
        return super().copy(source, target, attributes=kept, if_match=if_match)


class MovesInsteadOfCopying(Honest):
    caught_by = "test_copy_makes_an_object_of_the_same_bytes"

    def copy(self, source, target, **kwargs):
        info = super().copy(source, target, **kwargs)
        self.delete(source)
        return info


class CopiesOnlyToNewKeys(Honest):
    caught_by = "test_copy_replaces_the_target"

    def copy(self, source, target, **kwargs):
        if target in self._objects:
            return self.head(target)
        return super().copy(source, target, **kwargs)


class CopiesNothingOntoItself(Honest):
    caught_by = "test_copy_onto_itself_changes_the_attributes"

    def copy(self, source, target, **kwargs):
        return self.head(source) if source == target else super().copy(source, target, **kwargs)


class CopiesAnyVersion(Honest):
    caught_by = "test_copy_honours_if_match"

    def copy(self, source, target, *, attributes, if_match):
        return super().copy(source, target, attributes=attributes, if_match=None)


class CopiesNothingToSomething(Honest):
    caught_by = "test_copy_of_a_missing_source_is_not_found"

    def copy(self, source, target, *, attributes, if_match):
        try:
            return super().copy(source, target, attributes=attributes, if_match=if_match)
        except NotFound:
            self.put(target, BytesReader(b""), size=0, attributes=attributes)
            raise


# --- uploads in parts ---------------------------------------------------------------------


class KeepsPartsAsTheyCame(Honest):
    caught_by = "test_parts_make_an_object_in_the_order_of_their_numbers"

    def _chosen(self, have, parts):
        wanted = [one.number for one in parts]
        super()._chosen(have, parts)
        return b"".join(content for number, content in have.items() if number in wanted)


class ForgetsTheAttributesOfUploads(Honest):
    caught_by = "test_parts_make_an_object_in_the_order_of_their_numbers"

    def begin_upload(self, key, *, attributes):
        return super().begin_upload(key, attributes=Attributes())


class ShowsPartsBeforeTheEnd(Honest):
    caught_by = "test_nothing_shows_before_the_completion"

    def put_part(self, key, token, number, body, **kwargs):
        tag = super().put_part(key, token, number, body, **kwargs)
        content = self.uploads[token][2][number]
        self.put(key, BytesReader(content), size=None, attributes=Attributes())
        return tag


class KeepsTheFirstPart(Honest):
    caught_by = "test_a_part_takes_the_place_of_an_earlier_one"

    def put_part(self, key, token, number, body, **kwargs):
        have = self._upload(key, token)[2]
        if number in have:
            return hashlib.md5(have[number]).hexdigest()
        return super().put_part(key, token, number, body, **kwargs)


class JoinsAllParts(Honest):
    caught_by = "test_parts_that_are_not_listed_are_left_out"

    def _chosen(self, have, parts):
        super()._chosen(have, parts)
        return b"".join(have[number] for number in sorted(have))


class TakesAnyPartOfTheNumber(Honest):
    caught_by = "test_a_part_that_is_not_as_it_was_named_is_not_found"

    def _chosen(self, have, parts):
        return b"".join(have.get(one.number, b"") for one in parts)


class KeepsBrokenParts(Honest):
    caught_by = "test_a_part_that_breaks_off_is_none"

    def put_part(self, key, token, number, body, *, size, md5):
        content = b""
        try:
            while block := body.read(BLOCK):
                content += block
        finally:
            self._upload(key, token)[2][number] = content
        if len(content) != size:
            raise StorageError("another size")
        return hashlib.md5(content).hexdigest()


class CutsLargeParts(Honest):
    caught_by = "test_a_large_part_is_taken_whole"

    def _chosen(self, have, parts):
        return super()._chosen(have, parts)[: 8 << 20]


class HasOneUploadOfEachKey(Honest):
    caught_by = "test_uploads_of_one_key_do_not_meet"

    def begin_upload(self, key, *, attributes):
        there = [token for token, found in self.uploads.items() if found and found[0] == key]
        return there[0] if there else super().begin_upload(key, attributes=attributes)


class TakesPartsForEver(Honest):
    caught_by = "test_a_part_of_an_upload_that_is_over_is_not_found"

    def put_part(self, key, token, number, body, **kwargs):
        if self.uploads[token] is None:
            return "late"
        return super().put_part(key, token, number, body, **kwargs)


class NeverForgetsAnUpload(Honest):
    caught_by = "test_an_aborted_upload_makes_no_object"

    def abort_upload(self, key, token):
        pass


class CompletesTwice(Honest):
    caught_by = "test_a_complete_upload_changes_nothing_any_more"

    def complete_upload(self, key, token, parts):
        found = self._upload(key, token)
        info = super().complete_upload(key, token, parts)
        self.uploads[token] = found
        return info


class KnowsItsOwnUploadsOnly(Honest):
    caught_by = "test_another_process_goes_on_with_an_upload"
    capabilities = replace(Honest.capabilities, shared_between_processes=True)

    def twin(self):
        twin = type(self)()
        twin._objects, twin._keys, twin.close = self._objects, self._keys, lambda: None
        twin.uploads = dict.fromkeys(("upload-0",))
        return twin


# --- other processes, and the end --------------------------------------------------------


class ClaimsOtherProcesses(Honest):
    caught_by = "test_other_processes_see_the_same_as_claimed"
    capabilities = replace(Honest.capabilities, shared_between_processes=True)


class DeniesOtherProcesses(HonestFiles):
    caught_by = "test_other_processes_see_the_same_as_claimed"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.capabilities = replace(self.capabilities, shared_between_processes=False)


class ClaimsToOutliveItsProcess(Honest):
    caught_by = "test_objects_outlive_their_process_as_claimed"
    capabilities = replace(Honest.capabilities, persistent=True)


class WritesInPlace(HonestFiles):
    caught_by = "test_a_put_whose_process_dies_shows_nothing"

    def put(self, key, body, *, size, **kwargs):
        first = body.read(BLOCK)
        if len(first) < BLOCK:
            return super().put(key, BytesReader(first), size=size, **kwargs)
        os.makedirs(os.path.dirname(f"{self.path}/{key}"), exist_ok=True)
        with open(f"{self.path}/{key}", "wb") as file:
            file.write(first)
            while block := body.read(BLOCK):
                file.write(block)
                file.flush()
        return self.head(key)


class LeavesItsStagingInSight(HonestFiles):
    caught_by = "test_a_put_whose_process_dies_shows_nothing"

    def put(self, key, body, **kwargs):
        with open(f"{self.path}/upload-{os.getpid()}", "wb"):
            info = super().put(key, body, **kwargs)
        os.unlink(f"{self.path}/upload-{os.getpid()}")
        return info


class CallsItMissingWhenItIsDown(Honest):
    caught_by = "test_storage_that_is_down_is_an_error_and_no_absence"

    def _ask(self):
        if self.down:
            raise NotFound("no answer") from ConnectionRefusedError("no answer")


class LeaksRawErrors(Honest):
    caught_by = "test_storage_that_is_down_is_an_error_and_no_absence"

    def _ask(self):
        if self.down:
            raise ConnectionRefusedError("no answer")


class KeepsItsConnections(Honest):
    caught_by = "test_close_lets_go_of_everything"

    def head(self, key):
        os.open(os.devnull, os.O_RDONLY)
        return super().head(key)

    def open(self, key, byte_range=None, **kwargs):
        os.open(os.devnull, os.O_RDONLY)
        return super().open(key, byte_range, **kwargs)


LIARS = [found for found in list(vars().values()) if "caught_by" in getattr(found, "__dict__", ())]
for _liar in LIARS:
    _honest = TestHonestFiles if issubclass(_liar, HonestFiles) else TestHonest
    _name = f"Test{_liar.__name__}"
    globals()[_name] = type(_name, (_honest,), {"store": _liar})
