"""What operators want of paths: what stays in the cache, and how long an object lives.

A rule is a row of the catalog, a mount's configuration counts as the rule of its path. Of the
rules that cover a key the one with the longest path says how long it lives; one that pins is
enough to pin. All processes see a change at their next question: a number counts the changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Record, Rule, decode, encode
from forebay.errors import InvalidArgument, InvalidRequest
from forebay.objects.buckets import Buckets
from forebay.objects.mounts import Mount, Mounts
from forebay.objects.scope import Scope, check_scope, parse_scope, walk
from forebay.objects.shared import Shared, log, now_ms
from forebay.settings import nearest
from forebay.stores.metadata import Snapshot, Transaction
from forebay.units import round_size

SHARE = 0.8
"""Share of the largest tier that pinned objects may take; the rest is for everybody."""

ACTIONS = ("free", "delete")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of one key: `pinned` by which path, `ttl` (ms, 0: none) by which path."""

    pinned: bool = False
    pinned_by: str = ""
    ttl: int = 0
    action: str = "free"
    ttl_by: str = ""

    def expires(self, record: Record) -> int:
        """Give when an object's time is over (ms since 1970), 0 for never.

        It begins when this version was written, or first seen where it came from outside.
        """
        return (record.since or record.modified) + self.ttl if self.ttl else 0


@dataclass(frozen=True, slots=True)
class RuleState:
    """A rule as operators see it; `configured` ones are a mount's. Sizes in bytes, `ttl` in s.

    `objects` and `size` count what is known below the path. Of a pin that finds no room any
    more, because it or those before it have grown, `held` is False.
    """

    path: str
    pinned: bool
    held: bool
    ttl: float
    action: str
    configured: bool
    objects: int
    size: int


class Rules:
    """The rules at one moment, in one process: a value.

    `dropped` names the pins for which there is no room; they do not count.
    """

    def __init__(
        self,
        version: int,
        rules: Mapping[Scope, Rule],
        mounts: Mounts,
        dropped: frozenset[str] = frozenset(),
    ) -> None:
        self.version = version
        self.mounts = mounts
        self.dropped = dropped
        self.own = rules
        self._by_bucket: dict[str, dict[str, Rule]] = {}
        for scope, rule in rules.items():
            self._by_bucket.setdefault(scope.bucket, {})[scope.path] = rule
        every = list(self)
        self.any_pin = any(rule.pinned for _, _, rule in every)
        self.any_ttl = any(rule.ttl for _, _, rule in every)

    def __iter__(self) -> Iterator[tuple[str, Scope, Rule]]:
        """Give name, scope and rule, those of mounts first; a mount's name is its path."""
        for mount in self.mounts:
            rule = _of_mount(mount)
            if rule != _NO_RULE:
                yield mount.config.path, Scope(mount.bucket or "", mount.prefix), rule
        for scope, rule in self.own.items():
            yield str(scope), scope, rule

    def for_object(self, bucket: str, key: str) -> Wanted:
        """Say what is wanted of a key; takes time in proportion to its folders."""
        mount = self.mounts.find(bucket, key)
        nearest_so_far = mount.config.path
        found = [(nearest_so_far, _of_mount(mount))]
        rules = self._by_bucket.get(bucket)
        if rules:
            found += [(str(Scope(bucket, p)), rules[p]) for p in _paths(key) if p in rules]
        pinned_by = ttl_by = ""
        ttl, action = 0, "free"
        for name, rule in found:
            if rule.pinned and name not in self.dropped:
                pinned_by = name
            # A rule above a nested mount is less near to the key than that mount.
            near = len(name.removeprefix("s3:/")) >= len(nearest_so_far)
            if rule.ttl and near:
                ttl, action, ttl_by = rule.ttl, rule.action, name
        return Wanted(bool(pinned_by), pinned_by, ttl, action, ttl_by)


