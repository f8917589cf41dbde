"""The handshake alone: bytes in, bytes out, whatever a stranger sends and however it is cut up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.console import passwords
from cyclades_tx.console.handshake import (
    MOST_WAITING_BYTES,
    Conversation,
    ScreenSide,
    Security,
    State,
    ViewerSide,
)
from cyclades_tx.console.interfaces import SENTENCES, Reason
from tests.console.peers import des

CHALLENGE = bytes(range(16))
WORD = {number: number.to_bytes(4, "big") for number in (0, 1, 2, 261)}
OFFERS = [
    (Security.VNC,),
    (Security.VENCRYPT, Security.VNC),
    (Security.VENCRYPT,),
    (Security.NONE,),
]

#: Mostly nothing, sometimes the beginning of what is right, so that the depths are reached too.
garbage = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from(
            (
                *(b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n", b"RFB 004.001\n"),
                *(b"RFB 003.889\n", b"RFB", b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\2"),
                *(b"\1\1", b"\1\2", b"\2", b"\1", b"\x13", b"\0\2", b"\0", b"\2\1\2"),
                *(WORD[261], CHALLENGE, b"\xff" * 5, des(b"secret", CHALLENGE)),
            )
        ),
        max_size=8,
    ).map(b"".join),
)
pieces = st.lists(st.integers(min_value=1, max_value=20), max_size=40)


def fed(side: Conversation, data: bytes, sizes: list[int]) -> bytes:
    """Give it the bytes in pieces; what it has said to that and before."""
    said = side.begin()
    for size in sizes:
        said += side.receive(data[:size])
        data = data[size:]
    return said + side.receive(data)


@pytest.mark.parametrize(
    ("password", "answer"),
    [
        ("console1", "f3f5de883762cc9d41758ab35ee2b442"),
        ("aB3dE6gH9k", "8174230fa6ab83c1ef8a47f06fb69ad9"),
        ("aB3dE6gH", "8174230fa6ab83c1ef8a47f06fb69ad9"),
    ],
)
def test_the_answer_to_a_challenge(password: str, answer: str) -> None:
    """Known ones; only eight characters count."""
    assert passwords.response(password, CHALLENGE).hex() == answer
    assert passwords.fits(password, CHALLENGE, bytes.fromhex(answer))
    assert not passwords.fits(password.swapcase(), CHALLENGE, bytes.fromhex(answer))


@given(password=st.text(max_size=12), answer=st.binary(min_size=16, max_size=16))
def test_any_text_can_be_a_password(password: str, answer: bytes) -> None:
    """And hardly any answer is right."""
    assert len(passwords.response(password, CHALLENGE)) == 16
    assert not passwords.fits(password, passwords.new_challenge(), answer)


@given(sizes=pieces, version=st.sampled_from((3, 7, 8)), rest=st.binary(max_size=30))
def test_a_viewer_is_let_in(sizes: list[int], version: int, rest: bytes) -> None:
    """However its bytes are cut up; what it sends beyond is kept for the screen."""
    side = ViewerSide(challenge=CHALLENGE)
    answer = des(b"secret", CHALLENGE)
    sent = b"RFB 003.00%d\n" % version + (b"" if version == 3 else b"\2") + answer
    said = fed(side, sent + rest, sizes)
    assert said == b"RFB 003.008\n" + (WORD[2] if version == 3 else b"\1\2") + CHALLENGE
    assert (side.state, side.version, side.answer) == (State.ASKING, version, answer)
    assert side.rest == b""
    assert side.accept() == WORD[0]
    assert side.state is State.DONE
    assert (side.rest, side.rest) == (rest, b"")
    assert side.receive(b"more") == b""
    assert side.rest == b"more"


@pytest.mark.parametrize("version", (3, 7, 8))
def test_a_viewer_is_refused(version: int) -> None:
    """With a reason where the version has room for it; nothing of what it sent is kept."""
    side = ViewerSide(challenge=CHALLENGE)
    side.begin()
    side.receive(b"RFB 003.00%d\n" % version + (b"" if version == 3 else b"\2") + bytes(20))
    text = SENTENCES[Reason.WRONG_PASSWORD].encode()
    reason = len(text).to_bytes(4, "big") + text if version == 8 else b""
    assert side.refuse(Reason.WRONG_PASSWORD) == WORD[1] + reason
    assert (side.state, side.reason, side.rest) == (State.FAILED, Reason.WRONG_PASSWORD, b"")
    assert side.accept() == side.receive(b"please") == b""
    assert side.state is State.FAILED


@pytest.mark.parametrize(
    ("greeting", "version"),
    [
        (b"RFB 003.003\n", 3),
        (b"RFB 003.005\n", 3),
        (b"RFB 003.006\n", 3),
        (b"RFB 003.007\n", 7),
        (b"RFB 003.889\n", 8),
        (b"RFB 004.001\n", 8),
        (b"RFB 002.002\n", 0),
        (b"RFB 000.000\n", 0),
        (b"RFB 003-008\n", 0),
        (b"RFB 003.008\r", 0),
        (b"RFB +03.008\n", 0),
        (b"RFB \xb2\xb3\xb9.008\n", 0),
        (b"GET / HTTP/1", 0),
    ],
    ids=lambda value: value.decode("latin-1").strip() if isinstance(value, bytes) else str(value),
)
@pytest.mark.parametrize("kind", [ViewerSide, ScreenSide])
def test_versions_that_others_greet_with(
    kind: Callable[[], Conversation], greeting: bytes, version: int
) -> None:
    """Those that were never published are 3.3, later ones are 3.8, others end it."""
    side = kind()
    side.receive(greeting)
    assert side.version == version
    assert (side.state is State.FAILED) == (version == 0)


@given(sizes=pieces, version=st.sampled_from((7, 8)))
def test_tls_with_a_certificate(sizes: list[int], version: int) -> None:
    """VeNCrypt's one type that is offered; what comes afterwards came through TLS."""
    side = ViewerSide((Security.VENCRYPT, Security.VNC), CHALLENGE)
    begun = b"RFB 003.00%d\n\x13\0\2" % version + WORD[261]
    assert (
        fed(side, begun, sizes) == b"RFB 003.008\n\2\x13\2" + b"\0\2" + b"\0\1" + WORD[261] + b"\1"
    )
    assert (side.state, side.encrypted) == (State.START_TLS, False)
    assert side.accept() == b""
    assert side.tls_started() == CHALLENGE
    assert side.encrypted and side.tls_started() == b""
    fed(side, CHALLENGE, sizes)
    assert side.state is State.ASKING


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"\x13\0\1", b"\xff"),
        (b"\x13\0\2" + WORD[1], b"\0"),
        (b"\x13\0\2" + WORD[261] + b"x", b""),
        (b"\2", WORD[1]),
        (b"\0", WORD[1]),
    ],
    ids=["other-version", "other-type", "too-early", "clear", "none"],
)
def test_tls_that_goes_wrong(sent: bytes, said: bytes) -> None:
    """Each ends it; nothing that was sent in clear is taken as if it came through TLS."""
    side = ViewerSide((Security.VENCRYPT,), CHALLENGE)
    answer = side.receive(b"RFB 003.008\n" + sent)
    assert side.state is State.FAILED and said in answer and CHALLENGE not in answer
    late = ViewerSide((Security.VENCRYPT,), CHALLENGE)
    late.receive(b"RFB 003.008\n\x13\0\2" + WORD[261])
    late.receive(b"x")
    assert late.state is State.FAILED and late.tls_started() == b""


