"""The graph: the only place that knows the order of the verbs.

Its shape follows the study (which kinds of generators its arms need, whether sizes are compared); everything else is a
parameter, so one compiled pipeline serves any classes, arms and numbers.
"""

from collections.abc import Callable
from typing import Any, List, NamedTuple  # noqa: UP035  kfp reads annotations as text

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from components.digest import digest
from components.ingest import ingest
from components.pool import pool
from components.report import report
from components.split import split
from components.synthesize import synthesize
from components.train_classifier import train_classifier
from components.train_generator import train_generator
from syntrial.config import StudyConfig, parameters_of
from syntrial.reading.layouts import FACES

ALL = "*"  # one conditional generator of all classes
BESIDE = {"layout": "auto"}  # of faces and second test set: the study's layout is that of its images


class Trial(NamedTuple):
    """What one protocol hands on: the scores of each arm, and the pooled images they were chosen from."""

    scores: List[Dataset]  # noqa: UP006
    images: Dataset


def kinds_of(study: StudyConfig) -> list[str]:
    """The kinds of generators the study's arms need."""
    return [kind for kind in ("simple", "transfer") if any(r.generator == kind for r in study.recipes.values())]


def arguments_of(study: StudyConfig, *, data: str, faces: str, external: str) -> dict[str, Any]:
    """The pipeline's parameters for a study and its data."""
    return {
        "data": data,
        "faces": faces,
        "external": external,
        **parameters_of(study),
        **{
            kind: [ALL] if getattr(study.generators, kind).conditional else study.classes
            for kind in ("simple", "transfer")
        },
        "study": study.model_dump(mode="json"),
    }


def labels_of(study: StudyConfig, kind: str) -> list[str]:
    """The classes that get a generator of their own; ALL for one conditional generator."""
    return [ALL] if getattr(study.generators, kind).conditional else study.classes


def nowhere(_: dsl.PipelineTask) -> None:
    """A box that runs where its engine runs."""


