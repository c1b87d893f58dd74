"""Anything that a Secret may hold is a state, or an error that says what is wrong."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.tls.authority import Authority
from metrics_server.tls.bundle import (
    NextAuthority,
    Policy,
    PreviousAuthority,
    Rest,
    State,
    Store,
    next_step,
)
from metrics_server.tls.secret import KEYS, from_data, to_data

NOW = datetime.now(UTC)
AUTHORITY = Authority("a")
STATE = State(
    authority=AUTHORITY.pair,
    serving=AUTHORITY.issue(["a"]),
    next=NextAuthority(Authority("b").pair, NOW),
    previous=PreviousAuthority(Authority("c").bundle, NOW + timedelta(days=1)),
)
DATA = to_data(STATE)


def test_all_keys_are_tried() -> None:
    """The state above has every key."""
    assert DATA.keys() == KEYS


@pytest.mark.parametrize("key", ["next-ca.published", "previous-ca.until"])
@pytest.mark.parametrize(
    ("time", "why"),
    [
        ("2026-11-24T00:00:00", "has no time zone"),
        ("2026-11-24", "has no time zone"),
        ("9999-12-31T23:59:59Z", "is in the year 9999"),
        ("0001-01-01T00:00:00+14:00", "is in the year 1"),
        ("soon", "soon"),
    ],
)
def test_times_that_cannot_be_meant(key: str, time: str, why: str) -> None:
    """A time that cannot be compared, or moved by an hour, is an error that says why."""
    with pytest.raises(ValueError, match=why):
        from_data({**DATA, key: time.encode()})


@pytest.mark.parametrize("key", ["ca.key", "tls.key", "next-ca.key"])
def test_encrypted_keys_are_refused(key: str) -> None:
    """An encrypted key is rejected, whichever it is."""
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(ValueError, match=r"encrypted|cannot be used"):
        from_data({**DATA, key: encrypted})


_TIMES = st.datetimes(timezones=st.none() | st.just(UTC)).map(
    lambda time: time.isoformat().encode()
)


@given(
    st.dictionaries(
        st.sampled_from(sorted(KEYS)),
        st.binary() | st.sampled_from(sorted(DATA.values())) | _TIMES,
    )
)
def test_whatever_the_secret_holds(changed: dict[str, bytes]) -> None:
    """Anything is either rejected with a message, or a state that works."""
    try:
        state = from_data({**DATA, **changed})
    except ValueError:
        return
    step = next_step(state, [], NOW, Policy(["a"]))
    assert isinstance(step, Store | Rest)