@pytest.mark.parametrize("version", (3, 7, 8))
def test_somebody_is_turned_away(version: int) -> None:
    """Before there is any challenge, with a reason in every version."""
    side = ViewerSide(turned_away=Reason.TOO_MANY)
    text = SENTENCES[Reason.TOO_MANY].encode()
    assert side.begin() == b"RFB 003.008\n"
    assert side.receive(b"RFB 003.00%d\n" % version) == (
        (WORD[0] if version == 3 else b"\0") + len(text).to_bytes(4, "big") + text
    )
    assert (side.state, side.reason) == (State.FAILED, Reason.TOO_MANY)


@pytest.mark.parametrize("version", (3, 7, 8))
def test_a_browser_needs_no_password_here(version: int) -> None:
    """Its ticket came first; 3.8 alone says that it is let in."""
    side = ViewerSide((Security.NONE,))
    side.begin()
    said = side.receive(b"RFB 003.00%d\n" % version + (b"" if version == 3 else b"\1") + b"rest")
    assert said == {3: WORD[1], 7: b"\1\1", 8: b"\1\1" + WORD[0]}[version]
    assert (side.state, side.rest) == (State.DONE, b"rest")


@given(
    sizes=pieces,
    version=st.sampled_from((3, 7, 8)),
    secured=st.booleans(),
    rest=st.binary(max_size=30),
)
def test_a_screen_lets_us_in(sizes: list[int], version: int, secured: bool, rest: bytes) -> None:
    """Without a password, and with one; a screen of 3.3 decides for itself."""
    side = ScreenSide("secret" if secured else None)
    chosen = 2 if secured else 1
    sent = b"RFB 003.00%d\n" % version
    sent += WORD[chosen] if version == 3 else bytes([3, 2, 16, 1])
    sent += CHALLENGE if secured else b""
    sent += WORD[0] if secured or version == 8 else b""
    said = fed(side, sent + rest, sizes)
    assert said == b"RFB 003.00%d\n" % version + (b"" if version == 3 else bytes([chosen])) + (
        des(b"secret", CHALLENGE) if secured else b""
    )
    assert (side.state, side.rest) == (State.DONE, rest)


