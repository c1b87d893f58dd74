"""Runs checks: all at once, each bounded in time, and none delayed by another."""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from metrics_server.doctor.model import Check, Outcome, outcome_of, skipped
from metrics_server.doctor.reader import Reader
from metrics_server.errors import KubernetesError, RequestError

CHECK_SECONDS = 20.0
"""How long one check may take."""


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
    return outcome_of(check.name, verdict, time.monotonic() - began)
