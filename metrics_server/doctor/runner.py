"""Runs checks: all at once, each bounded in time, and none delayed by another."""

import asyncio
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import msgspec

from metrics_server.common.text import printable
from metrics_server.doctor.model import Check, Outcome, Problem, Verdict, outcome_of, skipped
from metrics_server.doctor.reader import Reader
from metrics_server.errors import KubernetesError, RequestError

CHECK_SECONDS = 20.0
"""How long one check may take."""

_MAX_ERROR = 400


async def run_checks(
    checks: Sequence[Check], reader: Reader, *, seconds: float = CHECK_SECONDS
) -> Sequence[Outcome]:
    """Run checks, and return what each found, in their order.

    All of them run at once, so that the whole takes no longer than one may.

    Args:
        checks: the checks.
        reader: reads from the cluster, each thing once for all of them.
        seconds: how long each may take.
    """
    return await asyncio.gather(*(_run(check, reader, seconds) for check in checks))


async def _run(check: Check, reader: Reader, seconds: float) -> Outcome:
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            verdict = await check.run(reader)
    except TimeoutError:
        verdict = skipped(f"it took more than {seconds:g} s")
    except (KubernetesError, RequestError) as error:
        verdict = skipped(str(error))
    except (msgspec.DecodeError, ValueError) as error:
        verdict = skipped(f"the Kubernetes API returned something unexpected: {error}")
    except Exception as error:  # noqa: BLE001 - what the other checks find is still reported
        verdict = failed(check, error)
    return outcome_of(check.name, verdict, time.monotonic() - began)


def failed(check: Check, error: Exception) -> Verdict:
    """Return the verdict of a check that ended with a bug."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    problem = Problem(
        "check-failed",
        f"check {check.name}",
        "the check itself failed, which says nothing about the cluster: "
        f"{type(error).__name__}: {printable(str(error), _MAX_ERROR)}{place}",
        "gpu-metrics-server doctor --output json"
        "   # report this, with the server's configuration: it is a bug in this command",
        "docs/doctor.md#a-check-that-fails",
        alone=True,
    )
    return Verdict("it could not finish", (problem,))
