import asyncio
import base64
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import (
    ENDPOINT_SLICES,
    NODES,
    PODS,
    RESOURCES,
    ExpiredError,
    Json,
    Object,
    ObjectStore,
)
from tests.support.data import KUBE_API

PODS_PATH = "/api/v1/pods"


class Answer(msgspec.Struct):
    """An HTTP answer, recorded or given."""

    status: int
    body: dict[str, object]


class Listed(msgspec.Struct):
    """A list, or one page of it."""

    kind: str
    metadata: dict[str, str | int]
    items: list[dict[str, object]]

    def names(self) -> list[str]:
        """The names of its objects."""
        return [str(_metadata(item)["name"]) for item in self.items]

    def stripped(self) -> list[dict[str, object]]:
        """Its objects without their versions."""
        return [
            {**item, "metadata": {**_metadata(item), "resourceVersion": ""}} for item in self.items
        ]


def _metadata(item: Mapping[str, object]) -> dict[str, object]:
    return msgspec.convert(item["metadata"], dict[str, object])


def as_object(value: object) -> Object:
    """What was recorded, as an object to be stored."""
    obj: Object = json.loads(json.dumps(value))
    return obj


def shape(value: object) -> object:
    """Names and types, without values."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return type(value)


@pytest.fixture(scope="session")
def recordings() -> dict[str, dict[str, object]]:
    """What a real API server was asked and answered, by the name of the recording."""
    return {path.stem: json.loads(path.read_bytes()) for path in KUBE_API.glob("*.json")}


Recordings = dict[str, dict[str, object]]


def recorded(recordings: Recordings, name: str) -> Listed:
    """The list of a recording."""
    answer = msgspec.convert(recordings[name]["response"], dict[str, object])
    return msgspec.convert(answer["body"], Listed)


def recorded_status(recordings: Recordings, name: str) -> dict[str, object]:
    """The Status of a recording."""
    answer = msgspec.convert(recordings[name]["response"], dict[str, object])
    return msgspec.convert(answer["body"], dict[str, object])


def recorded_events(recordings: Recordings, name: str) -> list[dict[str, object]]:
    """The watch events of a recording."""
    entries = msgspec.convert(recordings[name]["events"], list[dict[str, object]])
    return [msgspec.convert(entry["event"], dict[str, object]) for entry in entries]


@pytest.fixture
async def api(recordings: Recordings) -> AsyncIterator[KubernetesAPI]:
    """An API that holds what the recorded cluster held."""
    async with KubernetesAPI(bookmark_seconds=0.05) as running:
        for resource, names in (
            (PODS, ("pods-list-page1", "pods-list-page2")),
            (NODES, ("nodes-list",)),
            (ENDPOINT_SLICES, ("endpointslices-dcgm-exporter",)),
        ):
            for item in (item for name in names for item in recorded(recordings, name).items):
                running.apply(resource, as_object(item))
        yield running


@pytest.fixture
async def session(api: KubernetesAPI) -> AsyncIterator[ClientSession]:
    """A plain HTTP client of that API."""
    async with ClientSession(api.url) as made:
        yield made


async def get(session: ClientSession, path: str, **query: str) -> Answer:
    """What a GET is answered."""
    async with session.get(path, params=query) as response:
        return Answer(response.status, await response.json())


async def listed(session: ClientSession, path: str, **query: str) -> Listed:
    """The list that a GET is answered."""
    answer = await get(session, path, **query)
    assert answer.status == 200, answer.body
    return msgspec.convert(answer.body, Listed)


class Watched:
    """The events of a watch, one by one."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines

    async def next(self) -> dict[str, object]:
        """The next event."""
        async with asyncio.timeout(5):
            return msgspec.json.decode(await anext(self._lines), type=dict[str, object])

    async def rest(self) -> list[dict[str, object]]:
        """The events up to the end of the watch."""
        async with asyncio.timeout(5):
            decode = msgspec.json.Decoder(dict[str, object]).decode
            return [decode(line) async for line in self._lines]

    async def change(self) -> tuple[object, object]:
        """The type and the name of the next event except bookmarks."""
        while (event := await self.next())["type"] == "BOOKMARK":
            pass
        return event["type"], _metadata(as_object(event["object"]))["name"]


@asynccontextmanager
async def watching(
    session: ClientSession, path: str = PODS_PATH, **query: str
) -> AsyncIterator[Watched]:
    """A watch."""
    async with session.get(path, params={"watch": "true", **query}) as response:
        assert response.status == 200
        yield Watched(aiter(response.content))


