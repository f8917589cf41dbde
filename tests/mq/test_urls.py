"""Where a broker is."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclades_tx.mq.urls import BrokerAddress, parse_url

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("amqp://mq", BrokerAddress("mq", 5672)),
        ("amqps://mq", BrokerAddress("mq", 5671, tls=True)),
        ("amqp://u:p@10.0.0.1:99/v", BrokerAddress("10.0.0.1", 99, False, "v", "u", "p")),
        ("amqp://mq/", BrokerAddress("mq", 5672)),
        ("amqp://mq/%2F", BrokerAddress("mq", 5672)),
        ("amqp://mq/%2Fa%20b", BrokerAddress("mq", 5672, vhost="/a b")),
        ("amqp://[::1]:5673/v", BrokerAddress("::1", 5673, vhost="v")),
        ("amqp://u%40x:p%2F%3A%25%C3%A9@mq", BrokerAddress("mq", 5672, False, "/", "u@x", "p/:%é")),
        ("amqp://u:a:b@mq", BrokerAddress("mq", 5672, False, "/", "u", "a:b")),
        ("AMQP://mq", BrokerAddress("mq", 5672)),
    ],
)
def test_a_url_is_read(url: str, address: BrokerAddress) -> None:
    """With everything percent-encoded undone."""
    assert parse_url(url) == address


@settings(deadline=None)
@given(WORDS, WORDS, WORDS)
def test_any_name_password_and_vhost_can_be_said(user: str, password: str, vhost: str) -> None:
    """Encoded, they come back as they were."""
    parts = [quote(each, safe="") for each in (user, password, vhost)]
    address = parse_url(f"amqp://{parts[0]}:{parts[1]}@mq/{parts[2]}")
    assert (address.username, address.password) == (user, password)
    assert address.vhost == (vhost or "/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mq:5672",
        "http://u:secret@mq",
        "amqp://",
        "amqp://u:secret@",
        "amqp://u:secret@mq:0",
        "amqp://u:secret@mq:65536",
        "amqp://u:secret@mq:x",
        "amqp://u:sec/ret@mq",
        "amqp://u:secret@mq/a/b",
        "amqp://u:secret@mq/v?heartbeat=1",
        "amqp://u:secret@mq/v?",
        "amqp://u:secret@mq/v#x",
        "amqp://u:secret%@mq",
        "amqp://u:secret%zz@mq",
        "amqp://u:secret%ff@mq",
        "amqp://u:secret%00@mq",
        "amqp://u:secret@m q",
        "amqp://u:secret@mq\n",
        "amqp://u:secret@mö",
        "amqp://u:secret@[::1",
        "amqp://u:secret@a]b",
        "amqp://u:secret@-mq",
        "amqp://u:secret" + "x" * 300 + "@mq",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    """The message goes into logs."""
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    assert "sec" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """With a ValueError and nothing else."""
    for url in (text, "amqp://" + text):
        try:
            address = parse_url(url)
        except ValueError:
            continue
        assert address.host and 0 < address.port < 65536


def test_the_password_is_in_no_repr() -> None:
    """Of the address, or of it with another login."""
    address = parse_url("amqp://u:hush@mq")
    other = address.with_login("me", "quiet")
    assert "hush" not in repr(address) + str(address)
    assert "quiet" not in repr(other)
    assert (other.username, other.password, other.host) == ("me", "quiet", "mq")


def test_a_place_is_host_and_port() -> None:
    """An IPv6 address in brackets."""
    assert parse_url("amqp://[::1]").place == "[::1]:5672"
    assert parse_url("amqps://u:p@mq").place == "mq:5671"
