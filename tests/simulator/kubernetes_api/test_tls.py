"""The simulated Kubernetes API over TLS."""

import ssl
from pathlib import Path

from aiohttp import ClientSession

from metrics_server.simulator.kube.api import KubernetesAPI
from tests.support.pairs import self_signed, write_pair


async def test_tls(tmp_path: Path) -> None:
    """Given a TLS context, it serves TLS, as clients of a real cluster expect."""
    authority = write_pair(tmp_path / "pair.pem", self_signed())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    async with KubernetesAPI(ssl_context=context) as api:
        assert api.url.startswith("https://")
        trust = ssl.create_default_context(cafile=authority)
        async with (
            ClientSession(api.url) as session,
            session.get("/version", ssl=trust) as response,
        ):
            assert response.status == 200
