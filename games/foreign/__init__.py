"""Environments that others wrote, in many copies, as one game of this toolkit."""
