"""Batches: what they are made of, in which order they come, and which part of each a rank gets."""

__all__: list[str] = []
