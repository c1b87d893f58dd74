"""How callers are identified: by certificate, front proxy or token."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from metrics_server.auth.authentication import Authenticator, Outcome
from metrics_server.auth.delegation import DelegatedAuthentication
from metrics_server.auth.identity import ANONYMOUS, User
from metrics_server.auth.request_header import RequestHeaderConfig
from metrics_server.auth.tokens import TokenReviews
from metrics_server.errors import UnauthorizedError
from tests.auth.client_certificates.test_rejected import SERVER
from tests.support.authentication import (
    ADMIN,
    ALICE,
    PROXIES,
    PROXY,
    ROOT,
    USERS,
    Lines,
    bearer,
    shown,
)
from tests.support.client_certificates import (
    DAY,
    NOW,
    Certified,
    authority,
    certify,
    client,
    ec_key,
    name,
)
from tests.support.kubernetes import kubernetes

STRANGER = client(PROXIES, name("stranger", "system:masters"))

NAMELESS = client(USERS, name("", "ops"))
SERVER_OF_PROXIES = certify(name("front-proxy-client"), ec_key(0), [(SERVER, False)], PROXIES)
FOREIGN = client(authority("kubernetes"), name("admin", "system:masters"))


@pytest.mark.parametrize(
    ("peer", "headers", "user", "outcome"),
    [
        pytest.param(
            PROXY,
            [("X-Remote-User", "alice"), ("X-Remote-Group", "dev"), ("X-Remote-Group", "a,b")],
            User("alice", groups=("dev", "a,b", "system:authenticated")),
            "request-header",
            id="a front proxy names a user",
        ),
        pytest.param(
            PROXY,
            [
                ("X-Remote-Uid", "1"),
                ("X-Remote-User", "alice"),
                ("X-Remote-Group", "system:authenticated"),
                ("X-Remote-Group", "dev"),
                ("X-Remote-Extra-A%2fb", "c"),
            ],
            User("alice", "1", ("system:authenticated", "dev"), (("a/b", ("c",)),)),
            "request-header",
            id="the group of all is not named twice",
        ),
        pytest.param(
            PROXY,
            [("X-Remote-User", "system:anonymous"), ("X-Remote-Group", "system:unauthenticated")],
            ANONYMOUS,
            "request-header",
            id="whom a front proxy took for anonymous stays so",
        ),
        pytest.param(
            PROXY,
            [("X-Remote-User", "system:anonymous")],
            User("system:anonymous"),
            "request-header",
            id="also by the name alone",
        ),
        pytest.param(
            PROXY,
            [("X-Remote-User", "u"), ("X-Remote-Group", "system:unauthenticated")],
            User("u", groups=("system:unauthenticated",)),
            "request-header",
            id="also by the group alone",
        ),
        pytest.param(
            PROXY,
            [("X-Remote-User", "alice"), *bearer("of-bob")],
            User("alice", groups=("system:authenticated",)),
            "request-header",
            id="a front proxy's word comes before a token",
        ),
        pytest.param(
            PROXY,
            bearer("of-alice"),
            ALICE,
            "token",
            id="a front proxy that names nobody may send a token",
        ),
        pytest.param(
            STRANGER,
            [*ROOT, *bearer("of-alice")],
            ALICE,
            "token",
            id="so may one that is not allowed, as in Go",
        ),
        pytest.param(
            ADMIN,
            [],
            User("admin", groups=("ops", "dev", "system:authenticated")),
            "client-certificate",
            id="a client certificate",
        ),
        pytest.param(
            ADMIN,
            [*ROOT, *bearer("of-alice")],
            User("admin", groups=("ops", "dev", "system:authenticated")),
            "client-certificate",
            id="a client's identity headers and token do not count",
        ),
        pytest.param(
            None,
            [*ROOT, *bearer("of-bob")],
            User("bob", "7", ("dev", "system:authenticated"), (("k", ("v",)),)),
            "token",
            id="a token; identity headers do not count",
        ),
        pytest.param(
            NAMELESS, bearer("of-alice"), ALICE, "token", id="a certificate of nobody and a token"
        ),
        pytest.param(None, [("Accept", "*/*")], ANONYMOUS, "anonymous", id="no credentials"),
        pytest.param(None, ROOT, ANONYMOUS, "anonymous", id="identity headers are no credentials"),
        pytest.param(
            None,
            [("Authorization", "Basic cm9vdDpyb290")],
            ANONYMOUS,
            "anonymous",
            id="credentials of a kind that is not known, as in Go",
        ),
    ],
)
async def test_callers_are_identified(
    *,
    authenticator: Authenticator,
    outcomes: list[Outcome],
    peer: Certified | None,
    headers: Lines,
    user: User,
    outcome: Outcome,
) -> None:
    """The first valid credentials identify the user; headers from other peers are ignored."""
    assert await authenticator.authenticate(shown(peer), headers) == user
    assert outcomes == [outcome]


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        pytest.param(STRANGER, ROOT, id="a front proxy that is not allowed"),
        pytest.param(STRANGER, [], id="it does not even have to name anybody"),
        pytest.param(PROXY, [], id="a front proxy that names nobody"),
        pytest.param(PROXY, ROOT[1:], id="a front proxy that names groups alone"),
        pytest.param(
            SERVER_OF_PROXIES, ROOT, id="a server's certificate of the front proxies' authority"
        ),
        pytest.param(FOREIGN, ROOT, id="a certificate of an authority that nobody knows"),
        pytest.param(NAMELESS, ROOT, id="a client certificate without a common name"),
        pytest.param(
            client(USERS, name("admin"), (NOW - 2 * DAY, NOW - DAY)), ROOT, id="an expired one"
        ),
        pytest.param(None, bearer("of-mallory"), id="a token that is not good"),
        pytest.param(None, [*ROOT, *bearer("of-mallory")], id="such a token with headers"),
        pytest.param(PROXY, bearer("of-mallory"), id="such a token from a front proxy"),
        pytest.param(STRANGER, [*ROOT, *bearer("of-mallory")], id="nothing good at all"),
    ],
)
async def test_who_is_refused(
    authenticator: Authenticator,
    outcomes: list[Outcome],
    peer: Certified | None,
    headers: Lines,
) -> None:
    """A request with only invalid credentials gets a 401, and never counts as anonymous."""
    with capture_logs() as logs, pytest.raises(UnauthorizedError) as raised:
        await authenticator.authenticate(shown(peer), headers)

    assert (raised.value.code, str(raised.value)) == (401, "Unauthorized")
    assert outcomes == ["unauthorized"]
    assert len(logs) == 1


async def test_only_the_front_proxies_authority_may_assert(authenticator: Authenticator) -> None:
    """A user whose certificate has a front proxy's name is that user, and cannot name others."""
    pretender = client(USERS, name("front-proxy-client"))

    user = await authenticator.authenticate(shown(pretender), ROOT)

    assert user == User("front-proxy-client", groups=("system:authenticated",))


