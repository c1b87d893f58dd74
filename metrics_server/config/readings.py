"""The readings of rules in the configuration file: which rows of a page, and in which range."""

import re
from typing import Annotated, Self

from msgspec import structs
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from metrics_server.config.values import Section
from metrics_server.errors import CounterAskedError
from metrics_server.rules.gauges import COUNTERS, GAUGES
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import Reading

_FAMILY = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

_FAMILIES = Rules((), GAUGES, COUNTERS)


def _family(family: str) -> str:
    if not _FAMILY.fullmatch(family):
        raise ValueError(
            f'"{family}" is not a family name; write it as it is on the page, such as '
            "DCGM_FI_DEV_GPU_UTIL"
        )
    try:
        _FAMILIES.refuse_counter(family)
    except CounterAskedError as error:
        raise ValueError(str(error)) from error
    return family


def _label(label: str) -> str:
    if not _LABEL.fullmatch(label):
        raise ValueError(f'"{label}" is not a label name such as xcc_index')
    return label


Family = Annotated[str, AfterValidator(_family)]
Label = Annotated[str, AfterValidator(_label)]
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]


class ContradictionConfig(Section):
    """A reading that a value of 0 is checked against."""

    family: Family = Field(description="The family on the page.")
    minimum: Number = Field(
        0.0, ge=0, description="The lowest value on the page that is accepted, before scaling."
    )
    maximum: Number = Field(
        gt=0, description="The highest value on the page that is accepted; a higher one is missing."
    )
    scale: Number = Field(
        1.0, gt=0, description="The factor that converts a value to the rule's unit."
    )
    divided_by: tuple[Family, ...] = Field(
        (), strict=False, description="Families whose sum, for the same GPU, divides the value."
    )
    where: dict[Label, str] = Field(
        {}, description="Labels that a row must have, and their values."
    )
    each: tuple[Label, ...] = Field(
        (),
        strict=False,
        description="Labels that number the parts of a GPU; their mean is the GPU's value.",
    )
    beside: tuple[Family, ...] = Field(
        (),
        strict=False,
        description="Families of which the page must have one, to identify the release.",
    )

    @field_validator("maximum")
    @classmethod
    def _is_above_the_minimum(cls, maximum: float, info: ValidationInfo[None]) -> float:
        minimum: float = info.data.get("minimum", 0)
        if maximum <= minimum:
            raise ValueError(f"must be above the minimum, which is {minimum:g}")
        return maximum

    def reading(self) -> Reading:
        """Return the reading that this describes."""
        return Reading(
            family=self.family,
            minimum=self.minimum,
            maximum=self.maximum,
            scale=self.scale,
            divided_by=self.divided_by,
            where=tuple(self.where.items()),
            each=self.each,
            beside=self.beside,
        )


class ReadingConfig(ContradictionConfig):
    """One way to read a rule."""

    copies: tuple[Label, ...] = Field(
        (),
        strict=False,
        description="With `source: pods`, labels that number copies of a series; one counts.",
    )
    zero_beside: tuple[Family, ...] = Field(
        (),
        strict=False,
        description="With `source: pods`, families: if the page has one of them, no row means 0.",
    )
    rate: bool = Field(
        default=False,
        description="With `source: pods`, whether the family is a counter: the value is its "
        "increase per second over the rule's window, and the minimum and maximum apply to that.",
    )
    quantile: Number | None = Field(
        None,
        gt=0,
        lt=1,
        description="With `source: pods`, if the family is a histogram: which quantile to take of "
        "its observations within the rule's window, such as `0.95`.",
    )
    unless: ContradictionConfig | None = Field(
        None,
        description="A reading that contradicts a 0: where it has a value, the 0 is rejected.",
    )

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if self.quantile is None:
            return self
        if self.rate:
            raise ValueError("rate is for counters and quantile for histograms: set one of them")
        if self.zero_beside:
            raise ValueError("zeroBeside does not go with quantile: without requests there is none")
        if self.family.endswith("_bucket"):
            name = self.family.removesuffix("_bucket")
            raise ValueError(f"with quantile, the family is the histogram's name: {name}")
        return self

    def reading(self) -> Reading:
        """Return the reading that this describes."""
        unless = self.unless.reading() if self.unless else None
        return structs.replace(
            super().reading(),
            unless=unless,
            copies=self.copies,
            zero_beside=self.zero_beside,
            rate=self.rate,
            quantile=self.quantile,
        )

    def is_over_time(self) -> bool:
        """Return whether its value comes from several scrapes."""
        return self.rate or self.quantile is not None

    def greatest(self) -> float:
        """Return the highest value that it can yield; for a share, that is the whole."""
        return self.scale if self.divided_by else self.maximum * self.scale