async def test_pages_are_as_recorded(
    api: KubernetesAPI, session: ClientSession, recordings: Recordings
) -> None:
    """The pages of a list have the objects, and the metadata, of a real one."""
    first = await listed(session, PODS_PATH, limit="3")
    real = recorded(recordings, "pods-list-page1")
    assert (first.kind, first.stripped()) == (real.kind, real.stripped())
    assert shape(first.metadata) == shape(real.metadata)
    assert first.metadata["remainingItemCount"] == 3

    token, real_token = (
        json.loads(base64.urlsafe_b64decode(f"{page.metadata['continue']}=="))
        for page in (first, real)
    )
    assert {**token, "rv": 0, "start": ""} == {**real_token, "rv": 0, "start": ""}

    token_text = str(first.metadata["continue"])
    second = await listed(session, PODS_PATH, limit="3", **{"continue": token_text})
    assert second.stripped() == recorded(recordings, "pods-list-page2").stripped()
    assert second.metadata == {"resourceVersion": str(api.store.version)}


async def test_a_selector_selects_as_recorded(
    session: ClientSession, recordings: Recordings
) -> None:
    """The selector of the recording names the pods that it named."""
    real = recorded(recordings, "pods-list-label-selector")
    path = "/api/v1/namespaces/default/pods"
    selected = await listed(
        session, path, labelSelector="app=inference,!canary,tier in (accel,gpu)"
    )
    assert selected.stripped() == real.stripped()
    assert shape(selected.metadata) == shape(real.metadata)
    none = await listed(session, path, labelSelector="app=other")
    assert none.items == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("nodes-list", "/api/v1/nodes"),
        (
            "endpointslices-dcgm-exporter",
            "/apis/discovery.k8s.io/v1/namespaces/gpu-monitoring/endpointslices",
        ),
    ],
)
async def test_lists_are_as_recorded(
    session: ClientSession, recordings: Recordings, name: str, path: str
) -> None:
    """A list has the kind, the metadata and the objects of a real one."""
    real, given = recorded(recordings, name), await listed(session, path)
    assert (given.kind, given.stripped()) == (real.kind, real.stripped())
    assert shape(given.metadata) == shape(real.metadata)


async def test_a_bad_selector_is_refused_as_recorded(
    session: ClientSession, recordings: Recordings
) -> None:
    """The Status is the real one, word for word."""
    answer = await get(session, "/api/v1/namespaces/default/pods", labelSelector="app===")
    assert answer.status == 400
    assert answer.body == recorded_status(recordings, "pods-list-bad-selector")


@pytest.mark.parametrize("token", ["garbage", "%", "e30", "W10"])
async def test_a_bad_continue_token_is_refused_as_recorded(
    session: ClientSession, recordings: Recordings, token: str
) -> None:
    """The Status is the real one but for what the decoder says."""
    answer = await get(session, PODS_PATH, limit="3", **{"continue": token})
    real = recorded_status(recordings, "pods-list-bad-continue")
    assert {**answer.body, "message": ""} == {**real, "message": ""}
    opening = "invalid continue token: continue key is not valid: "
    assert str(answer.body["message"]).startswith(opening)
    assert str(real["message"]).startswith(opening)


async def test_an_expired_watch_is_refused_as_recorded(recordings: Recordings) -> None:
    """A version before the history is 410 inside a 200 stream, which then ends."""
    async with KubernetesAPI() as api, ClientSession(api.url) as plain:
        for name in "abcd":
            api.apply(PODS, {"metadata": {"name": name}})
        api.faults.expire_versions()
        async with watching(plain, resourceVersion="1") as watch:
            assert await watch.next() == recorded_events(recordings, "pods-watch-expired")[0]
            with pytest.raises(StopAsyncIteration):
                await watch.next()


async def test_watch_events_are_as_recorded(
    api: KubernetesAPI, session: ClientSession, recordings: Recordings
) -> None:
    """Real changes, replayed, come in order, with the objects that a real watch sent."""
    version = str(api.store.version)
    async with watching(session, resourceVersion=version, allowWatchBookmarks="true") as watch:
        for real in recorded_events(recordings, "pods-watch"):
            obj = as_object(real["object"])
            match real["type"]:
                case "DELETED":
                    api.delete(PODS, "default", str(_metadata(obj)["name"]))
                case "ADDED" | "MODIFIED":
                    api.apply(PODS, obj)
            event = await watch.next()
            while event["type"] == "BOOKMARK" != real["type"]:
                event = await watch.next()
            versions = str(api.store.version), _metadata(obj)["resourceVersion"]
            assert shape(event) == shape(real)
            assert json.dumps(event).replace(f'"{versions[0]}"', f'"{versions[1]}"') == json.dumps(
                real
            )


