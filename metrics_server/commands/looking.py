"""What the commands that look at a cluster share: `doctor`, `ask` and `top`."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from metrics_server.commands import flags
from metrics_server.config.file import load_config
from metrics_server.doctor.aiming import Aim
from metrics_server.doctor.api import Api
from metrics_server.doctor.reader import Subject
from metrics_server.doctor.runner import CHECK_SECONDS
from metrics_server.errors import BadRequestError, ConfigurationError, KubernetesError
from metrics_server.kube.client import connect
from metrics_server.kube.labels import Selector, parse_selector
from metrics_server.kube.series_selectors import split
from metrics_server.telemetry import logs

T = TypeVar("T")


def look(looking: Coroutine[object, object, T]) -> T:
    """Run a command that looks at a cluster, logging only errors, to standard error.

    Raises:
        KubernetesError: there is no Kubernetes API where it should be, or it cannot be reached.
    """
    logs.configure("error", "text")
    try:
        return asyncio.run(looking)
    except (msgspec.DecodeError, ValueError) as error:
        raise KubernetesError(
            f"the Kubernetes API returned something unexpected: {error}"
        ) from error


def add_cluster_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which cluster, and where the server is in it."""
    flags.add_kubeconfig(parser)
    parser.add_argument(
        "--context",
        default="",
        metavar="NAME",
        help="the context of the kubeconfig (default: its current one)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the server's configuration file (default: that of the server in the cluster)",
    )
    parser.add_argument(
        "--server-namespace",
        type=flags.dns_label,
        default="gpu-monitoring",
        metavar="NAME",
        help="the namespace of the server (default: %(default)s)",
    )


def aim_of(arguments: argparse.Namespace) -> Aim:
    """Return which cluster to look at."""
    return Aim(arguments.kubeconfig, arguments.context)


@asynccontextmanager
async def reached(aim: Aim) -> AsyncIterator[Api]:
    """Yield the Kubernetes API of a cluster, which has answered already.

    Raises:
        ConfigurationError: no Kubernetes API is configured.
        KubernetesError: it cannot be reached, or rejects the credentials.
    """
    client = await connect(aim.kubeconfig, aim.context)
    try:
        api = Api(client)
        await api.check()
        yield api
    finally:
        await client.close()


@asynccontextmanager
async def bounded() -> AsyncIterator[None]:
    """Bound what `ask` and `top` read at once, as each check of the doctor is bounded.

    Raises:
        KubernetesError: it takes longer.
    """
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            yield
    except TimeoutError:
        raise KubernetesError(
            f"the cluster did not answer within {CHECK_SECONDS:g} s; gpu-metrics-server doctor "
            "finds out what takes so long"
        ) from None


def add_subject_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which workload."""
    parser.add_argument(
        "-n",
        "--namespace",
        type=flags.dns_label,
        metavar="NAME",
        help="the namespace of the workload (default: default, with a selector or an HPA)",
    )
    parser.add_argument(
        "-l",
        "--selector",
        metavar="SELECTOR",
        help="the labels of the workload's pods, such as app=inference",
    )
    parser.add_argument("--hpa", default="", metavar="NAME", help="the HPA to start from")


def add_output_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag for the form of the output."""
    parser.add_argument(
        "--output",
        choices=("table", "text", "json"),
        default="table",
        help="the form of the output; a table only in a terminal (default: %(default)s)",
    )


def subject_of(
    arguments: argparse.Namespace, *, metric: str = "gpu_utilization", interval: float = 0
) -> Subject:
    """Return what to examine.

    Args:
        arguments: the flags.
        metric: the metric that is asked for with a selector.
        interval: how long to watch exporters' values.

    Raises:
        ConfigurationError: flags contradict each other, or the file cannot be used.
    """
    if arguments.hpa and arguments.selector is not None:
        raise ConfigurationError("--hpa and --selector are mutually exclusive")
    needs_namespace = bool(arguments.hpa) or arguments.selector is not None
    return Subject(
        server_namespace=arguments.server_namespace,
        namespace=arguments.namespace or ("default" if needs_namespace else ""),
        selector=selector_of(arguments.selector),
        hpa=arguments.hpa,
        metric=metric,
        config=load_config(arguments.config) if arguments.config else None,
        interval=interval,
    )


def selector_of(text: str | None) -> Selector | None:
    """Return a label selector; None without one.

    Raises:
        ConfigurationError: it is malformed.
    """
    if text is None:
        return None
    try:
        selector = parse_selector(text)
        split(selector)  # only to raise its error here
    except BadRequestError as error:
        raise ConfigurationError(f"--selector: {error}") from error
    return selector
