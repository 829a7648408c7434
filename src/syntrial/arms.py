"""The arms of a study: recipes for a training set, each a choice of rows of one pooled image set.

An arm is passed as text, because the graph loops over strings: the name of a preset, or a definition such as
"half: add=simple dose=0.5 against=duplicates".
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from syntrial.errors import ConfigError

PROTOCOLS = ("as_printed", "held_out")  # how images are divided and arms are judged
COPIES = "copies"  # value of `add` for copies of the real images
REFERENCE = "original"  # the arm that every study has
CONTROL = "duplicates"  # the default control of an arm with generated images, if the study has it
# How added images are used. "pool": for training together with the real ones; "alone": in place of them.
USES = ("pool", "alone")
# Conventional augmentation. "instead": augmented copies replace the images; "online": each batch is augmented.
AUGMENTS = ("", "instead", "online")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
TITLE = re.compile(r"[^'\"\\{}]{1,80}")
EXAMPLE = "'half: add=simple dose=0.5 against=duplicates'"


@dataclass(frozen=True)
class Recipe:
    """What an arm trains on. All arms have the same classifier, the same seeds and, held out, the same number of steps.

    Raises:
        ConfigError: an invalid value, or two values that contradict each other.
    """

    add: str = ""  # "", "copies", or the name of a generator of the study
    dose: float | None = None  # added images, as a multiple of the real training images of each class
    use: str = "pool"  # one of USES
    augment: str = ""  # one of AUGMENTS
    against: str = ""  # the arm it is compared with; "": its default control, see control_of
    title: str = ""  # its name in reports

    def __post_init__(self) -> None:
        for name, known in (("use", USES), ("augment", AUGMENTS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it may be {', '.join(filter(None, known))}")
        if self.dose is not None and not 0 < self.dose < float("inf"):
            raise ConfigError(f"dose is {self.dose:g}; it is a multiple of the real images, above 0")
        if self.dose is not None and not self.add:
            raise ConfigError("dose is given but add is not; give add, such as add=simple")
        if self.use == "alone" and self.add in ("", COPIES):
            raise ConfigError("use=alone trains on a generator's images only, so add must name a generator")
        if self.use == "alone" and self.augment == "instead":
            raise ConfigError(
                "augment=instead replaces the real images, which use=alone leaves out; use augment=online"
            )
        if self.title and not (TITLE.fullmatch(self.title) and self.title.isprintable()):
            raise ConfigError(f"title is {self.title!r}; it has at most 80 characters, none of them ' \" \\ {{ or }}")

    @property
    def generator(self) -> str:
        """Name of the generator whose images are added; "" for none."""
        return "" if self.add == COPIES else self.add

    @property
    def computes(self) -> dict[str, Any]:
        """The values that determine the training set: all except `title` and `against`."""
        return {name: value for name, value in asdict(self).items() if name not in ("title", "against")}


PRESETS: dict[str, Recipe] = {
    "original": Recipe(title="D1 original"),
    "conventional": Recipe(augment="instead", title="D2 conventional"),
    "simple_gan": Recipe(add="simple", title="D3 original + simple GAN"),
    "transfer_gan": Recipe(add="transfer", title="D4 original + transfer GAN"),
    "conventional_online": Recipe(augment="online", title="original, augmented on the fly"),
    "duplicates": Recipe(add=COPIES, title="original + duplicates (control)"),
}
# The arms of a study that lists none. Not derived from PRESETS, so that a new preset changes no study.
DEFAULT = ("original", "conventional", "simple_gan", "transfer_gan", "conventional_online", "duplicates")


def recipe_of(text: str) -> tuple[str, Recipe]:
    """Parses an arm: a preset's name, or "NAME: KEY=VALUE ...". Returns its name and recipe.

    Raises:
        ConfigError: an unknown preset, key or value, or a preset's name with another recipe.
    """
    name, written, settings = text.partition(":")
    name = name.strip()
    if not written:
        if name not in PRESETS:
            raise ConfigError(f"there is no arm {name!r}; there are {', '.join(PRESETS)}, or one written as {EXAMPLE}")
        return name, PRESETS[name]
    if not NAME.fullmatch(name):
        raise ConfigError(f"arm {name!r}: a name has at most 40 letters, digits and _, and begins with a letter")
    try:
        recipe = Recipe(**{"title": name.replace("_", " "), **_settings(settings)})
    except ConfigError as error:
        raise ConfigError(f"arm {name}: {error}") from None
    if not recipe.title.strip():
        raise ConfigError(f"arm {name} has an empty title; give one, or leave title out and it is called by its name")
    if name in PRESETS and recipe != PRESETS[name]:
        raise ConfigError(f"arm {name} is a preset, and means {PRESETS[name].title!r}; give yours another name")
    if name not in PRESETS and recipe.computes == Recipe().computes:
        raise ConfigError(f"arm {name} adds and changes nothing, so it equals {REFERENCE}; give add or augment")
    if recipe.against == name:
        raise ConfigError(f"arm {name} is judged against itself; give another arm, or leave against out")
    return name, recipe


def text_of(name: str, recipe: Recipe) -> str:
    """The text of an arm in its only form; the inverse of `recipe_of`."""
    if name in PRESETS and recipe == PRESETS[name]:
        return name
    defaults = asdict(Recipe(title=name.replace("_", " ")))
    given = {key: value for key, value in asdict(recipe).items() if value != defaults[key]}
    return f"{name}: " + " ".join(f"{key}={_word(value)}" for key, value in given.items())


def canonical(arm: Any) -> str:
    """The text of an arm from a study file, where it is a text or a mapping such as {name: half, add: simple}.

    YAML reads "- half: add=simple" without quotes as {half: "add=simple"}, which is accepted too.

    Raises:
        ConfigError: as `recipe_of`.
    """
    if isinstance(arm, dict):
        arm = _written(arm)
    if not isinstance(arm, str):
        raise ConfigError(f"{arm!r} is not an arm; give a preset, an arm such as {EXAMPLE}, or a mapping with name")
    return text_of(*recipe_of(arm))


def _written(arm: dict[str, Any]) -> str:
    """A mapping as text."""
    if "name" not in arm and len(arm) == 1 and not {*arm} & {field.name for field in fields(Recipe)}:
        ((name, settings),) = arm.items()
        if not isinstance(settings, dict):
            return f"{name}: {'' if settings is None else settings}"
        arm = {"name": name, **settings}
    if not isinstance(arm.get("name"), str):
        raise ConfigError(f"an arm has no name; write it as {EXAMPLE}, or as a mapping with name")
    given = {key: value for key, value in arm.items() if key != "name" and value is not None}
    settings = " ".join(f"{key}={_word(value)}" for key, value in given.items())
    return f"{arm['name']}: {settings}" if given else arm["name"]


def control_of(arm: str, recipes: Mapping[str, Recipe]) -> str:
    """Name of the arm with which `arm` is compared; "" for the reference, and if the study lacks it.

    It is the arm's own `against`, if given. Otherwise it is `duplicates` for an arm with generated images, if the study
    has it, else `original`.
    """
    if arm == REFERENCE:
        return ""
    wanted = recipes[arm].against or (CONTROL if recipes[arm].generator else REFERENCE)
    return next((other for other in (wanted, REFERENCE) if other in recipes and other != arm), "")


def _settings(text: str) -> dict[str, Any]:
    known, found = [field.name for field in fields(Recipe)], {}
    for word in _words(text):
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not of the form KEY=VALUE, such as add=simple")
        if key not in known:
            close = get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it may have {', '.join(known)}"
            raise ConfigError(f"it has no {key!r}; {hint}")
        if key in found:
            raise ConfigError(f"{key} is given twice")
        found[key] = _number(value) if key == "dose" else value
    return found


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{text.strip()!r} cannot be read: {str(error).lower()}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"dose is {text!r}; it is a number, such as 0.5") from None


def _word(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else shlex.quote(str(value))
