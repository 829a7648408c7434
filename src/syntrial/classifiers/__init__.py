"""Classifiers: networks, the training material of an arm, and trained classifiers on disk."""
