"""Reads what pods use of their GPUs, from the source that the caller may read."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from msgspec import Struct

from metrics_server.doctor.asking import Asked, ask
from metrics_server.doctor.exporters import Found
from metrics_server.doctor.pages import pages_in
from metrics_server.doctor.reader import Reader
from metrics_server.doctor.usage import (
    ENGINE_METRICS,
    METRICS,
    Use,
    Values,
    has_its_unit,
    uses_of_pages,
    uses_of_values,
)
from metrics_server.errors import KubernetesError, ScrapeError
from metrics_server.kube.labels import Selector
from metrics_server.kube.quantities import parse_quantity
from metrics_server.sources.exporters.page import Page


class Usage(Struct, frozen=True):
    """Pods' use of their GPUs.

    Attributes:
        uses: the rows.
        source: where they are from, and why not from a better source.
    """

    uses: Sequence[Use]
    source: str


async def read_usage(reader: Reader) -> Usage:
    """Read what the pods of a namespace use, GPU by GPU if the exporters can be read.

    The exporters' pages take the rights to list pods and EndpointSlices, and to read pods through
    kube-apiserver. Without them the custom metrics API has each pod's value over all of its GPUs,
    for anyone who may read the metrics of the namespace.

    Raises:
        KubernetesError: neither can be read.
    """
    subject = reader.subject
    selector = subject.selector or Selector()
    engines = await _values(reader, subject.namespace, selector, ENGINE_METRICS)
    try:
        return await _of_exporters(reader, selector, engines)
    except KubernetesError as error:
        why = str(error)
    values = await _values(reader, subject.namespace, selector, METRICS)
    if not values:
        raise KubernetesError(
            f"neither the exporters nor the custom metrics API can be read: {why}"
        )
    uses = uses_of_values(subject.namespace, {**values, **engines})
    return Usage(uses, f"the custom metrics API, for each pod over all of its GPUs ({why})")


async def _of_exporters(reader: Reader, selector: Selector, engines: Values) -> Usage:
    namespace = reader.subject.namespace
    pods = [
        pod
        for pod in await reader.pods(namespace)
        if pod.gpus and pod.phase == "Running" and selector.matches(pod.labels)
    ]
    found = await reader.found()
    pages = await _pages(reader, found, {pod.node for pod in pods})
    rules = await reader.rules()
    return Usage(uses_of_pages(pods, pages, rules, engines), "the exporters' pages")


async def _pages(reader: Reader, found: Found, nodes: set[str]) -> Mapping[str, Sequence[Page]]:
    """Return the pages of the exporters of these nodes.

    Raises:
        KubernetesError: none could be read.
    """
    urls = [url for url, one in found.exporters.items() if one.endpoint.node in nodes]
    outcomes = (await (await reader.page_reader()).scrape(urls)).outcomes
    pages, _ = pages_in(outcomes)
    if nodes and not pages:
        errors = [
            f"{found.exporters[url].named} {one}"
            for url, one in outcomes.items()
            if isinstance(one, ScrapeError)
        ]
        raise KubernetesError(errors[0] if errors else "no exporter is found on their nodes")
    by_node: dict[str, list[Page]] = defaultdict(list)
    for url, page in pages:
        by_node[found.exporters[url].endpoint.node].append(page)
    return by_node


async def _values(
    reader: Reader, namespace: str, selector: Selector, metrics: Mapping[str, str]
) -> Values:
    """Return the values that the custom metrics API has, in the units of their columns."""
    rules = await reader.rules()
    metrics = {field: name for field, name in metrics.items() if has_its_unit(name, rules)}
    asked = [Asked("Pods", metric, namespace, selector) for metric in metrics.values()]
    answers = await asyncio.gather(*(ask(reader.api, one) for one in asked))
    return {
        field: {item.pod: float(parse_quantity(item.value)) for item in answer.items}
        for field, answer in zip(metrics, answers, strict=True)
        if answer.items
    }
