"""Pods for tests of judgements."""

from metrics_server.kube.pods import Pod


def _pod(app: str, gpus: int) -> Pod:
    return Pod(
        namespace="default",
        name=app,
        labels={"app": app},
        node="gpu-0",
        phase="Running",
        ready=True,
        terminating=False,
        gpus=gpus,
        workload=f"Deployment/{app}" if gpus else "",
    )


INFERENCE = _pod("inference", 1)
OTHER = _pod("other", 1)
GATEWAY = _pod("gateway", 0)
