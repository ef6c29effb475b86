"""The town whose daemon is deployed."""

from __future__ import annotations

from tests.service.conftest import town

__all__ = ["town"]
