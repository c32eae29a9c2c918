import sys

import pluggy
import pytest

from forebay import hookspecs
from forebay.config import MountConfig
from forebay.errors import ConfigurationError, PluginError
from forebay.hookspecs import hookimpl
from forebay.plugins import FACTORIES, Plugins
from forebay.types import DeleteType, Identity, PageId, WriteType


class Rain:
    """Makes under stores for the scheme ``rain``."""

    def __init__(self, answer="rain"):
        self.answer = answer

    @hookimpl
    def under_store_factory(self, scheme):
        return self.answer if scheme == "rain" else None


class Named:
    """Gives a plugin a name of its own."""

    def __init__(self, name, plugin):
        self.__name__ = name
        self.under_store_factory = plugin.under_store_factory


class Roof:
    """Stands around whatever makes an under store."""

    @hookimpl(wrapper=True)
    def under_store_factory(self, scheme):
        made = yield
        return None if made is None else f"roofed {made}"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution of one module, as pip would leave it behind."""

    def install(name, source, version="1.0"):
        info = tmp_path / f"forebay_{name}_plugin-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: forebay-{name}-plugin\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text(f"[forebay]\n{name} = forebay_test_{name}\n")
        (tmp_path / f"forebay_test_{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        # Forgotten at the end, so that no other test meets this module.
        monkeypatch.setitem(sys.modules, f"forebay_test_{name}", None)
        del sys.modules[f"forebay_test_{name}"]

    return install


def test_first_party_plugins_are_found_like_any_other():
    rows = {row.name: row for row in Plugins().listing()}
    assert {"credentials", "eviction", "local", "memory", "policy", "sqlite"} <= set(rows)
    assert rows["sqlite"].distribution == "forebay"
    assert rows["sqlite"].hooks == ("factory_kinds", "metadata_store_factory")


@pytest.mark.parametrize("hook", FACTORIES)
def test_factory_kinds_names_what_is_answered(hook):
    plugins = Plugins()
    kinds = {kind for given in plugins.hooks.factory_kinds(hook=hook) for kind in given}
    assert kinds
    for kind in kinds:
        assert callable(plugins.ask(hook, **{FACTORIES[hook][0]: kind}))


def test_under_store_factory_opens_what_the_uri_names(tmp_path):
    (tmp_path / "lake").mkdir()
    make = Plugins().ask("under_store_factory", scheme="file")
    under = make((tmp_path / "lake").as_uri(), {"durability": "process"})
    assert under.capabilities.local_files
    under.close()


def test_page_store_factory_tells_a_disk_from_memory(tmp_path):
    plugins = Plugins()
    disk = plugins.ask("page_store_factory", kind="disk")({"path": str(tmp_path / "pages")})
    memory = plugins.ask("page_store_factory", kind="memory")({})
    assert (disk.shared_between_processes, memory.shared_between_processes) == (True, False)
    disk.close()
    memory.close()


def test_metadata_store_factory_tells_a_file_from_memory(tmp_path):
    plugins = Plugins()
    make = plugins.ask("metadata_store_factory", kind="sqlite")
    sqlite = make({"path": str(tmp_path / "catalog.db")})
    memory = plugins.ask("metadata_store_factory", kind="memory")({})
    assert (sqlite.durable, memory.durable) == (True, False)
    sqlite.close()
    memory.close()


def test_eviction_policy_factory_makes_one_policy_for_each_tier():
    make = Plugins().ask("eviction_policy_factory", kind="lru")
    one, other = make({"capacity": 1 << 20}), make({"capacity": 1 << 20})
    one.on_put(PageId("a"), 1)
    assert list(one.victims()) == [PageId("a")]
    assert list(other.victims()) == []


def test_credential_store_factory_looks_up_the_configured_keys():
    keys = {"AK": {"secret": "s", "user": "etl"}}
    store = Plugins().ask("credential_store_factory", kind="static")({"keys": keys})
    assert store.lookup("AK").user == "etl"
    assert store.lookup("unknown") is None


def test_write_type_and_delete_type_are_the_requests_else_the_mounts():
    mount = MountConfig("/", "memory://x", write_type=WriteType.THROUGH)
    hooks = Plugins().hooks
    ask = {"mount": mount, "key": "k", "size": 1}
    assert hooks.write_type(requested=None, **ask) is WriteType.THROUGH
    assert hooks.write_type(requested=WriteType.MUST_CACHE, **ask) is WriteType.MUST_CACHE
    for asked, expected in (
        (None, DeleteType.ALLUXIO_AND_UFS),
        (DeleteType.ALLUXIO_ONLY, DeleteType.ALLUXIO_ONLY),
    ):
        assert hooks.delete_type(mount=mount, key="k", requested=asked) is expected


def test_every_factory_hook_has_its_words():
    specified = {name for name in vars(hookspecs) if name.endswith("_factory")}
    assert specified == set(FACTORIES)


def test_an_installed_plugin_outranks_forebays_own():
    class Files:
        @hookimpl
        def under_store_factory(self, scheme):
            return "mine" if scheme == "file" else None

    assert Plugins(extra=[Files()]).ask("under_store_factory", scheme="file") == "mine"
    assert Plugins(extra=[Files()]).ask("under_store_factory", scheme="memory") != "mine"


def test_several_forebays_have_plugins_of_their_own():
    one, other = Plugins(blocked=["guard"], extra=[Rain()]), Plugins()
    assert one.ask("under_store_factory", scheme="rain") == "rain"
    with pytest.raises(ConfigurationError):
        other.ask("under_store_factory", scheme="rain")


def test_a_question_without_an_answer_names_the_nearest():
    with pytest.raises(ConfigurationError) as caught:
        Plugins().ask("metadata_store_factory", kind="sqlit")
    assert str(caught.value) == (
        "no plugin makes a metadata store for kind 'sqlit'; did you mean sqlite? "
        "(there are memory, sqlite)"
    )


def test_a_question_without_an_answer_lists_what_installed_plugins_make():
    class Clock:
        @hookimpl
        def eviction_policy_factory(self, kind):
            return dict if kind == "clock" else None

        @hookimpl
        def factory_kinds(self):
            return ["clock"]

    plugins = Plugins(extra=[Clock(), Rain()])
    with pytest.raises(ConfigurationError, match=r"did you mean clock\? \(there are arc, clock, "):
        plugins.ask("eviction_policy_factory", kind="clok")
    with pytest.raises(ConfigurationError, match=r"\(there .* s3, .*; Rain does not say which it"):
        plugins.ask("under_store_factory", scheme="rian")
    with pytest.raises(ConfigurationError, match=r"did you mean clock\? \(there is clock\)"):
        plugins.ask("eviction_policy_factory", plugin="Clock", kind="clok")


def test_two_answers_are_not_chosen_between_by_accident():
    several = [Named("a", Rain("a's")), Named("b", Rain("b's"))]
    plugins = Plugins(blocked=["guard"], extra=several)
    with pytest.raises(ConfigurationError, match=r"several plugins make an under store .* a, b"):
        plugins.ask("under_store_factory", scheme="rain")
    assert plugins.ask("under_store_factory", plugin="a", scheme="rain") == "a's"
    assert plugins.ask("under_store_factory", plugin="b", scheme="rain") == "b's"


def test_a_wrapper_stands_around_a_pinned_answer():
    several = [Named("a", Rain("a's")), Roof(), Named("b", Rain("b's"))]
    plugins = Plugins(blocked=["guard"], extra=several)
    assert plugins.ask("under_store_factory", plugin="a", scheme="rain") == "roofed a's"


def test_a_pinned_plugin_that_has_no_answer_is_refused():
    plugins = Plugins(extra=[Rain()])
    with pytest.raises(ConfigurationError, match="the plugin Rain does not make an under store"):
        plugins.ask("under_store_factory", plugin="Rain", scheme="file")


def test_a_pin_on_an_unknown_plugin_names_the_nearest():
    with pytest.raises(ConfigurationError, match="no plugin is called sqlit; did you mean sqlite"):
        Plugins().ask("metadata_store_factory", plugin="sqlit", kind="sqlite")


def test_a_blocked_plugin_stays_out(install):
    install("broken", "1 / 0")
    rows = Plugins(blocked=["broken", "sqlite"]).listing()
    assert not {"broken", "sqlite"} & {row.name for row in rows}


def test_an_installed_distribution_is_listed_by_name_and_version(install):
    install(
        "river",
        "from forebay.hookspecs import hookimpl\n@hookimpl\ndef track_event(event): pass\n",
        version="2.5",
    )
    [row] = [row for row in Plugins().listing() if row.name == "river"]
    assert (row.distribution, row.version, row.hooks) == (
        "forebay-river-plugin",
        "2.5",
        ("track_event",),
    )


def test_a_broken_distribution_is_reported_by_name_and_version(install):
    install("broken", "raise RuntimeError('out of water')", version="0.3")
    with pytest.raises(PluginError) as caught:
        Plugins()
    assert str(caught.value).startswith(
        "the plugin broken of forebay-broken-plugin 0.3 cannot be loaded: "
        "RuntimeError: out of water"
    )
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_misspelt_hook_is_reported_with_the_nearest(install):
    install(
        "typo",
        "from forebay.hookspecs import hookimpl\n@hookimpl\ndef track_evnet(event): pass\n",
    )
    with pytest.raises(
        PluginError,
        match="the plugin typo of forebay-typo-plugin 1.0 implements track_evnet, "
        r"which is no hook; did you mean track_event\?",
    ):
        Plugins()


def test_a_misspelt_argument_is_reported(install):
    install(
        "slip",
        "from forebay.hookspecs import hookimpl\n@hookimpl\ndef track_event(evnt): pass\n",
    )
    with pytest.raises(
        PluginError, match=r"the plugin slip of forebay-slip-plugin 1\.0 does not fit"
    ):
        Plugins()


def test_two_plugins_of_one_name_are_reported(install):
    install("sqlite", "")
    with pytest.raises(PluginError, match="two plugins are called sqlite"):
        Plugins()


def test_without_any_entry_point_the_reason_is_told(monkeypatch):
    monkeypatch.setattr("forebay.plugins.entry_points", lambda group: ())
    with pytest.raises(PluginError, match="no plugin is installed, not even Forebay's own"):
        Plugins()


def test_authorize_asks_installed_plugins_first():
    class Closed:
        @hookimpl
        def authorize(self, identity, action):
            return False if action == "DeleteBucket" else None

    hooks = Plugins(extra=[Closed()]).hooks
    someone = Identity("someone")
    ask = {"identity": someone, "bucket": "b", "key": None}
    assert hooks.authorize(action="DeleteBucket", **ask) is False
    assert hooks.authorize(action="ListObjects", **ask) is True


def test_track_event_startup_and_shutdown_reach_everyone():
    class Diary:
        def __init__(self):
            self.entries = []

        @hookimpl
        def track_event(self, event):
            self.entries.append(event)

        @hookimpl
        def startup(self, forebay):
            self.entries.append("startup")

        @hookimpl
        def shutdown(self):
            self.entries.append("shutdown")

    class Second(Diary):
        pass

    diaries = [Diary(), Second()]
    hooks = Plugins(blocked=["log"], extra=diaries).hooks
    assert isinstance(hooks, pluggy.HookRelay)
    hooks.startup(forebay=None)
    hooks.track_event(event="written")
    hooks.shutdown(forebay=None)
    assert [diary.entries for diary in diaries] == [["startup", "written", "shutdown"]] * 2
