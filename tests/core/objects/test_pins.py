import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.catalog import keys
from forebay.catalog.records import Rule
from forebay.config import CacheConfig, MountConfig, TierConfig
from forebay.errors import AccessDenied, InvalidArgument, InvalidRequest, NoSuchBucket
from forebay.objects.mounts import Mount, Mounts
from forebay.objects.pins import Rules, Wanted
from forebay.objects.scope import Scope
from forebay.testing.opened import content_of
from forebay.types import WriteType

MIB = 1 << 20


@pytest.fixture
def pins(opened):
    return opened.forebay.pins


def mounts(**configs):
    made = {"/": Mount(MountConfig("/", "memory://x"), None, 0, None, "")}
    for path, config in configs.items():
        bucket, _, prefix = path.partition("_")
        where = f"/{bucket}/{prefix}".rstrip("/")
        prefix = f"{prefix}/" if prefix else ""
        made[where] = Mount(MountConfig(where, "memory://y", **config), None, 0, bucket, prefix)
    return Mounts(made)


def wanted(rules, key, bucket="b", **configs):
    found = Rules(0, {Scope(*scope): rule for scope, rule in rules.items()}, mounts(**configs))
    return found.for_object(bucket, key)


def test_a_pin_covers_a_path_and_what_is_below_it():
    rules = {("b", "a"): Rule(pinned=True), ("c", ""): Rule(pinned=True)}
    assert wanted(rules, "a").pinned_by == "s3://b/a"
    assert wanted(rules, "a/x/y").pinned
    assert not wanted(rules, "ab").pinned
    assert not wanted(rules, "x/a").pinned
    assert wanted(rules, "anything", bucket="c").pinned_by == "s3://c"


def test_the_longest_path_says_how_long():
    rules = {
        ("b", ""): Rule(ttl=1000),
        ("b", "a"): Rule(ttl=2000, action="delete"),
        ("b", "a/x"): Rule(ttl=3000),
        ("b", "a/y"): Rule(pinned=True),
    }
    assert wanted(rules, "k").ttl_by == "s3://b"
    assert wanted(rules, "a/k") == Wanted(False, "", 2000, "delete", "s3://b/a")
    assert wanted(rules, "a/x/1").ttl == 3000
    assert wanted(rules, "a/y/1") == Wanted(True, "s3://b/a/y", 2000, "delete", "s3://b/a")


def test_a_mount_is_a_rule_of_its_path():
    config = {"pin": True, "ttl": 5.0, "ttl_action": "delete"}
    assert wanted({}, "k", b=config) == Wanted(True, "/b", 5000, "delete", "/b")
    assert wanted({}, "k", bucket="other", b=config) == Wanted()
    nearer = {("b", "a"): Rule(ttl=1)}
    assert wanted(nearer, "a/k", b=config).ttl_by == "s3://b/a"
    above = {("b", ""): Rule(ttl=1)}
    assert wanted(above, "part/k", b_part=config).ttl_by == "/b/part"
    assert wanted(above, "k", b_part=config).ttl_by == "s3://b"
    assert wanted(above, "k", b=config).ttl_by == "s3://b", "an operator has the last word"


@given(
    st.lists(st.text("a/b", max_size=6), max_size=5),
    st.text("ab/", min_size=1, max_size=8),
)
def test_a_key_is_pinned_by_exactly_the_scopes_that_cover_it(paths, key):
    rules = {("b", path): Rule(pinned=True) for path in paths}
    assert wanted(rules, key).pinned == any(Scope("b", path).covers("b", key) for path in paths)


def test_rules_are_seen_by_every_process_at_its_next_question(opened, pins):
    from forebay.objects.pins import Pins

    other = Pins(pins._shared, pins._buckets)
    assert not other.for_object("bucket", "a").pinned
    pins.pin("s3://bucket/a")
    assert other.for_object("bucket", "a").pinned
    known = other.rules()
    assert other.rules() is known, "nothing is read again"
    pins.unpin("s3://bucket/a")
    assert not other.for_object("bucket", "a").pinned
    assert opened.held(keys.RULES) == []


def test_pin_and_ttl_of_one_path_are_independent(pins):
    pins.pin("s3://bucket/a")
    state = pins.set_ttl("s3://bucket/a", 60, "delete")
    assert (state.pinned, state.held, state.ttl, state.action) == (True, True, 60.0, "delete")
    state = pins.unpin("s3://bucket/a")
    assert (state.pinned, state.ttl) == (False, 60.0)
    assert [one.path for one in pins.list()] == ["s3://bucket/a"]
    pins.set_ttl("s3://bucket/a", 0)
    assert list(pins.list()) == []


def test_a_state_tells_what_is_known_below(opened, pins):
    opened.put("a/1", content_of("1", 1000), WriteType.THROUGH)
    opened.put("a/2", content_of("2", 500), WriteType.THROUGH)
    opened.put("b", content_of("3", 500), WriteType.THROUGH)
    state = pins.pin("/bucket/a")
    assert (state.path, state.objects, state.size) == ("s3://bucket/a", 2, 1500)
    stat = opened.forebay.explain.stat("s3://bucket/a/1")
    assert (stat.pinned_by, stat.expires) == ("s3://bucket/a", 0)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda p: p.pin("bucket/a"), InvalidArgument, "is no path"),
        (lambda p: p.pin("/"), InvalidArgument, "configuration"),
        (lambda p: p.pin("s3://buckt"), NoSuchBucket, "did you mean bucket"),
        (lambda p: p.unpin("s3://bucket/b"), InvalidRequest, "s3://bucket/b is not pinned"),
        (lambda p: p.unpin("s3://bucket/ab"), InvalidRequest, "did you mean s3://bucket/a"),
        (lambda p: p.unpin("s3://bucket/a/x"), InvalidRequest, "s3://bucket/a pins it"),
        (lambda p: p.set_ttl("s3://bucket", -1), InvalidArgument, "no time"),
        (lambda p: p.set_ttl("s3://bucket", float("nan")), InvalidArgument, "no time"),
        (lambda p: p.set_ttl("s3://bucket", float("inf")), InvalidArgument, "no time"),
        (lambda p: p.set_ttl("s3://bucket", 1, "burn"), InvalidArgument, "write free or delete"),
    ],
)
def test_what_cannot_be_is_refused_in_words(pins, call, error, says):
    pins.pin("s3://bucket/a")
    with pytest.raises(error, match=says):
        call(pins)
    assert [one.path for one in pins.list()] == ["s3://bucket/a"]


