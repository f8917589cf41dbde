"""The configuration: what it gives, and what it says about a wrong one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor

from cyclades_tx.config import Config, ListenSection, read_secret
from cyclades_tx.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "etc" / "cyclades_tx.toml"


def complaint(text: str) -> str:
    """What a wrong text is refused with."""
    with pytest.raises(ConfigError) as caught:
        Config.from_text(text, "some.toml")
    return caught.value.message


#: Makes and forgets a reader for each kind of value that a table has.
READERS = """
import gc
from typing import get_type_hints
from msgspec.json import Decoder
from cyclades_tx import sections
for name in sections.__all__:
    if name.endswith("Section"):
        for kind in get_type_hints(getattr(sections, name), include_extras=True).values():
            for _ in range(50):
                Decoder(kind)
            gc.collect()
"""


def secret_file(folder: Path, text: str = "hush", mode: int = 0o600) -> Path:
    """A file with a secret in it."""
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_an_empty_file_gives_every_default() -> None:
    """Nothing has to be said for a first try."""
    assert Config.from_text("") == Config()


def test_the_example_holds_exactly_the_keys_and_defaults_that_exist() -> None:
    """Each commented default line, uncommented, is the default; none is missing."""
    text = EXAMPLE.read_text()
    uncommented = re.sub(r"^# (?=\w+ = |\[)", "", text, flags=re.MULTILINE)
    shown = tomllib.loads(uncommented)
    assert shown == msgspec.json.decode(msgspec.json.encode(Config()))
    assert msgspec.convert(shown, Config) == Config()


def test_the_example_itself_changes_nothing() -> None:
    """As shipped, every key of it is a comment."""
    assert Config.load(EXAMPLE) == Config()


def test_no_kind_of_value_breaks_the_memory_of_the_process() -> None:
    """Or whatever has read a configuration, if only snf-manage, might end in an abort."""
    subprocess.run([sys.executable, "-c", READERS], check=True, timeout=60)


@pytest.mark.parametrize("section", Config.__struct_fields__)
def test_every_key_is_described(section: str) -> None:
    """A section's docstring has one line for each of its keys, in their order."""
    value: Any = getattr(Config(), section)
    kind = type(value[0] if isinstance(value, tuple) else value)
    assert tuple(re.findall(r":ivar (\w+):", kind.__doc__)) == kind.__struct_fields__


def test_values_are_taken_over() -> None:
    """What the file says replaces the default, and nothing else."""
    config = Config.from_text('[server]\nroles = ["api"]\n[ganeti]\npoll_idle_seconds = 3\n')
    assert config.server.roles == ("api",)
    assert config.ganeti.poll_idle_seconds == 3.0
    assert config.ganeti.poll_active_seconds == Config().ganeti.poll_active_seconds


