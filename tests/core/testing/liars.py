"""A zoo of under stores with one lie each; every one is honest in all the rest."""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from forebay.errors import NotFound, NotSupported, PreconditionFailed, StorageError
from forebay.streams import BLOCK, BytesReader
from forebay.types import Attributes, ByteRange, CommonPrefix
from forebay_memory.under import MemoryReader, MemoryUnderStore


class CommitsOnException(MemoryUnderStore):
    caught_by = "test_exception_of_the_body_passes_through_and_nothing_is_visible"
    arguments = {"error": ValueError("x"), "size": None}

    def put(self, key, body, *, size, **kwargs):
        kept = []
        try:
            kept.extend(iter(lambda: body.read(BLOCK), b""))
        finally:
            content = b"".join(kept)
            info = super().put(key, BytesReader(content), size=size or len(content), **kwargs)
        return info


class SwallowsTheReadError(MemoryUnderStore):
    caught_by = "test_exception_of_the_body_passes_through_and_nothing_is_visible"
    arguments = {"error": ValueError("x"), "size": None}

    def put(self, key, body, **kwargs):
        try:
            return super().put(key, body, **kwargs)
        except ValueError:
            return None


class WrapsTheReadError(MemoryUnderStore):
    caught_by = "test_exception_of_the_body_passes_through_and_nothing_is_visible"
    arguments = {"error": OSError(28, "x"), "size": 2000}

    def put(self, key, body, **kwargs):
        try:
            return super().put(key, body, **kwargs)
        except OSError as error:
            raise StorageError("while reading") from error


class StopsAtTheAnnouncedSize(MemoryUnderStore):
    caught_by = "test_exception_of_the_body_passes_through_and_nothing_is_visible"
    arguments = {"error": ValueError("x"), "size": 2000}

    def put(self, key, body, *, size, **kwargs):
        if size is None:
            return super().put(key, body, size=size, **kwargs)
        return super().put(key, BytesReader(body.read(size)), size=size, **kwargs)


class ShowsWhatIsNotWhole(MemoryUnderStore):
    caught_by = "test_put_shows_nothing_before_the_end_of_the_body"

    def put(self, key, body, **kwargs):
        if key not in self._objects:
            super().put(key, BytesReader(b""), size=None, attributes=Attributes())
        return super().put(key, body, **kwargs)


class DeletesBeforeItOverwrites(MemoryUnderStore):
    caught_by = "test_overwriting_shows_the_old_object_until_the_new_is_whole"

    def put(self, key, body, **kwargs):
        self.delete(key)
        return super().put(key, body, **kwargs)


class AcceptsAnotherLength(MemoryUnderStore):
    caught_by = "test_body_of_another_length_is_refused"
    arguments = {"announced": 6}

    def put(self, key, body, *, size, **kwargs):
        return super().put(key, body, size=None, **kwargs)


class NeedsTheSize(MemoryUnderStore):
    caught_by = "test_put_takes_a_body_of_unknown_length"

    def put(self, key, body, *, size, **kwargs):
        return super().put(key, body, size=size or 0, **kwargs)


class GivesAnotherFingerprintLater(MemoryUnderStore):
    caught_by = "test_head_gives_the_fingerprint_that_put_gave"

    def put(self, key, body, **kwargs):
        return replace(super().put(key, body, **kwargs), fingerprint="of the staging file")


class FingerprintsBySize(MemoryUnderStore):
    caught_by = "test_fingerprint_changes_whenever_the_bytes_do"

    def put(self, key, body, **kwargs):
        info = super().put(key, body, **kwargs)
        info = replace(info, fingerprint=f"size-{info.size}")
        self._objects[key] = replace(self._objects[key], info=info)
        return info


class TellsAnotherSize(MemoryUnderStore):
    caught_by = "test_head_tells_of_the_object"

    def head(self, key):
        info = super().head(key)
        return replace(info, size=info.size + 1)


class RemembersWhatItSaw(MemoryUnderStore):
    caught_by = "test_fingerprint_changes_whenever_the_bytes_do"

    def __init__(self):
        super().__init__()
        self._seen = {}

    def put(self, key, body, **kwargs):
        self._seen[key] = super().put(key, body, **kwargs)
        return self._seen[key]

    def head(self, key):
        return self._seen.get(key) or super().head(key)


