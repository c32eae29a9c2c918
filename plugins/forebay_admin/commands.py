"""All commands of this plugin, in the order in which they are documented."""

from __future__ import annotations

from forebay_admin.bringing import free, load, loads
from forebay_admin.explaining import cache, explain
from forebay_admin.keeping import pin, rules, ttl, unpin
from forebay_admin.looking import ls, stat, status
from forebay_admin.mounting import mount, mounts, unmount
from forebay_admin.persisting import persist

COMMANDS = (
    status, ls, stat, explain, cache,
    load, loads, free,
    pin, unpin, ttl, rules,
    persist,
    mount, unmount, mounts,
)  # fmt: skip