async def test_a_watch_without_a_version_begins_with_what_there_is(
    api: KubernetesAPI, session: ClientSession
) -> None:
    """Everything comes as if it had just been added, and then what changes."""
    async with watching(session, path="/api/v1/nodes") as watch:
        begun = [await watch.change() for _ in range(3)]
        assert begun == [("ADDED", f"gpu-node-{number}") for number in range(3)]
        api.delete(NODES, "", "gpu-node-1")
        assert await watch.change() == ("DELETED", "gpu-node-1")


async def test_objects_come_into_and_leave_a_watch(
    api: KubernetesAPI, session: ClientSession
) -> None:
    """To a watch with a selector, an object whose labels change is added or deleted."""

    def labelled(value: str) -> Object:
        return {"metadata": {"name": "x", "namespace": "default", "labels": {"app": value}}}

    version = str(api.store.version)
    async with watching(session, labelSelector="app=a", resourceVersion=version) as watch:
        for value in ("b", "a", "a", "b", "b"):
            api.apply(PODS, labelled(value))
        api.apply(PODS, {"metadata": {"name": "last", "labels": {"app": "a"}}})
        changes = [await watch.change() for _ in range(4)]
    assert changes == [("ADDED", "x"), ("MODIFIED", "x"), ("DELETED", "x"), ("ADDED", "last")]


@pytest.mark.slow
async def test_a_watch_ends_when_it_was_asked_to(session: ClientSession) -> None:
    """At its end a watch is sent where it is, and is closed as a whole answer."""
    async with watching(
        session,
        path="/api/v1/configmaps",
        timeoutSeconds="1",
        allowWatchBookmarks="true",
        resourceVersion="2",
    ) as watch:
        types = [event["type"] for event in await watch.rest()]
    assert set(types) == {"BOOKMARK"}


async def test_a_page_expires_with_its_history(api: KubernetesAPI, session: ClientSession) -> None:
    """A token whose version is forgotten is 410 Expired, and no guess at the rest."""
    page = await listed(session, PODS_PATH, limit="3")
    api.apply(PODS, {"metadata": {"name": "aaa"}})
    api.faults.expire_versions()
    answer = await get(
        session, PODS_PATH, limit="3", **{"continue": str(page.metadata["continue"])}
    )
    assert (answer.status, answer.body["reason"], answer.body["code"]) == (410, "Expired", 410)


async def test_pages_are_of_one_moment(api: KubernetesAPI, session: ClientSession) -> None:
    """What changes while a list is paged through is not in its later pages."""
    everything = await listed(session, PODS_PATH)
    page = await listed(session, PODS_PATH, limit="1")
    api.apply(PODS, {"metadata": {"name": "zzz"}})
    api.delete(PODS, "default", everything.names()[-1])
    api.delete(PODS, "default", everything.names()[0])
    rest = await listed(session, PODS_PATH, **{"continue": str(page.metadata["continue"])})
    assert rest.items == everything.items[1:]
    assert rest.metadata["resourceVersion"] == page.metadata["resourceVersion"]


async def test_a_list_at_version_0_heeds_no_limit(session: ClientSession) -> None:
    """It comes from the watch cache of an API server, whole."""
    page = await listed(session, PODS_PATH, limit="3", resourceVersion="0")
    assert len(page.items) == 6
    assert "continue" not in page.metadata


