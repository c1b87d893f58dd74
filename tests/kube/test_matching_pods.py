"""Pods are selected by labels that are compared once, however many pods share them."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.kube.labels import Selector, parse_selector
from metrics_server.kube.pods import Pod, matching, pod_decoder

LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
SELECTORS = st.sampled_from(["", "a", "!a", "a=x", "a!=x", "a in (x,y),b", "b notin (x)"])

SOME = Pod("default", "some", {}, "node", "Running", ready=True, terminating=False, gpus=1)


@given(templates=st.lists(LABELS, min_size=1), order=st.lists(st.integers(0, 9)), text=SELECTORS)
def test_those_that_match(templates: list[dict[str, str]], order: list[int], text: str) -> None:
    """Each pod is found if and only if its own labels match, in the order of the pods."""
    selector = parse_selector(text)
    pods = [
        structs.replace(SOME, name=f"pod-{number}", labels=templates[one % len(templates)])
        for number, one in enumerate(order)
    ]
    assert matching(pods, selector) == [pod for pod in pods if selector.matches(pod.labels)]


def test_each_template_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question does not compare labels for each pod of the namespace."""
    compared: list[Mapping[str, str]] = []
    matches = Selector.matches

    def noting(self: Selector, labels: Mapping[str, str]) -> bool:
        compared.append(labels)
        return matches(self, labels)

    decode = pod_decoder()
    pods = [
        decode(
            b'{"metadata":{"name":"pod-%d","namespace":"default","labels":{"app":"%s"}},'
            b'"spec":{},"status":{}}' % (number, b"web" if number % 3 else b"other")
        )
        for number in range(3000)
    ]
    monkeypatch.setattr(Selector, "matches", noting)
    assert len(matching(pods, parse_selector("app=web"))) == 2000
    assert len(compared) == 2
