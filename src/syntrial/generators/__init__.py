"""Generators of images: one family per file behind a common interface, and trained generators on disk."""
