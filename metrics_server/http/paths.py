"""Segments of a URL's path, decoded the same way for authorization and for serving."""

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
