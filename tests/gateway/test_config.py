import re
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec
import pytest

from gateway import config
from gateway.errors import ConfigError
from gateway.wire.topology import Pool, default_pools

SHIPPED = Path(__file__).parents[2] / "systemd" / "acs-ingest.toml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "acs-ingest.toml"


def test_no_file_gives_the_defaults() -> None:
    found = config.load_checked(None)
    assert config.Config(pools=default_pools()) == found


def test_shipped_file_says_the_defaults_and_names_every_key() -> None:
    assert config.load(None) == config.load_checked(SHIPPED)
    text = SHIPPED.read_text()
    tables = (config.UpSettings, config.GatewaySettings, config.LogSettings, Pool)
    for table in tables:
        for field in msgspec.structs.fields(table):
            assert re.search(rf"^(# )?{field.name} = ", text, re.MULTILINE), field.name


def test_file_wins_over_defaults(file: Path) -> None:
    file.write_text("[up]\ngateways = 4\n[gateway]\nflush_ms = 10\n[log]\ndurability = 'process'\n")
    found = config.load(file)
    assert (4, 10, "process") == (
        found.up.gateways,
        found.gateway.flush_ms,
        found.log.durability,
    )


def test_pool_of_the_file_keeps_the_defaults_that_it_does_not_name(file: Path) -> None:
    file.write_text("[pools.record]\nprocesses = 3\n[pools.live]\nprocessors = ['level']\n")
    expected = {
        "record": Pool(processes=3, delivery="replay", block_ms=500, latency_ms=200),
        "finish": Pool(),
        "live": Pool(processors=("level",)),
    }
    assert expected == config.load(file).pools


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("[gateway]\nflush_ms = 0", "[gateway] flush_ms", "Expected int >= 1"),
        ("[gateway]\nflush_ms = 'a'", "[gateway] flush_ms", "Expected int, got str"),
        ("[gateway]\nflush_ms = 1.5", "[gateway] flush_ms", "Expected int, got float"),
        ("[gateway]\nflush_ms = true", "[gateway] flush_ms", "Expected int, got bool"),
        ("[gateway]\nping_s = nan", "[gateway] ping_s", "Expected float >= 0.1"),
        ("[gateway]\nping_s = inf", "[gateway] ping_s", "Expected float <= 3600.0"),
        ("[gateway]\nflush = 1", "[gateway] flush", "unknown key"),
        ("gateway = 1", "[gateway]", "Expected a table, got int"),
        ("[[up]]\ngateways = 1", "[up]", "Expected a table, got array"),
        ("[gateway]\ntls_cert = 'c'", "[gateway]", "tls_cert and tls_key go together"),
        ("[gateway]\nname = 'a/b'", "[gateway] name", "Expected str matching regex"),
        ("[log]\ndurability = 'none'", "[log] durability", "Invalid enum value 'none'"),
        ("[up]\nlisten = ':8080'", "[up] listen", "names no host"),
        ("[up]\nlisten = 'off'", "[up] listen", "is not HOST:PORT"),
        ("[up]\nadmin = '9464'", "[up] admin", "is not HOST:PORT"),
        ("[up]\ndrain_s = 0", "[up] drain_s", "Expected float >= 1"),
        ("pools = 1", "[pools]", "Expected a table, got int"),
        ("[pools]\nrecord = 1", "[pools.record]", "Expected a table, got int"),
        ("[pools.record]\nprocesses = -1", "[pools.record] processes", "Expected int >= 0"),
        ("[pools.record]\nprocess = 1", "[pools.record] process", "unknown key"),
        ("[pools.x]\nsinks = ['a', 1]", "[pools.x] sinks[1]", "Expected str, got int"),
        ("[pools.'../x']", "[pools.../x]", "1 to 32 of a-z"),
        ("[pools.gateway]", "[pools.gateway]", "not `gateway` or `up`"),
        ("[gatway]", "[gatway]", "unknown table"),
        ("name = 1", "[name]", "unknown table"),
    ],
)
def test_fault_is_refused_with_the_path_to_it(
    file: Path, text: str, place: str, reason: str
) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load_checked(file)
    assert f"{file}: {place}" == caught.value.path
    assert reason in caught.value.reason
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[up]\ngateways = \n", "is not TOML: Invalid value (at line 2"),
        (b"[up]\nlisten = '\xff'\n", "is not UTF-8 text"),
        (b"a = " + b"[" * 100_000, "nested too deep"),
    ],
)
def test_file_that_is_no_toml_is_refused(file: Path, content: bytes, reason: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert str(file) == caught.value.path
    assert reason in caught.value.reason


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing: cannot be read: No such file"):
        config.load(tmp_path / "nothing")


def test_tables_of_other_sides_are_theirs(file: Path) -> None:
    file.write_text("[recording]\ngather_s = -1\n")
    assert config.load(None) == config.load(file)
    assert {"up"} == config.check({"up": {}, "recording": {}})


class ForeignError(Exception):
    """What another side raises."""

    path = "other.key"
    reason = "is wrong"


def check_other(document: config.Document) -> set[str]:
    if document["other"]:
        raise ForeignError
    return {"other"}


def test_other_sides_check_their_tables_and_their_faults_name_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(EntryPoint):
        def load(self) -> object:
            return check_other

    other = Other("other", "nowhere:check", config.CHECKS_GROUP)
    monkeypatch.setattr(config, "entry_points", lambda *, group: [other])
    file.write_text("[other]\n")
    assert config.load(None) == config.load_checked(file)
    file.write_text("[other]\nkey = 1\n")
    with pytest.raises(ConfigError) as caught:
        config.load_checked(file)
    assert f"{file}: [other] key: is wrong" == str(caught.value)


def test_limits_of_the_log_are_those_of_the_file(file: Path) -> None:
    file.write_text("[log]\nbytes_max = 2000000\nreserve_bytes = 0\ndirs = ['/other']\n")
    found = config.load(file).log
    assert (2_000_000, 0, 256 * 1024**2) == found.limits
    assert ("/other",) == found.dirs
