"""The command `ask`: what an HPA gets for a metric now, or would get."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from metrics_server.commands.looking import (
    add_cluster_flags,
    add_subject_flags,
    aim_of,
    bounded,
    look,
    reached,
    subject_of,
)
from metrics_server.doctor.aiming import Aim
from metrics_server.doctor.asking import Answered, Asked, ask
from metrics_server.doctor.explaining import Explained, as_json, as_text
from metrics_server.doctor.reader import Reader, Subject
from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.kube.pods import Pod
from metrics_server.kube.series_selectors import split


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags, and the function that runs it."""
    # 1 means that there is no value.
    parser.set_defaults(run=_run, unreachable_status=2)
    parser.add_argument(
        "metric", nargs="?", default="", metavar="METRIC", help="the metric; not with --hpa"
    )
    add_cluster_flags(parser)
    add_subject_flags(parser)
    parser.add_argument(
        "--output",
        choices=("text", "json"),
        default="text",
        help="the form of the output (default: %(default)s)",
    )


def _run(arguments: argparse.Namespace) -> int:
    if bool(arguments.metric) == bool(arguments.hpa):
        raise ConfigurationError("ask needs either a METRIC with --selector, or --hpa")
    arguments.namespace = arguments.namespace or "default"
    subject = subject_of(arguments, metric=arguments.metric)
    aim = aim_of(arguments)
    explained = look(explain(aim, subject))
    if not explained:
        raise ConfigurationError(
            f"the HPA {subject.namespace}/{subject.hpa} does not exist, or asks for no metric of "
            "this server"
        )
    if arguments.output == "json":
        sys.stdout.write(as_json(explained))
    else:
        sys.stdout.write(as_text(explained, subject.hpa, aim))
    return 0 if any(one.has_value for one in explained) else 1


async def explain(aim: Aim, subject: Subject) -> Sequence[Explained]:
    """Ask, and return the answers.

    Args:
        aim: which cluster.
        subject: what to ask for.

    Raises:
        ConfigurationError: no Kubernetes API is configured.
        KubernetesError: it cannot be reached, or does not answer in time.
    """
    async with reached(aim) as api, Reader(api, subject) as reader, bounded():
        questions = await _questions(reader)
        return await asyncio.gather(*(_explained(reader, one) for one in questions))


async def _questions(reader: Reader) -> Sequence[Asked]:
    """Return the HPA's questions; of a selector, as either API may serve the metric, both."""
    subject = reader.subject
    if subject.hpa:
        return await reader.questions()
    selector = subject.selector
    if selector is None:
        raise ConfigurationError("--selector: name the labels of the pods, such as app=inference")
    of_pods, series = split(selector)
    return [
        Asked(kind, subject.metric, subject.namespace, of_pods, series=series)
        for kind in ("External", "Pods")
    ]


async def _explained(reader: Reader, asked: Asked) -> Explained:
    if asked.unknown and asked.type != "Object":
        return Explained(asked, Answered())
    return Explained(asked, await ask(reader.api, asked), await _pods(reader, asked))


async def _pods(reader: Reader, asked: Asked) -> tuple[Pod, ...] | None:
    """Return the pods that the selector matches; None if they may not be listed."""
    selector = asked.selector
    if selector is None:
        return None
    try:
        pods = await reader.pods(asked.namespace)
    except KubernetesError:
        return None
    return tuple(pod for pod in pods if selector.matches(pod.labels))