class KeepsWhatItOnlyRemembers(MemoryUnderStore):
    caught_by = "test_put_reaches_the_storage"

    def put(self, key, body, **kwargs):
        return super().put(f"elsewhere/{key}", body, **kwargs)

    def head(self, key):
        return super().head(f"elsewhere/{key}")


class DropsTheAttributes(MemoryUnderStore):
    caught_by = "test_attributes_are_given_back_as_claimed"

    def put(self, key, body, *, attributes, **kwargs):
        return super().put(key, body, attributes=Attributes(), **kwargs)


class KeepsAttributesItDenies(MemoryUnderStore):
    caught_by = "test_attributes_are_given_back_as_claimed"
    capabilities = replace(MemoryUnderStore.capabilities, attributes=False)


class KeepsAttributesOfTheOldObject(MemoryUnderStore):
    caught_by = "test_attributes_go_with_the_object_they_came_with"

    def put(self, key, body, *, attributes, **kwargs):
        if attributes == Attributes() and key in self._objects:
            attributes = self._objects[key].info.attributes
        return super().put(key, body, attributes=attributes, **kwargs)


class IgnoresIfMatchOfOpen(MemoryUnderStore):
    caught_by = "test_open_honours_if_match"

    def open(self, key, byte_range=None, *, if_match=None):
        return super().open(key, byte_range)


class TakesRangesForClosed(MemoryUnderStore):
    caught_by = "test_open_gives_a_range"
    arguments = {"start": 3, "stop": 4, "expected": b"3"}

    def open(self, key, byte_range=None, **kwargs):
        longer = byte_range and ByteRange(byte_range.start, byte_range.stop + 1)
        return super().open(key, longer, **kwargs)


class RefusesRangesBeyondTheEnd(MemoryUnderStore):
    caught_by = "test_range_beyond_the_end_is_cut"

    def open(self, key, byte_range=None, **kwargs):
        if byte_range and byte_range.start >= self.head(key).size:
            raise StorageError("416")
        return super().open(key, byte_range, **kwargs)


class MixesVersions(MemoryUnderStore):
    caught_by = "test_open_gives_bytes_of_one_version_only"
    arguments = {"behind": False}

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


class GivesAFileItDenies(MemoryUnderStore):
    caught_by = "test_fileno_is_given_as_claimed"

    @contextmanager
    def open(self, key, byte_range=None, **kwargs):
        with super().open(key, byte_range, **kwargs) as reader:
            reader.fileno = lambda: 0
            yield reader


class ClaimsFilesItHasNot(MemoryUnderStore):
    caught_by = "test_fileno_is_given_as_claimed"
    capabilities = replace(MemoryUnderStore.capabilities, local_files=True)


class IgnoresIfNoneMatch(MemoryUnderStore):
    caught_by = "test_if_none_match_of_put_is_honoured_or_refused"

    def put(self, key, body, *, if_none_match=False, **kwargs):
        return super().put(key, body, **kwargs)


class IgnoresIfMatchOfPut(MemoryUnderStore):
    caught_by = "test_if_match_of_put_is_honoured_or_refused"

    def put(self, key, body, *, if_match=None, **kwargs):
        return super().put(key, body, **kwargs)


class IgnoresConditionsItDenies(MemoryUnderStore):
    caught_by = "test_if_none_match_of_put_is_honoured_or_refused"
    capabilities = replace(MemoryUnderStore.capabilities, conditional_put=False)

    def put(self, key, body, *, if_match=None, if_none_match=False, **kwargs):
        return super().put(key, body, **kwargs)


class RefusesAfterItStored(MemoryUnderStore):
    caught_by = "test_if_match_of_put_is_honoured_or_refused"
    capabilities = replace(MemoryUnderStore.capabilities, conditional_put=False)

    def put(self, key, body, *, if_match=None, if_none_match=False, **kwargs):
        info = super().put(key, body, **kwargs)
        if if_match or if_none_match:
            raise NotSupported("no conditions here")
        return info


class LooksBeforeItReads(MemoryUnderStore):
    caught_by = "test_one_of_many_conditional_puts_wins"

    def put(self, key, body, *, if_none_match=False, **kwargs):
        if if_none_match and key in self._objects:
            raise PreconditionFailed(key)
        content = body.read(BLOCK)
        time.sleep(0.02)  # the others look meanwhile
        return super().put(key, BytesReader(content), **kwargs)


