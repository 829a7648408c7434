"""The settings of generators: those that every family has, those of each family, and a study's generators by name.

A family is one entry in ARCHITECTURES: a class of settings here, which names the class that learns (a file of its own).
Nothing here imports torch, so that whoever only reads a study need not either.
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
FIRST = "faces"  # the generator that learns from the faces; the others learn from the classes, and may continue it
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")  # parameters of the pipeline are named after it
RESERVED = ("all", "real")  # the settings that generators share; what images that were not drawn come from


class GeneratorConfig(Config):
    """One generator, and how long it learns: what every family has."""

    learner: ClassVar[str] = ""  # the class that learns with these settings, as "module:Class"
    transfers_only: ClassVar[tuple[str, ...]] = ()  # settings that only a generator with a start heeds

    architecture: str = setting(
        "dcgan", "a key of syntrial.generators.settings.ARCHITECTURES", UNSAID + "; the usual simple GAN of its time"
    )
    start: Literal["", "faces"] = setting(
        "", "the generator that this one continues; empty: it starts from nothing", PAPER + ", section 2.2"
    )
    epochs: int = setting(200, "passes over the real images", PAPER + ", section 2.2", ge=1)
    batch: int = setting(
        64,
        "images; where there are fewer, all of them",
        UNSAID + "; Radford et al. 2016 use 128, for sets a thousand times larger",
        ge=2,
    )
    conditional: bool = setting(
        False, "one generator for all classes in place of one a class", "the paper trains one a class"
    )
    collapse_below: float = setting(
        0.1,
        "share of the real images' diversity under which generated images are called collapsed; 0: never",
        "ours",
        ge=0,
        le=1,
    )
    seed: int = setting(0, "of weights, noise and order", UNSAID, ge=0)

    @property
    def batches_per_step(self) -> int:
        """Batches of real images that one step learns from."""
        return 1

    @property
    def relative_cost(self) -> float:
        """A guess at the work of a step for each image; that of a DCGAN of width 16 is 1."""
        return 1.0

    @property
    def shared_with_start(self) -> tuple[str, ...]:
        """Settings that must equal those of the generator that is continued."""
        return ("architecture",)

    @model_validator(mode="after")
    def _only_transfers_heed(self) -> Self:
        for name in self.transfers_only:
            self._heed(name, self.start != "", "a generator without a start does not heed")
        return self

    def _heed(self, name: str, is_heeded: bool, why: str) -> None:
        """Raises ValueError where a setting that has no effect is not at its default."""
        value = getattr(self, name)
        if not is_heeded and value != type(self).model_fields[name].default:
            shown = f"{value:g}" if isinstance(value, float) else value
            raise ValueError(f"{name} is {shown}, which {why}")


class DcganConfig(GeneratorConfig):
    """A pair of networks that learn from each other (Radford et al. 2016)."""

    learner: ClassVar[str] = "syntrial.generators.dcgan:Dcgan"
    transfers_only: ClassVar[tuple[str, ...]] = ("transfer_discriminator",)

    latent: int = setting(100, "numbers a generated image starts from", UNSAID + "; Radford et al. 2016", ge=1, le=4096)
    width: int = setting(
        64,
        "channels of the layer nearest the image; doubled at every halving",
        UNSAID + "; Radford et al. 2016",
        ge=4,
        le=1024,
    )
    normalisation: Literal["batch", "spectral", "none"] = setting(
        "batch", "inside the discriminator", UNSAID + "; Radford et al. 2016"
    )
    loss: Literal["non_saturating", "hinge", "wgan_gp"] = setting(
        "non_saturating", "a key of syntrial.generators.losses.LOSSES", UNSAID + "; Goodfellow et al. 2014"
    )
    gradient_penalty: float = setting(10.0, "weight; wgan_gp only", "Gulrajani et al. 2017", ge=0)
    lr: float = setting(
        2e-4, "Adam's learning rate, both players", UNSAID + "; Radford et al. 2016, section 4", gt=0, le=10
    )
    beta1: float = setting(
        0.5, "Adam's first moment, both players", UNSAID + "; Radford et al. 2016, section 4", ge=0, lt=1
    )
    beta2: float = setting(
        0.999, "Adam's second moment, both players", UNSAID + "; Radford et al. 2016, section 4", ge=0, lt=1
    )
    discriminator_steps: int = setting(1, "updates of the discriminator for each of the generator", UNSAID, ge=1)
    ema_half_life: int = setting(
        10_000,
        "images after which an old weight counts half in the generator that is kept; 0: no average",
        UNSAID + "; Karras et al. 2018",
        ge=0,
    )
    ema_ramp_up: float = setting(
        0.05,
        "share of the images shown so far that the half-life is at most, so that the first weights are soon forgotten",
        UNSAID + "; Karras et al. 2020 (StyleGAN2-ADA), their code's ema_rampup",
        gt=0,
    )
    diffaugment: list[str] = setting(
        [], "any of color, translation, cutout", UNSAID + "; Zhao et al. 2020, off as in the paper"
    )
    transfer_discriminator: bool = setting(True, "whether a transfer starts from the faces' discriminator too", UNSAID)

    @property
    def batches_per_step(self) -> int:
        """One for each update of the discriminator."""
        return self.discriminator_steps

    @property
    def relative_cost(self) -> float:
        """Between that of convolutions, which grows with the square of the width, and that of the rest."""
        return float((self.width / 16) ** 1.4)

    @property
    def shared_with_start(self) -> tuple[str, ...]:
        """All that decides the shape of the networks that are continued."""
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
            raise ValueError(f"diffaugment is {', '.join(self.diffaugment)}; each can be there once")
        self._heed("gradient_penalty", self.loss == "wgan_gp", f"loss {self.loss} does not heed; wgan_gp does")
        self._heed("ema_ramp_up", self.ema_half_life > 0, "an ema_half_life of 0, no average, does not heed")
        return self


ARCHITECTURES: dict[str, type[GeneratorConfig]] = {"dcgan": DcganConfig}


def family_of(settings: dict[str, Any]) -> type[GeneratorConfig]:
    """The class of settings that `architecture` chooses.

    Raises:
        ConfigError: there is no such architecture.
    """
    name = settings.get("architecture", GeneratorConfig.model_fields["architecture"].default)
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ConfigError(f"there is no architecture {name!r} of generators; {hint(str(name), [*ARCHITECTURES])}")
    return ARCHITECTURES[name]


def generator_config(settings: dict[str, Any], **overrides: Any) -> GeneratorConfig:
    """The settings of one generator, of the family that its architecture names.

    Raises:
        ConfigError: one sentence a problem: where, what was found, what would fit.
    """
    whole = {**settings, **overrides}
    return family_of(whole).of(whole)


def _checked(settings: Any) -> GeneratorConfig:
    """As generator_config, with the mistakes in pydantic's form, so that they are reported with their place."""
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

    What stands under `all` holds for each of them that has such a setting, unless it says otherwise.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Generator] = Field(init=False)
    shares_all: ClassVar[bool] = True

    faces: Generator = Field(default_factory=lambda: _checked(DEFAULTS["faces"]))
    simple: Generator = Field(default_factory=lambda: _checked(DEFAULTS["simple"]))
    transfer: Generator = Field(default_factory=lambda: _checked(DEFAULTS["transfer"]))

    def by_name(self) -> dict[str, GeneratorConfig]:
        """Every generator of the study; the order is that of the study."""
        own = {name: getattr(self, name) for name in type(self).model_fields}
        return {**own, **(self.__pydantic_extra__ or {})}

    def __getitem__(self, name: str) -> GeneratorConfig:
        """Raises ConfigError where the study has no generator of that name."""
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
            merged[name], heeds = _merged(name, own, shared)
            known |= heeds
        for name in shared:
            if name not in known:
                raise ValueError(f"all has no {name!r}; {hint(str(name), sorted(known))}")
        return merged

    @model_validator(mode="after")
    def _faces_come_first(self) -> Self:
        if self.faces.conditional:
            raise ValueError("faces.conditional is true, but faces have one class; set it on simple and transfer")
        if self.faces.start:
            raise ValueError(f"faces.start is {self.faces.start!r}, but faces start from nothing; others continue them")
        return self

    def refuse_misfits(self, used: set[str]) -> None:
        """Raises ValueError where these generators cannot be trained, or where one is named by mistake.

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
        for name in sorted({*known} - {*DEFAULTS} - used):  # another may wait for an arm that is left out
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
    """One generator's settings, with those of `all` that it heeds; and the names of all that it could heed.

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
    heeded = known if whole.get("start") else known - {*family.transfers_only}
    useful = {key: value for key, value in shared.items() if key in heeded}
    return {**DEFAULTS.get(name, {}), **useful, **own} if isinstance(own, dict) else own, known


def _refuse_name(name: str) -> None:
    if not NAME.fullmatch(name) or name in RESERVED:
        raise ValueError(
            f"{name} cannot be the name of a generator, which begins with a letter, has letters, digits, - and _ "
            f"(31 at most) and is neither {' nor '.join(RESERVED)}"
        )
