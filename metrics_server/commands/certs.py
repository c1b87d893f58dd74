"""The command `certs`: a serving certificate for users who manage their own."""

import argparse
import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from metrics_server.commands import flags
from metrics_server.commands.running import options_of
from metrics_server.config.sections import CertificatesConfig
from metrics_server.errors import ConfigurationError
from metrics_server.tls.api_service import CUSTOM_METRICS, EXTERNAL_METRICS
from metrics_server.tls.authority import Authority
from metrics_server.tls.pairs import utc_text, validity
from metrics_server.tls.self_managed import names_of

_DEFAULTS = CertificatesConfig()


class CertsOptions(Struct, frozen=True):
    """The flags of `certs`.

    Attributes:
        service: the Service that the APIServices name.
        namespace: its namespace.
        out: the folder to write to; created if it does not exist.
        days: how long the pair is valid.
    """

    service: str
    namespace: str
    out: Path
    days: int = 365


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags, and the function that runs it."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--service",
        type=flags.dns_label,
        default=_DEFAULTS.service,
        metavar="NAME",
        help="the Service that the APIServices name (default: %(default)s)",
    )
    parser.add_argument(
        "--namespace",
        type=flags.dns_label,
        default=_DEFAULTS.namespace,
        metavar="NAME",
        help="its namespace (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder to write to; nothing in it is overwritten",
    )
    parser.add_argument(
        "--days",
        type=flags.days,
        default=365,
        metavar="N",
        help="how long the certificate is valid (default: %(default)s)",
    )


def _run(arguments: argparse.Namespace) -> int:
    print(write_certificates(options_of(CertsOptions, arguments)), end="")  # noqa: T201 - its output
    return 0


def write_certificates(options: CertsOptions) -> str:
    """Write ca.crt, tls.crt and tls.key, and return instructions.

    The authority's key is not kept, so nobody can sign with it; each new pair has a new authority.

    Raises:
        ConfigurationError: a file exists already, or cannot be written.
    """
    authority = Authority(f"{options.service}-ca", timedelta(days=options.days))
    pair = authority.issue(names_of(options.service, options.namespace))
    files = {"ca.crt": authority.bundle, "tls.crt": pair.certificate, "tls.key": pair.key}
    paths = {options.out / name: content for name, content in files.items()}
    if existing := [str(path) for path in paths if path.exists()]:
        raise ConfigurationError(
            f"{', '.join(existing)} would be overwritten; choose another folder with --out, or "
            "move these files away"
        )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for path, content in paths.items():
            _write(path, content, 0o600 if path.name == "tls.key" else 0o644)
    except OSError as error:
        raise ConfigurationError(f"--out {options.out} cannot be written to: {error}") from error
    return _what_to_do(options, authority.bundle, validity(pair.certificate).end)


def _write(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def _what_to_do(options: CertsOptions, bundle: bytes, end: datetime) -> str:
    folder, namespace = options.out, options.namespace
    secret = f"{options.service}-tls"
    encoded = base64.b64encode(bundle).decode()
    patches = "\n".join(
        f"""\
   kubectl patch apiservice {name} --type=merge \\
     -p '{{"spec":{{"insecureSkipTLSVerify":null,"caBundle":"{encoded}"}}}}'"""
        for name in (EXTERNAL_METRICS, CUSTOM_METRICS)
    )
    days = (end - datetime.now(UTC)).days
    return f"""\
Wrote {folder}/ca.crt, {folder}/tls.crt and {folder}/tls.key, valid until {utc_text(end)}.

1. Give the pair to the server, which reads it from the mounted Secret with `--cert-dir`:

   kubectl -n {namespace} create secret tls {secret} --cert={folder}/tls.crt --key={folder}/tls.key

2. Let kube-apiserver verify it, through each of these APIServices that is installed:

{patches}

3. Repeat this within {days} days, with another folder, the bundle first: nothing renews this pair.
   `serve --self-managed-certs` and cert-manager renew theirs.
"""
