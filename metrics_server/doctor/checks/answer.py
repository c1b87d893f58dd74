"""What the API answers now to the HPA controller's question."""

from collections.abc import Sequence

from metrics_server.doctor.asking import REPLACEMENTS, Answered, Asked, ask
from metrics_server.doctor.model import Check, Problem, Verdict, objects, skipped
from metrics_server.doctor.reader import Reader
from metrics_server.tls.api_service import CUSTOM_METRICS, EXTERNAL_METRICS

_MOST_SHOWN = 5
_FORBIDDEN = 403


async def _run(reader: Reader) -> Verdict:
    rules = await reader.rules()
    known = set(rules.known())
    asked = [
        one
        for one in await reader.questions()
        if one.metric.lower() in known and (one.selector is not None or one.type == "Object")
    ]
    return judge([(one, await ask(reader.api, one)) for one in asked])


def judge(answers: Sequence[tuple[Asked, Answered]]) -> Verdict:
    """Judge the answers."""
    if not answers:
        return skipped("there is no metric of this server to ask for")
    problems: list[Problem] = []
    notes: list[str] = []
    summaries: list[str] = []
    for asked, answer in answers:
        if answer.status == _FORBIDDEN:
            notes.append(f"{asked.named}: you may not ask for it: {answer.error}")
        elif answer.error:
            problems.append(
                Problem(
                    "answer",
                    asked.named,
                    f"the HPA gets an error (HTTP {answer.status}): {answer.error}",
                    f"{asked.command}\n# asks the same: the message says what to do",
                    "docs/troubleshooting.md",
                    _concerned(asked),
                )
            )
        elif not answer.items:
            problems.append(
                Problem(
                    "answer",
                    asked.named,
                    "the HPA gets an empty list: another server may answer",
                    f"{asked.command}\nkubectl get apiservices | grep metrics.k8s.io",
                    "docs/troubleshooting.md#who-owns-the-apiservice",
                    _concerned(asked),
                )
            )
        else:
            summaries.append(_shown(asked, answer))
            if answer.source in REPLACEMENTS:
                problems.append(_fallback(asked, answer))
    return Verdict("; ".join(summaries) or "the API has no value", (*problems,), (*notes,))


def _concerned(asked: Asked) -> tuple[str, ...]:
    api_service = EXTERNAL_METRICS if asked.type == "External" else CUSTOM_METRICS
    return objects("metric", [asked.named]) + objects("apiservice", [api_service])


def _shown(asked: Asked, answer: Answered) -> str:
    values = ", ".join(one.value for one in answer.items[:_MOST_SHOWN])
    more = f" and {len(answer.items) - _MOST_SHOWN} more" if len(answer.items) > _MOST_SHOWN else ""
    source = f" ({answer.source})" if answer.source else ""
    return f"{asked.named}: {values}{more}{source}"


def _fallback(asked: Asked, answer: Answered) -> Problem:
    return Problem(
        "fallback",
        asked.named,
        f"the HPA gets a {answer.source} value, {answer.items[0].value}, as too few pods can be "
        "measured: the check measurement says why",
        "kubectl -n gpu-monitoring logs -l app.kubernetes.io/name=gpu-metrics-server "
        "| grep 'Failed to get real metrics'",
        "deployments/runbook.md#gpumetricsfallback",
        _concerned(asked),
    )


CHECK = Check(
    name="answer",
    about="What does the API answer to the HPA's question now?",
    finds=("answer", "fallback"),
    run=_run,
    scope="workload",
)
