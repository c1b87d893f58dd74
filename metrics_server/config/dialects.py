"""Dialects in the configuration file, which say how exporters label rows, and those in effect."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from metrics_server.config.readings import Label
from metrics_server.config.values import Section
from metrics_server.rules.dialect import Dialect
from metrics_server.rules.presets import DIALECTS

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_STEM = re.compile(r"[a-zA-Z_][a-zA-Z0-9_:]*")


def _dialect_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f'"{name}" is not a dialect name: use a-z, 0-9 and "-", beginning and ending with a '
            "letter or a digit, such as my-exporter"
        )
    return name


def _stem(stem: str) -> str:
    if not _STEM.fullmatch(stem):
        raise ValueError(f'"{stem}" cannot be the beginning of a family name; gpu_ can be')
    return stem


DialectName = Annotated[str, AfterValidator(_dialect_name)]
Stem = Annotated[str, AfterValidator(_stem)]


class DialectConfig(Section):
    """How the rows of an exporter name their GPU, their pod and their node."""

    name: DialectName = Field(
        description="Its name; it replaces a built-in dialect of the same name."
    )
    gpu: tuple[Label, ...] = Field(
        strict=False,
        min_length=1,
        description="Labels that identify a GPU on its node; each row must have the first.",
    )
    labels: tuple[Label, ...] = Field(
        (),
        strict=False,
        description="Other labels that every GPU row has; they help to recognize the dialect.",
    )
    pod: Label = Field("pod", description="The label with the pod's name.")
    namespace: Label = Field("namespace", description="The label with the pod's namespace.")
    hosts: tuple[Label, ...] = Field(
        (),
        strict=False,
        description="Labels with the node's name; the first one present is used.",
    )
    stems: tuple[Stem, ...] = Field(
        (),
        strict=False,
        description="What its families' names begin with, after any prefix that you chose.",
    )

    @model_validator(mode="after")
    def _uses_each_label_once(self) -> Self:
        uses = Counter((*dict.fromkeys(self.gpu), self.pod, self.namespace))
        twice = [label for label, count in uses.items() if count > 1]
        if twice:
            raise ValueError(
                f'the label "{twice[0]}" can be only one of the GPU, the pod and the namespace'
            )
        return self


def _named_once(dialects: tuple[DialectConfig, ...]) -> tuple[DialectConfig, ...]:
    names = Counter(one.name for one in dialects)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f'two dialects are named "{twice[0]}"')
    return dialects


DialectConfigs = Annotated[tuple[DialectConfig, ...], AfterValidator(_named_once)]


def dialects_in_force(user: Sequence[DialectConfig]) -> tuple[Dialect, ...]:
    """The user's dialects, then the built-in ones that they do not replace by name."""
    if not user:
        return DIALECTS
    own = [
        Dialect(
            name=one.name,
            marks=tuple(dict.fromkeys((one.gpu[0], *one.labels))),
            gpu=one.gpu,
            namespace=one.namespace,
            pod=one.pod,
            hosts=one.hosts,
            stems=one.stems,
        )
        for one in user
    ]
    names = {one.name for one in own}
    return (*own, *(one for one in DIALECTS if one.name not in names))
