"""The graph: the only place that knows the order of the verbs.

Its shape and its settings follow the study. What can be changed for one run in the dashboard is a parameter of the
pipeline, so one compiled study serves any data, classes, arms and numbers. All other settings are constants of the
boxes that depend on them, passed by section: changing a setting reruns those boxes only.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, List, NamedTuple  # noqa: UP035  kfp reads annotations as text

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from components.digest import digest
from components.ingest import ingest
from components.pool import pool
from components.report import report
from components.settle import settle
from components.split import split
from components.synthesize import synthesize
from components.train_classifier import train_classifier
from components.train_generator import train_generator
from pipelines.boxes import ALL
from syntrial.arms import PROTOCOLS
from syntrial.config import StudyConfig
from syntrial.errors import ConfigError
from syntrial.reading.layouts import FACES

ANY_LAYOUT = {"layout": "auto"}  # for faces and second test set: the study's layout applies to its images only
SETS = 8  # lists of generated images that pool takes

# The parameters of a run, apart from the numbers of epochs: type and meaning.
TURNED = {
    "data": (str, "the images: a minio:// or s3:// URI of a folder or an archive."),
    "faces": (str, "URI of the faces on which a transfer generator is pretrained."),
    "external": (str, "URI of a second test set from another source, never trained on; may be empty."),
    "classes": (list, "class names as in the data; the last is the positive class."),
    "side": (int, "px; images are resized to side x side."),
    "arms": (list, "training sets to compare."),
    "seeds": (list, "one classifier is trained per seed; the seeds are the same in every arm."),
    "images_per_class": (int, "number of images that each generator draws of each class."),
}
OF_A_TRIAL = {"classes": list, "arms": list, "seeds": list, "images_per_class": int}


class Trial(NamedTuple):
    """The outputs of one protocol: the scores of each arm, and the pooled images from which the arms are chosen."""

    scores: List[Dataset]  # noqa: UP006
    images: Dataset


def kinds_of(study: StudyConfig) -> list[str]:
    """Names of the generators that the study's arms need, in the order of the study."""
    needed = {recipe.generator for recipe in study.recipes.values()}
    return [name for name in study.generators.by_name() if name in needed]


def starts_of(study: StudyConfig) -> list[str]:
    """Names of the generators that others continue."""
    starts = [study.generators[name].start for name in kinds_of(study)]
    return list(dict.fromkeys(filter(None, starts)))


def continuing(study: StudyConfig) -> list[str]:
    """Names of the arms that add images of a generator which continues another."""
    starts = {name: study.generators[name].start for name in kinds_of(study)}
    return [arm for arm, recipe in study.recipes.items() if starts.get(recipe.generator)]


def epochs_of(study: StudyConfig) -> dict[str, str]:
    """The parameters that are numbers of epochs: parameter -> setting.

    Raises:
        ConfigError: the names of two generators make one parameter.
    """
    names = (*starts_of(study), *kinds_of(study))
    turned: dict[str, str] = {}
    for setting in (*(f"generators.{name}.epochs" for name in names), "classifier.epochs"):
        *_, owner, _ = setting.split(".")
        parameter = f"{re.sub(r'[^a-z0-9]+', '_', owner.lower())}_epochs"
        if turned.setdefault(parameter, setting) != setting:
            raise ConfigError(
                f"{turned[parameter]} and {setting} would be one parameter of the pipeline, {parameter}; give the "
                "generator another name"
            )
    return turned


def arguments_of(study: StudyConfig, *, data: str, faces: str, external: str) -> dict[str, Any]:
    """The pipeline's parameters for a study and its data."""
    whole = study.model_dump(mode="json")
    uris = {"data": data, "faces": faces, "external": external}
    turned = {name: whole[name] for name in TURNED if name not in uris}
    return {**uris, **turned, **{name: _section(whole, setting) for name, setting in epochs_of(study).items()}}


def constants_of(study: StudyConfig) -> dict[str, Any]:
    """The study without the settings that are parameters, as JSON values."""
    whole = study.model_dump(mode="json")
    for setting in epochs_of(study).values():
        section, _, name = setting.rpartition(".")
        del _section(whole, section)[name]
    return {name: value for name, value in whole.items() if name not in TURNED}


def nowhere(_: dsl.PipelineTask) -> None:
    """Leaves a box as it is: it runs where the engine runs."""


