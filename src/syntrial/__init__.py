"""A controlled trial for synthetic training images."""

__version__ = "0.1.0"