class Pins:
    """The rules of operators, and what follows from them for the cache."""

    def __init__(self, shared: Shared, buckets: Buckets) -> None:
        self._shared = shared
        self._buckets = buckets
        self._rules = Rules(-1, {}, shared.mounts)

    def rules(self) -> Rules:
        """Give the rules of now."""
        known, mounts = self._rules, self._shared.mounts

        def read(snapshot: Snapshot) -> Rules:
            version = catalog.get_number(snapshot, keys.RULES_CHANGED)
            if version == known.version and mounts is known.mounts:
                return known
            dropped = (snapshot.get(keys.DROPPED) or b"").decode().split("\0")
            return Rules(version, _rules(snapshot), mounts, frozenset(dropped) - {""})

        self._rules = rules = self._shared.catalog.read(read)
        return rules

    def for_object(self, bucket: str, key: str) -> Wanted:
        """Say what is wanted of a key."""
        return self.rules().for_object(bucket, key)

    def pins_segment(self, segment: str) -> bool:
        """Tell whether the cache shall keep a segment, or the pages of it, when it wants room."""
        rules = self.rules()
        if not rules.any_pin:
            return False
        places = self._shared.catalog.read(partial(_places_of, segment))
        return any(rules.for_object(*place).pinned for place in places)

    # --- operators ------------------------------------------------------------------------

    def pin(self, path: str) -> RuleState:
        """Let the cache keep what it has, or gets, of everything below a path.

        Nothing is fetched; a load brings it. Raises InvalidArgument, NoSuchBucket, and
        InvalidRequest when pinned objects would take more than 80 % of the largest tier.
        """
        scope = self._scope(path)
        limit = self._limit()
        pinned = [one for _, one, rule in self.rules() if rule.pinned]
        size = self._shared.catalog.read(partial(_count, [*pinned, scope]))[1]
        if size > limit:
            raise InvalidRequest(
                f"{scope} and what is pinned already are {round_size(size)}, more than "
                f"{round_size(limit)}, 80 % of the largest tier; pin less, or unpin something"
            )
        return self._change(
            scope, lambda old: Rule(True, old.ttl, old.action, old.since or now_ms())
        )

    def unpin(self, path: str) -> RuleState:
        """Take a pin back. Raises InvalidRequest where no pin of this very path is."""
        scope = self._scope(path, there=False)
        rules = self.rules()
        if not rules.own.get(scope, _NO_RULE).pinned:
            above = rules.for_object(scope.bucket, scope.path).pinned_by
            names = [name for name, one, rule in rules if rule.pinned and rules.own.get(one)]
            hint = f"; {above} pins it" if above else nearest(str(scope), names)
            raise InvalidRequest(f"{scope} is not pinned{hint}")
        return self._change(scope, lambda old: Rule(False, old.ttl, old.action))

    def set_ttl(self, path: str, ttl: float, action: str = "free") -> RuleState:
        """Give everything below a path `ttl` seconds to live; 0 takes that back.

        When an object's time is over, ``free`` drops the cached copy, ``delete`` the object,
        also in its under store. What is being persisted is waited for. Raises
        InvalidArgument, NoSuchBucket, and AccessDenied for ``delete`` on a read-only mount.
        """
        scope = self._scope(path, there=bool(ttl))
        if action not in ACTIONS:
            raise InvalidArgument(f"{action!r} is no action; write free or delete")
        if not 0 <= ttl < 1e10:
            raise InvalidArgument(f"{ttl} is no time to live in seconds")
        if ttl and action == "delete":
            self._shared.mounts.find(scope.bucket, scope.path).check_writable()
        ms = max(1, int(ttl * 1000)) if ttl else 0
        return self._change(scope, lambda old: Rule(old.pinned, ms, action, old.since))

    def list(self) -> Iterable[RuleState]:
        """Give every rule, and how much it covers; takes time in proportion to that."""
        rules = self.rules()
        return [self._told(name, scope, rule, rules) for name, scope, rule in rules]

    # --- room -------------------------------------------------------------------------------

    def make_fit(self) -> frozenset[str]:
        """Let only those pins count for which there is room, the oldest first; name the others.

        What is pinned may grow: then the last pins give way, instead of everybody else. Called
        now and then where the cache evicts; takes time in proportion to what is pinned.
        """
        rules = self.rules()
        fitting: list[Scope] = []
        dropped: set[str] = set()
        for name, scope, _ in sorted(
            (one for one in rules if one[2].pinned), key=lambda one: one[2].since
        ):
            size = self._shared.catalog.read(partial(_count, [*fitting, scope]))[1]
            if size <= self._limit():
                fitting.append(scope)
            else:
                dropped.add(name)
        if new := dropped - rules.dropped:
            log.warning("what is pinned has grown, no room is left for %s", sorted(new))
        if dropped != rules.dropped:

            def write(tx: Transaction) -> None:
                tx.put(keys.DROPPED, "\0".join(sorted(dropped)).encode())
                _count_change(tx)

            self._shared.catalog.write(write)
        return frozenset(dropped)

    def _limit(self) -> int:
        largest = max((room.capacity for room in self._shared.cache.room()), default=0)
        return int(SHARE * largest)

    # --- rows -------------------------------------------------------------------------------

    def _scope(self, path: str, *, there: bool = True) -> Scope:
        scope = parse_scope(path)
        if not scope.bucket:
            raise InvalidArgument("of / the configuration decides: write pin or ttl in its mount")
        if there:
            check_scope(self._buckets, scope)
        return scope

    def _change(self, scope: Scope, change: Callable[[Rule], Rule]) -> RuleState:
        def write(tx: Transaction) -> Rule:
            row = keys.rule_row(scope.bucket, scope.path)
            rule = change(catalog.get(tx, row, Rule) or _NO_RULE)
            if rule.pinned or rule.ttl:
                tx.put(row, encode(rule))
            else:
                tx.delete(row)
            _count_change(tx)
            return rule

        rule = self._shared.catalog.write(write)
        return self._told(str(scope), scope, rule, self.rules())

    def _told(self, name: str, scope: Scope, rule: Rule, rules: Rules) -> RuleState:
        objects, size = self._shared.catalog.read(partial(_count, [scope]))
        held = rule.pinned and name not in rules.dropped
        configured = scope not in rules.own or not name.startswith("s3://")
        return RuleState(
            name, rule.pinned, held, rule.ttl / 1000, rule.action, configured, objects, size
        )


