"""Unbroken: a model server for vision models that never loses a request."""

__version__ = "0.1.0"
