"""Every source that a rule can name, and how it is built."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from metrics_server.config.rule_sources import SourceName
from metrics_server.sources.exporters.building import exporter_source
from metrics_server.sources.parts import Built, Parts
from metrics_server.sources.pods.building import pod_source
from metrics_server.sources.prometheus.building import prometheus_source

BUILDERS: Mapping[SourceName, Callable[[Parts], AbstractAsyncContextManager[Built | None]]] = {
    "exporters": exporter_source,
    "pods": pod_source,
    "prometheus": prometheus_source,
}
"""None is built where a source is not configured."""


@asynccontextmanager
async def built_sources(parts: Parts) -> AsyncIterator[Mapping[str, Built]]:
    """Every source that is configured, by name."""
    async with AsyncExitStack() as stack:
        each = {
            name: await stack.enter_async_context(build(parts)) for name, build in BUILDERS.items()
        }
        yield {name: built for name, built in each.items() if built is not None}