class ClaimsAnotherEtag(MemoryUnderStore):
    caught_by = "test_etag_is_the_md5_as_claimed"

    def head(self, key):
        return replace(super().head(key), etag="quoted")


class FailsToDeleteWhatIsMissing(MemoryUnderStore):
    caught_by = "test_delete_of_a_missing_key_is_success"

    def delete(self, key):
        self.head(key)
        super().delete(key)


class DeletesNothing(MemoryUnderStore):
    caught_by = "test_delete_removes_the_object"

    def delete(self, key):
        pass


class DeletesBelowToo(MemoryUnderStore):
    caught_by = "test_delete_leaves_other_keys_alone"

    def delete(self, key):
        for below in [k for k in self._objects if k.startswith(f"{key}/")]:
            super().delete(below)
        super().delete(key)


class CannotTellMissing(MemoryUnderStore):
    caught_by = "test_head_of_a_missing_key_is_not_found"

    def head(self, key):
        try:
            return super().head(key)
        except NotFound:
            raise StorageError("404") from None


class OpensWhatIsMissing(MemoryUnderStore):
    caught_by = "test_open_of_a_missing_key_is_not_found"

    def open(self, key, byte_range=None, **kwargs):
        if key not in self._objects:  # an empty body is so much easier
            return nullcontext(MemoryReader(None, b""))
        return super().open(key, byte_range, **kwargs)


class LosesTheEndOfABody(MemoryUnderStore):
    caught_by = "test_open_gives_the_bytes"

    def open(self, key, byte_range=None, **kwargs):
        size = self.head(key).size
        whole = ByteRange(0, min(size, 2 * BLOCK))
        return super().open(key, byte_range or whole, **kwargs)


class ForgetsFolderMarkers(MemoryUnderStore):
    caught_by = "test_key_that_ends_with_a_slash_is_an_object"
    arguments = {"content": b""}

    def list(self, prefix="", *, delimiter="", start_after=""):
        for entry in super().list(prefix, delimiter=delimiter, start_after=start_after):
            if isinstance(entry, CommonPrefix) or not entry.key.endswith("/"):
                yield entry


class TrimsKeys(MemoryUnderStore):
    caught_by = "test_odd_key_is_held_literally_or_refused"
    arguments = {"key": "a//b"}

    def put(self, key, body, **kwargs):
        return super().put(key.replace("//", "/"), body, **kwargs)

    def head(self, key):
        return super().head(key.replace("//", "/"))


class TakesAnythingForAKey(MemoryUnderStore):
    caught_by = "test_what_is_no_key_is_refused"
    arguments = {"key": "a\0b"}

    def put(self, key, body, **kwargs):
        return super().put(key.replace("\0", ""), body, **kwargs)


class ListsByDirectory(MemoryUnderStore):
    caught_by = "test_list_is_strictly_increasing_by_utf8_bytes"

    def list(self, prefix="", **kwargs):
        yield from sorted(super().list(prefix, **kwargs), key=lambda e: e.key.split("/"))


class ListsByUtf16(MemoryUnderStore):
    caught_by = "test_list_is_strictly_increasing_by_utf8_bytes"

    def list(self, prefix="", **kwargs):
        yield from sorted(super().list(prefix, **kwargs), key=lambda e: e.key.encode("utf-16-be"))


class ListsSomeTwice(MemoryUnderStore):
    caught_by = "test_list_gives_every_object_once"

    def list(self, prefix="", **kwargs):
        for number, entry in enumerate(super().list(prefix, **kwargs)):
            yield entry
            if number % 100 == 99:  # the page and its end
                yield entry


class StopsAfterAPage(MemoryUnderStore):
    caught_by = "test_list_gives_every_object_once"

    def list(self, prefix="", **kwargs):
        return itertools.islice(super().list(prefix, **kwargs), 100)


class ListsAnotherFingerprint(MemoryUnderStore):
    caught_by = "test_list_tells_what_head_tells"

    def list(self, prefix="", **kwargs):
        for entry in super().list(prefix, **kwargs):
            yield entry if isinstance(entry, CommonPrefix) else replace(entry, fingerprint="-")


