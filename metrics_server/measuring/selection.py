"""Which pods a question selects, as the HPA controller counts them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from metrics_server.common.advice import other_resources, series_labels
from metrics_server.common.text import printable
from metrics_server.errors import NoGpuRequestedError, NoPodMatchesError, NoPodMeasurableError
from metrics_server.kube.pods import Pod, matching
from metrics_server.measuring.samples import Form, Question
from metrics_server.rules.presets import GPU_RESOURCES

Measure = Literal["ready", "running"]

_SELECTORS: Mapping[Form, str] = {
    "labelled": "the metric's selector in the HPA",
    "plain": "the object's selector, and the metric's in the HPA,",
    "pods": "the selector of the HPA's target, and the metric's in the HPA,",
}
# Pods created within this many seconds were created together.
_TOGETHER = 5
# Pods created less than this many seconds ago were added recently.
_LATE = 86_400


class Selection(Struct, frozen=True):
    """The pods of a question.

    Attributes:
        pods: those to measure, at least one; unless each pod's value is asked for, one of them is
            Ready and not terminating.
        ready: how many of them are Running and Ready, terminating or not. For a target of type
            Value the HPA controller multiplies the answer by this count
            (getReadyPodsCount in pkg/controller/podautoscaler/replica_calculator.go).
        staying: all that count, Ready or not, except those that are terminating or have finished;
            never empty.
    """

    pods: tuple[Pod, ...]
    ready: int
    staying: tuple[Pod, ...]

    @property
    def replicas(self) -> int:
        """How many pods remain: what the workload was last scaled to."""
        return len(self.staying)

    def leaving_without(self, excluded: frozenset[str]) -> int:
        """How many of the pods to measure are terminating, without those of these names."""
        return sum(pod.terminating and pod.name not in excluded for pod in self.pods)

    def settled(self, now: float) -> tuple[int, int]:
        """The number of Ready pods and of replicas, without pods added recently.

        Pods nearly as old as the oldest were not added, and count however new they are.

        Args:
            now: in seconds since the epoch.
        """
        oldest = min(pod.created for pod in self.staying)
        settled = max(oldest + _TOGETHER, now - _LATE)
        added = [pod for pod in self.staying if pod.created > settled]
        return self.ready - sum(map(_is_ready, added)), self.replicas - len(added)


def select(
    question: Question, pods: Sequence[Pod], measure: Measure, *, with_gpu: bool = True
) -> Selection:
    """Select the pods to measure from those in the question's namespace.

    If no Ready pod remains, that is an error and not a missing measurement, whatever the fallback:
    with no Ready pod the HPA would compute 0 replicas from any number, and it would shrink a
    workload that is being replaced as a whole, whose last pods have no work left.

    For the form "pods", terminating pods are left out: the controller ignores them for a Pods
    metric (groupPods in pkg/controller/podautoscaler/replica_calculator.go), and counts them for
    the others.

    Args:
        question: the question.
        pods: every pod of its namespace.
        measure: "ready" takes the Ready pods; "running" also those that are Running but not Ready,
            unless they are terminating.
        with_gpu: whether only pods that request a GPU count.

    Raises:
        NoPodMatchesError: the selector matches no pod.
        NoGpuRequestedError: none of the matching pods requests a GPU.
        NoPodMeasurableError: no GPU pod can be measured, or all that are Ready are terminating.
    """
    selector = question.selector
    if question.pod:
        pods = [pod for pod in pods if pod.name == question.pod]
    matched = matching(pods, selector)
    counted = [pod for pod in matched if pod.gpus] if with_gpu else matched
    each = question.form == "pods"
    measured = tuple(
        [pod for pod in counted if _is_measured(pod, measure) and not (each and pod.terminating)]
    )
    if measured and (each or any(_is_ready(pod) and not pod.terminating for pod in measured)):
        return Selection(
            pods=measured,
            ready=sum(_is_ready(pod) for pod in counted),
            staying=tuple([pod for pod in counted if _stays(pod)]),
        )
    namespace = printable(question.namespace)
    where = f'in namespace "{namespace}"'
    if question.pod:
        where += f' are named "{printable(question.pod)}"' + " and" * bool(str(selector))
    if str(selector):
        where += f' match "{printable(str(selector))}"'
    if not matched and question.pod:
        raise NoPodMatchesError(
            f"no pods {where}: kubectl get pods -n {namespace} --show-labels lists them"
        )
    if not matched:
        raise NoPodMatchesError(
            f"no pods {where}: compare {_SELECTORS[question.form]} with the labels of "
            f"the pods (kubectl get pods -n {namespace} --show-labels)"
            + series_labels(one.key for one in selector.requirements)
        )
    if not counted:
        raise NoGpuRequestedError(
            f"pods {where} ({len(matched)}), but none of them requests a GPU: a container "
            "must set resources.limits for one of the resources under pods.gpuResources, "
            f"such as {GPU_RESOURCES[0]}"
            + other_resources(name for pod in matched for name in pod.other_resources)
        )
    states = Counter(_state(pod) for pod in counted)
    raise NoPodMeasurableError(
        f"{'GPU pods' if with_gpu else 'pods'} {where} ({len(counted)}), but none can be "
        "measured yet: " + ", ".join(f"{count} {state}" for state, count in states.most_common())
    )


def _stays(pod: Pod) -> bool:
    return not pod.terminating and pod.phase not in ("Succeeded", "Failed")


def _is_ready(pod: Pod) -> bool:
    return pod.ready and pod.phase == "Running"


def _is_measured(pod: Pod, measure: Measure) -> bool:
    return _is_ready(pod) or (
        measure == "running" and pod.phase == "Running" and not pod.terminating
    )


def _state(pod: Pod) -> str:
    if pod.terminating:
        return "terminating"
    if pod.phase == "Running":
        return "Running but not Ready"
    return pod.phase or "of unknown phase"