def test_a_value_cannot_be_changed_afterwards() -> None:
    """The configuration is frozen."""
    with pytest.raises(AttributeError):
        Config().server.processes = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ("[server]\nmax_body_byte = 1", "server.max_body_byte", "did you mean max_body_bytes?"),
        ("sever = 1", "sever", "did you mean server?"),
        ("[[listen]]\n[[listen]]\nprot = 1", "listen[1].prot", "did you mean port?"),
        ('"a`b - at `$.c" = 1', "a`b - at `$.c", "allowed: server,"),
        ("server = 1", "server", "a table"),
        ("listen = 1", "listen", "a list"),
        ("listen = [1]", "listen[0]", "a table"),
        ("listen = []", "listen", "at least one"),
        ("[server]\nroles = []", "server.roles", "at least one"),
        ('[server]\nroles = ["cook"]', "server.roles[0]", '"vmapi"'),
        ('[server]\nroles = "api"', "server.roles", "a list"),
        ('[server]\nmax_body_bytes = "1"', "server.max_body_bytes", "from 1024 to 67108864"),
        ("[server]\nmax_body_bytes = true", "server.max_body_bytes", "a whole number"),
        ("[server]\nmax_body_bytes = 2048.5", "server.max_body_bytes", "a whole number"),
        ("[[listen]]\nport = 0", "listen[0].port", "from 1 to 65535"),
        (f"[[listen]]\nport = {'9' * 40}", "listen[0].port", "from 1 to 65535"),
        ("[ganeti]\nlease_seconds = nan", "ganeti.lease_seconds", "from 2 to 600"),
        ("[ganeti]\nlease_seconds = inf", "ganeti.lease_seconds", "from 2 to 600"),
        ("[ganeti]\nlease_seconds = -inf", "ganeti.lease_seconds", "from 2 to 600"),
        ("[ganeti]\nlease_seconds = 1979-05-27", "ganeti.lease_seconds", "a number"),
        ('[ganeti]\ninstance_prefix = "snf"', "ganeti.instance_prefix", "that matches"),
        ("[ganeti.hvparams.kvm]\nx = [1]", "ganeti.hvparams", "true or false"),
        ("[ganeti.hvparams]\nkvm = 1", "ganeti.hvparams", "a table"),
        ('[log]\nlevel = "loud"', "log.level", '"debug"'),
        ('[log]\nfile = "a\\u0000b"', "log.file", "printable text"),
        ("[vmapi]\nmemcached_servers = [1]", "vmapi.memcached_servers[0]", "printable text"),
        ('[identity]\nkind = "nobody"', "identity.kind", '"local"'),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(
    text: str, key: str, allowed: str
) -> None:
    """The message begins with the file and the key, and tells what may stand there."""
    message = complaint(text)
    assert message.startswith(f"some.toml: {key}")
    assert allowed in message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[admin]\naddress = "0.0.0.0"', "admin.address"),
        ('[admin]\naddress = "::"', "admin.address"),
        ('[admin]\naddress = "10.0.0.1"', "admin.address"),
        ('[admin]\naddress = "localhost"', "admin.address"),
        ('[[listen]]\naddress = "localhost"', "listen[0].address"),
        ('[[listen]]\naddress = "0.0.0.0"', "server.public_url"),
        ('[[listen]]\ntls_key_file = "a"', "listen[0].tls_key_file"),
        ('[[listen]]\ntls_chain_file = "a"', "listen[0].tls_chain_file"),
        ('[server]\npublic_url = "ftp://cloud.test"', "server.public_url"),
        ('[server]\npublic_url = "https://u:p@cloud.test"', "server.public_url"),
        ('[server]\npublic_url = "https://cloud.test/?a=1"', "server.public_url"),
        ('[server]\npublic_url = "http://[::1"', "server.public_url"),
        ('[server]\npublic_url = "http://cloud.test:port"', "server.public_url"),
        ('[server]\nvmapi_url = "cloud.test"', "server.vmapi_url"),
        ('[server]\ntrusted_proxies = ["10.0.0.0/33"]', "server.trusted_proxies"),
        ('[database]\ndsn = "dbname=x password=hush"', "database.dsn"),
        ('[database]\ndsn = "postgresql://u:hush@db/x"', "database.dsn"),
        ("[database]\npool_min = 17", "database.pool_min"),
        ("[server]\nprocesses = 2", "vmapi.store"),
        ('[vmapi]\nstore = "memcached"', "vmapi.memcached_servers"),
        ('[vmapi]\nmemcached_servers = ["a b:1"]', "vmapi.memcached_servers"),
        ('[image]\nprivate_networks = ["10.0.0.0/33"]', "image.private_networks"),
        ('[image]\nstore = "swift"', "swift.auth_url"),
        ('[image]\nstore = "swift"\ndirectory = "x"', "image.directory"),
        (
            '[image]\nstore = "swift"\n[swift]\nauth_url = "http://keystone.test:5000/v3"',
            "swift.auth_url",
        ),
        (
            '[image]\nstore = "swift"\n[swift]\nauth_url = "https://keystone.test:5000/v3"',
            "swift.username",
        ),
        (
            '[image]\nstore = "swift"\n[swift]\nauth_url = "http://127.0.0.1:5000/v3"\n'
            'username = "cloud"\nproject = "images"',
            "swift.secret_file",
        ),
        ("[retention]\noperations_days = 6", "retention.operations_days"),
        ("[retention]\naddresses_days = 0.5", "retention.addresses_days"),
        (
            "[retention]\ndeleted_days = 30\n[ganeti]\norphan_grace_seconds = 2_592_000",
            "retention.deleted_days",
        ),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(text: str, key: str) -> None:
    """What no type can say is checked too."""
    assert complaint(text).startswith(f"some.toml: {key}: ")


def test_a_password_in_the_dsn_is_not_repeated_in_the_message() -> None:
    """The refusal goes to a log or a terminal."""
    assert "hush" not in complaint('[database]\ndsn = "dbname=x password=hush"')


