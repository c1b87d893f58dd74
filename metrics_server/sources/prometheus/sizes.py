"""How much memory the pages take that are put together from Prometheus, as measured.

Counting each object takes longer than to share a result saves. A test compares these with what is
allocated.
"""

from collections.abc import Iterable

from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.rows import NoValue
from metrics_server.sources.prometheus.pages import PagesOfPod

# Of a page without any row, once it was parsed.
_PAGE_BYTES = 5 * 1024
# Of a row about a GPU: what its labels mean, besides their text.
_ROW_BYTES = 400
# Of each byte of a pod's page: the text, and the labels of its rows in several forms.
_BYTES_PER_BYTE = 6


def size_of_exporter(page: Page, lines: int) -> int:
    """Return how many bytes an exporter's page takes, which has so many lines and was parsed."""
    return _PAGE_BYTES + _ROW_BYTES * lines + page.size + page.held


def size_of_pods(pages: Iterable[PagesOfPod]) -> int:
    """Return how many bytes the pages of pods take that were parsed."""
    return sum(
        _PAGE_BYTES if isinstance(one.pages, NoValue) else sum(map(_size_of_pod, one.pages))
        for one in pages
    )


def _size_of_pod(page: PodPage) -> int:
    return _PAGE_BYTES + _BYTES_PER_BYTE * page.size