async def test_without_allowed_names_any_front_proxy_may(authenticator: Authenticator) -> None:
    """An empty list of names allows any certificate signed by the front proxies' authority."""
    authenticator.trust(
        DelegatedAuthentication(USERS.pem, PROXIES.pem, RequestHeaderConfig(("X-Remote-User",)))
    )

    user = await authenticator.authenticate(shown(STRANGER), ROOT)

    assert user == User("root", groups=("system:authenticated",))


async def test_other_headers_name_other_users(authenticator: Authenticator) -> None:
    """A remembered user is forgotten when the cluster names other headers."""
    headers = [*ROOT, ("X-Other-User", "jo")]
    assert (await authenticator.authenticate(shown(PROXY), headers)).name == "root"

    config = RequestHeaderConfig(("X-Other-User", "X-Remote-User"))
    authenticator.trust(DelegatedAuthentication(USERS.pem, PROXIES.pem, config))
    assert (await authenticator.authenticate(shown(PROXY), headers)).name == "jo"

    swapped = RequestHeaderConfig(("X-Remote-User", "X-Other-User"))
    authenticator.trust(DelegatedAuthentication(USERS.pem, PROXIES.pem, swapped))
    assert (await authenticator.authenticate(shown(PROXY), headers)).name == "root"


async def test_why_is_logged(authenticator: Authenticator) -> None:
    """The log says which front proxy was rejected, and which are allowed."""
    with capture_logs() as logs, pytest.raises(UnauthorizedError):
        await authenticator.authenticate(shown(STRANGER), ROOT)

    (line,) = logs
    assert '"stranger"' in line["error"]
    assert "front-proxy-client, aggregator" in line["error"]


@pytest.mark.slow
async def test_a_failed_review_is_unauthorized(outcomes: list[Outcome], tmp_path: Path) -> None:
    """While tokens cannot be reviewed, their bearers are rejected; this is counted separately."""
    async with kubernetes(tmp_path) as (api, made):
        api.faults.refuse_next(500, "etcd is away", times=10)
        authenticator = Authenticator(TokenReviews(made), outcomes.append)

        with capture_logs() as logs, pytest.raises(UnauthorizedError):
            await authenticator.authenticate(None, bearer("of-alice"))

    assert outcomes == ["review-failed"]
    assert [line["error"] for line in logs] == ["the TokenReview failed: etcd is away"]
