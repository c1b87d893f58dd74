"""The paths of the API: discovery, OpenAPI, health and version, over real TLS."""

import msgspec
import pytest
from aiohttp import hdrs

from metrics_server.api.operations import COMMON, OPERATIONS
from metrics_server.api.types import GROUP, GROUP_VERSION
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.serving import SERVING
from tests.support.app import METRIC, V2
from tests.support.clients import Client

OPENAPI = f"/openapi/v3/apis/{GROUP_VERSION}"

V2BETA1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/apis", "APIGroupList"),
        (f"/apis/{GROUP}", "APIGroup"),
        (f"/apis/{GROUP_VERSION}", "APIResourceList"),
        (METRIC, "ExternalMetricValueList"),
        ("/version", None),
        ("/openapi/v2", None),
        ("/openapi/v3", None),
        (OPENAPI, None),
    ],
)
async def test_each_path_with_and_without_its_slash(
    client: Client, path: str, kind: str | None
) -> None:
    """A trailing slash changes nothing, and is never redirected: that would be a 502."""
    bare, slashed = await client.ask(path), await client.ask(f"{path}/")
    assert bare.body == slashed.body
    for answer in (bare, slashed):
        assert answer.status == 200
        assert answer.headers[hdrs.CONTENT_TYPE] == "application/json"
        assert answer.json().get("kind") == kind


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_health(client: Client, path: str, slash: str) -> None:
    """A healthy server says so in one word of plain text."""
    answer = await client.ask(path + slash)
    assert (answer.status, answer.text) == (200, "ok")
    assert answer.headers[hdrs.CONTENT_TYPE] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("slash", ["", "/"])
async def test_all_that_openapi_names_is_served(client: Client, slash: str) -> None:
    """Every path in the OpenAPI documents is served, in each of its forms."""
    for operation in (*COMMON, *(one for group in OPERATIONS.values() for one in group)):
        path = operation.path.format(
            namespace="default", metric="gpu_utilization", resource="pods", name="*"
        ).rstrip("/")
        for media_type in operation.answers:
            answer = await client.ask(path + slash, {hdrs.ACCEPT: media_type})
            assert (answer.status, answer.headers[hdrs.CONTENT_TYPE]) == (200, media_type), path
            assert answer.body


async def test_the_index_of_openapi_leads_to_the_document(client: Client) -> None:
    """The URL in /openapi/v3, including the hash, leads to the document."""
    index = msgspec.json.decode(
        (await client.ask("/openapi/v3")).body, type=dict[str, dict[str, dict[str, str]]]
    )
    url = index["paths"][f"apis/{GROUP_VERSION}"]["serverRelativeURL"]
    document = (await client.ask(url)).json()
    assert document["openapi"] == "3.0.0"


@pytest.mark.parametrize(
    ("accept", "content_type", "api_version"),
    [
        # kube-apiserver's aggregator, one that knows only v2beta1, and one that knows neither.
        (f"{V2},{V2BETA1}", V2, "apidiscovery.k8s.io/v2"),
        (V2BETA1, V2BETA1, "apidiscovery.k8s.io/v2beta1"),
        (f"{V2BETA1},application/json", V2BETA1, "apidiscovery.k8s.io/v2beta1"),
        ("application/json", "application/json", "v1"),
        (f"application/json;q=0.9,{V2};q=0.1", "application/json", "v1"),
        ("*/*", "application/json", "v1"),
        ("", "application/json", "v1"),
    ],
)
async def test_discovery_is_negotiated(
    client: Client, accept: str, content_type: str, api_version: str
) -> None:
    """/apis is aggregated discovery for clients that accept it, a list of groups for others."""
    answer = await client.ask("/apis", {hdrs.ACCEPT: accept} if accept else {})
    assert answer.status == 200
    assert answer.headers[hdrs.CONTENT_TYPE] == content_type
    assert answer.headers[hdrs.VARY] == hdrs.ACCEPT
    assert answer.json()["apiVersion"] == api_version


async def test_discovery_lists_every_metric(client: Client) -> None:
    """Discovery lists exactly what can be requested, and is never empty."""
    listed = (await client.ask(f"/apis/{GROUP_VERSION}")).json()["resources"]
    resources = msgspec.convert(listed, list[dict[str, object]])
    assert [r["name"] for r in resources] == sorted(rule.name for rule in (*CATALOGUE, *SERVING))
    # With any other verb, controllers would start to send requests per namespace.
    assert {str(r["verbs"]) for r in resources} == {"['get']"}


@pytest.mark.parametrize("accept", [V2, V2BETA1, "application/json"])
async def test_a_document_that_is_known_is_not_sent_again(client: Client, accept: str) -> None:
    """Each form has its own entity tag; a client that sends it gets 304 and no body."""
    tag = (await client.ask("/apis", {hdrs.ACCEPT: accept})).headers[hdrs.ETAG]
    assert tag.startswith('"')
    for given in (tag, f"W/{tag}", f'"other", {tag}', f'"other",W/{tag} , "another"', "*"):
        answer = await client.ask("/apis", {hdrs.ACCEPT: accept, hdrs.IF_NONE_MATCH: given})
        assert (answer.status, answer.body) == (304, b""), given
        assert answer.headers[hdrs.ETAG] == tag
        assert answer.headers[hdrs.VARY] == hdrs.ACCEPT


async def test_a_document_that_is_not_known_is_sent(client: Client) -> None:
    """The tag of another form, part of a tag, or no tag at all gets the document."""
    plain = await client.ask("/apis")
    tag = plain.headers[hdrs.ETAG]
    other = (await client.ask("/apis", {hdrs.ACCEPT: V2})).headers[hdrs.ETAG]
    for given in (other, f'{tag[:-2]}"', tag.strip('"'), '"', "", 'x"'):
        answer = await client.ask("/apis", {hdrs.IF_NONE_MATCH: given})
        assert (answer.status, answer.body) == (200, plain.body), given


async def test_a_long_list_of_tags_is_ignored(client: Client) -> None:
    """The document is sent even if its tag is in the list: comparisons are limited."""
    plain = await client.ask("/apis")
    tags = ", ".join([plain.headers[hdrs.ETAG], *(f'"{n:032}"' for n in range(40))])
    answer = await client.ask("/apis", {hdrs.IF_NONE_MATCH: tags})
    assert (answer.status, answer.body) == (200, plain.body)


@pytest.mark.parametrize("path", ["/readyz", METRIC])
async def test_a_query_has_a_bounded_number_of_parameters(client: Client, path: str) -> None:
    """One more is a 400 that states the limit."""
    assert (await client.ask(f"{path}?" + "&".join(["limit=1"] * 64))).status == 200
    answer = await client.ask(f"{path}?" + "&".join(["limit=1"] * 65))
    assert answer.status == 400
    assert "the query has more than 64 parameters" in answer.text


@pytest.mark.parametrize(
    "accept",
    [
        "application/vnd.kubernetes.protobuf",
        "text/html",
        "application/json;q=0",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=APIGroupDiscoveryList;v=v3;g=apidiscovery.k8s.io",
    ],
)
async def test_no_acceptable_form(client: Client, accept: str) -> None:
    """If no available form is accepted, the answer is 406 and lists the available ones."""
    answer = await client.ask("/apis", {hdrs.ACCEPT: accept})
    status = answer.error()
    assert (status.code, status.reason) == (406, "NotAcceptable")
    assert V2 in status.message
