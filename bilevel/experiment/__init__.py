"""Runs: configuration, folders that resume, statistics."""