@pytest.mark.parametrize(
    ("sent", "reason", "said"),
    [
        (b"RFB 003.003\n\0\0\0\0\0\0\0\4full", Reason.FAR_REFUSED, "full"),
        (b"RFB 003.003\n\0\0\0\2", Reason.FAR_REFUSED, ""),
        (b"RFB 003.003\n\0\0\1\1", Reason.FAR_REFUSED, ""),
        (b"RFB 003.007\n\0\0\0\0\4full", Reason.FAR_REFUSED, "full"),
        (b"RFB 003.008\n\0\0\0\0\3a\nb", Reason.FAR_REFUSED, "ab"),
        (b"RFB 003.008\n\0\xff\xff\xff\xff", Reason.FAR_REFUSED, ""),
        (b"RFB 003.008\n\0\0\0\0\0", Reason.FAR_REFUSED, ""),
        (b"RFB 003.008\n\2\2\x13", Reason.FAR_REFUSED, ""),
        (b"RFB 003.008\n\1\1\0\0\0\1\0\0\0\2no", Reason.FAR_REFUSED, "no"),
        (b"HTTP/1.1 400", Reason.FAR_SPEAKS_NOT, ""),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else str(value),
)
def test_a_screen_that_does_not(sent: bytes, reason: Reason, said: str) -> None:
    """Its words are for the log, without what could break a line."""
    for size in (1, len(sent)):
        side = ScreenSide()
        fed(side, sent, [size] * (len(sent) // size))
        assert (side.state, side.reason, side.said, side.rest) == (State.FAILED, reason, said, b"")


def test_a_password_that_the_screen_does_not_take() -> None:
    """3.7 has no reason."""
    side = ScreenSide("secret")
    side.receive(b"RFB 003.007\n\1\2" + CHALLENGE + WORD[1])
    assert (side.state, side.reason) == (State.FAILED, Reason.FAR_REFUSED)


@given(data=garbage, sizes=pieces, offers=st.sampled_from(OFFERS), tls=st.booleans())
def test_no_garbage_gets_a_viewer_in(
    data: bytes, sizes: list[int], offers: tuple[Security, ...], tls: bool
) -> None:
    """No exception, and no byte is kept for the screen before the viewer is accepted."""
    side = ViewerSide(offers, CHALLENGE)
    said = fed(side, data, sizes)
    if tls and side.state is State.START_TLS:
        said += side.tls_started() + fed(side, data, sizes)
    assert len(said) < 500
    if Security.NONE in offers:
        return
    assert side.state is not State.DONE
    assert side.rest == b""
    if side.state is not State.ASKING:
        assert side.accept() == b"" and side.state is not State.DONE


@given(data=garbage, sizes=pieces, password=st.sampled_from([None, "secret"]))
def test_no_garbage_upsets_us_towards_a_screen(
    data: bytes, sizes: list[int], password: str | None
) -> None:
    """Whatever it sends, in whatever pieces, comes to the same."""
    one, other = ScreenSide(password), ScreenSide(password)
    assert fed(one, data, sizes) == fed(other, data, [])
    assert (one.state, one.reason, one.said) == (other.state, other.reason, other.said)
    assert len(one.said) <= 2048


@pytest.mark.parametrize("kind", [ViewerSide, ScreenSide])
def test_nobody_can_fill_the_memory(kind: Callable[[], Conversation]) -> None:
    """What waits for somebody else to act is little, or it is over."""
    side = kind()
    greeting = b"RFB 003.008\n"
    side.receive(greeting + (b"\2" + bytes(16) if kind is ViewerSide else b"\0\0\0\x07\xff"))
    assert side.state in (State.ASKING, State.GOING)
    for _ in range(MOST_WAITING_BYTES // 100 + 1):
        side.receive(bytes(100))
    assert side.state is State.FAILED and side.rest == b""
    assert side.receive(bytes(100)) == b"" and not side._in
