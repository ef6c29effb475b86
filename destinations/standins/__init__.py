"""Strict stand-ins of the services, for the demo, the sandbox and the tests.

A stand-in keeps records as its service would, refuses what its service would refuse, logs each exchange,
and makes trouble on demand. Each lives in a module of the name of its adapter, as a subclass of `StandIn`.
"""

from __future__ import annotations

import importlib
import pkgutil

from destinations.standins.server import StandIn


def standins() -> dict[str, type[StandIn]]:
    """Kind of destination → class of its stand-in."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name != "server" and not module.ispkg:
            loaded = importlib.import_module(f"{__name__}.{module.name}")
            found[module.name] = loaded.STAND_IN
    return found