async def test_a_token_and_a_version_exclude_each_other(session: ClientSession) -> None:
    """A client that sends both gets an error, as from a real API server."""
    page = await listed(session, PODS_PATH, limit="3")
    token = str(page.metadata["continue"])
    answer = await get(session, PODS_PATH, resourceVersion="5", **{"continue": token})
    assert answer.status == 400
    assert answer.body["message"] == (
        "specifying resource version is not allowed when using continue"
    )


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("metadata.name=gpu-node-1", ["gpu-node-1"]),
        ("metadata.name==gpu-node-1", ["gpu-node-1"]),
        ("metadata.name!=gpu-node-1", ["gpu-node-0", "gpu-node-2"]),
        ("metadata.name!=gpu-node-1,metadata.name!=gpu-node-2", ["gpu-node-0"]),
    ],
)
async def test_field_selectors_select(
    session: ClientSession, selector: str, names: list[str]
) -> None:
    """Objects can be selected by name, as kubectl does to watch one."""
    assert (await listed(session, "/api/v1/nodes", fieldSelector=selector)).names() == names


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("spec.foo=a", "field label not supported: spec.foo"),
        ("nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
    ],
)
async def test_other_field_selectors_are_refused(
    session: ClientSession, selector: str, message: str
) -> None:
    """A selector that is not understood is an error, not everything."""
    answer = await get(session, PODS_PATH, fieldSelector=selector)
    assert (answer.status, answer.body["message"]) == (400, message)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/v1/namespaces/default/pods/x", 'pods "x" not found'),
        (
            "/apis/apps/v1/namespaces/default/deployments/x",
            'deployments.apps "x" not found',
        ),
        ("/api/v1/nodes/x", 'nodes "x" not found'),
        ("/api/v1/namespaces/default/nodes", "the server could not find the requested resource"),
        ("/api/v1/pods/x", "the server could not find the requested resource"),
        ("/api/v1/endpoints", "the server could not find the requested resource"),
        ("/apis/example.com/v1", "the server could not find the requested resource"),
        ("/nowhere", "the server could not find the requested resource"),
        ("/", "the server could not find the requested resource"),
    ],
)
async def test_what_is_not_there_is_not_found(
    session: ClientSession, path: str, message: str
) -> None:
    """A missing object and a missing resource have different errors, worded as the API does."""
    answer = await get(session, path)
    assert (answer.status, answer.body["message"]) == (404, message)
    assert (answer.body["kind"], answer.body["reason"]) == ("Status", "NotFound")


async def test_nothing_can_be_written(session: ClientSession) -> None:
    """Over HTTP the objects can only be read."""
    async with session.post("/api/v1/namespaces/default/pods", json={}) as response:
        assert response.status == 405
        assert (await response.json())["reason"] == "MethodNotAllowed"


async def test_health_and_version(session: ClientSession, recordings: Recordings) -> None:
    """The version has the fields that clients read, under their real names."""
    for path in ("/healthz", "/livez", "/readyz"):
        async with session.get(path) as response:
            assert await response.text() == "ok"
    version = (await get(session, "/version")).body
    assert version.items() >= {"major": "1", "minor": "36"}.items()
    assert version.keys() <= recorded_status(recordings, "version").keys()


async def test_faults_can_be_asked_for(api: KubernetesAPI, session: ClientSession) -> None:
    """As many requests as were said fail, and then no more."""
    api.faults.refuse_next(500, "no", times=2)
    assert [(await get(session, "/version")).status for _ in range(3)] == [500, 500, 200]


async def test_a_group_can_be_served_by_another(api: KubernetesAPI, session: ClientSession) -> None:
    """Requests for an aggregated group reach its handler, and discovery names it."""

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path, "method": request.method})

    api.aggregate("external.metrics.k8s.io", "v1beta1", handler)
    group = "/apis/external.metrics.k8s.io/v1beta1"
    for path in (group, f"{group}/namespaces/default/gpu_utilization"):
        assert (await get(session, path)).body == {"path": path, "method": "GET"}
    async with session.post(group) as response:
        assert (await response.json())["method"] == "POST"
    groups = msgspec.convert((await get(session, "/apis")).body["groups"], list[dict[str, object]])
    assert {
        "name": "external.metrics.k8s.io",
        "versions": [{"groupVersion": "external.metrics.k8s.io/v1beta1", "version": "v1beta1"}],
        "preferredVersion": {
            "groupVersion": "external.metrics.k8s.io/v1beta1",
            "version": "v1beta1",
        },
    } in groups


async def test_the_newest_version_of_a_group_is_preferred(
    api: KubernetesAPI, session: ClientSession
) -> None:
    """The HPA controller uses the preferred version of the custom metrics API."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    for version in ("v1beta1", "v1beta2"):
        api.aggregate("custom.metrics.k8s.io", version, handler)
    groups = msgspec.convert((await get(session, "/apis")).body["groups"], list[dict[str, object]])
    (custom,) = (group for group in groups if group["name"] == "custom.metrics.k8s.io")
    newest, older = (
        {"groupVersion": f"custom.metrics.k8s.io/{version}", "version": version}
        for version in ("v1beta2", "v1beta1")
    )
    assert (custom["preferredVersion"], custom["versions"]) == (newest, [newest, older])


def self_signed(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that is its own authority, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    no_encryption = serialization.NoEncryption()
    path = folder / "pair.pem"
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_encryption)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


async def test_tls(tmp_path: Path) -> None:
    """With a context it serves TLS, as clients of a real cluster expect."""
    authority, context = self_signed(tmp_path)
    async with KubernetesAPI(ssl_context=context) as api:
        assert api.url.startswith("https://")
        trust = ssl.create_default_context(cafile=authority)
        async with (
            ClientSession(api.url) as session,
            session.get("/version", ssl=trust) as response,
        ):
            assert response.status == 200


@asynccontextmanager
async def kubectl(
    api: KubernetesAPI, home: Path, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A kubectl, asked of that API."""
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/kubectl",
        f"--server={api.url}",
        f"--cache-dir={home}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(home), "KUBECONFIG": "/dev/null"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def printed(api: KubernetesAPI, home: Path, *arguments: str) -> str:
    """What kubectl prints."""
    async with kubectl(api, home, *arguments) as process:
        out, error = await process.communicate()
        return (out + error).decode()


