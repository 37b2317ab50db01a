"""Kotaro Bridge: local AI models on the GPU, or not at all."""

from __future__ import annotations

__version__ = "0.1.0"
