"""Segments of a URL's path, read alike by what authorizes them and by what serves them."""

from urllib.parse import unquote

from metrics_server.errors import BadRequestError


def decoded(segment: str) -> str:
    """A segment without its percent-encoding.

    Raises:
        BadRequestError: what is encoded is not UTF-8.
    """
    if "%" not in segment:
        return segment
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError as error:
        raise BadRequestError(f'"{segment}" is not UTF-8') from error
