"""metav1.Status."""

import json
from collections.abc import Iterator

import pytest

from metrics_server.api.status import (
    REASONS,
    Status,
    StatusCause,
    StatusDetails,
    failure,
    status_of,
)
from metrics_server.api.types import encode
from metrics_server.errors import (
    BadRequestError,
    MeasurementMissingError,
    RequestError,
    UnknownMetricError,
)
from tests.support.data import KUBE_API


def _recorded() -> Iterator[tuple[str, str]]:
    """Every Status of the real API: which recording, and its JSON without spaces."""
    for path in sorted(KUBE_API.glob("*.json")):
        recording = json.loads(path.read_text())
        objects = [recording["response"].get("body")]
        objects += [entry["event"]["object"] for entry in recording.get("events", [])]
        for body in objects:
            if body and body.get("kind") == "Status":
                yield path.stem, json.dumps(body, separators=(",", ":"), ensure_ascii=False)


RECORDED = dict(_recorded())


@pytest.mark.parametrize("name", ["pods-list-bad-selector", "pods-list-bad-continue"])
def test_a_failure_is_what_the_real_api_answers(name: str) -> None:
    """Code and message alone produce the Status that a live API server sent, byte for byte."""
    body = json.loads(RECORDED[name])
    assert encode(failure(body["code"], body["message"])).decode() == RECORDED[name]


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_the_fields_stand_in_the_order_of_the_real_api(name: str) -> None:
    """Every recorded Status, in lists and in watches, has our names in our order."""
    body = json.loads(RECORDED[name])
    status = Status(message=body["message"], reason=body["reason"], code=body["code"])
    assert list(json.loads(encode(status))) == list(body)


def test_details_stand_between_reason_and_code() -> None:
    """Details have the names and order of metav1.StatusDetails, and omit empty fields."""
    details = StatusDetails(
        name="gpu_utilization",
        group="external.metrics.k8s.io",
        kind="gpu_utilization",
        causes=(StatusCause("FieldValueInvalid", "no number", "timeoutSeconds"),),
        retry_after_seconds=1,
    )
    assert encode(failure(403, "no", details)) == (
        b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no",'
        b'"reason":"Forbidden","details":{"name":"gpu_utilization",'
        b'"group":"external.metrics.k8s.io","kind":"gpu_utilization",'
        b'"causes":[{"reason":"FieldValueInvalid","message":"no number","field":"timeoutSeconds"}],'
        b'"retryAfterSeconds":1},"code":403}'
    )
    assert b'"details":{"kind":"pods"}' in encode(failure(403, "no", StatusDetails(kind="pods")))


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (BadRequestError("m"), 400, "BadRequest"),
        (UnknownMetricError("m"), 404, "NotFound"),
        (MeasurementMissingError("m", "no-sample"), 503, "ServiceUnavailable"),
        (RequestError("m"), 500, "InternalError"),
    ],
)
def test_an_error_becomes_its_status(error: RequestError, code: int, reason: str) -> None:
    """An error's message, code and reason are sent unchanged, with any details."""
    status = status_of(error)
    assert (status.message, status.code, status.reason) == (str(error), code, reason)
    assert status == failure(code, str(error))
    details = StatusDetails(kind="pods")
    assert status_of(error, details).details == details


def _every_error(kind: type[RequestError]) -> Iterator[type[RequestError]]:
    yield kind
    for derived in kind.__subclasses__():
        yield from _every_error(derived)


@pytest.mark.parametrize("kind", list(_every_error(RequestError)))
def test_every_error_has_a_reason_on_the_wire(kind: type[RequestError]) -> None:
    """Kubernetes has a reason for the code of every error class."""
    assert kind.code in REASONS


def test_a_code_without_a_reason_of_its_own_has_none() -> None:
    """A code without a reason in metav1 is sent without one, as Go omits empty fields."""
    assert "reason" not in json.loads(encode(failure(418, "short and stout")))
