import click
import pytest

from forebay.cli.choices import chosen, plainly
from forebay.errors import ConfigurationError, PluginError, Unavailable

NOTHING = {"storage": None, "path": None, "listen": None, "workers": None, "properties": ()}


def test_with_nothing_to_serve_the_way_is_shown():
    with pytest.raises(ConfigurationError, match=r"nothing to serve: .*forebay serve \./data"):
        chosen(**NOTHING)


def test_the_command_line_becomes_a_configuration(tmp_path):
    given = {
        "storage": str(tmp_path),
        "listen": "127.0.0.1:0",
        "workers": 2,
        "properties": ("alluxio.proxy.s3.writetype = THROUGH",),
    }
    config = chosen(**{**NOTHING, **given})
    assert config.mounts["/"].under == tmp_path.as_uri()
    assert (config.server.listen, config.server.workers) == ("127.0.0.1:0", 2)
    assert config.properties.writetype == "THROUGH"


def test_a_property_without_a_value_is_refused():
    with pytest.raises(ConfigurationError, match="--property writetype: write it as KEY=VALUE"):
        chosen(**{**NOTHING, "storage": "memory://x", "properties": ("writetype",)})


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigurationError("one reason"), 2, "one reason"),
        (ConfigurationError("a", "b"), 2, "this cannot be served:\n  a\n  b"),
        (PluginError("a plugin"), 2, "a plugin"),
        (Unavailable("it is down"), 1, "Unavailable: it is down"),
    ],
)
def test_what_forebay_raises_becomes_a_sentence_and_a_status(error, status, message):
    with pytest.raises(click.ClickException) as caught, plainly():
        raise error
    assert (caught.value.exit_code, caught.value.message) == (status, message)


def test_a_bug_is_not_dressed_up():
    with pytest.raises(ZeroDivisionError), plainly():
        raise ZeroDivisionError
