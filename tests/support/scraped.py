"""Pages for a real Prometheus: a server for them in a thread, and jobs that scrape them."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from msgspec import Struct

from tests.support.peers import HOST


class Target(Struct, frozen=True):
    """A target of Prometheus.

    Attributes:
        page: the page's path.
        job: the job's name.
        labels: the target's labels.
    """

    page: str
    job: str = "exporters"
    labels: Mapping[str, str] = {}


class Pages:
    """A server of metrics pages.

    Attributes:
        address: where it listens.
    """

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pages.get(self.path.strip("/"))
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.address = f"{HOST}:{self._server.server_address[1]}"

    def jobs(
        self, targets: list[Target], *, honor_labels: bool, interval: str = "3s"
    ) -> list[dict[str, object]]:
        """Return the jobs that scrape these targets."""
        by_job: dict[str, list[Target]] = {}
        for one in targets:
            by_job.setdefault(one.job, []).append(one)
        return [
            {
                "job_name": job,
                "honor_labels": honor_labels,
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "static_configs": [
                    {
                        "targets": [self.address],
                        "labels": {
                            "__metrics_path__": f"/{one.page}",
                            "instance": one.page,
                            **one.labels,
                        },
                    }
                    for one in some
                ],
            }
            for job, some in by_job.items()
        ]

    def run(self) -> None:
        """Serve until stopped."""
        self._server.serve_forever(0.05)

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(pages: Mapping[str, bytes]) -> Iterator[Pages]:
    """Serve pages for as long as the context."""
    one = Pages(pages)
    thread = threading.Thread(target=one.run, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.stop()
        thread.join()
