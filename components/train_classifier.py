"""Pooled image set + arm + seeds -> classifiers, curves and scores."""

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
    """One classifier a seed, the same seeds in every arm."""
    from syntrial.config import AugmentConfig, CnnConfig
    from syntrial.reporting.dashboard import classifier_page, show, show_classification
    from syntrial.train_classifier import train_classifier

    seeds = [int(seed) for seed in seeds]  # the engine makes floats of numbers in lists
    settings = {"config": CnnConfig.of(settings, epochs=epochs), "augmentation": AugmentConfig.of(augmentation)}
    show(metrics, train_classifier(images.path, scores.path, arm=arm, seeds=seeds, **settings))
    classifier_page(scores.path, page.path)
    show_classification(classification, scores.path)
