"""Bilevel optimisation for social dilemmas and loss weights."""
