"""Ask kube-apiserver which metrics each API has, by its path, until it has some."""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATIENCE_SECONDS = 60


def ask(path: str) -> int:
    """Return how many metrics an API has."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    url = f"https://[{host}]:{port}{path}" if ":" in host else f"https://{host}:{port}{path}"
    token = (ACCOUNT / "token").read_text(encoding="utf-8")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return len(json.load(answer)["resources"])


def wait(path: str, deadline: float) -> None:
    """Ask until an API has metrics; exit with the last error at the deadline."""
    while True:
        try:
            count, error = ask(path), "it has no metrics"
        except (OSError, ValueError, KeyError) as failure:
            count, error = 0, f"{failure}"
            if isinstance(failure, urllib.error.HTTPError):
                error += f": {failure.read().decode(errors='replace')}"
        if count:
            print(f"{path}: {count} metrics")
            return
        if time.monotonic() > deadline:
            sys.exit(f"{path}: {error}")
        time.sleep(1)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        wait(argument, time.monotonic() + PATIENCE_SECONDS)