@pytest.mark.parametrize(
    "text", ["[", "a = ", "a = 1\na = 2", f"a = {'[' * 5000}", "a = " + "9" * 5000]
)
def test_text_that_is_not_toml_is_refused(text: str) -> None:
    """Broken, doubled, deeply nested or endless: one kind of error."""
    assert complaint(text).startswith("some.toml: not valid TOML")


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else ever comes out."""
    try:
        assert isinstance(Config.from_text(text), Config)
    except ConfigError as error:
        assert error.message.startswith("configuration: ")


@given(
    st.sampled_from(Config.__struct_fields__).flatmap(
        lambda name: st.tuples(
            st.just(name),
            st.sampled_from(type(getattr(Config(), name)).__struct_fields__)
            if name != "listen"
            else st.sampled_from(ListenSection.__struct_fields__),
        )
    ),
    st.sampled_from(
        ["true", "-1", "1e400", "nan", '""', '"\\u0001"', "[]", "{}", "07:32:00", "[[1]]"]
    ),
)
def test_any_value_under_any_key_is_read_or_refused(place: tuple[str, str], value: str) -> None:
    """Each key is met with values of every kind."""
    section, key = place
    header = "[[listen]]" if section == "listen" else f"[{section}]"
    try:
        assert isinstance(Config.from_text(f"{header}\n{key} = {value}"), Config)
    except ConfigError as error:
        assert f"{section}" in error.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The operator sees which file was looked for."""
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        Config.load(tmp_path / "none.toml")


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    """Neither a traceback nor an endless read."""
    with pytest.raises(ConfigError, match="Is a directory"):
        Config.load(tmp_path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """The place of the first wrong byte is told."""
    path = tmp_path / "c.toml"
    path.write_bytes(b'[log]\nfile = "\xff"')
    with pytest.raises(ConfigError, match="byte 14 is not UTF-8"):
        Config.load(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    """No configuration has a megabyte."""
    path = tmp_path / "c.toml"
    path.write_bytes(b"#" * 1_100_000)
    with pytest.raises(ConfigError, match="larger than"):
        Config.load(path)


def test_relative_file_names_start_from_the_files_folder(tmp_path: Path) -> None:
    """The folder from which the service is started does not matter."""
    (tmp_path / "c.toml").write_text('[log]\nfile = "here.log"')
    assert Config.load(tmp_path / "c.toml").log.file == str(tmp_path / "here.log")


def test_the_largest_image_fits_into_the_object_storage(tmp_path: Path) -> None:
    """Of a thousand pieces it has at most."""
    secret_file(tmp_path, "hush")
    text = (
        '[image]\nstore = "swift"\nmax_image_gib = 251\n[swift]\nsegment_mib = {}\n'
        'auth_url = "https://keystone.test/v3"\napplication_credential_id = "f00"\n'
        'secret_file = "secret"\n'
    )
    with pytest.raises(ConfigError, match=r"swift\.segment_mib: must be at least 258"):
        Config.from_text(text.format(257), "some.toml", tmp_path)
    assert Config.from_text(text.format(258), "some.toml", tmp_path).swift.segment_mib == 258


def test_the_connection_string_comes_from_its_file(tmp_path: Path) -> None:
    """A string with a password is read from a file that only the owner can read."""
    path = secret_file(tmp_path, "dbname=x password=hush\n")
    config = Config.from_text(f'[database]\ndsn_file = "{path}"')
    assert config.database.connection_string() == "dbname=x password=hush"


def test_without_a_file_the_connection_string_is_the_key() -> None:
    """The usual case: peer authentication needs no password."""
    assert Config().database.connection_string() == "dbname=cyclades_tx"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o601, 0o620, 0o666])
def test_a_secret_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """Reading, writing, running: anything for anyone else is too much."""
    path = secret_file(tmp_path, mode=mode)
    message = complaint(f'[ganeti]\nkeyring_file = "{path}"')
    assert "ganeti.keyring_file" in message
    assert f"mode {mode:04o}" in message


def test_a_secret_may_be_read_only(tmp_path: Path) -> None:
    """Stricter than 0600 is fine."""
    assert read_secret(secret_file(tmp_path, mode=0o400)) == "hush"


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    """With the key that asked for it."""
    message = complaint(f'[database]\ndsn_file = "{tmp_path}/none"')
    assert "database.dsn_file" in message
    assert "No such file" in message


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    """An empty password would be taken for one."""
    with pytest.raises(ConfigError, match="empty"):
        read_secret(secret_file(tmp_path, "\n"))


def test_a_secret_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """The bytes do not show up in the message."""
    path = secret_file(tmp_path)
    path.write_bytes(b"hush\xff")
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        read_secret(path)
    assert "hush" not in str(caught.value)


