"""Rules in the configuration file, and the rules in effect."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from metrics_server.config.forms import AbsolutePath, DnsLabel
from metrics_server.config.readings import Label, Number, ReadingConfig
from metrics_server.config.rule_sources import (
    PrometheusUse,
    SourceName,
    Sources,
    Template,
    check_query,
    check_readings,
    measured_by,
    used_with,
)
from metrics_server.config.values import Duration, Section
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.gauges import COUNTERS, GAUGES
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import Aggregation, Endpoint, Measured, MetricRule, Query
from metrics_server.rules.serving import SERVING
from metrics_server.rules.templates import parse

# The highest value a metric may have, so that a sum over pods still fits into a 64-bit Quantity in
# thousandths (api.types.QUANTITY_LIMIT).
_MAX_MAXIMUM = 1e14
# The longest window: older values are of little use for scaling now.
_MAX_WINDOW = 600

# Far more than there are engines in a pod.
_MAX_PORTS = 32

# NamespaceSubResources in k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.
_RESERVED = ("status", "finalize")
_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,251}[a-z0-9])?")


def _metric_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f'"{name}" is not a metric name: use a-z, 0-9, "_", "." and "-", beginning and ending '
            "with a letter or a digit; upper case is not allowed, as the HPA asks in lower case"
        )
    if name in _RESERVED:
        raise ValueError(f'"{name}" is reserved: kube-apiserver reads it as a part of a Namespace')
    return name


def _window(seconds: float) -> float:
    if seconds != int(seconds) or seconds > _MAX_WINDOW:
        raise ValueError(f"must be whole seconds, such as 30s, and at most {_MAX_WINDOW // 60}m")
    return seconds


MetricName = Annotated[str, AfterValidator(_metric_name)]
Window = Annotated[Duration, AfterValidator(_window)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]


def _not_empty(readings: tuple[ReadingConfig, ...]) -> tuple[ReadingConfig, ...]:
    if not readings:
        raise ValueError("must have at least one reading, such as {family: NAME, maximum: 100}")
    return readings


class EndpointConfig(Section):
    """Where pods serve their own metrics page."""

    port: PortNumber | DnsLabel | None = Field(
        None, description="The number or name of a container's port, instead of the convention."
    )
    path: AbsolutePath | None = Field(
        None, description="The path of the page, instead of the pod's annotation or /metrics."
    )
    scheme: Literal["http", "https"] | None = Field(
        None, description="How it is requested, instead of the pod's annotation or http."
    )
    ports: Annotated[tuple[PortNumber | DnsLabel, ...], Field(max_length=_MAX_PORTS)] = Field(
        (),
        strict=False,
        description="Several ports, one for each rank of an engine: the rows of all their pages "
        "are the pod's. In place of `port`.",
    )

    @model_validator(mode="after")
    def _has_one_port_or_several(self) -> Self:
        if self.port is not None and self.ports:
            raise ValueError("port and ports are mutually exclusive")
        if len(set(self.ports)) != len(self.ports):
            raise ValueError("ports lists a port twice")
        return self

    def endpoint(self) -> Endpoint:
        """Return what this describes."""
        return Endpoint(self.port, self.path, self.scheme, self.ports)


class RuleConfig(Section):
    """A user-defined metric."""

    name: MetricName = Field(
        description="What an HPA asks for; it replaces a built-in rule of the same name."
    )
    help: str = Field("", description="A one-line description.")
    unit: str = Field("", description="The unit; only `percent` can be simulated.")
    readings: Annotated[tuple[ReadingConfig, ...], AfterValidator(_not_empty)] = Field(
        (),
        strict=False,
        description="The ways to read it; each GPU uses the first that has a value for it. Each "
        "rule has readings or a `query`.",
    )
    query: Template | None = Field(
        None,
        description="In place of readings, a query in PromQL with placeholders such as "
        "`<<.LabelMatchers>>` ([prometheus.md](prometheus.md#queries-of-your-own)).",
    )
    pod_label: Label | None = Field(
        None,
        description="With `query`, the label of its result that names the pod; without it, the "
        "query has one value, of all selected pods together.",
    )
    maximum: Number | None = Field(
        None,
        gt=0,
        le=_MAX_MAXIMUM,
        description="The highest value that a GPU can have; by default, that of the readings. With "
        "`query`, the highest that is accepted.",
    )
    over_gpus: Aggregation = Field(
        "avg", description="How a pod's GPUs are aggregated: `avg`, `max`, `min`, `sum`, `p95`."
    )
    over_pods: Aggregation = Field(
        "avg",
        description="How the pods are aggregated; `sum` is for `AverageValue` targets. With a "
        "`query` without `podLabel`, `sum` says that its value is a total, of which each pod has "
        "an equal share.",
    )
    source: Sources = Field(
        (),
        strict=False,
        description="Where it is read: on the pages of `exporters` or of the `pods`, in "
        "`prometheus`, or a list in order of preference, such as `[exporters, prometheus]`. By "
        "default `exporters`, and as `prometheus.use` says.",
    )
    measures: Measured | None = Field(
        None,
        description="With `source: prometheus` alone, whether the values are of `gpus` or of "
        "`pods`; by default of `gpus`, or of `pods` with `query`.",
    )
    over_series: Literal["avg", "max", "min", "sum"] = Field(
        "sum", description="With values of pods, how the rows of a pod's page are aggregated."
    )
    endpoint: EndpointConfig = Field(
        EndpointConfig(), description="With `source: pods`, where a pod's page is."
    )
    decimals: int = Field(0, ge=0, le=3, description="Decimal places of the answer.")
    window: Window = Field(
        0.0,
        description="The time over which values are averaged, or a rate or a quantile is taken, in "
        "whole seconds; `0s` for no window.",
    )

    @model_validator(mode="after")
    def _is_read_somehow(self) -> Self:
        if not self.readings and self.query is None:
            raise ValueError("needs readings, such as {family: NAME, maximum: 100}, or a query")
        if self.pod_label is not None and self.query is None:
            raise ValueError("podLabel is only for rules with a query")
        return self

    @model_validator(mode="after")
    def _fits_into_an_answer(self) -> Self:
        if self.greatest() > _MAX_MAXIMUM:
            raise ValueError(
                f"its values could reach {self.greatest():g}, but an HPA reads at most "
                f"{_MAX_MAXIMUM:g}: use a smaller scale and a larger unit"
            )
        return self

    @model_validator(mode="after")
    def _fits_its_source(self) -> Self:
        if self.query is not None:
            check_query(self.query, self.source, self.pod_label, has_readings=bool(self.readings))
        check_readings(self.readings, self.measured(), self.sources(), int(self.window))
        return self

    @model_validator(mode="after")
    def _is_over_time_or_not(self) -> Self:
        if len({one.is_over_time() for one in self.readings}) > 1:
            raise ValueError(
                "either all readings have rate or quantile, or none: the value of the others is of "
                "one moment"
            )
        if self.over_pods == "sum" and any(one.quantile is not None for one in self.readings):
            raise ValueError("overPods: a sum of quantiles means nothing; use avg or max")
        return self

    def greatest(self) -> float:
        """Return the highest value that one GPU can have."""
        if self.maximum is not None:
            return self.maximum
        return max((reading.greatest() for reading in self.readings), default=_MAX_MAXIMUM)

    def measured(self) -> Measured:
        """Return whether its values are those of GPUs or of pods."""
        return measured_by(self.source, self.measures, is_query=self.query is not None)

    def sources(self) -> tuple[SourceName, ...]:
        """Return where it is read, in order of preference."""
        if self.source or self.query is not None:
            return self.source or ("prometheus",)
        return ("exporters",) if self.measured() == "gpus" else ("pods",)

    def rule(self) -> MetricRule:
        """Return the rule that this describes."""
        return MetricRule(
            name=self.name,
            help=self.help,
            unit=self.unit,
            readings=tuple(reading.reading() for reading in self.readings),
            maximum=self.greatest(),
            over_gpus=self.over_gpus,
            over_pods=self.over_pods,
            decimals=self.decimals,
            window=int(self.window),
            measures=self.measured(),
            sources=self.sources(),
            query=self._query(),
            over_series=self.over_series,
            endpoint=self.endpoint.endpoint(),
        )

    def rule_with(self, prometheus: PrometheusUse) -> MetricRule:
        """Return the rule, which is read from Prometheus as well unless it names its sources."""
        return self.rule() if self.source else used_with(self.rule(), prometheus)

    def _query(self) -> Query | None:
        if self.query is None:
            return None
        is_total = self.pod_label is None and self.over_pods == "sum"
        return Query(parse(self.query), self.pod_label, is_total)


def _named_once(rules: tuple[RuleConfig, ...]) -> tuple[RuleConfig, ...]:
    first: dict[str, int] = {}
    problems = [
        InitErrorDetails(
            type=PydanticCustomError(
                "named_twice", "rules.{other} already has this name", {"other": first[rule.name]}
            ),
            loc=(index, "name"),
            input=rule.name,
        )
        for index, rule in enumerate(rules)
        if first.setdefault(rule.name, index) != index
    ]
    if problems:
        # As pydantic's own error, so that each problem is reported with its own path.
        raise ValidationError.from_exception_data("rules", problems)
    return rules


RuleConfigs = Annotated[tuple[RuleConfig, ...], AfterValidator(_named_once)]


def rules_in_force(
    user: Sequence[RuleConfig], *, gauges: bool, prometheus: PrometheusUse = "named"
) -> Rules:
    """Return the catalogue with a user's rules, each added or replacing the one of its name.

    Args:
        user: the rules of the configuration file.
        gauges: whether exporters' gauges can be requested by their own names.
        prometheus: which rules are read from Prometheus.
    """
    rules = {rule.name: used_with(rule, prometheus) for rule in (*CATALOGUE, *SERVING)} | {
        one.name: one.rule_with(prometheus) for one in user
    }
    if gauges:
        return Rules(rules.values(), [used_with(one, prometheus) for one in GAUGES], COUNTERS)
    return Rules(rules.values())
