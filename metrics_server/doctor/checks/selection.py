"""Which pods a question selects, and whether one of them can be measured."""

from collections.abc import Sequence
from shlex import quote

from metrics_server.common.text import counted, printable
from metrics_server.doctor.asking import Asked
from metrics_server.doctor.model import Check, Problem, Verdict, skipped
from metrics_server.doctor.reader import Reader
from metrics_server.errors import RequestError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Form, Question
from metrics_server.measuring.selection import Measure, Selection, select
from metrics_server.rules.lookup import Rules

_MAX_SELECTOR = 8192


async def _run(reader: Reader) -> Verdict:
    asked, rules = await reader.questions(), await reader.rules()
    pods = await reader.pods(reader.subject.namespace)
    config = await reader.config()
    return judge(asked, rules, pods, config.pods.measure)


def judge(asked: Sequence[Asked], rules: Rules, pods: Sequence[Pod], measure: Measure) -> Verdict:
    """Judge which pods are selected.

    Args:
        asked: the questions.
        rules: the metrics that are served.
        pods: every pod of the namespace.
        measure: as in the server's configuration.
    """
    problems: list[Problem] = []
    summaries: list[str] = []
    for one in asked:
        try:
            selection = selected(one, rules, pods, measure)
        except RequestError as error:
            problems.append(_problem(one, error))
        else:
            nodes = {pod.node for pod in selection.pods}
            summaries.append(
                f"{one.named}: {counted(len(selection.pods), 'pod')} to measure, on "
                f"{counted(len(nodes), 'node')}"
            )
    if not asked:
        return skipped("there is no metric of this server to follow")
    return Verdict("; ".join(summaries) or "no pods can be measured", tuple(problems))


def selected(asked: Asked, rules: Rules, pods: Sequence[Pod], measure: Measure) -> Selection:
    """Return the pods of a question.

    Raises:
        RequestError: there are none, or the metric is not served.
    """
    rule = rules.find(asked.metric.lower())
    if asked.selector is None:
        raise RequestError(asked.unknown)
    form: Form = "pods" if asked.type == "Pods" else "labelled"
    question = Question(asked.namespace, rule.name, asked.selector, form)
    return select(question, pods, measure, with_gpu=rule.measures == "gpus")


def _problem(asked: Asked, error: RequestError) -> Problem:
    where = f"-n {asked.namespace}"
    selector = (
        f" -l {quote(printable(str(asked.selector), _MAX_SELECTOR))}"
        if asked.selector and str(asked.selector)
        else ""
    )
    fixes = {
        "no-pod-matches": f"kubectl {where} get pods --show-labels\n"
        "# then correct the selector of the metric, or the labels of the pods",
        "no-gpu-requested": f"kubectl {where} set resources deployment NAME "
        "--limits=nvidia.com/gpu=1",
        "no-pod-measurable": f"kubectl {where} describe pods{selector}",
        "unknown-metric": "gpu-metrics-server rules   # then correct the metric's name",
        "counter-asked": "gpu-metrics-server rules   # then use a gauge or a ratio",
    }
    name = error.reason if error.reason in fixes else "selector-unknown"
    return Problem(
        name,
        asked.named,
        printable(str(error), 700),
        fixes.get(name, f"kubectl {where} get deployments,statefulsets,services"),
        "docs/hpa.md" if name == "selector-unknown" else f"docs/troubleshooting.md#{name}",
        asked.objects,
    )


CHECK = Check(
    name="selection",
    about="Which pods does the selector match, and can any of them be measured?",
    finds=(
        "no-pod-matches",
        "no-gpu-requested",
        "no-pod-measurable",
        "unknown-metric",
        "counter-asked",
        "selector-unknown",
    ),
    run=_run,
    scope="workload",
)
