"""Every setting once: its name, default, unit, bounds, meaning, and where the value comes from.

A study file states only what differs. What the reproduced paper leaves unsaid and can be chosen otherwise is a setting
here, with our reason as its source, and appears with its value in the report.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from syntrial.arms import ARMS
from syntrial.errors import ConfigError

PAPER = "Sashank et al. 2022"
UNSAID = "unsaid in the paper"
KNOWN = "studies/ has smoke.yaml, quick.yaml and paper.yaml"


def setting(default: Any, meaning: str, source: str, **bounds: Any) -> Any:
    """One setting: what it means (with its unit), where its default comes from, and its bounds (ge, gt, le, lt,
    min_length).
    """
    if isinstance(default, list | dict):
        return Field(default_factory=default.copy, description=meaning, json_schema_extra={"source": source}, **bounds)
    return Field(default, description=meaning, json_schema_extra={"source": source}, **bounds)


class Config(BaseModel):
    """Settings that belong together. Unknown names and impossible values are refused with the place and what would
    fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        numbers = (int, float, list[int], list[float], tuple[float, float])
        number = cls.model_fields[info.field_name or ""].annotation in numbers
        for one in value if isinstance(value, list | tuple) else [value]:
            if number and isinstance(one, bool):  # YAML reads yes, no, on and off as these
                raise PydanticCustomError("no_number", "it needs a number, neither yes nor no")
        return value

    @classmethod
    def of(cls, settings: dict[str, Any], where: str = "", **overrides: Any) -> Self:
        """Settings from plain values.

        Raises:
            ConfigError: one sentence a problem: where, what was found, what would fit.
        """
        try:
            return cls.model_validate({**settings, **overrides})
        except ValidationError as error:
            problems = _told_once(error.errors())
            raise ConfigError("; ".join(_sentence(cls, problem, where) for problem in problems)) from None


class IngestConfig(Config):
    """How raw files become square grey images."""

    layout: Literal["auto", "folders", "covid19-radiography", "kermany", "nih-chestxray14"] = setting(
        "auto", "how files, classes and patients are found; the named ones are public sets (docs/data.md)", "ours"
    )
    fit: Literal["squeeze", "pad", "crop"] = setting(
        "squeeze", "how an image that is not square becomes square", UNSAID + "; its images are square already"
    )
    group_pattern: str = setting(
        "",
        "regular expression over file names: what it matches is the patient; empty: each file is its own group",
        "ours",
    )
    shared_patients: bool = setting(
        False,
        "whether a patient's name, or a file's, means the same person in images, faces and second test set",
        "ours; two sources may number theirs alike",
    )
    min_side: int = setting(32, "px; a shorter edge is refused: too small to show anything", "ours", ge=1)
    max_aspect: float = setting(
        4.0, "longer edge to shorter; beyond it squeezing or cropping keeps no anatomy", "ours", ge=1
    )
    max_pixels: int = setting(
        100_000_000, "pixels an image may claim; four times the largest detector in use", "ours", ge=1_000
    )
    max_left_out: float = setting(
        0.1, "share of the files that may be held back or left out before the run stops", "ours", ge=0, le=1
    )
    near_duplicate_bits: int = setting(
        2,
        "differing bits of a 64-bit perceptual hash up to which two images are compared as near duplicates",
        "ours",
        ge=0,
        le=16,
    )

    @model_validator(mode="after")
    def _some_image_passes(self) -> Self:
        if self.min_side**2 > self.max_pixels:
            raise ValueError(
                f"min_side is {self.min_side} and max_pixels {self.max_pixels}: no image has such edges and few pixels"
            )
        return self

    @model_validator(mode="after")
    def _pattern_compiles(self) -> Self:
        try:
            re.compile(self.group_pattern)
        except re.error as error:
            raise ValueError(f"group_pattern {self.group_pattern!r} is not a regular expression: {error}") from None
        return self


class SplitConfig(Config):
    """How images are divided. `as_printed` divides images, `held_out` divides patients."""

    val_share: float = setting(
        0.2, "share that validates", UNSAID + "; no customary share explains its figures", gt=0, lt=0.5
    )
    test_share: float = setting(
        0.2,
        "share of the patients that is read once, at the end; held_out only",
        "the paper has no test set",
        gt=0,
        lt=0.5,
    )
    seed: int = setting(0, "of the division; a patient's place depends on it and on the patient alone", UNSAID, ge=0)


