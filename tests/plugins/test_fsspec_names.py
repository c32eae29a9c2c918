"""Names of keys in directories: plain where they can be, else an escape that is read back."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forebay.errors import InvalidKey
from forebay_fsspec import names
from forebay_fsspec.names import DIRECTORY, FILE, Names
from forebay_fsspec.protocols import CONTROLS, ROWS

segments = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), max_size=300)


@given(segments, st.sampled_from([FILE, DIRECTORY]))
@example("x" * 121, FILE)
@example("X" * 41, DIRECTORY)
@example("", FILE)
def test_an_escape_is_read_back_and_is_a_name_anywhere(segment, role):
    chain = names.escape(segment, role)
    assert names.unescape(chain) == segment
    assert names.role_of(chain[-1]) == role
    for name in chain:
        assert name.isascii()
        assert name == name.casefold()
        assert len(name) <= 255
    for row in ROWS:  # the escape itself must be allowed wherever it is needed
        assert not any(Names(row.forbidden)._forbidden.search(name) for name in chain)


@given(segments, segments)
def test_two_segments_never_have_one_name(one, other):
    if one != other:
        rules = Names(CONTROLS)
        for role in (FILE, DIRECTORY):
            assert names.escape(one, role) != names.escape(other, role)
        assert rules.folder(one, at_root=False) != rules.folder(other, at_root=False)


@pytest.mark.parametrize("key", ["", "a\0b", "a\ud800"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(InvalidKey):
        names.split(key)


@pytest.mark.parametrize(
    "segment", ["", ".", "..", "x" * 256, "ü" * 128, "a\nb", ".forebay~f~x", ".FOREBAY~f~x"]
)
def test_what_cannot_be_a_name_is_not_plain(segment):
    assert not Names(CONTROLS).is_plain(segment, at_root=False)


@pytest.mark.parametrize("segment", [".forebay", ".forebay-tmp", ".Forebay-TMP"])
def test_our_own_names_are_plain_below_the_root_only(segment):
    assert not Names(CONTROLS).is_plain(segment, at_root=True)
    assert Names(CONTROLS).is_plain(segment, at_root=False)


@pytest.mark.parametrize("chain", [(".forebay~f~A",), (".forebay~f~%61",), (".forebay~f~%ff",)])
def test_a_name_that_only_looks_like_an_escape_is_none(chain):
    assert names.unescape(chain) is None
