"""The adapters, one module each, and the registry that finds them by the name in the config.

`destinations/NAME.py` holds one subclass of `syncer.destination.Destination` whose `kind` is NAME; being
there is all the registration it needs. Packages of others add theirs by an entry point of the group
`syncer.destinations`, whose name is the kind.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
from functools import cache
from types import ModuleType

from syncer.destination import Destination

GROUP = "syncer.destinations"


@cache
def kinds() -> tuple[str, ...]:
    """Every kind of destination that can be configured, sorted; imports none of them."""
    own = {module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg}
    return tuple(sorted(own | {point.name for point in importlib.metadata.entry_points(group=GROUP)}))


@cache
def adapter(kind: str) -> type[Destination]:
    """The adapter class of a kind. Raises KeyError when there is none, TypeError when it is not an adapter."""
    for point in importlib.metadata.entry_points(group=GROUP):
        if point.name == kind:
            found = point.load()
            if not (inspect.isclass(found) and issubclass(found, Destination)):
                raise TypeError(f"The entry point {kind!r} of {GROUP} is not a subclass of Destination.")
            return found
    if kind not in kinds():
        raise KeyError(kind)
    return _class_in(importlib.import_module(f"{__name__}.{kind}"), kind)


def _class_in(module: ModuleType, kind: str) -> type[Destination]:
    for _, found in inspect.getmembers(module, inspect.isclass):
        if issubclass(found, Destination) and getattr(found, "kind", None) == kind:
            return found
    raise TypeError(f"{module.__name__} holds no subclass of Destination with kind = {kind!r}.")
