"""The settings of generators: those that every family has, those of each family, and a study's generators by name.

A family is one entry in ARCHITECTURES: a class of settings here, which names the class that learns, in a file of its
own. Nothing here imports torch, because many boxes and commands only read a study.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, PlainValidator, SerializeAsAny, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from syntrial.errors import ConfigError
from syntrial.settings import PAPER, UNSAID, Config, hint, setting

SIDES = (32, 64, 128, 256)  # px that generators draw
FIRST = "faces"  # the generator trained on the faces; the others are trained on the classes, and may continue it
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
# The section of shared settings; what an arm adds instead of drawn images; the source of images that were not drawn.
RESERVED = ("all", "copies", "real")


class GeneratorConfig(Config):
    """The settings of a generator that every family has."""

    learner: ClassVar[str] = ""  # the class that learns with these settings, as "module:Class"
    transfers_only: ClassVar[tuple[str, ...]] = ()  # settings that have an effect only with a start

    architecture: str = setting(
        "dcgan", "a key of syntrial.generators.settings.ARCHITECTURES", UNSAID + "; the usual simple GAN of its time"
    )
    start: Literal["", "faces"] = setting(
        "", "name of the generator that this one continues; empty: random weights", PAPER + ", section 2.2"
    )
    epochs: int = setting(200, "passes over the real images", PAPER + ", section 2.2", ge=1)
    batch: int = setting(
        64,
        "images per batch; all images if there are fewer",
        UNSAID + "; Radford et al. 2016 use 128, for sets a thousand times larger",
        ge=2,
    )
    conditional: bool = setting(
        False, "one generator for all classes instead of one per class", "the paper trains one per class"
    )
    collapse_below: float = setting(
        0.1,
        "share of the real images' diversity below which a generator counts as collapsed; 0: never",
        "ours",
        ge=0,
        le=1,
    )
    seed: int = setting(0, "seed of weights, noise and order", UNSAID, ge=0)

    @property
    def batches_per_step(self) -> int:
        """Batches of real images per step."""
        return 1

    @property
    def relative_cost(self) -> float:
        """Estimated work per image of a step, relative to a DCGAN of width 16."""
        return 1.0

    @property
    def shared_with_start(self) -> tuple[str, ...]:
        """Names of the settings that must equal those of the generator that is continued."""
        return ("architecture",)

    @model_validator(mode="after")
    def _refuse_without_start(self) -> Self:
        for name in self.transfers_only:
            self._refuse_unused(name, self.start != "", "has no effect on a generator without a start")
        return self

    def _refuse_unused(self, name: str, is_used: bool, why: str) -> None:
        """Raises ValueError if a setting has no effect and is not at its default."""
        value = getattr(self, name)
        if not is_used and value != type(self).model_fields[name].default:
            shown = f"{value:g}" if isinstance(value, float) else value
            raise ValueError(f"{name} is {shown}, which {why}")


class DcganConfig(GeneratorConfig):
    """A pair of networks that learn from each other (Radford et al. 2016)."""

    learner: ClassVar[str] = "syntrial.generators.dcgan:Dcgan"
    transfers_only: ClassVar[tuple[str, ...]] = ("transfer_discriminator",)

    latent: int = setting(100, "size of the latent vector", UNSAID + "; Radford et al. 2016", ge=1, le=4096)
    width: int = setting(
        64,
        "channels of the layer nearest the image; doubled at every halving",
        UNSAID + "; Radford et al. 2016",
        ge=4,
        le=1024,
    )
    normalisation: Literal["batch", "spectral", "none"] = setting(
        "batch", "normalisation in the discriminator", UNSAID + "; Radford et al. 2016"
    )
    loss: Literal["non_saturating", "hinge", "wgan_gp"] = setting(
        "non_saturating", "a key of syntrial.generators.losses.LOSSES", UNSAID + "; Goodfellow et al. 2014"
    )
    gradient_penalty: float = setting(
        10.0, "weight of the gradient penalty; wgan_gp only", "Gulrajani et al. 2017", ge=0
    )
    lr: float = setting(
        2e-4, "Adam's learning rate, both players", UNSAID + "; Radford et al. 2016, section 4", gt=0, le=10
    )
    beta1: float = setting(
        0.5, "Adam's first moment, both players", UNSAID + "; Radford et al. 2016, section 4", ge=0, lt=1
    )
    beta2: float = setting(
        0.999, "Adam's second moment, both players", UNSAID + "; Radford et al. 2016, section 4", ge=0, lt=1
    )
    discriminator_steps: int = setting(1, "updates of the discriminator per update of the generator", UNSAID, ge=1)
    ema_half_life: int = setting(
        10_000,
        "half-life, in images shown, of the moving average of the generator's weights; 0: no average",
        UNSAID + "; Karras et al. 2018",
        ge=0,
    )
    ema_ramp_up: float = setting(
        0.05,
        "upper limit of the half-life, as a share of the images shown so far, so that early weights fade soon",
        UNSAID + "; Karras et al. 2020 (StyleGAN2-ADA), their code's ema_rampup",
        gt=0,
    )
    diffaugment: list[str] = setting(
        [],
        "DiffAugment policies: any of color, translation, cutout",
        UNSAID + "; Zhao et al. 2020, off as in the paper",
    )
    transfer_discriminator: bool = setting(True, "whether a transfer also continues the start's discriminator", UNSAID)

    @property
    def batches_per_step(self) -> int:
        """One batch per update of the discriminator."""
        return self.discriminator_steps

    @property
    def relative_cost(self) -> float:
        """Lies between the work of the convolutions, which grows with the square of the width, and that of the rest."""
        return float((self.width / 16) ** 1.4)

    @property
    def shared_with_start(self) -> tuple[str, ...]:
        """The settings that determine the shapes of the networks."""
        judge = ("normalisation",) if self.transfer_discriminator else ()
        return ("architecture", "latent", "width", *judge)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.loss == "wgan_gp" and self.normalisation == "batch":
            raise ValueError(
                "normalisation is batch, but loss wgan_gp needs each image's gradient by itself; take none or spectral"
            )
        unknown = sorted(set(self.diffaugment) - {"color", "translation", "cutout"})
        if unknown:
            raise ValueError(f"diffaugment has no {unknown[0]!r}; it has color, translation, cutout")
        if len(set(self.diffaugment)) < len(self.diffaugment):
            raise ValueError(f"diffaugment is {', '.join(self.diffaugment)}; each policy may be given once")
        self._refuse_unused(
            "gradient_penalty", self.loss == "wgan_gp", f"has no effect with loss {self.loss}; use wgan_gp"
        )
        self._refuse_unused("ema_ramp_up", self.ema_half_life > 0, "has no effect with ema_half_life 0, no average")
        return self


ARCHITECTURES: dict[str, type[GeneratorConfig]] = {"dcgan": DcganConfig}


def family_of(settings: dict[str, Any]) -> type[GeneratorConfig]:
    """The class of settings of an architecture.

    Raises:
        ConfigError: the architecture is unknown.
    """
    name = settings.get("architecture", GeneratorConfig.model_fields["architecture"].default)
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ConfigError(f"there is no architecture {name!r} of generators; {hint(str(name), [*ARCHITECTURES])}")
    return ARCHITECTURES[name]


def generator_config(settings: dict[str, Any], **overrides: Any) -> GeneratorConfig:
    """The settings of one generator, of the class for its architecture.

    Raises:
        ConfigError: one sentence per mistake: setting, value, and what would fit.
    """
    whole = {**settings, **overrides}
    return family_of(whole).of(whole)


def _checked(settings: Any) -> GeneratorConfig:
    """Like generator_config, but mistakes are raised in pydantic's form, which includes the setting's path."""
    if isinstance(settings, GeneratorConfig):
        return settings
    if not isinstance(settings, dict):
        raise PydanticCustomError("model_type", "it needs settings by name")
    try:
        family = family_of(settings)
    except ConfigError:
        known = " or ".join(map(repr, ARCHITECTURES))
        problem = PydanticCustomError("unknown", "input should be {known}", {"known": known})
        where = InitErrorDetails(type=problem, loc=("architecture",), input=settings["architecture"])
        raise ValidationError.from_exception_data("generator", [where]) from None
    return family.model_validate(settings)


Generator = Annotated[SerializeAsAny[GeneratorConfig], PlainValidator(_checked)]
DEFAULTS: dict[str, dict[str, Any]] = {"faces": {}, "simple": {}, "transfer": {"epochs": 75, "start": FIRST}}


class GeneratorsConfig(Config):
    """The generators of a study by name: those below, and any that it adds.

    Settings under `all` apply to every generator that has such a setting and does not set it itself.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Generator] = Field(init=False)
    shares_all: ClassVar[bool] = True

    faces: Generator = Field(default_factory=lambda: _checked(DEFAULTS["faces"]))
    simple: Generator = Field(default_factory=lambda: _checked(DEFAULTS["simple"]))
    transfer: Generator = Field(default_factory=lambda: _checked(DEFAULTS["transfer"]))

    def by_name(self) -> dict[str, GeneratorConfig]:
        """All generators, in the order of the study."""
        own = {name: getattr(self, name) for name in type(self).model_fields}
        return {**own, **(self.__pydantic_extra__ or {})}

    def __getitem__(self, name: str) -> GeneratorConfig:
        """Raises ConfigError if the study has no generator of that name."""
        found = self.by_name()
        if name not in found:
            raise ConfigError(f"generators has no {name!r}; {hint(name, [*found])}")
        return found[name]

    @model_validator(mode="before")
    @classmethod
    def _share_all(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        shared = settings.get("all") or {}
        if not isinstance(shared, dict):
            raise ValueError("all needs settings of a generator, such as {width: 32}")
        given = {**DEFAULTS, **{name: own or {} for name, own in settings.items() if name != "all"}}
        merged, known = {}, set[str]()
        for name, own in given.items():
            _refuse_name(str(name))
            merged[name], names = _merged(name, own, shared)
            known |= names
        for name in shared:
            if name not in known:
                raise ValueError(f"all has no {name!r}; {hint(str(name), sorted(known))}")
        return merged

    @model_validator(mode="after")
    def _faces_come_first(self) -> Self:
        if self.faces.conditional:
            raise ValueError("faces.conditional is true, but faces have one class; set it for simple and transfer")
        if self.faces.start:
            raise ValueError(f"faces.start is {self.faces.start!r}, but faces cannot continue another generator")
        return self

    def refuse_misfits(self, used: set[str]) -> None:
        """Raises ValueError if these generators cannot be trained, or if a name seems misspelt.

        Args:
            used: names of the generators whose images some arm adds.
        """
        known = self.by_name()
        for name in sorted(used):
            if name not in known or name == FIRST:
                others = [other for other in known if other != FIRST]
                raise ValueError(f"an arm adds {name!r}, which no generator of the study draws; {hint(name, others)}")
            if known[name].start:
                self._refuse_unlike_start(name)
        for name in sorted({*known} - {*DEFAULTS} - used):  # an unused generator with a distinct name is allowed
            close = difflib.get_close_matches(name, DEFAULTS, 1, cutoff=0.8)
            if close:
                raise ValueError(f"generators has {name!r}, which no arm adds; did you mean {close[0]!r}?")

    def _refuse_unlike_start(self, name: str) -> None:
        own, start = self[name], self[self[name].start]
        for setting_name in own.shared_with_start:
            here, there = getattr(own, setting_name), getattr(start, setting_name, None)
            if here != there:
                raise ValueError(
                    f"generators.{name}.{setting_name} is {here!r} and generators.{own.start}.{setting_name} is "
                    f"{there!r}; {name} continues the networks of {own.start}, so they must be equal"
                )


def _merged(name: str, own: Any, shared: dict[str, Any]) -> tuple[Any, set[str]]:
    """One generator's settings, with those of `all` that have an effect on it; and the names of its family's settings.

    Raises:
        ValueError: a setting that its family does not have.
    """
    whole = {**DEFAULTS.get(name, {}), **shared, **own} if isinstance(own, dict) else shared
    try:
        family = family_of(whole)
    except ConfigError:
        return own if isinstance(own, dict) and "architecture" in own else whole, {*whole}  # refused with its place
    known = {*family.model_fields}
    for setting_name in own if isinstance(own, dict) else ():
        if setting_name not in known:
            raise ValueError(f"{name} has no {setting_name!r}; {hint(str(setting_name), list(family.model_fields))}")
    used = known if whole.get("start") else known - {*family.transfers_only}
    useful = {key: value for key, value in shared.items() if key in used}
    return {**DEFAULTS.get(name, {}), **useful, **own} if isinstance(own, dict) else own, known


def _refuse_name(name: str) -> None:
    if not NAME.fullmatch(name) or name in RESERVED:
        raise ValueError(
            f"{name} cannot name a generator; a name has at most 31 letters, digits, - and _, begins with a letter, "
            f"and is none of {', '.join(RESERVED)}"
        )