def test_nothing_is_deleted_on_a_read_only_mount(open_forebay, root):
    opened = open_forebay(mounts={"/": MountConfig("/", root)})
    opened.forebay.buckets.create("bucket", "tester")
    opened.forebay.close()
    opened = open_forebay(mounts={"/": MountConfig("/", root, read_only=True)})
    if root.startswith("memory:"):
        from forebay.catalog.records import Bucket, encode

        row = encode(Bucket(999, "bucket", 0))
        opened.forebay.catalog.write(lambda tx: tx.put(keys.bucket_row("bucket"), row))
    with pytest.raises(AccessDenied, match="read-only"):
        opened.forebay.pins.set_ttl("s3://bucket", 1, "delete")
    assert opened.forebay.pins.set_ttl("s3://bucket", 1, "free").ttl == 1


def test_a_rule_can_be_taken_back_when_its_bucket_is_gone(opened, pins):
    pins.pin("s3://bucket/a")
    pins.set_ttl("s3://bucket/a", 5)
    opened.forebay.buckets.delete(opened.bucket)
    pins.unpin("s3://bucket/a")
    pins.set_ttl("s3://bucket/a", 0)
    assert list(pins.list()) == []


@pytest.fixture
def small(open_forebay, tmp_path):
    """A Forebay whose one tier has 10 MiB, so that 8 MiB may be pinned."""
    tier = TierConfig(name="SSD", path=str(tmp_path / "small"), capacity=10 * MIB)
    opened = open_forebay(cache=CacheConfig(tiers=[tier]))
    opened.forebay.buckets.create("bucket", "tester")
    return opened


def test_a_pin_that_would_need_too_much_is_refused(small):
    for name in ("a/1", "a/2", "b/1", "b/2"):
        small.put(name, content_of(name, 3 * MIB), WriteType.THROUGH)
    pins = small.forebay.pins
    pins.pin("s3://bucket/a")
    with pytest.raises(
        InvalidRequest,
        match=r"are [\d.]+ [KM]iB, more than [\d.]+ [KM]iB, 80 % of the largest tier",
    ):
        pins.pin("s3://bucket/b")
    with pytest.raises(InvalidRequest):
        pins.pin("s3://bucket")
    pins.pin("s3://bucket/a/1")
    assert [one.path for one in pins.list()] == ["s3://bucket/a", "s3://bucket/a/1"]


def test_pins_that_grow_give_way_the_youngest_first(small, monkeypatch):
    from forebay.objects import pins as module

    clock = iter(range(1, 100))
    monkeypatch.setattr(module, "now_ms", lambda: next(clock))
    pins = small.forebay.pins
    for path in ("s3://bucket/b", "s3://bucket/a", "s3://bucket/c"):
        pins.pin(path)
    assert pins.make_fit() == frozenset()
    for name, size in (("b/1", 5), ("a/1", 4), ("c/1", 2)):
        small.put(name, content_of(name, size * MIB), WriteType.THROUGH)
    assert pins.make_fit() == {"s3://bucket/a"}
    other = module.Pins(pins._shared, pins._buckets)
    assert not other.for_object("bucket", "a/1").pinned, "every process sees it"
    assert pins.for_object("bucket", "b/1").pinned
    assert not pins.for_object("bucket", "a/1").pinned
    assert pins.for_object("bucket", "c/1").pinned
    assert {one.path: one.held for one in pins.list()} == {
        "s3://bucket/a": False,
        "s3://bucket/b": True,
        "s3://bucket/c": True,
    }
    pins.unpin("s3://bucket/c")
    assert not pins.for_object("bucket", "a/1").pinned, "a change of rules forgets nothing"
    small.forebay.deletes.delete(small.bucket, "b/1")
    assert pins.make_fit() == frozenset()
    assert pins.for_object("bucket", "a/1").pinned


@pytest.mark.parametrize("write_type", [WriteType.CACHE_THROUGH, WriteType.THROUGH])
def test_the_segments_and_pages_of_a_pinned_object_are_pinned(opened, pins, write_type):
    for name in ("a/1", "b/1"):
        opened.put(name, content_of(name, 2_000_000), write_type)
        opened.get(name)
    segments = {page.segment for _, page, _ in opened.forebay.cache.segments()}
    assert len(segments) == 2
    assert not any(pins.pins_segment(one) for one in segments)
    pins.pin("s3://bucket/a")
    assert sum(pins.pins_segment(one) for one in segments) == 1
    assert not pins.pins_segment("00000001" + "0" * 24)
    pins.pin("s3://bucket")
    assert all(pins.pins_segment(one) for one in segments)
    assert opened.forebay.housekeeping._shared.pinned == pins.pins_segment


def test_without_pins_nothing_is_looked_up(opened, pins, monkeypatch):
    from forebay.objects import pins as module

    monkeypatch.setattr(module, "_places_of", None)
    pins.set_ttl("s3://bucket", 5)
    assert not pins.pins_segment("00000001" + "0" * 24)