class ListsIntoAList(MemoryUnderStore):
    caught_by = "test_list_is_an_iterator"

    def list(self, prefix="", **kwargs):
        return list(super().list(prefix, **kwargs))


class StartsAtStartAfter(MemoryUnderStore):
    caught_by = "test_start_after_is_exclusive"

    def list(self, prefix="", *, delimiter="", start_after=""):
        if start_after in self._objects and start_after.startswith(prefix) and not delimiter:
            yield self.head(start_after)
        yield from super().list(prefix, delimiter=delimiter, start_after=start_after)


class TakesPrefixesForDirectories(MemoryUnderStore):
    caught_by = "test_prefix_need_not_end_at_a_slash"

    def list(self, prefix="", **kwargs):
        whole = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
        return super().list(whole, **kwargs)


class KnowsOneDelimiter(MemoryUnderStore):
    caught_by = "test_delimiter_rolls_keys_up"

    def list(self, prefix="", *, delimiter="", start_after=""):
        return super().list(prefix, delimiter=delimiter and "/", start_after=start_after)


class RepeatsCommonPrefixes(MemoryUnderStore):
    caught_by = "test_common_prefix_is_not_repeated_behind_start_after"

    def list(self, prefix="", *, delimiter="", start_after=""):
        cut = start_after.rfind(delimiter) if delimiter else -1
        bound = start_after[:cut] if cut > len(prefix) else start_after
        return super().list(prefix, delimiter=delimiter, start_after=bound)


class SkipsAtThePageEnd(MemoryUnderStore):
    caught_by = "test_pages_by_start_after_give_everything_once"
    arguments = {"delimiter": ""}

    def list(self, prefix="", *, delimiter="", start_after=""):
        entries = super().list(prefix, delimiter=delimiter, start_after=start_after)
        return itertools.islice(entries, 1 if start_after else 0, None)


class LosesWhatStays(MemoryUnderStore):
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


class FindsNothingFromOutside(MemoryUnderStore):
    caught_by = "test_head_sees_what_came_behind_its_back"

    def _get(self, key):
        found = super()._get(key)
        if found.info.fingerprint.startswith("poked"):
            raise NotFound(key)
        return found


class LetsKeysMeet(MemoryUnderStore):
    caught_by = "test_keys_that_begin_alike_do_not_meet"

    def put(self, key, body, **kwargs):
        if any(k.startswith(f"{key}/") for k in self._objects):
            self.delete(f"{key}/")
        return super().put(key, body, **kwargs)


class SharesWhatItDenies(MemoryUnderStore):
    caught_by = "test_other_stores_of_the_uri_see_the_same_as_claimed"

    def twin(self):
        other = type(self)()
        other._objects, other._keys = self._objects, self._keys
        return other


class SharesNothingItClaims(MemoryUnderStore):
    caught_by = "test_other_stores_of_the_uri_see_the_same_as_claimed"
    capabilities = replace(MemoryUnderStore.capabilities, shared_between_processes=True)


class MixesThreads(MemoryUnderStore):
    caught_by = "test_several_threads_may_call_at_once"

    def put(self, key, body, **kwargs):
        self._staging = key  # one place for every thread
        kept = b"".join(iter(lambda: body.read(100), b""))
        time.sleep(0.001)
        return super().put(self._staging, BytesReader(kept), **kwargs)


class DeletesTheFolderMarkerToo(MemoryUnderStore):
    caught_by = "test_store_behaves_as_a_dictionary"

    def delete(self, key):
        super().delete(f"{key}/")
        super().delete(key)


class ReplacesWithTheLonger(MemoryUnderStore):
    caught_by = "test_put_replaces_the_object"

    def put(self, key, body, *, size, **kwargs):
        content = b"".join(iter(lambda: body.read(BLOCK), b""))
        if key in self._objects and len(content) == size:  # no truncation
            content += self._objects[key].content[size:]
        return super().put(
            key, BytesReader(content), size=None if len(content) != size else size, **kwargs
        )


LIARS = [
    found
    for found in list(vars().values())
    if isinstance(found, type)
    and issubclass(found, MemoryUnderStore)
    and "caught_by" in vars(found)
]
