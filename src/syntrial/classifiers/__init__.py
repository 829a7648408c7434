"""Classifiers: the networks, what an arm trains on, and a trained classifier on disk."""
