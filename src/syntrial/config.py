"""Every setting once: its name, default, unit, bounds, meaning, and where the value comes from.

A study file states only what differs. What the reproduced paper leaves unsaid and can be chosen otherwise is a setting
here, with our reason as its source, and appears with its value in the report.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, SerializeAsAny, field_validator, model_validator
from pydantic_core import PydanticCustomError

from syntrial.arms import DEFAULT, Recipe, canonical, recipe_of
from syntrial.classifiers.settings import ClassifierConfig, CnnConfig, classifier_config
from syntrial.errors import ConfigError
from syntrial.generators.settings import SIDES, GeneratorsConfig
from syntrial.settings import PAPER, UNSAID, Config, setting

KNOWN = "studies/ has smoke.yaml, quick.yaml and paper.yaml"


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
        list(DEFAULT),
        "training sets to compare: presets of syntrial.arms, or arms such as 'half: add=simple dose=0.5'",
        PAPER + ", section 2.3; conventional_online and duplicates are ours",
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
    classifier: SerializeAsAny[ClassifierConfig] = Field(default_factory=CnnConfig)
    resize_check: ResizeConfig = Field(default_factory=ResizeConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)

    @field_validator("arms", mode="before")
    @classmethod
    def _arms_as_text(cls, arms: Any) -> Any:
        if not isinstance(arms, list | tuple):
            return arms
        try:
            return [canonical(arm) for arm in arms]
        except ConfigError as error:
            raise PydanticCustomError("told", "arms: {told}", {"told": str(error)}) from None

    @field_validator("classifier", mode="before")
    @classmethod
    def _classifier_of_its_architecture(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        try:
            return classifier_config(settings, above="classifier")
        except ConfigError as error:
            raise PydanticCustomError("told", "{told}", {"told": str(error)}) from None

    @property
    def recipes(self) -> dict[str, Recipe]:
        """The arms' recipes by name, in the order of the study."""
        return dict(map(recipe_of, self.arms))

    def _refuse_strange_controls(self) -> None:
        for name, recipe in self.recipes.items():
            if recipe.against and recipe.against not in self.recipes:
                raise ValueError(
                    f"arm {name} is judged against {recipe.against!r}; the study has {', '.join(self.recipes)}"
                )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.side not in SIDES:
            raise ValueError(f"side is {self.side}; the generators draw {', '.join(map(str, SIDES))} px")
        labels, arms = [same_name(label) for label in self.classes], [recipe_of(arm)[0] for arm in self.arms]
        titles = [recipe_of(arm)[1].title for arm in self.arms]
        for name, values in (("arms", arms), ("arms", titles), ("classes", labels), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names something twice: {getattr(self, name)}")
        self._refuse_strange_controls()
        self.generators.refuse_misfits({recipe.generator for recipe in self.recipes.values()} - {""})
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
