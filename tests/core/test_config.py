from pathlib import Path

import pytest

from forebay.config import Config, MountConfig, load
from forebay.errors import ConfigurationError
from forebay.types import DeleteType, WriteType

ROOT = '[mounts."/"]\nunder = "memory://root"\n'


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "forebay.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def faults(write):
    def faults(text, **overrides):
        with pytest.raises(ConfigurationError) as caught:
            load(write(text), **overrides)
        return list(caught.value.faults)

    return faults


def test_a_directory_is_enough(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    config = load(storage="lake")
    assert list(config.mounts) == ["/"]
    assert config.mounts["/"].under == f"file://{tmp_path}/lake"
    assert config.mounts["/"].metadata_sync == 0.0
    assert Path(config.state).parent == tmp_path / "state" / "forebay"
    assert config.metadata.path == f"{config.state}/catalog.db"
    assert [t.path for t in config.cache.tiers] == [f"{config.state}/pages"]
    assert config.persist.max_dirty == config.cache.tiers[0].capacity // 2
    assert (config.server.host, config.server.port) == ("127.0.0.1", 39999)


def test_nothing_is_made_while_loading(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    load(storage=str(tmp_path / "lake"))
    assert list(tmp_path.iterdir()) == []


def test_without_a_root_there_is_nothing_to_serve(faults):
    [fault] = faults('[mounts."/raw"]\nunder = "memory://raw"\n')
    assert fault.startswith("mounts./: must be given")


def test_the_command_line_outranks_the_file(write, tmp_path):
    text = ROOT + "options = { secret = 'x' }\nread_only = true\n[server]\nlisten = '127.0.0.1:1'\n"
    properties = {"alluxio.proxy.s3.writetype": "THROUGH"}
    config = load(
        write(text),
        storage=str(tmp_path / "lake"),
        listen="127.0.0.1:2",
        workers=3,
        properties=properties,
    )
    assert config.mounts["/"] == MountConfig(
        "/", f"file://{tmp_path}/lake", write_type=WriteType.THROUGH, read_only=True
    )
    assert (config.server.port, config.server.workers) == (2, 3)


def test_a_storage_argument_begins_at_the_current_directory(write, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = load(write('[mounts."/raw"]\nunder = "raw"\n'), storage="lake")
    assert config.mounts["/"].under == f"file://{tmp_path}/elsewhere/lake"
    assert config.mounts["/raw"].under == f"file://{tmp_path}/raw"


def test_mounts_take_their_types_from_the_properties(write):
    config = load(
        write(
            ROOT
            + '[mounts."/raw"]\nunder = "s3://lake"\nwrite_type = "MUST_CACHE"\n'
            + "[properties]\nalluxio.proxy.s3.writetype = 'ASYNC_THROUGH'\n"
            + "alluxio.proxy.s3.deletetype = 'ALLUXIO_ONLY'\n"
        )
    )
    root, raw = config.mounts["/"], config.mounts["/raw"]
    assert (root.write_type, raw.write_type) == (WriteType.ASYNC_THROUGH, WriteType.MUST_CACHE)
    assert {root.delete_type, raw.delete_type} == {DeleteType.ALLUXIO_ONLY}


@pytest.mark.parametrize(
    ("written", "age"),
    [("'always'", 0.0), ("'never'", None), ("'90s'", 90.0), ("5", 5.0), (None, 60.0)],
)
def test_metadata_sync_is_always_never_or_an_age(write, written, age):
    line = f"metadata_sync = {written}\n" if written else ""
    config = load(write(ROOT + f'[mounts."/raw"]\nunder = "s3://lake"\n{line}'))
    assert config.mounts["/raw"].metadata_sync == age


def test_the_sync_age_hangs_on_the_store(write):
    config = load(write(ROOT + '[mounts."/raw"]\nunder = "/srv/raw"\n'))
    assert [m.metadata_sync for m in config.mounts.values()] == [0.0, 0.0]


def test_a_catalog_in_memory_needs_no_state(write):
    config = load(write(ROOT + "[metadata]\nkind = 'memory'\n"))
    assert (config.state, config.metadata.path) == ("", "")
    assert [t.kind for t in config.cache.tiers] == ["memory"]


def test_the_state_is_where_the_catalog_is(write, tmp_path):
    config = load(write(ROOT + "[metadata]\npath = 'var/catalog.db'\n"))
    assert config.metadata.path == str(tmp_path / "var" / "catalog.db")
    assert config.state == str(tmp_path / "var")


def test_relative_paths_begin_at_the_file(write, tmp_path):
    text = "state = 'here'\n" + ROOT + "[[cache.tiers]]\nname='A'\npath='pages'\ncapacity='1 GiB'\n"
    config = load(write(text))
    assert config.state == str(tmp_path / "here")
    assert config.metadata.path == str(tmp_path / "here" / "catalog.db")
    assert config.cache.tiers[0].path == str(tmp_path / "pages")


def test_the_dirty_limit_follows_the_first_disk_tier(write):
    tier = "[[cache.tiers]]\nname='{}'\nkind='{}'\npath='{}'\ncapacity='{}'\n"
    tiers = tier.format("M", "memory", "", "8 GiB") + tier.format("D", "disk", "/d", "4 GiB")
    assert load(write(ROOT + tiers)).persist.max_dirty == 2 << 30
    given = "[persist]\nmax_dirty = '1 GiB'\n"
    assert load(write(ROOT + tiers + given)).persist.max_dirty == 1 << 30
    assert load(write(ROOT + "[metadata]\nkind='memory'\n")).persist.max_dirty == 1 << 30


def test_every_fault_is_listed(faults, monkeypatch):
    monkeypatch.delenv("FOREBAY_TEST_UNSET", raising=False)
    found = faults(
        "durabilty = 'disk'\n"
        "[server]\nworkers = 0\nthreads = 'many'\n"
        "[metadata]\nkind = 3\n"
        "[auth.keys.A]\nsecret = { env = 'FOREBAY_TEST_UNSET' }\n"
        "[cache]\npage_size = '1 parsec'\n"
        "[[cache.tiers]]\nname = 'A'\n"
        '[mounts."/raw"]\nunder = "s3://x"\nwrite_typ = "THROUGH"\nmetadata_sync = "often"\n'
        "[persist]\nworkers = 0\n"
    )
    assert set(found) == {
        "durabilty: unknown key; did you mean durability?",
        "server.workers: expected `int` >= 1",
        "server.threads: expected `int`, got `str`",
        "metadata.kind: expected `str`, got `int`",
        "auth.keys.A.secret: the environment variable FOREBAY_TEST_UNSET is not set",
        "auth.keys.A.user: must be given",
        "cache.page_size: '1 parsec' is not a size; write one like 4096, 2KB, 1 MiB or 10 GiB",
        "cache.tiers[0].capacity: must be given",
        "cache.tiers[0].path: must be given for a disk tier",
        "mounts./raw.write_typ: unknown key; did you mean write_type?",
        "mounts./raw.metadata_sync: 'often' is not a time; "
        "write one like 500ms, 30sec, 10min or 7day, or never, or always",
        "persist.workers: expected `int` >= 1",
        'mounts./: must be given: name a directory or URI, or write [mounts."/"] in the file',
    }


@pytest.mark.parametrize("section", ["server", "mounts", "persist", "properties", "cache"])
def test_a_section_that_is_no_table_is_a_fault(faults, section):
    found = faults(
        f"{section} = 3\n" + (ROOT if section != "mounts" else ""), storage="x", workers=2
    )
    assert f"{section}: must be a table" in found


def test_a_root_that_is_no_table_is_a_fault(faults):
    assert "mounts./: must be a table" in faults('[mounts]\n"/" = 3\n')


def test_mounts_are_normal_and_unique(faults, write):
    assert "/raw" in load(write(ROOT + '[mounts."/raw/"]\nunder = "memory://x"\n')).mounts
    mount = '[mounts."{}"]\nunder = "memory://x"\n'
    assert faults(ROOT + mount.format("/raw") + mount.format("/raw/")) == [
        "mounts./raw/: /raw is mounted twice"
    ]
    assert faults(ROOT + mount.format("/-/x")) == ["mounts./-/x: /- is Forebay's own"]
    [fault] = faults(ROOT + mount.format("/raw/../x"))
    assert fault.startswith("mounts./raw/../x: a mount's path has no")


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", ":80"])
def test_simple_beyond_loopback_needs_consent(faults, write, listen):
    [fault] = faults(ROOT, listen=listen)
    assert fault.startswith(f"server.listen: {listen} can be reached by other machines")
    assert "non_loopback = true" in fault
    config = load(write(ROOT + "[auth]\nnon_loopback = true\n"), listen=listen)
    assert config.server.listen == listen


def test_sigv4_is_refused_for_now(faults):
    [fault] = faults(ROOT + "[auth]\nkind = 'sigv4'\n")
    assert fault.startswith("auth.kind: sigv4 comes with a later version")


def test_an_odd_address_is_a_fault(faults):
    [fault] = faults(ROOT, listen="localhost")
    assert fault.startswith("server.listen: 'localhost' is not an address")


@pytest.mark.parametrize("base", ["", "/", "api", "/-", "/-/s3", "/a//b"])
def test_an_odd_base_path_is_a_fault(faults, base):
    [fault] = faults(ROOT + f"[s3]\nbase_path = '{base}'\n")
    assert fault.startswith("s3.base_path: ")


def test_a_base_path_ends_without_a_slash(write):
    assert load(write(ROOT + "[s3]\nbase_path = '/s3/'\n")).s3.base_path == "/s3"


def test_tiers_share_neither_name_nor_place(faults):
    tier = "[[cache.tiers]]\nname = 'A'\npath = '/pages'\ncapacity = '1 GiB'\n"
    assert faults(ROOT + tier + tier) == [
        "cache.tiers[1].name: two tiers are called A",
        "cache.tiers[1].path: two tiers share /pages",
    ]
    assert faults(ROOT + tier.replace("path = '/pages'\n", "")) == [
        "cache.tiers[0].path: must be given for a disk tier"
    ]


def test_no_secret_is_ever_shown(write, monkeypatch):
    monkeypatch.setenv("FOREBAY_TEST_SECRET", "hush")
    secret = '{ env = "FOREBAY_TEST_SECRET" }'
    config = load(
        write(
            f'[mounts."/"]\nunder = "sftp://me:hush@host/x"\noptions = {{ secret = {secret} }}\n'
            f"[auth.keys.AK]\nsecret = {secret}\nuser = 'etl'\n"
            f"[metadata]\noptions = {{ password = {secret} }}\n"
            f"[[cache.tiers]]\nname = 'A'\npath = '/p'\ncapacity = '1 GiB'\n"
            f"options = {{ token = {secret} }}\n"
        )
    )
    assert config.auth.keys["AK"].secret == "hush"
    assert config.mounts["/"].options == {"secret": "hush"}
    assert "hush" not in repr(config)


def test_a_config_can_be_made_by_hand():
    config = Config(mounts={"/": MountConfig("/", "memory://x")})
    assert config.mounts["/"].write_type is WriteType.CACHE_THROUGH
    assert config.server.region == "us-east-1"