async def test_kubectl_lists_pods(api: KubernetesAPI, tmp_path: Path) -> None:
    """A person sees a pod's name, readiness, phase and node."""
    lines = (await printed(api, tmp_path, "get", "pods", "--all-namespaces")).splitlines()
    assert lines[0].split() == ["NAMESPACE", "NAME", "READY", "STATUS", "NODE"]
    first = ["default", "inference-cb965885-7t8sd", "1/1", "Running", "gpu-node-0"]
    assert lines[1].split() == first
    assert len(lines) == 7


async def test_kubectl_shows_an_object(api: KubernetesAPI, tmp_path: Path) -> None:
    """One object is shown whole, and a missing one in the API's words."""
    shown = await printed(api, tmp_path, "get", "pod", "inference-cb965885-7t8sd", "-o", "yaml")
    assert "kind: Pod" in shown
    assert 'nvidia.com/gpu: "1"' in shown
    missing = await printed(api, tmp_path, "get", "pod", "x")
    assert missing == 'Error from server (NotFound): pods "x" not found\n'


async def test_kubectl_pages(api: KubernetesAPI, tmp_path: Path) -> None:
    """It goes through the pages as through those of a real API server."""
    shown = await printed(api, tmp_path, "get", "pods", "--chunk-size=2", "-o", "name")
    assert len(shown.splitlines()) == 6
    assert sum("continue" in url.query for url in api.requests) == 2


async def test_kubectl_watches(api: KubernetesAPI, tmp_path: Path) -> None:
    """A person who watches sees a change as it happens."""
    async with kubectl(api, tmp_path, "get", "pods", "--watch", "-l", "app=w") as process:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            while not api.open_watches:  # noqa: ASYNC110 - it is kubectl that is waited for
                await asyncio.sleep(0.01)
            api.apply(PODS, {"metadata": {"name": "x", "labels": {"app": "w"}}})
            assert (await process.stdout.readline()).split() == [
                b"NAME",
                b"READY",
                b"STATUS",
                b"NODE",
            ]
            row = await process.stdout.readline()
    assert row.split() == [b"x", b"0/0", b"Unknown", b"<none>"]


async def test_kubectl_discovers(api: KubernetesAPI, tmp_path: Path) -> None:
    """Every resource is listed, with its short name, and can be asked for by it."""
    table = await printed(api, tmp_path, "api-resources", "--no-headers")
    rows = {tuple(line.split()) for line in table.splitlines()}
    assert ("pods", "po", "v1", "true", "Pod") in rows
    assert ("nodes", "no", "v1", "false", "Node") in rows
    assert ("deployments", "deploy", "apps/v1", "true", "Deployment") in rows
    assert len(rows) == len(RESOURCES)
    assert "gpu-node-2" in await printed(api, tmp_path, "get", "no")


def test_the_history_is_bounded() -> None:
    """What was changed longer ago than the history reaches is expired."""
    store = ObjectStore(history=3)
    for name in "abcde":
        store.apply(PODS, {"metadata": {"name": name}})
    assert [event.version for event in store.since(PODS, 3)] == [4, 5, 6]
    assert [name for _, name in store.snapshot(PODS, 3)] == ["a", "b"]
    with pytest.raises(ExpiredError):
        store.since(PODS, 2)


def test_the_store_keeps_its_own_copy() -> None:
    """What an owner does to an object afterwards does not change what was stored."""
    store = ObjectStore()
    labels: Json = {"a": "1"}
    pod: Object = {"metadata": {"name": "x", "labels": labels}}
    first = store.apply(PODS, pod)
    assert isinstance(labels, dict)
    labels["a"] = "2"
    second = store.apply(PODS, pod)
    before, after = _metadata(first), _metadata(second)
    assert (before["labels"], after["labels"]) == ({"a": "1"}, {"a": "2"})
    assert before["uid"] == after["uid"]
    assert before["creationTimestamp"] == after["creationTimestamp"]
    with pytest.raises(KeyError):
        store.delete(PODS, "default", "y")
