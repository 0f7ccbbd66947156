"""Backburner: a durable, self-hosted server for LLM work that can wait."""

__version__ = "0.1.0"
