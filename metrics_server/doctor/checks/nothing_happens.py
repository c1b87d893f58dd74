"""What may keep an HPA from scaling: limits, tolerance and policies."""

from collections.abc import Iterator, Sequence

from metrics_server.common.text import printable
from metrics_server.doctor.hpa import Hpa, Metric, Rules
from metrics_server.doctor.model import Check, Verdict, skipped
from metrics_server.doctor.reader import Reader
from metrics_server.kube.quantities import parse_quantity

# --horizontal-pod-autoscaler-tolerance
_TOLERANCE = 0.1
_STABILIZATION = 300


async def _run(reader: Reader) -> Verdict:
    hpa = await reader.hpa()
    return skipped("there is no such HPA") if hpa is None else judge(hpa.whole)


def judge(hpa: Hpa) -> Verdict:
    """Judge what holds an HPA back."""
    notes = [*_limits(hpa), *_policies(hpa), *_tolerated(hpa)]
    status = hpa.status
    now = status.current_replicas if status else 0
    wanted = status.desired_replicas if status else 0
    return Verdict(f"{now} replicas now, {wanted} wanted", notes=tuple(notes))


def _limits(hpa: Hpa) -> Iterator[str]:
    status = hpa.status
    limited = status and status.condition("ScalingLimited")
    if hpa.least == hpa.spec.max_replicas:
        yield f"minReplicas and maxReplicas are both {hpa.least}: it cannot scale"
    elif limited and limited.status == "True":
        yield printable(f"it is held by a limit ({limited.reason}): {limited.message}", 300)
    able = status and status.condition("AbleToScale")
    if able and able.reason in ("ScaleDownStabilized", "ScaleUpStabilized"):
        yield printable(f"it waits ({able.reason}): {able.message}", 300)


def _policies(hpa: Hpa) -> Iterator[str]:
    behavior = hpa.spec.behavior
    rules = (
        ("scaleUp", behavior and behavior.scale_up),
        ("scaleDown", behavior and behavior.scale_down),
    )
    for name, one in rules:
        if not one:
            continue
        if one.select_policy == "Disabled":
            yield f"behavior.{name}.selectPolicy is Disabled: it never scales in that direction"
            continue
        window = one.stabilization_window_seconds
        if window is not None and window > _STABILIZATION:
            yield f"behavior.{name}.stabilizationWindowSeconds is {window}: it waits that long"
        yield from _slow(name, one)


def _slow(name: str, rules: Rules) -> Iterator[str]:
    policies = rules.policies or ()
    if policies and all(one.type == "Pods" and one.value == 1 for one in policies):
        longest = max(one.period_seconds for one in policies)
        yield f"behavior.{name}.policies allow one pod in {longest} s: it scales slowly"


def _tolerated(hpa: Hpa) -> Iterator[str]:
    behavior = hpa.spec.behavior
    for metric in hpa.spec.metrics or ():
        ratio = ratio_of(hpa, metric)
        if ratio is None or ratio == 1:
            continue
        rules = behavior and (behavior.scale_up if ratio > 1 else behavior.scale_down)
        tolerance = _TOLERANCE
        if rules and rules.tolerance is not None:
            tolerance = _number(rules.tolerance) or 0.0
        if abs(ratio - 1) <= tolerance:
            yield (
                f"the {printable(metric.named, 80)} is at {ratio:.0%} of its target, within the "
                f"tolerance of {tolerance:.0%}: nothing is scaled on it"
            )


def ratio_of(hpa: Hpa, metric: Metric) -> float | None:
    """Return the current value divided by the target; None if either is not known."""
    target = metric.source and metric.source.target
    shown: Sequence[Metric] = (hpa.status and hpa.status.current_metrics) or ()
    same = next((one for one in shown if one.named == metric.named), None)
    current = same and same.source and same.source.current
    if not target or not current:
        return None
    for field in ("average_value", "value", "average_utilization"):
        now, aim = _number(getattr(current, field)), _number(getattr(target, field))
        if now is not None and aim:
            return now / aim
    return None


def _number(amount: object) -> float | None:
    if amount is None:
        return None
    try:
        return float(parse_quantity(str(amount)))
    except ValueError:
        return None


CHECK = Check(
    name="nothing-happens",
    about="What may keep the HPA from scaling: limits, tolerance, policies?",
    finds=(),
    run=_run,
    scope="hpa",
)