class AugmentConfig(Config):
    """Conventional augmentation, with the meaning of Keras' ImageDataGenerator."""

    rotation_range: float = setting(
        10.0, "degrees either way", UNSAID + "; a patient is rarely turned further", ge=0, le=180
    )
    width_shift_range: float = setting(0.05, "share of the side, either way", UNSAID, ge=0, lt=1)
    height_shift_range: float = setting(0.05, "share of the side, either way", UNSAID, ge=0, lt=1)
    shear_range: float = setting(0.0, "degrees either way", UNSAID, ge=0, lt=90)
    zoom_range: tuple[float, float] = setting((0.9, 1.1), "smallest and largest zoom, each axis its own", UNSAID)
    brightness_range: tuple[float, float] = setting((0.8, 1.2), "smallest and largest factor on the grey value", UNSAID)
    # No horizontal flip by default: it moves the heart to the right side (dextrocardia), a diagnosis of its own.
    horizontal_flip: bool = setting(False, "mirror left and right at random", UNSAID + "; off, for it moves the heart")
    vertical_flip: bool = setting(False, "mirror top and bottom at random", UNSAID)
    fill_mode: Literal["nearest", "constant", "reflect", "wrap"] = setting(
        "nearest", "what lies beyond the edge", "Keras' default"
    )
    cval: float = setting(
        0.0, "grey value (0 to 255) beyond the edge when fill_mode is constant", "Keras' default", ge=0, le=255
    )
    copies: int = setting(
        1,
        "augmented copies of each image in the arm that holds augmented images only; as printed any of them validates",
        UNSAID,
        ge=1,
    )

    @model_validator(mode="after")
    def _ranges_run_upwards(self) -> Self:
        for name in ("zoom_range", "brightness_range"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} is [{low}, {high}]; it needs two positive numbers, the smaller first")
        if self.cval and self.fill_mode != "constant":
            raise ValueError(f"cval is {self.cval:g}, which fill_mode {self.fill_mode} does not heed; constant does")
        return self


SIDES = (32, 64, 128, 256)  # px that generators draw


