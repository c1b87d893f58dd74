"""Probes get the same answers as from Kubernetes' own servers; people get reasons."""

import pytest

from metrics_server.api.health import Endpoint, HealthCheck, HealthChecks


def checks(*, synced: str | None = None) -> HealthChecks:
    """A server with a check of its loop and one of its pods."""
    return HealthChecks(
        live=[HealthCheck("loop", lambda: None)],
        ready=[HealthCheck("pods-synced", lambda: synced), HealthCheck("shutdown", lambda: None)],
    )


@pytest.mark.parametrize("endpoint", ["livez", "readyz", "healthz"])
def test_all_is_well(endpoint: Endpoint) -> None:
    """The body is just `ok`, as probes and scripts compare it."""
    answer = checks().answer(endpoint)
    assert (answer.code, answer.text) == (200, "ok")


def test_verbose_lists_every_check() -> None:
    """In the format of k8s.io/apiserver."""
    answer = checks().answer("readyz", query=[("verbose", "")])
    assert answer.code == 200
    assert answer.text == (
        "[+]ping ok\n[+]loop ok\n[+]pods-synced ok\n[+]shutdown ok\nreadyz check passed\n"
    )


def test_a_failure_is_reported_with_its_reason() -> None:
    """500, verbose even if not requested, and with the reason that Kubernetes would withhold."""
    answer = checks(synced="no list of pods yet: 403 from the Kubernetes API").answer("readyz")
    assert answer.code == 500
    assert answer.text == (
        "[+]ping ok\n"
        "[+]loop ok\n"
        "[-]pods-synced failed: no list of pods yet: 403 from the Kubernetes API\n"
        "[+]shutdown ok\n"
        "readyz check failed\n"
    )


def test_what_is_not_ready_is_still_alive() -> None:
    """A restart would not fix it, so neither /livez nor /healthz fails."""
    unready = checks(synced="not yet")
    assert unready.answer("livez").code == 200
    assert unready.answer("healthz").code == 200
    verbose = unready.answer("livez", query=[("verbose", "")]).text
    assert verbose == "[+]ping ok\n[+]loop ok\nlivez check passed\n"


def test_what_is_not_alive_is_not_ready_either() -> None:
    """The live checks belong to /readyz as well."""
    dead = HealthChecks(live=[HealthCheck("loop", lambda: "blocked for 40 s")])
    for endpoint in ("livez", "readyz", "healthz"):
        answer = dead.answer(endpoint)
        assert answer.code == 500
        assert f"{endpoint} check failed\n" in answer.text


def test_checks_can_be_excluded() -> None:
    """Several at once; excluded checks are not run and cannot fail."""
    answer = checks(synced="not yet").answer(
        "readyz", query=[("exclude", "pods-synced"), ("exclude", "loop"), ("verbose", "true")]
    )
    assert answer.code == 200
    assert answer.text == (
        "[+]ping ok\n"
        "[+]loop excluded: ok\n"
        "[+]pods-synced excluded: ok\n"
        "[+]shutdown ok\n"
        "readyz check passed\n"
    )


def test_an_excluded_check_is_not_run() -> None:
    """It may be excluded because running it does harm."""
    asked = []

    def ask() -> None:
        asked.append(True)

    server = HealthChecks(ready=[HealthCheck("slow", ask)])
    server.answer("readyz", query=[("exclude", "slow")])
    assert not asked
    server.answer("readyz")
    assert asked


def test_an_unknown_exclude_is_warned_of() -> None:
    """In Kubernetes' words, and it changes nothing else."""
    excluded = [("exclude", name) for name in "dcba"]
    answer = checks().answer("livez", query=[*excluded, ("verbose", "")])
    assert answer.code == 200
    assert answer.text == (
        "[+]ping ok\n"
        "[+]loop ok\n"
        'warn: some health checks cannot be excluded: no matches for "a","b","c","d"\n'
        "livez check passed\n"
    )


def test_one_check_can_be_asked_alone() -> None:
    """/readyz/NAME reports that check alone, whatever the others say."""
    unready = checks(synced="not yet")
    assert unready.answer("readyz", "loop").text == "ok"
    answer = unready.answer("readyz", "pods-synced")
    assert answer.code == 500
    assert answer.text == "internal server error: not yet\n"


def test_an_unknown_check_is_not_found() -> None:
    """The answer lists the existing checks; a check of /readyz only is unknown to /livez."""
    answer = checks().answer("livez", "pods-synced")
    assert answer.code == 404
    assert answer.text == 'livez has no check "pods-synced"; it has: ping, loop\n'


def test_a_check_runs_each_time() -> None:
    """Health is never cached."""
    states = iter(["starting", None])
    server = HealthChecks(ready=[HealthCheck("started", lambda: next(states))])
    assert [server.answer("readyz").code for _ in range(2)] == [500, 200]


def test_no_two_checks_have_one_name() -> None:
    """The second could never be requested by its name."""
    check = HealthCheck("certificate", lambda: None)
    with pytest.raises(ValueError, match="the same name: certificate"):
        HealthChecks(live=[check], ready=[check])


def test_a_warning_is_shown_and_fails_nothing() -> None:
    """In the list, and by its name; the list is shown only on request."""
    warned = HealthChecks(
        ready=[HealthCheck("ca-bundle", lambda: "keda overwrites it", is_fatal=False)]
    )
    assert (warned.answer("readyz").code, warned.answer("readyz").text) == (200, "ok")
    verbose = warned.answer("readyz", query=[("verbose", "")])
    assert verbose.code == 200
    assert verbose.text == (
        "[+]ping ok\n[+]ca-bundle ok, but: keda overwrites it\nreadyz check passed\n"
    )
    named = warned.answer("readyz", "ca-bundle")
    assert (named.code, named.text) == (200, "ok, but: keda overwrites it\n")
