"""The graph: the only place that knows the order of the verbs.

Its shape follows the study (which kinds of generators its arms need, whether sizes are compared); everything else is a
parameter, so one compiled pipeline serves any classes, arms and numbers.
"""

from collections.abc import Callable
from typing import Any, List, NamedTuple  # noqa: UP035  kfp reads annotations as text

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from components.ingest import ingest
from components.pool import pool
from components.report import report
from components.split import split
from components.synthesize import synthesize
from components.train_cnn import train_cnn
from components.train_gan import train_gan
from syntrial.arms import ARMS
from syntrial.config import StudyConfig, numbers_of

FACES = "faces"  # the one class of the set that a transfer starts from
ALL = "*"  # one conditional generator of all classes


class Trial(NamedTuple):
    """What one protocol hands on: the scores of each arm, and the pooled images they were chosen from."""

    scores: List[Dataset]  # noqa: UP006
    images: Dataset


def kinds_of(study: StudyConfig) -> list[str]:
    """The kinds of generators the study's arms need."""
    return [kind for kind in ("simple", "transfer") if any(ARMS[arm].generator == kind for arm in study.arms)]


def arguments_of(
    study: StudyConfig, *, data: str, faces: str, external: str, digests: dict[str, str]
) -> dict[str, Any]:
    """The pipeline's parameters for a study and its data. `digests` by "data", "faces" and "external"."""
    sections = study.model_dump(mode="json")
    return {
        "data": data,
        "faces": faces,
        "external": external,
        **{f"{name}_digest": digests[name] for name in ("data", "faces", "external")},
        "classes": study.classes,
        **numbers_of(study),
        **{kind: [ALL] if getattr(study.gans, kind).conditional else study.classes for kind in ("simple", "transfer")},
        "ingest_settings": sections["ingest"],
        "split_settings": sections["split"],
        **{f"{kind}_gan": sections["gans"][kind] for kind in ("faces", "simple", "transfer")},
        "conventional": sections["conventional"],
        "classifier": sections["classifier"],
        "study": sections,
    }


def generated(kind: str, labels: Any, epochs: Any, settings: Any, count: Any, images: Any, **start: Any) -> Any:
    """One loop over classes: train a generator of each and draw its images. Returns the drawn sets, collected."""
    with dsl.ParallelFor(labels, name=f"{kind} generators") as label:
        trained = train_gan(images=images, kind=kind, label=label, epochs=epochs, settings=settings, **start)
        trained.set_display_name(f"train {kind} generator")
        drawn = synthesize(generator=trained.outputs["generator"], count=count).set_display_name("draw images")
    return dsl.Collected(drawn.outputs["images"])


def graph(study: StudyConfig) -> Callable[..., Any]:
    """The pipeline whose shape fits the study. Its one output is the report."""
    kinds, full_side = kinds_of(study), study.resize_check.full_side

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
        parts.set_display_name("divide")
        divided = parts.outputs["parts"]
        drawn = {}
        if "simple" in kinds:
            drawn["simple"] = generated("simple", simple, simple_epochs, simple_gan, images_per_class, divided)
        if "transfer" in kinds:
            start = {"start": faces_generator}
            drawn["transfer"] = generated(
                "transfer", transfer, transfer_epochs, transfer_gan, images_per_class, divided, **start
            )
        pooled = pool(real=divided, settings=split_settings, **drawn)
        with dsl.ParallelFor(arms, name="arms") as arm:
            trained_arm = train_cnn(
                images=pooled.outputs["images"],
                arm=arm,
                seeds=seeds,
                epochs=classifier_epochs,
                settings=classifier,
                augmentation=conventional,
            ).set_display_name("train classifier")
        return Trial(scores=dsl.Collected(trained_arm.outputs["scores"]), images=pooled.outputs["images"])

    @dsl.pipeline(name="syntrial", description="A controlled trial for synthetic training images")
    def whole(
        data: str,
        faces: str,
        external: str,
        data_digest: str,
        faces_digest: str,
        external_digest: str,
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
        real = ingest(
            data=data, digest=data_digest, name="images", side=side, classes=classes, settings=ingest_settings
        )
        real.set_display_name("ingest images")
        second = ingest(
            data=external,
            digest=external_digest,
            name="second test set",
            side=side,
            classes=classes,
            settings=ingest_settings,
        )
        second.set_display_name("ingest second test set")
        start = {}
        if "transfer" in kinds:
            people = ingest(
                data=faces, digest=faces_digest, name=FACES, side=side, classes=[FACES], settings=ingest_settings
            )
            people.set_display_name("ingest faces")
            first = train_gan(
                images=people.outputs["images"], kind="faces", label=FACES, epochs=faces_epochs, settings=faces_gan
            ).set_display_name("train faces generator")
            start["faces_generator"] = first.outputs["generator"]
        trials = {
            protocol: trial(
                images=real.outputs["images"],
                external=second.outputs["images"],
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
            large = ingest(
                data=data, digest=data_digest, name="images", side=full_side, classes=classes, settings=ingest_settings
            )
            large.set_display_name("ingest at full size")
            divided = split(images=large.outputs["images"], protocol="held_out", settings=split_settings)
            divided.set_display_name("divide at full size")
            at_full_size = train_cnn(
                images=divided.outputs["parts"],
                arm="original",
                seeds=seeds,
                epochs=classifier_epochs,
                settings=classifier,
                augmentation=conventional,
            ).set_display_name("train classifier at full size")
            full_size["full_size"] = at_full_size.outputs["scores"]
        done = report(
            study=study,
            side=side,
            arms=arms,
            seeds=seeds,
            images_per_class=images_per_class,
            faces_epochs=faces_epochs,
            simple_epochs=simple_epochs,
            transfer_epochs=transfer_epochs,
            classifier_epochs=classifier_epochs,
            as_printed=trials["as_printed"].outputs["scores"],
            held_out=trials["held_out"].outputs["scores"],
            as_printed_images=trials["as_printed"].outputs["images"],
            held_out_images=trials["held_out"].outputs["images"],
            **full_size,
        )
        return done.outputs["report"]

    return whole
