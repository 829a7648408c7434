"""All settings of a study, each defined once: name, default, unit, bounds, meaning, and source of the default.

A study file states only the settings that differ from the defaults. Every choice that the reproduced paper does not
state is a setting here, with our reason as its source, and is listed with its value in the report.
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
        "auto", "how files, classes and patients are detected; named layouts are public sets (docs/data.md)", "ours"
    )
    fit: Literal["squeeze", "pad", "crop"] = setting(
        "squeeze", "how images that are not square are made square", UNSAID + "; its images are square already"
    )
    group_pattern: str = setting(
        "",
        "regular expression for file names; its match identifies the patient; empty: each file is its own group",
        "ours",
    )
    shared_patients: bool = setting(
        False,
        "whether the same patient or file name means the same person in images, faces and second test set",
        "ours; two sources may use the same numbers for different patients",
    )
    min_side: int = setting(32, "px; shortest edge of an image; smaller images are refused", "ours", ge=1)
    max_aspect: float = setting(
        4.0, "largest ratio of the longer to the shorter edge; beyond it resizing destroys the anatomy", "ours", ge=1
    )
    max_pixels: int = setting(
        100_000_000, "most pixels of an image", "ours; four times the largest detector in use", ge=1_000
    )
    max_left_out: float = setting(
        0.1, "largest share of the files that may be unreadable or left out; above it the run stops", "ours", ge=0, le=1
    )
    near_duplicate_bits: int = setting(
        2,
        "largest number of differing bits in a 64-bit perceptual hash for two images to be compared as near duplicates",
        "ours",
        ge=0,
        le=16,
    )

    @model_validator(mode="after")
    def _some_image_passes(self) -> Self:
        if self.min_side**2 > self.max_pixels:
            raise ValueError(f"min_side is {self.min_side} and max_pixels {self.max_pixels}: no image satisfies both")
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
        0.2, "share of the validation part", UNSAID + "; no customary share explains its figures", gt=0, lt=0.5
    )
    test_share: float = setting(
        0.2,
        "share of the patients in the test part, which is used once, at the end; held_out only",
        "the paper has no test set",
        gt=0,
        lt=0.5,
    )
    seed: int = setting(0, "seed of the division; a patient's part depends only on it and on the patient", UNSAID, ge=0)


class AugmentConfig(Config):
    """Conventional augmentation, with the meaning of Keras' ImageDataGenerator."""

    rotation_range: float = setting(
        10.0, "degrees; largest rotation either way", UNSAID + "; a patient is rarely turned further", ge=0, le=180
    )
    width_shift_range: float = setting(0.05, "largest shift either way, as a share of the side", UNSAID, ge=0, lt=1)
    height_shift_range: float = setting(0.05, "largest shift either way, as a share of the side", UNSAID, ge=0, lt=1)
    shear_range: float = setting(0.0, "degrees; largest shear either way", UNSAID, ge=0, lt=90)
    zoom_range: tuple[float, float] = setting((0.9, 1.1), "smallest and largest zoom, independent per axis", UNSAID)
    brightness_range: tuple[float, float] = setting((0.8, 1.2), "smallest and largest factor on grey values", UNSAID)
    # No horizontal flip by default: it moves the heart to the right side (dextrocardia), a diagnosis of its own.
    horizontal_flip: bool = setting(
        False, "mirror left and right at random", UNSAID + "; off, because it moves the heart"
    )
    vertical_flip: bool = setting(False, "mirror top and bottom at random", UNSAID)
    fill_mode: Literal["nearest", "constant", "reflect", "wrap"] = setting(
        "nearest", "how pixels beyond the edge are filled", "Keras' default"
    )
    cval: float = setting(
        0.0, "grey value (0 to 255) beyond the edge; fill_mode constant only", "Keras' default", ge=0, le=255
    )
    copies: int = setting(
        1,
        "augmented copies of each image in an arm with augment=instead; as_printed may put any of them in validation",
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
            raise ValueError(
                f"cval is {self.cval:g}, which has no effect with fill_mode {self.fill_mode}; use constant"
            )
        return self


class ResizeConfig(Config):
    """The paper's check that resizing loses nothing: the same classifier on images at full and reduced size."""

    full_side: int = setting(
        1024, "px; side of the full-size images; 0: no check", PAPER + ", section 2.1", ge=0, le=4096
    )


class ReportConfig(Config):
    """How the verdict is reached."""

    metric: Literal["auroc", "accuracy", "loss"] = setting(
        "auroc", "metric that the verdict compares, on the held-out test images", "ours; needs no threshold"
    )
    confidence: float = setting(
        0.95,
        "joint confidence of the arms' verdicts (each interval is widened for their number); of each other interval "
        "alone",
        "ours",
        gt=0.5,
        lt=1,
    )
    resamples: int = setting(
        2000, "bootstrap samples of patients; seeds are not resampled", "ours", ge=200, le=1_000_000
    )


class StudyConfig(Config):
    """The complete description of a study."""

    name: str = setting(
        "study", "name of the study: letters, digits, - and _", "ours", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$"
    )
    side: int = setting(128, "px; side of all training images: 32, 64, 128 or 256", PAPER + ", section 2.1")
    classes: list[str] = setting(
        ["normal", "pneumonia"], "class names as in the data; the last is the positive class", PAPER, min_length=2
    )
    arms: list[str] = setting(
        list(DEFAULT),
        "training sets to compare: presets of syntrial.arms, or arms such as 'half: add=simple dose=0.5'",
        PAPER + ", section 2.3; conventional_online and duplicates are ours",
    )
    seeds: list[int] = setting(
        [0, 1, 2],
        "one classifier per arm and seed, the same seeds in every arm",
        "ours; the paper has one run",
        min_length=1,
    )
    images_per_class: int = setting(
        1000, "generated images per class and generator", PAPER + ", section 2.2", ge=1, le=10_000_000
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
            raise PydanticCustomError("sentence", "arms: {sentence}", {"sentence": str(error)}) from None

    @field_validator("classifier", mode="before")
    @classmethod
    def _classifier_of_its_architecture(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        try:
            return classifier_config(settings, above="classifier")
        except ConfigError as error:
            raise PydanticCustomError("sentence", "{sentence}", {"sentence": str(error)}) from None

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
                raise ValueError(f"{name} contains an item twice: {getattr(self, name)}")
        self._refuse_strange_controls()
        self.generators.refuse_misfits({recipe.generator for recipe in self.recipes.values()} - {""})
        if "original" not in self.arms:
            raise ValueError("arms lacks 'original', the reference of every other arm")
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
    """The form in which class names are compared: data may differ from the study in upper and lower case."""
    return unicodedata.normalize("NFC", label).strip().casefold()


def load_study(path: str | Path, changes: list[str] | None = None) -> StudyConfig:
    """Loads the study in a YAML file ("": all defaults) and applies changes such as "generators.simple.epochs=5".

    Raises:
        ConfigError: no such file, not YAML, or a setting that is misspelt, invalid or contradicts another.
    """
    content = {"name": Path(path).stem, **stated(Path(path), "study", KNOWN)} if str(path) else {}
    for one in changes or []:
        change(content, one)
    return StudyConfig.of(content, where=Path(path).name)


class _Loader(yaml.SafeLoader):
    """Refuses a name that appears twice in a section: PyYAML would silently drop the first of two `generators:`."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: list[Any] = []
        for key, _ in node.value:
            if key.value in names:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            names.append(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 1e-3, which lacks a point, as a text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def stated(path: Path, what: str, known: str) -> dict[str, Any]:
    """The settings in a YAML file.

    Args:
        what: the kind of file, for messages.
        known: a hint where such files are, for the message about a missing file.

    Raises:
        ConfigError: no such file, not YAML, or not a mapping of settings.
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
        ConfigError: `what` has another form, NAME is inside a value, or VALUE is not YAML.
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
