"""Names of keys on disk: reversible, distinct, and never longer than a name may be."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forebay.errors import InvalidKey
from forebay_local import names
from forebay_local.names import DIRECTORY, FILE, MORE

SEGMENTS = st.text(
    alphabet=st.one_of(
        st.sampled_from("aA.~%fdm"),
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
    ),
    max_size=400,
)
ROLES = st.sampled_from([FILE, DIRECTORY])


@given(SEGMENTS, ROLES)
@example("", FILE)
@example("x" * 121, FILE)
@example("X" * 41, DIRECTORY)
@example("..", DIRECTORY)
@example(".forebay~f~a", FILE)
@example("s" * 1024, DIRECTORY)
@example("\U0001f30a" * 256, FILE)
def test_escape_is_reversible_and_fits(segment, role):
    chain = names.escape(segment, role)
    assert names.unescape(chain) == segment
    assert names.role_of(chain[-1]) == role
    assert all(names.role_of(name) == MORE for name in chain[:-1])
    for name in chain:
        assert len(name) <= 143, "the longest name of a stacked encrypting file system"
        assert name.isascii()
        assert name == name.lower()
        assert "/" not in name
        assert not names.is_plain(name, at_root=False)


@given(SEGMENTS, ROLES, SEGMENTS, ROLES)
@example("A", FILE, "a", FILE)
@example("\u00e9", FILE, "e\u0301", FILE)
def test_two_segments_or_roles_never_share_a_name(one, role, other, other_role):
    if (one, role) != (other, other_role):
        assert names.escape(one, role) != names.escape(other, other_role)


@given(SEGMENTS)
def test_plain_name_is_the_segment_itself_and_goes_first(segment):
    chains = names.chains(segment, FILE, at_root=False)
    assert chains[-1] == names.escape(segment, FILE)
    assert chains[:-1] == (((segment,),) if names.is_plain(segment, at_root=False) else ())


@pytest.mark.parametrize(
    "segment",
    ["", ".", "..", "s" * 256, "ü" * 128, ".forebay~", ".forebay~f~x", ".FOREBAY~d~"],
)
def test_what_cannot_be_a_name_is_escaped(segment):
    assert not names.is_plain(segment, at_root=False)


@pytest.mark.parametrize(
    "segment", ["a", "...", "s" * 255, "ü" * 127, ".forebay", ".forebayx", "~", "a\nb", "%41", " "]
)
def test_what_can_be_a_name_is_none_other(segment):
    assert names.is_plain(segment, at_root=False)


def test_private_directory_is_no_name_at_the_root_only():
    assert not names.is_plain(".forebay", at_root=True)
    assert not names.is_plain(".Forebay", at_root=True)
    assert names.is_plain(".forebay", at_root=False)


@pytest.mark.parametrize(
    "chain",
    [
        (".forebay~f~%61",),  # not as we would have written it
        (".forebay~f~A",),
        (".forebay~f~%ff",),  # no UTF-8
        (".forebay~m~abc", ".forebay~f~d"),  # cut where we would not have cut
        (".forebay~x~a",),
        (".forebay~f",),
        (".forebay~",),
    ],
)
def test_name_that_only_looks_like_ours_has_no_segment(chain):
    assert names.unescape(chain) is None


@pytest.mark.parametrize("key", ["", "\0", "a/\0", "\ud800", "a/\udfff/b"])
def test_what_is_no_key_has_no_segments(key):
    with pytest.raises(InvalidKey):
        names.split(key)


@given(st.text(alphabet="a/.", min_size=1))
def test_segments_joined_are_the_key(key):
    assert "/".join(names.split(key)) == key