def graph(study: StudyConfig, place: Callable[[dsl.PipelineTask], None] = nowhere) -> Callable[..., Any]:
    """The pipeline of a study. Its only output is the report.

    Args:
        place: sets where a box runs, and with which resources.

    Raises:
        ConfigError: the arms need more than SETS generators.
    """
    if len(kinds_of(study)) > SETS:
        raise ConfigError(f"the arms need {len(kinds_of(study))} generators; one study can have {SETS}")
    return _Graph(study, place).whole()


class _Graph:
    """Builds the boxes of a study, and the nested graph of one protocol."""

    def __init__(self, study: StudyConfig, place: Callable[[dsl.PipelineTask], None]) -> None:
        self.study, self.place = study, place
        self.settings = constants_of(study)
        self.epochs = {setting: name for name, setting in epochs_of(study).items()}

    def box(self, task: dsl.PipelineTask, title: str) -> Any:
        task.set_display_name(title)
        self.place(task)
        return task

    def whole(self) -> Any:
        """The whole graph, from raw files to report."""
        epochs = {name: (int, f"passes of {_learner(setting)}.") for setting, name in self.epochs.items()}
        given, meaning = {**TURNED, **epochs}, "A controlled trial for synthetic training images"
        trial = self.trial()

        def build(turned: dict[str, Any]) -> Any:
            changes = " ".join(f"{setting}={turned[name]}" for setting, name in self.epochs.items())
            own = {name: turned[name] for name in TURNED if name not in ("data", "faces", "external")}
            settled = self.box(settle(study=self.settings, epochs=changes, **own), "settle the study")
            digests = digest(data=turned["data"], faces=turned["faces"], external=turned["external"]).after(settled)
            found = self.box(digests, "look at the data")
            found.set_caching_options(
                False
            )  # its result depends on the data at the URIs, which are not part of the cache key
            sets = self.sets(turned, found)
            trials = {
                protocol: trial(protocol=protocol, **self.of_a_trial(turned), **sets).set_display_name(_title(protocol))
                for protocol in PROTOCOLS
            }
            scores = {protocol: made.outputs["scores"] for protocol, made in trials.items()}
            images = {f"{protocol}_images": made.outputs["images"] for protocol, made in trials.items()}
            done = report(study=settled.output, **scores, **images, **self.full_size(turned, found))
            return self.box(done, "report").outputs["report"]

        types = {name: type_ for name, (type_, _) in given.items()}
        meanings = "\n".join(f"    {name}: {text}" for name, (_, text) in given.items())
        return _pipeline("syntrial", f"{meaning}\n\nArgs:\n{meanings}", types, Dataset, build, meaning)

    def of_a_trial(self, turned: dict[str, Any]) -> dict[str, Any]:
        """The values of the parameters that a trial shares with the whole graph."""
        return {name: turned[name] for name in self.trial_parameters()}

    def trial_parameters(self) -> dict[str, type]:
        within = [name for setting, name in self.epochs.items() if setting != f"generators.{FACES}.epochs"]
        return {**OF_A_TRIAL, **dict.fromkeys(within, int)}

    def sets(self, turned: dict[str, Any], found: Any) -> dict[str, Any]:
        """The inputs of both trials: images, second test set, and the generators that others continue."""
        classes, side = turned["classes"], turned["side"]
        sets = {
            "images": self.images(turned["data"], "images", classes, side, "ingest images", found.outputs["data"]),
            "external": self.images(
                turned["external"],
                "second test set",
                classes,
                side,
                "ingest second test set",
                found.outputs["external"],
                instead=ANY_LAYOUT,
            ),
        }
        for name in starts_of(self.study):
            uri, at = turned[name], found.outputs[name]
            people = self.images(uri, name, [name], side, f"ingest {name}", at, instead=ANY_LAYOUT)
            sets[f"{name}_generator"] = self.generator(name, name, people, turned).outputs["generator"]
        return sets

    def images(self, uri: Any, name: str, classes: Any, side: Any, title: str, at: Any, **instead: Any) -> Any:
        """Ingests one set of images."""
        settings = self.settings["ingest"]
        taken = ingest(data=uri, digest=at, name=name, side=side, classes=classes, settings=settings, **instead)
        return self.box(taken, title).outputs["images"]

    def generator(self, name: str, label: Any, images: Any, turned: dict[str, Any], **start: Any) -> Any:
        """Trains one generator."""
        settings = self.settings["generators"][name]
        epochs = turned[self.epochs[f"generators.{name}.epochs"]]
        trained = train_generator(images=images, kind=name, label=label, epochs=epochs, settings=settings, **start)
        return self.box(trained, f"train {name} generator")

    def trial(self) -> Any:
        """One protocol: divide the images, train the generators, draw, pool, train the classifiers of each arm."""
        starts = {f"{name}_generator": Input[Model] for name in starts_of(self.study)}
        sets = {"images": Input[Dataset], "external": Input[Dataset], **starts}

        def build(given: dict[str, Any]) -> Trial:
            protocol, settings = given["protocol"], self.settings["split"]
            parts = split(images=given["images"], external=given["external"], protocol=protocol, settings=settings)
            divided = self.box(parts, "divide").outputs["parts"]
            drawn = {
                f"drawn_{number}": self.drawn(name, divided, given)
                for number, name in enumerate(kinds_of(self.study), 1)
            }
            pooled = self.box(pool(real=divided, settings=settings, **drawn), "pool").outputs["images"]
            with dsl.ParallelFor(given["arms"], name="arms") as arm:
                trained = self.classifier(pooled, arm, given, "train classifier")
            return Trial(scores=dsl.Collected(trained.outputs["scores"]), images=pooled)

        types = {"protocol": str, **self.trial_parameters(), **sets}
        return _pipeline("trial", _Graph.trial.__doc__ or "", types, Trial, build)

    def drawn(self, name: str, images: Any, given: dict[str, Any]) -> Any:
        """A loop over classes: trains a generator of each and draws its images. Returns the collected image sets."""
        config = self.study.generators[name]
        labels = [ALL] if config.conditional else given["classes"]
        start = {"start": given[f"{config.start}_generator"]} if config.start else {}
        with dsl.ParallelFor(labels, name=f"{name} generators") as label:
            trained = self.generator(name, label, images, given, **start)
            made = synthesize(generator=trained.outputs["generator"], count=given["images_per_class"])
            self.box(made, "draw images")
        return dsl.Collected(made.outputs["images"])

    def classifier(self, images: Any, arm: Any, given: dict[str, Any], title: str) -> Any:
        """Trains the classifiers of one arm."""
        trained = train_classifier(
            images=images,
            arm=arm,
            seeds=given["seeds"],
            epochs=given["classifier_epochs"],
            settings=self.settings["classifier"],
            augmentation=self.settings["conventional"],
        )
        return self.box(trained, title)

    def full_size(self, turned: dict[str, Any], found: Any) -> dict[str, Any]:
        """The resize check, if the study has one: the arm `original`, held out, on images at full size."""
        side = self.study.resize_check.full_side
        if not side:
            return {}
        at = found.outputs["data"]
        large = self.images(turned["data"], "images", turned["classes"], side, "ingest at full size", at)
        parts = split(images=large, protocol="held_out", settings=self.settings["split"])
        divided = self.box(parts, "divide at full size").outputs["parts"]
        trained = self.classifier(divided, "original", turned, "train classifier at full size")
        return {"full_size": trained.outputs["scores"]}


def _pipeline(
    name: str,
    meaning: str,
    inputs: dict[str, Any],
    returns: Any,
    build: Callable[[dict[str, Any]], Any],
    description: str | None = None,
) -> Any:
    """A pipeline whose inputs depend on the study. kfp reads the inputs from the signature of a function.

    Args:
        meaning: the function's docstring, with the meaning of each input.
        inputs: name -> type.
        build: creates the boxes; called with the inputs by name.
    """

    def function(*channels: Any) -> Any:
        return build(dict(zip(inputs, channels, strict=True)))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(input_, kind, annotation=type_) for input_, type_ in inputs.items()]
    function.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
    function.__annotations__ = {**inputs, "return": returns}
    function.__doc__ = meaning
    return dsl.pipeline(name=name, description=description or meaning)(function)


def _section(whole: dict[str, Any], name: str) -> Any:
    """A section or setting of a study, by its dotted name."""
    value: Any = whole
    for part in name.split("."):
        value = value[part]
    return value


def _learner(setting: str) -> str:
    *_, name, _ = setting.split(".")
    return "each classifier" if name == "classifier" else f"each {name} generator over its images"


def _title(protocol: str) -> str:
    return protocol.replace("_", " ")
