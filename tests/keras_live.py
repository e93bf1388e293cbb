"""Keras 3 as a reference: importing this gives `keras`, or skips the test that asks for it and says what is missing."""

from __future__ import annotations

import os

import pytest

# Keras' NumPy backend borrows two functions from jax
os.environ.setdefault("KERAS_BACKEND", "numpy")
pytest.importorskip("scipy", reason="Keras' NumPy backend needs scipy")
pytest.importorskip("jax", reason="Keras' NumPy backend needs jax")
keras = pytest.importorskip("keras", minversion="3", reason="live Keras 3 is the reference")