def graph(study: StudyConfig, place: Callable[[dsl.PipelineTask], None] = nowhere) -> Callable[..., Any]:
    """The pipeline whose shape fits the study. Its one output is the report.

    Args:
        place: says of each box where it runs, and with what.
    """
    kinds, full_side = kinds_of(study), study.resize_check.full_side

    def box(task: dsl.PipelineTask, title: str) -> Any:
        task.set_display_name(title)
        place(task)
        return task

    def generated(kind: str, labels: Any, epochs: Any, settings: Any, count: Any, images: Any, **start: Any) -> Any:
        """One loop over classes: train a generator of each and draw its images. Returns the drawn sets, collected."""
        with dsl.ParallelFor(labels, name=f"{kind} generators") as label:
            trained = train_generator(images=images, kind=kind, label=label, epochs=epochs, settings=settings, **start)
            box(trained, f"train {kind} generator")
            drawn = box(synthesize(generator=trained.outputs["generator"], count=count), "draw images")
        return dsl.Collected(drawn.outputs["images"])

    @dsl.pipeline(name="trial", description="One protocol: divide, train the generators, draw, pool, train the arms")
    def trial(
        images: Input[Dataset],
        external: Input[Dataset],
        protocol: str,
        simple: list,
        transfer: list,
        arms: list,
        seeds: list,
        images_per_class: int,
        simple_epochs: int,
        transfer_epochs: int,
        classifier_epochs: int,
        split_settings: dict,
        simple_gan: dict,
        transfer_gan: dict,
        conventional: dict,
        classifier: dict,
        faces_generator: Input[Model] = None,
    ) -> Trial:
        parts = split(images=images, external=external, protocol=protocol, settings=split_settings)
        divided = box(parts, "divide").outputs["parts"]
        drawn = {}
        if "simple" in kinds:
            drawn["simple"] = generated("simple", simple, simple_epochs, simple_gan, images_per_class, divided)
        if "transfer" in kinds:
            start = {"start": faces_generator}
            drawn["transfer"] = generated(
                "transfer", transfer, transfer_epochs, transfer_gan, images_per_class, divided, **start
            )
        pooled = box(pool(real=divided, settings=split_settings, **drawn), "pool")
        with dsl.ParallelFor(arms, name="arms") as arm:
            trained_arm = train_classifier(
                images=pooled.outputs["images"],
                arm=arm,
                seeds=seeds,
                epochs=classifier_epochs,
                settings=classifier,
                augmentation=conventional,
            )
            box(trained_arm, "train classifier")
        return Trial(scores=dsl.Collected(trained_arm.outputs["scores"]), images=pooled.outputs["images"])

    @dsl.pipeline(name="syntrial", description="A controlled trial for synthetic training images")
    def whole(
        data: str,
        faces: str,
        external: str,
        classes: list,
        side: int,
        arms: list,
        seeds: list,
        images_per_class: int,
        faces_epochs: int,
        simple_epochs: int,
        transfer_epochs: int,
        classifier_epochs: int,
        simple: list,
        transfer: list,
        ingest_settings: dict,
        split_settings: dict,
        faces_gan: dict,
        simple_gan: dict,
        transfer_gan: dict,
        conventional: dict,
        classifier: dict,
        study: dict,
    ) -> Dataset:
        """A controlled trial for synthetic training images.

        Args:
            data: the images: a minio:// or s3:// URI of a folder or an archive.
            faces: the images that the transfer starts from.
            external: a second test set from another source, never trained on; may be empty.
            classes: names of the classes, the one to be found last.
            side: px; images become side x side.
            arms: training sets to be compared.
            seeds: one classifier is trained for each, the same in every arm.
            images_per_class: images that each generator draws for a class.
            faces_epochs: passes of the faces generator over its images.
            simple_epochs: passes of each simple generator over its class.
            transfer_epochs: passes of each transferred generator over its class.
            classifier_epochs: passes of each classifier.
            simple: classes that get a simple generator; ["*"] for one conditional generator of all.
            transfer: classes that get a transferred generator; ["*"] for one conditional generator of all.
            ingest_settings: the study's section ingest; its layout is that of the data alone.
            split_settings: the study's section split.
            faces_gan: the study's section generators.faces.
            simple_gan: the study's section generators.simple.
            transfer_gan: the study's section generators.transfer.
            conventional: the study's section conventional.
            classifier: the study's section classifier.
            study: the whole study; where a parameter above says otherwise, the parameter holds.
        """
        found = box(digest(data=data, faces=faces, external=external), "look at the data")
        found.set_caching_options(False)  # its result depends on what lies at the URIs, which no cache key holds

        def images(uri: Any, name: str, wanted: Any, px: Any, title: str, digest_of: str, **instead: Any) -> Any:
            """One set of images, ingested."""
            taken = ingest(
                data=uri,
                digest=found.outputs[digest_of],
                name=name,
                side=px,
                classes=wanted,
                settings=ingest_settings,
                **instead,
            )
            return box(taken, title).outputs["images"]

        real = images(data, "images", classes, side, "ingest images", "data")
        title = "ingest second test set"
        second = images(external, "second test set", classes, side, title, "external", instead=BESIDE)
        start = {}
        if "transfer" in kinds:
            people = images(faces, FACES, [FACES], side, "ingest faces", "faces", instead=BESIDE)
            first = train_generator(images=people, kind="faces", label=FACES, epochs=faces_epochs, settings=faces_gan)
            start["faces_generator"] = box(first, "train faces generator").outputs["generator"]
        trials = {
            protocol: trial(
                images=real,
                external=second,
                protocol=protocol,
                simple=simple,
                transfer=transfer,
                arms=arms,
                seeds=seeds,
                images_per_class=images_per_class,
                simple_epochs=simple_epochs,
                transfer_epochs=transfer_epochs,
                classifier_epochs=classifier_epochs,
                split_settings=split_settings,
                simple_gan=simple_gan,
                transfer_gan=transfer_gan,
                conventional=conventional,
                classifier=classifier,
                **start,
            ).set_display_name(protocol.replace("_", " "))
            for protocol in ("as_printed", "held_out")
        }
        full_size = {}
        if full_side:
            large = images(data, "images", classes, full_side, "ingest at full size", "data")
            divided = split(images=large, protocol="held_out", settings=split_settings)
            at_full_size = train_classifier(
                images=box(divided, "divide at full size").outputs["parts"],
                arm="original",
                seeds=seeds,
                epochs=classifier_epochs,
                settings=classifier,
                augmentation=conventional,
            )
            full_size["full_size"] = box(at_full_size, "train classifier at full size").outputs["scores"]
        done = report(
            study=study,
            classes=classes,
            side=side,
            arms=arms,
            seeds=seeds,
            images_per_class=images_per_class,
            faces_epochs=faces_epochs,
            simple_epochs=simple_epochs,
            transfer_epochs=transfer_epochs,
            classifier_epochs=classifier_epochs,
            ingest_settings=ingest_settings,
            split_settings=split_settings,
            faces_gan=faces_gan,
            simple_gan=simple_gan,
            transfer_gan=transfer_gan,
            conventional=conventional,
            classifier=classifier,
            as_printed=trials["as_printed"].outputs["scores"],
            held_out=trials["held_out"].outputs["scores"],
            as_printed_images=trials["as_printed"].outputs["images"],
            held_out_images=trials["held_out"].outputs["images"],
            **full_size,
        )
        return box(done, "report").outputs["report"]

    return whole
