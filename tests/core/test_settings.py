from typing import Annotated, Any, Literal

import msgspec
import pytest

from forebay.errors import ConfigurationError
from forebay.settings import (
    Guarded,
    Key,
    Reading,
    describe,
    hide_password,
    hide_secrets,
    key,
    nearest,
    read_toml,
)
from forebay.units import parse_size


class Shelf(msgspec.Struct, frozen=True):
    label: Annotated[str, key("Its label.")]
    room: Annotated[int, key("Its room.", parse=parse_size, kind="size", default="1KB", ge=1)] = (
        1024
    )


class Hall(Guarded, frozen=True):
    derived: str = "not a key"
    light: Annotated[Literal["on", "off"], key("The light.")] = "on"
    shelves: Annotated[list[Shelf], key("The shelves.")] = []
    doors: Annotated[dict[str, Shelf], key("The doors.", kind="door")] = {}
    options: Annotated[dict[str, Any], key("The rest.")] = {}


@pytest.fixture
def reading(tmp_path):
    return Reading(tmp_path)


def test_a_whole_tree_is_read(reading):
    raw = {
        "light": "off",
        "shelves": [{"label": "a", "room": "2KB"}],
        "doors": {"north": {"label": "n"}},
        "options": {"x": [1, {"y": True}]},
    }
    hall = reading.struct(Hall, raw, "")
    assert reading.faults == []
    assert hall == Hall(
        light="off",
        shelves=[Shelf("a", 2048)],
        doors={"north": Shelf("n")},
        options={"x": [1, {"y": True}]},
    )


def test_every_fault_is_collected_with_its_path(reading):
    raw = {
        "ligt": "on",
        "derived": "x",
        "light": "of",
        "shelves": [{"room": "0"}, 3],
        "doors": {"north": {"label": 7}},
        "options": {"deep": [{"env": "FOREBAY_TEST_UNSET"}]},
    }
    reading.struct(Hall, raw, "hall")
    assert reading.faults == [
        "hall.ligt: unknown key; did you mean light?",
        "hall.derived: unknown key",
        "hall.light: 'of' is not one of on, off; did you mean off?",
        "hall.shelves[0].room: expected `int` >= 1",
        "hall.shelves[0].label: must be given",
        "hall.shelves[1]: must be a table",
        "hall.doors.north.label: expected `str`, got `int`",
        "hall.options.deep[0]: the environment variable FOREBAY_TEST_UNSET is not set",
    ]


def test_text_can_come_from_the_environment_and_from_files(reading, tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_TEST_LABEL", "from outside")
    monkeypatch.setenv("FOREBAY_TEST_ROOM", "4KB")
    (tmp_path / "secret").write_text("hush\n")
    raw = {
        "shelves": [{"label": {"env": "FOREBAY_TEST_LABEL"}, "room": {"env": "FOREBAY_TEST_ROOM"}}],
        "options": {"deep": {"secret": {"file": "secret"}}},
    }
    hall = reading.struct(Hall, raw, "")
    assert reading.faults == []
    assert [Shelf("from outside", 4096)] == hall.shelves
    assert hall.options == {"deep": {"secret": "hush"}}


def test_a_file_that_cannot_be_read_is_a_fault(reading, tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    reading.value(str, {"file": "absent"}, "a")
    reading.value(str, {"file": "binary"}, "b")
    assert reading.faults == [
        "a: the file absent cannot be read: No such file or directory",
        "b: the file binary cannot be read: it is not UTF-8",
    ]


def test_a_table_with_more_than_env_is_a_table(reading):
    raw = {"env": "HOME", "other": 1}
    assert {"x": raw} == reading.value(dict[str, Any], {"x": raw}, "options")


def test_toml_faults_name_the_file(tmp_path):
    (tmp_path / "odd.toml").write_text("a = = b")
    with pytest.raises(ConfigurationError, match=r"odd\.toml: not TOML: .*line 1"):
        read_toml(tmp_path / "odd.toml")
    with pytest.raises(ConfigurationError, match=r"absent\.toml: No such file"):
        read_toml(tmp_path / "absent.toml")


def test_the_nearest_name_is_offered_only_when_it_is_near():
    assert nearest("Ligth", ["light", "doors"]) == "; did you mean light?"
    assert nearest("zzz", ["light", "doors"]) == ""
    assert nearest("zzz", ["light"], cutoff=0) == "; did you mean light?"


def test_secrets_are_not_shown():
    options = {"key": "AK", "Secret_Key": "s", "endpoint": "e", "deep": {"password": "p", "n": 1}}
    assert hide_secrets(options) == {
        "key": "…",
        "Secret_Key": "…",
        "endpoint": "e",
        "deep": {"password": "…", "n": 1},
    }
    assert hide_password("sftp://me:pw@host/x") == "sftp://me:…@host/x"
    assert hide_password("s3://bucket/a:b@c") == "s3://bucket/a:b@c"
    shown = repr(Hall(options={"token": "hush"}, derived="sftp://me:hush@host"))
    assert "hush" not in shown
    assert "token" in shown


def test_keys_are_described_in_their_order():
    assert list(describe(Hall)) == [
        Key("light", "on or off", "on", "The light."),
        Key("shelves[].label", "text", "required", "Its label."),
        Key("shelves[].room", "size", "1KB", "Its room."),
        Key("doors.<door>.label", "text", "required", "Its label."),
        Key("doors.<door>.room", "size", "1KB", "Its room."),
        Key("options", "table", "none", "The rest."),
    ]
