"""Pages for a real Prometheus: a server for them in a thread, and jobs that scrape them."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from msgspec import Struct

from tests.support.peers import HOST

_PATIENCE_SECONDS = 60.0


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
    """A server of metrics pages that can change.

    Attributes:
        address: where it listens.
    """

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self._pages = dict(pages)
        self._served: Counter[str] = Counter()
        self._changed = threading.Condition()
        pages_of = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pages_of.serve(self.path.strip("/"))
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.address = f"{HOST}:{self._server.server_address[1]}"

    def serve(self, page: str) -> bytes | None:
        """Return a page, and count the request."""
        with self._changed:
            self._served[page] += 1
            self._changed.notify_all()
            return self._pages.get(page)

    def change(self, page: str, body: bytes | None) -> None:
        """Serve another page from now on; None is an error."""
        with self._changed:
            if body is None:
                self._pages.pop(page, None)
            else:
                self._pages[page] = body

    def wait_for_scrapes(self, *pages: str) -> None:
        """Return when each page has been scraped again, and Prometheus has stored it."""
        with self._changed:
            # The second scrape begins after the first is stored.
            wanted = {page: self._served[page] + 2 for page in pages}
            done = self._changed.wait_for(
                lambda: all(self._served[page] >= count for page, count in wanted.items()),
                _PATIENCE_SECONDS,
            )
        assert done, "Prometheus does not scrape"

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
