"""Measures the overhead of syntrial."""
