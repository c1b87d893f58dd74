"""The documents' command lines: those that tests run, and why the others are not run."""

import re
from collections.abc import Iterator, Mapping

from tests.docs.test_guides import PAGES, blocks
from tests.support.guides import by_name

# How lines with placeholders are completed here, for the tests' cluster. `{pod}` is a
# pod of its workload.
COMPLETED = (
    (r" +# .*$", ""),
    (r" --watch$", ""),
    (r"\bhpa (?:NAME|gpu-load)$", "hpa inference"),
    (r"gpu-load\b(?!-)", "inference"),
    (r"\bpod -n gpu-monitoring NAME$", "pod -n gpu-monitoring dcgm-exporter-gpu-node-0"),
    (r"\bpod NAME\b", "pod {pod}"),
    (r"\bnodes NO?[AD]M?E\b", "nodes gpu-node-1"),
    # Renders what other commands send to the cluster.
    (r"^kubectl (?:apply|delete) -k (\S+).*", r"kubectl kustomize \1"),
    # It does not exist in a healthy cluster.
    (r" (v1beta1\.custom\.metrics\.k8s\.io)$", r" \1 --ignore-not-found"),
    (r"\bcerts( .*)? --out \w+$", r"certs\1 --out {folder}/certs"),
    (r"^\.venv/bin/", ""),
    (r">ca\.crt$", ">{folder}/ca.crt"),
)
# Lines that nothing here can run, by their beginnings.
NOT_RUN: Mapping[str, str] = {
    r"docker |pipx ": "takes an image or a package to or from elsewhere",
    r"helm (install|upgrade) ": "rendered, with its values, by test_helm_commands.py",
    r"helm (test|uninstall) ": "needs a release in a cluster; tests/cluster installs it",
    r"jq .*dist/|skopeo ": "examines or sends what `make image` has built",
    r".*uv pip compile ": "asks a package registry",
    r"make (?!demo)": "runs the tests, or is one of their targets",
    r"make demo": "tests/simulator runs the demo with each of these flags",
    r"curl ": "goes with a `port-forward`",
    r"kubectl .*\b(port-forward|exec|logs|run) ": "needs a kubelet",
    r"kubectl .*\brollout ": "needs controllers; tests/cluster restarts the server",
    r"kubectl (-n \S+ )?(patch|delete|label) (?!-[fk])": "would change what the other lines read",
    r"kubectl (delete|apply) -k cluster": "the reader's own folder; install.md shows what is in it",
    r"kubectl (apply|delete) -f ": "tests/deployments validates files; test_guides.py, hpa.yaml",
    r"kubectl get namespace ": "the simulated API has no namespaces",
    r"kubectl -n keda create ": "the simulated API has no way to create ConfigMaps",
    r"kubectl .*llm_requests_waiting": "tests/wiring asks for it, of pods with such pages",
}


def lines() -> Iterator[tuple[str, str]]:
    """Every command line in a page's blocks, each on one line, with the page's name."""
    for page in PAGES:
        for block in blocks(page, "console", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip():
                    yield by_name(page), " ".join(line.split())


def excuse(line: str) -> str | None:
    """The matching beginning in NOT_RUN."""
    return next((begins for begins in NOT_RUN if re.match(begins, line)), None)


def completed(line: str) -> str:
    """A line as it is executed."""
    for pattern, text in COMPLETED:
        line = re.sub(pattern, text, line)
    return line
