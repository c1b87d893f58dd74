"""A kubeconfig file for a simulated Kubernetes API."""

import asyncio
import base64
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml


@asynccontextmanager
async def kubeconfig_of(url: str, bundle: bytes) -> AsyncIterator[Path]:
    """Create a temporary kubeconfig file for the simulated API."""
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(bundle).decode()}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "demo", "cluster": cluster}],
        "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "demo"}}],
        # Without any credential, kubectl prompts for a user name and password.
        "users": [{"name": "demo", "user": {"token": "demo"}}],
        "current-context": "demo",
    }
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="gpu-metrics-demo-")
    try:
        path = Path(folder.name, "kubeconfig")
        await asyncio.to_thread(path.write_text, yaml.safe_dump(document), encoding="utf-8")
        yield path
    finally:
        await asyncio.to_thread(folder.cleanup)