_NO_RULE = Rule()


def _count_change(tx: Transaction) -> None:
    """Let every process read the rules again."""
    version = catalog.get_number(tx, keys.RULES_CHANGED) + 1
    tx.put(keys.RULES_CHANGED, keys.number(version))


def _of_mount(mount: Mount) -> Rule:
    config = mount.config
    if not config.pin and not config.ttl:
        return _NO_RULE
    return Rule(config.pin, int((config.ttl or 0) * 1000), config.ttl_action)


def _rules(snapshot: Snapshot) -> dict[Scope, Rule]:
    found = {}
    for row, rule in catalog.rows(snapshot, keys.RULES, Rule):
        bucket, _, path = row[len(keys.RULES) :].partition(b"\0")
        found[Scope(bucket.decode(), path.decode())] = rule
    return found


def _count(scopes: Sequence[Scope], snapshot: Snapshot) -> tuple[int, int]:
    """Count objects and bytes that the catalog knows in any of several scopes, each once."""
    objects = size = 0
    for number, scope in enumerate(scopes):
        before = scopes[:number]
        for bucket, key, value in walk(snapshot, scope, keys.object_row):
            if not any(one.covers(bucket.name, key) for one in before):
                objects, size = objects + 1, size + decode(Record, value).size
    return objects, size


def _places_of(segment: str, snapshot: Snapshot) -> list[tuple[str, str]]:
    """Give bucket and key of every current object that uses a segment, or whose pages it names."""
    holders: list[tuple[str, bytes | None]] = [(segment, snapshot.get(keys.place_row(segment)))]
    prefix = keys.use_row(segment, "")
    for use, value in snapshot.scan(prefix, keys.end(prefix)):
        holder = use[len(prefix) :].decode()
        holders.append((holder, value or snapshot.get(keys.place_row(holder))))
    found = []
    for holder, row in holders:
        record = catalog.get(snapshot, row, Record) if row else None
        if row and record is not None and record.object_id == holder:
            found.append(keys.location(row))
    if not found:
        return []
    names = {bucket.id: bucket.name for _, bucket in catalog.rows(snapshot, keys.BUCKETS, Bucket)}
    return [(names[at.bucket_id], at.key) for at in found if at.bucket_id in names]


def _paths(key: str) -> Iterator[str]:
    """Give every path that covers a key, the shortest first.

    >>> list(_paths("a/b"))
    ['', 'a', 'a/', 'a/b']
    """
    yield ""
    at = key.find("/")
    while at >= 0:
        if at:
            yield key[:at]
        if at + 1 < len(key):
            yield key[: at + 1]
        at = key.find("/", at + 1)
    if key:
        yield key
