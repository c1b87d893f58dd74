"""Connection pools to the Kubernetes API."""

from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from yarl import URL

from metrics_server.http.sockets import KeepaliveSockets


def session(api: ApiClient, connections: int, sockets: KeepaliveSockets) -> aiohttp.ClientSession:
    """Return a pool of at most this many connections; 0 means no limit.

    The official client's own pool would not notice a dead peer. With its `trust_env`, aiohttp reads
    the environment's proxy in a thread for each request, and sends the passwords of ~/.netrc.
    """
    host = URL(api.configuration.host)
    bypassed = host.host is None or proxy_bypass(host.host)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections, ssl=api.rest_client.ssl_context, socket_factory=sockets
        ),
        proxy=None if bypassed else getproxies().get(host.scheme),
    )
