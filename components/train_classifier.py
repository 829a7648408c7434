"""Pooled image set + arm + seeds -> classifiers, curves and predictions."""

from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Output

from components._base import component


@component("train_classifier")
def train_classifier(
    images: Input[Dataset],
    arm: str,
    seeds: list,
    epochs: int,
    settings: dict,
    augmentation: dict,
    scores: Output[Dataset],
    page: Output[HTML],
    classification: Output[ClassificationMetrics],
    metrics: Output[Metrics],
):
    """Trains one classifier per seed; the seeds are the same in every arm."""
    from syntrial.classifiers.settings import classifier_config
    from syntrial.config import AugmentConfig
    from syntrial.reporting.dashboard import show_classifier
    from syntrial.train_classifier import train_classifier

    seeds = [int(seed) for seed in seeds]  # the engine turns numbers in lists into floats
    config, changes = classifier_config(settings, epochs=epochs), AugmentConfig.of(augmentation)
    train_classifier(images.path, scores.path, arm=arm, seeds=seeds, config=config, augmentation=changes)
    show_classifier(scores.path, page.path, classification, metrics)
