"""The location of recorded data."""

from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
EXPORTERS = DATA / "exporters"
"""Pages of GPU exporters."""

RECORDINGS = DATA / "recordings"
"""Requests to real servers, and what they answered."""

KUBE_API = RECORDINGS / "kube-api"
"""Those of a Kubernetes API server."""
