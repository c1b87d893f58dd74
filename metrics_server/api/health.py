"""Health checks by name, answered as Kubernetes answers /livez, /readyz and /healthz.

The format is that of k8s.io/apiserver (pkg/server/healthz), except that the reason of a failure is
given where Kubernetes says "reason withheld", because an operator needs it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from msgspec import Struct

Endpoint = Literal["livez", "readyz", "healthz"]


class HealthCheck(Struct, frozen=True):
    """One condition of health.

    Attributes:
        name: what it is called in the output and in the path, such as "pods-synced".
        check: None if healthy, else what is wrong, as a phrase.
        is_fatal: whether the endpoint fails with it; otherwise it is a warning, which is shown.
    """

    name: str
    check: Callable[[], str | None]
    is_fatal: bool = True


class HealthAnswer(Struct, frozen=True):
    """The answer to a probe.

    Attributes:
        code: the HTTP status: 200, 404 for an unknown check, 500 for a failure.
        text: the body, as text/plain.
    """

    code: int
    text: str


PING = HealthCheck("ping", lambda: None)
"""Passes whenever the server answers at all."""


class HealthChecks:
    """The checks of a server.

    Args:
        live: fail if a restart would help. They make up /livez and /healthz, after `ping`.
        ready: fail if no requests should be sent. /readyz has these and the live ones.

    Raises:
        ValueError: two checks have the same name.
    """

    def __init__(
        self, *, live: Sequence[HealthCheck] = (), ready: Sequence[HealthCheck] = ()
    ) -> None:
        alive = (PING, *live)
        self._checks: dict[Endpoint, tuple[HealthCheck, ...]] = {
            "livez": alive,
            "healthz": alive,
            "readyz": (*alive, *ready),
        }
        names = [check.name for check in self._checks["readyz"]]
        if len(set(names)) != len(names):
            raise ValueError(f"two health checks have the same name: {', '.join(sorted(names))}")

    def answer(
        self, endpoint: Endpoint, name: str = "", query: Iterable[tuple[str, str]] = ()
    ) -> HealthAnswer:
        """Answer a probe.

        Args:
            endpoint: the first part of the path.
            name: the rest of the path, without slashes around it; "" for all checks.
            query: the query's parameters. `verbose` lists every check; `exclude`, which can be
                repeated, leaves a check out.
        """
        parameters = list(query)
        if name:
            return self._answer_one(endpoint, name)
        excluded = {value for key, value in parameters if key == "exclude"}
        lines, is_well = self._run(endpoint, excluded)
        unknown = excluded - {check.name for check in self._checks[endpoint]}
        if unknown:
            quoted = ",".join(f'"{name}"' for name in sorted(unknown))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        lines.append(f"{endpoint} check {'passed' if is_well else 'failed'}")
        if is_well and not any(key == "verbose" for key, _ in parameters):
            return HealthAnswer(200, "ok")
        return HealthAnswer(200 if is_well else 500, "\n".join(lines) + "\n")

    def _answer_one(self, endpoint: Endpoint, name: str) -> HealthAnswer:
        for check in self._checks[endpoint]:
            if check.name == name:
                wrong = check.check()
                if wrong is None:
                    return HealthAnswer(200, "ok")
                if not check.is_fatal:
                    return HealthAnswer(200, f"ok, but: {wrong}\n")
                return HealthAnswer(500, f"internal server error: {wrong}\n")
        known = ", ".join(check.name for check in self._checks[endpoint])
        return HealthAnswer(404, f'{endpoint} has no check "{name}"; it has: {known}\n')

    def _run(self, endpoint: Endpoint, excluded: set[str]) -> tuple[list[str], bool]:
        lines = []
        is_well = True
        for check in self._checks[endpoint]:
            if check.name in excluded:
                lines.append(f"[+]{check.name} excluded: ok")
                continue
            wrong = check.check()
            if wrong is None:
                lines.append(f"[+]{check.name} ok")
            elif not check.is_fatal:
                lines.append(f"[+]{check.name} ok, but: {wrong}")
            else:
                is_well = False
                lines.append(f"[-]{check.name} failed: {wrong}")
        return lines, is_well