class GanConfig(Config):
    """One generator and how long it learns."""

    architecture: Literal["dcgan"] = setting(
        "dcgan", "a key of syntrial.generators.GANS", UNSAID + "; the usual simple GAN of its time"
    )
    epochs: int = setting(200, "passes over the real images", PAPER + ", section 2.2", ge=1)
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
        "non_saturating", "a key of syntrial.generators.LOSSES", UNSAID + "; Goodfellow et al. 2014"
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
    batch: int = setting(
        64,
        "images; where there are fewer, all of them",
        UNSAID + "; Radford et al. 2016 use 128, for sets a thousand times larger",
        ge=2,
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

    def _heed(self, name: str, is_heeded: bool, why: str) -> None:
        value = getattr(self, name)
        if not is_heeded and value != type(self).model_fields[name].default:
            raise ValueError(f"{name} is {value:g}, which {why}")


TRANSFERS_ONLY = ("transfer_discriminator",)  # settings of a generator that continues another


class GeneratorsConfig(Config):
    """The generators of a study. What stands under `all` holds for each of them unless it says otherwise."""

    faces: GanConfig = Field(default_factory=GanConfig)
    simple: GanConfig = Field(default_factory=GanConfig)
    transfer: GanConfig = Field(default_factory=lambda: GanConfig(epochs=75))

    @model_validator(mode="before")
    @classmethod
    def _share_all(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        shared = settings.get("all") or {}
        kinds = {"faces": {}, "simple": {}, "transfer": {"epochs": 75}}
        others = {name: value for name, value in settings.items() if name not in {*kinds, "all"}}
        if not isinstance(shared, dict):
            raise ValueError("all needs settings of a generator, such as {width: 32}")
        for name in shared:
            if name not in GanConfig.model_fields:
                raise ValueError(f"all has no {name!r}; {_hint(str(name), list(GanConfig.model_fields))}")
        merged: dict[str, Any] = {}
        for kind, own in kinds.items():
            given = settings.get(kind) or {}
            heeded = shared if kind == "transfer" else {k: v for k, v in shared.items() if k not in TRANSFERS_ONLY}
            merged[kind] = {**own, **heeded, **given} if isinstance(given, dict) else given
        return {**merged, **others}

    @model_validator(mode="after")
    def _each_heeds_its_own(self) -> Self:
        if self.faces.conditional:
            raise ValueError("faces.conditional is true, but faces have one class; set it on simple and transfer")
        for kind in ("faces", "simple"):
            for name in TRANSFERS_ONLY:
                if getattr(getattr(self, kind), name) != GanConfig.model_fields[name].default:
                    raise ValueError(f"{kind}.{name}: only a transfer continues another generator; set it on transfer")
        return self

    def refuse_unlike_networks(self) -> None:
        """Raises ValueError where a transfer cannot continue the faces' networks."""
        discriminator = ("normalisation",) if self.transfer.transfer_discriminator else ()
        for name in ("architecture", "latent", "width", *discriminator):
            here, there = getattr(self.transfer, name), getattr(self.faces, name)
            if here != there:
                raise ValueError(
                    f"generators.transfer.{name} is {here!r} and generators.faces.{name} is {there!r}; "
                    "a transfer continues the faces' networks, so they must be equal"
                )


class CnnConfig(Config):
    """The classifier, the same for every arm."""

    architecture: Literal["cnn"] = setting(
        "cnn", "a key of syntrial.classifiers.cnn.CNNS", UNSAID + "; pooled at the end, so any side fits"
    )
    width: int = setting(32, "channels of the first block; doubled twice", UNSAID, ge=4, le=1024)
    dropout: float = setting(0.3, "share of the features hidden while training", UNSAID, ge=0, lt=1)
    epochs: int = setting(20, "passes over the arm `original`", UNSAID + "; more than 7, as its figure 10 shows", ge=1)
    batch: int = setting(32, "images", UNSAID + "; Keras' default", ge=2)
    lr: float = setting(1e-3, "Adam's learning rate", UNSAID + "; Keras' default", gt=0, le=10)
    schedule: Literal["cosine", "constant"] = setting(
        "cosine",
        "how the learning rate goes: down to 0, or not at all",
        UNSAID + "; with a constant one the last figures hang on the last few batches (Loshchilov and Hutter 2017)",
    )
    weight_decay: float = setting(0.0, "AdamW's, per step and learning rate", UNSAID, ge=0)


class ResizeConfig(Config):
    """The paper's check that resizing loses nothing: the same classifier on images at full and at reduced size."""

    full_side: int = setting(
        1024, "px of the images that count as full size; 0: no check", PAPER + ", section 2.1", ge=0, le=4096
    )


class ReportConfig(Config):
    """How the verdict is reached."""

    metric: Literal["auroc", "accuracy", "loss"] = setting(
        "auroc", "what the verdict compares, on the held-out test images", "ours; needs no threshold"
    )
    confidence: float = setting(
        0.95,
        "of the arms' verdicts together (each interval is widened for their number), and of each other interval alone",
        "ours",
        gt=0.5,
        lt=1,
    )
    resamples: int = setting(2000, "bootstrap samples of patients; seeds are never drawn", "ours", ge=200, le=1_000_000)


class StudyConfig(Config):
    """One question, completely described."""

    name: str = setting("study", "letters, digits, - and _", "ours", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$")
    side: int = setting(
        128, "px of the square images everything is trained on: 32, 64, 128 or 256", PAPER + ", section 2.1"
    )
    classes: list[str] = setting(
        ["normal", "pneumonia"], "by the names in the data; the last is the one to be found", PAPER, min_length=2
    )
    arms: list[str] = setting(
        list(ARMS), "keys of syntrial.arms.ARMS", PAPER + ", section 2.3; conventional_online and duplicates are ours"
    )
    seeds: list[int] = setting(
        [0, 1, 2], "one classifier an arm for each, the same in every arm", "ours; the paper has one run", min_length=1
    )
    images_per_class: int = setting(
        1000, "generated images a class and generator", PAPER + ", section 2.2", ge=1, le=10_000_000
    )
    ingest: IngestConfig = Field(default_factory=IngestConfig)
    split: SplitConfig = Field(default_factory=SplitConfig)
    conventional: AugmentConfig = Field(default_factory=AugmentConfig)
    generators: GeneratorsConfig = Field(default_factory=GeneratorsConfig)
    classifier: CnnConfig = Field(default_factory=CnnConfig)
    resize_check: ResizeConfig = Field(default_factory=ResizeConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.side not in SIDES:
            raise ValueError(f"side is {self.side}; the generators draw {', '.join(map(str, SIDES))} px")
        for arm in self.arms:
            if arm not in ARMS:
                raise ValueError(f"arms has no {arm!r}; it has {', '.join(ARMS)}")
        labels = [same_name(label) for label in self.classes]
        for name, values in (("arms", self.arms), ("classes", labels), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names something twice: {getattr(self, name)}")
        if any(ARMS[arm].generator == "transfer" for arm in self.arms):
            self.generators.refuse_unlike_networks()
        if "original" not in self.arms:
            raise ValueError("arms lacks 'original', which every other arm is measured against")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds holds {min(self.seeds)}; seeds are 0 or more")
        if any("/" in label or label in ("", "*") or not label.isprintable() for label in self.classes):
            raise ValueError(
                "classes may hold neither '/' nor '*', which name generators, nor control characters, nor be empty"
            )
        if 0 < self.resize_check.full_side <= self.side:
            raise ValueError(
                f"resize_check.full_side is {self.resize_check.full_side} and side is {self.side}; "
                "full size must be larger (0: no check)"
            )
        return self


def same_name(label: str) -> str:
    """What two names of a class have in common when data may use either: upper and lower case do not count."""
    return unicodedata.normalize("NFC", label).strip().casefold()


def load_study(path: str | Path, changes: list[str] | None = None) -> StudyConfig:
    """The study in a YAML file ("": all defaults), with changes such as "generators.simple.epochs=5" on top.

    Raises:
        ConfigError: no such file, not YAML, or a setting that is misspelt, impossible or contradicts another.
    """
    content = {"name": Path(path).stem, **stated(Path(path), "study", KNOWN)} if str(path) else {}
    for one in changes or []:
        change(content, one)
    return StudyConfig.of(content, where=Path(path).name)


class _Loader(yaml.SafeLoader):
    """Refuses a name that appears twice in a section: YAML would silently drop the first of two `generators:`."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: list[Any] = []
        for key, _ in node.value:
            if key.value in names:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands there twice", key.start_mark)
            names.append(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes 1e-3, which lacks a point, for a text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def stated(path: Path, what: str, known: str) -> dict[str, Any]:
    """The settings in a YAML file.

    Args:
        what: the file is, in a word for messages.
        known: where such files are, for whoever names one that is not there.

    Raises:
        ConfigError: no such file, or not settings by name in YAML.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except FileNotFoundError:
        raise ConfigError(f"there is no {what} file {path}; {known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a {what}: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML that can be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}; a {what} is settings by name, such as 'side: 64'")
    return content


def settings_of(config: Config, prefix: str = "") -> list[dict[str, Any]]:
    """Every setting with its value, meaning and source, one row each, in the order of definition."""
    rows: list[dict[str, Any]] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            rows += settings_of(value, f"{prefix}{name}.")
            continue
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        facts = {"meaning": field.description, "source": extra.get("source", "")}
        rows.append({"name": prefix + name, "value": value, **facts})
    return rows


def change(content: dict[str, Any], what: str) -> None:
    """Changes one setting in place. `what` has the form NAME=VALUE, such as "generators.simple.epochs=5".

    Raises:
        ConfigError: another form, a name within a value, or a value that is not YAML.
    """
    name, equals, text = what.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set {what!r} is not of the form NAME=VALUE, such as generators.simple.epochs=5")
    *sections, last = name.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise ConfigError(f"--set {what!r}: {section} is a value, not a section")
    try:
        content[last] = yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise ConfigError(f"--set {what!r}: {text!r} is not a YAML value") from None


def _told_once(problems: Sequence[Any]) -> list[Any]:
    """What stands under generators.all is wrong in several generators, and is one mistake."""
    kinds = list(GeneratorsConfig.model_fields)
    alike: dict[tuple[Any, str], list[Any]] = {}
    for problem in problems:
        shared = tuple("all" if part in kinds and place == 1 else part for place, part in enumerate(problem["loc"]))
        alike.setdefault((shared, problem["msg"]), []).append(problem)
    return [same[0] if len(same) == 1 else {**same[0], "loc": place} for (place, _), same in alike.items()]


def _sentence(cls: type[Config], problem: Any, where: str) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    prefix = f"{where}: " if where else ""
    if problem["type"] == "extra_forbidden":
        section, known = _section(cls, problem["loc"][:-1])
        name = str(problem["loc"][-1])
        return f"{prefix}{f'{section} has' if section else 'there is'} no {name!r}; {_hint(name, known)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "model_type":
        message = "it needs settings by name"
    if problem["type"] == "string_pattern_mismatch":
        example = _default(cls, problem["loc"])
        message = f"it has the form of {example!r}" if example else "it needs letters, digits, and - _ . between them"
    if problem["type"] == "value_error":
        return f"{prefix}{place + '.' if place else ''}{message}"
    return f"{prefix}{place} is {problem['input']!r}; {message[0].lower()}{message[1:]}"


def _default(cls: type[Config], path: tuple[Any, ...]) -> str:
    """Of a setting that is a text; "" for what lies inside a list or a mapping."""
    current: Any = cls
    for part in path:
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            return ""
        current = fields[part].annotation if part != path[-1] else fields[part].default
    return current if isinstance(current, str) else ""


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"


def _section(cls: type[Config], path: tuple[Any, ...]) -> tuple[str, list[str]]:
    current: Any = cls
    for part in path:
        # One of a list, or one of its own settings.
        current = get_args(current)[0] if isinstance(part, int) else current.model_fields[part].annotation
    names = list(current.model_fields)
    return ".".join(map(str, path)), names + (["all"] if current is GeneratorsConfig else [])
