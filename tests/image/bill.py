"""An image's software bill of materials, as CycloneDX: what is installed in it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from email.parser import BytesParser, Parser
from uuid import UUID

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from tests.image.archive import Image

_PYTHON = "/usr/local/lib/python3*/site-packages/*.dist-info/METADATA"
_DEBIAN = "/var/lib/dpkg/status"


def bill(image: Image, name: str, version: str, created: int) -> str:
    """An image's bill of materials, as JSON.

    It lists the Python distributions and Debian packages that the image's own files name. The
    same image has the same bill: its serial number is derived from the image's digest.

    Args:
        image: the image.
        name: the product's.
        version: the product's.
        created: when the image was made, in seconds since 1970.
    """
    algorithm, digest = image.digest.split(":")
    assert algorithm == "sha256"
    product = Component(
        type=ComponentType.CONTAINER,
        name=name,
        version=version,
        bom_ref=f"{name}@{image.digest}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )
    metadata = BomMetaData(component=product, timestamp=datetime.fromtimestamp(created, tz=UTC))
    made = Bom(
        serial_number=UUID(digest[:32]),
        metadata=metadata,
        components=[_component(package) for package in packages(image)],
    )
    made.register_dependency(product, made.components)
    return JsonV1Dot6(made).output_as_string(indent=2) + "\n"


def packages(image: Image) -> Iterator[PackageURL]:
    """The Python distributions and Debian packages installed in an image."""
    files = image.files(_PYTHON, _DEBIAN)
    for text in files.pop(_DEBIAN, b"").decode().split("\n\n"):
        fields = Parser().parsestr(text, headersonly=True)
        if fields["Status"] == "install ok installed":
            qualifiers = {"arch": fields["Architecture"]}
            yield PackageURL("deb", "debian", fields["Package"], fields["Version"], qualifiers)
    for content in files.values():
        fields = BytesParser().parsebytes(content, headersonly=True)
        yield PackageURL("pypi", None, fields["Name"], fields["Version"])


def _component(package: PackageURL) -> Component:
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=package,
        bom_ref=package.to_string(),
    )
