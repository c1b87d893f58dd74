"""The system's certificate authorities: no test needs them, except to download something.

Each TLS client parses all of them, more than a hundred, which takes longer than most tests.
"""

import os

from tests.support.once import run_folder

_USED = "SSL_CERT_FILE"
_KEPT = "GPU_METRICS_SERVER_TEST_SSL_CERT_FILE"


def trust_none() -> None:
    """Make this process, and those that it starts, trust none of them."""
    if _KEPT not in os.environ:
        none = run_folder() / "no-authorities.pem"
        none.touch()
        os.environ[_KEPT] = os.environ.get(_USED, "")
        os.environ[_USED] = str(none)


def trusting_system() -> dict[str, str]:
    """Return the environment for a process that downloads something."""
    environment = dict(os.environ)
    kept = environment.pop(_KEPT, None)
    if kept:
        environment[_USED] = kept
    elif kept is not None:
        del environment[_USED]
    return environment