def test_a_pipe_in_the_place_of_a_secret_does_not_hold_the_start(tmp_path: Path) -> None:
    """Opening a pipe without a writer would wait for ever."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="regular file"):
        read_secret(tmp_path / "pipe")


def test_a_key_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    """A TLS key is a secret as well."""
    key = secret_file(tmp_path, mode=0o644)
    text = f'[[listen]]\ntls_key_file = "{key}"\ntls_certificate_file = "{key}"'
    assert "listen[0].tls_key_file" in complaint(text)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    """Before the port is opened."""
    key = secret_file(tmp_path)
    text = f'[[listen]]\ntls_key_file = "{key}"\ntls_certificate_file = "{tmp_path}/none"'
    assert "listen[0].tls_certificate_file" in complaint(text)


def test_the_public_url_is_that_of_the_first_address_unless_it_is_given() -> None:
    """And vmapi hangs below it."""
    assert Config().public_url == "http://127.0.0.1:8774"
    config = Config.from_text('[server]\npublic_url = "https://cloud.test/"')
    assert config.public_url == "https://cloud.test"
    assert config.vmapi_url == "https://cloud.test/vmapi"


def test_vmapi_may_have_a_url_of_its_own() -> None:
    """Machines often reach it by another network."""
    config = Config.from_text('[server]\nvmapi_url = "http://10.0.0.1:8774/vmapi/"')
    assert config.vmapi_url == "http://10.0.0.1:8774/vmapi"


@pytest.mark.parametrize(("address", "family"), [("127.0.0.1", "tcp:"), ("::1", "tcp6:")])
def test_an_address_becomes_an_endpoint_that_twisted_opens(address: str, family: str) -> None:
    """Also with the colons of IPv6."""
    listen = ListenSection(address=address, port=8000)
    assert listen.endpoint.startswith(family)
    reactor = MemoryReactor()
    serverFromString(reactor, listen.endpoint).listen(object())
    port, _factory, _backlog, interface = reactor.tcpServers[0]
    assert (port, interface) == (8000, address)


def test_an_ipv6_address_is_bracketed_in_its_url() -> None:
    """Or no client could read it."""
    assert ListenSection(address="::1", port=8000).url == "http://[::1]:8000"


def test_tls_files_become_a_tls_endpoint() -> None:
    """With certificate, key and chain, and https in the URL."""
    listen = ListenSection(
        port=443, tls_certificate_file="/c:1.pem", tls_key_file="/k.pem", tls_chain_file="/i.pem"
    )
    assert listen.endpoint == (
        r"ssl:443:interface=127.0.0.1:privateKey=/k.pem:certKey=/c\:1.pem:extraCertChain=/i.pem"
    )
    assert listen.url == "https://127.0.0.1:443"


def test_quota_limits_are_in_the_units_of_the_resources() -> None:
    """Memory and disks count in bytes."""
    limits = Config.from_text("[quota]\nram_mib = 3\ndisk_gib = 2\nvm = 7").quota.limits()
    assert limits["cyclades.ram"] == 3 * 2**20
    assert limits["cyclades.disk"] == 2 * 2**30
    assert limits["cyclades.vm"] == 7
    assert len(limits) == 8


def test_a_kind_of_operation_without_a_key_gets_the_general_deadline() -> None:
    """So that each operation has one."""
    operations = Config.from_text("[operations]\nother_deadline_seconds = 7").operations
    assert operations.deadline_seconds("create") == 1800.0
    assert operations.deadline_seconds("resize") == 7.0


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('urls = ["http://broker.example.org"]', "broker.urls"),
        ('urls = ["amqp://user:hushhush@broker.example.org"]', "broker.urls"),
        ('urls = ["amqp://user:hush%zz@broker.example.org"]', "broker.urls"),
        ('password_file = "none"', "broker.password_file"),
        ('authorities_file = "none"', "broker.authorities_file"),
        ('certificate_file = "none"', "broker.certificate_file"),
        ('exchange = ""', "broker.exchange"),
    ],
)
def test_a_wrong_broker_is_refused_without_telling_its_secret(text: str, key: str) -> None:
    """By the key, and never with what stood there."""
    message = complaint(f"[broker]\n{text}")
    assert key in message
    assert "hush" not in message


def test_the_brokers_are_read_in_their_order() -> None:
    """With TLS where the URL says so."""
    urls = '["amqps://a.example.org/cloud%2Fone", "amqp://b.example.org:5673"]'
    first, second = Config.from_text(f"[broker]\nurls = {urls}").broker.addresses()
    assert (first.host, first.tls, first.vhost) == ("a.example.org", True, "cloud/one")
    assert (second.place, second.tls) == ("b.example.org:5673", False)
