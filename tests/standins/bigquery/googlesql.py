"""GoogleSQL itself, as the package `zetasql` carries it: WebAssembly that speaks protobuf.

The package's own client copies every message byte by byte in Python and compiles the module, some sixteen
seconds of work, in each process. This one keeps the compiled module between runs, in the user's cache, and
copies whole. Nothing is loaded before the first question.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import re
import threading
from collections import OrderedDict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message


CATALOGS_MAX = 64


class Complaint(Exception):
    """What GoogleSQL says is wrong. `message` has the position at its end, as BigQuery writes it: `… at [1:8]`."""

    def __init__(self, text: str) -> None:
        # Several spaces of the service stand before the text, and the position in brackets of its own.
        found = re.match(r"Code: \d+, Message: (.*)", text, re.DOTALL)
        self.message = re.sub(r" \[at (\d+:\d+)\]", r" at [\1]", found[1] if found else text).strip()
        super().__init__(self.message)


class GoogleSQL:
    """One instance of the module. Every call takes the lock, since the module has one memory."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._exports: Any = None
        self._store: Any = None
        self._catalogs: OrderedDict[bytes, int] = OrderedDict()

    def ask(self, method: str, request: Message, answer: type[Message]) -> Any:
        """Call one method of the module's service. Raises Complaint."""
        with self._lock:
            if self._exports is None:
                self._begin()
            if len(self._catalogs) > CATALOGS_MAX:
                self._forget()
            try:
                return self._asked(method, request.SerializeToString(), answer)
            except Complaint:
                raise
            except BaseException:
                # After a trap, as for a statement nested too deeply, the module's memory is not to be trusted.
                self._exports = None
                raise

    def catalog(self, described: bytes) -> int:
        """The number under which the module keeps a catalog, so that the built-in functions are set up once."""
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

        with self._lock:
            if described not in self._catalogs:
                request = service.RegisterCatalogRequest()
                request.simple_catalog.ParseFromString(described)
                number = self.ask("RegisterCatalog", request, service.RegisterResponse).registered_id
                self._catalogs[described] = number
            self._catalogs.move_to_end(described)
            return self._catalogs[described]

    def _asked(self, method: str, question: bytes, answer: type[Message]) -> Any:
        exports, store = self._exports, self._store
        memory = exports["memory"]
        request = exports["wasm_malloc"](store, max(1, len(question)))
        size = exports["wasm_malloc"](store, 4)
        try:
            ctypes.memmove(_address(memory, request), question, len(question))
            response = exports[f"ZetaSqlLocalService_{method}"](store, request, len(question), size)
            if response == 0:
                length = exports["wasm_get_last_error_size"](store)
                start = exports["wasm_get_last_error"](store)
                raise Complaint(ctypes.string_at(_address(memory, start), length).decode())
            length = int.from_bytes(ctypes.string_at(_address(memory, size), 4), "little")
            content = ctypes.string_at(_address(memory, response), length)
            exports["wasm_free"](store, response)
        finally:
            exports["wasm_free"](store, request)
            exports["wasm_free"](store, size)
        return answer.FromString(content)

    def _forget(self) -> None:
        """Let go of the catalog that was used longest ago."""
        from google.protobuf import empty_pb2
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

        _, number = self._catalogs.popitem(last=False)
        self._asked(
            "UnregisterCatalog", service.UnregisterRequest(registered_id=number).SerializeToString(), empty_pb2.Empty
        )

    def _begin(self) -> None:
        import tzdata
        from wasmtime import Config, Engine, Linker, Store, WasiConfig

        config = Config()
        config.shared_memory = True
        engine = Engine(config)
        store = Store(engine)
        world = WasiConfig()
        world.preopen_dir(str(Path(tzdata.__file__).parent / "zoneinfo"), "/usr/share/zoneinfo")
        store.set_wasi(world)
        linker = Linker(engine)
        linker.define_wasi()
        instance = linker.instantiate(store, _module(engine))
        exports = instance.exports(store)
        exports["_initialize"](store)
        self._exports, self._store = exports, store
        self._catalogs.clear()


SHARED = GoogleSQL()
"""The one of this process."""


def _address(memory: Any, offset: int) -> int:
    """Where a place in the module's memory is in ours; it may move with every call that takes more memory."""
    return ctypes.addressof(memory.data_ptr().contents) + offset


def _module(engine: Any) -> Any:
    """The module, compiled once for this machine and these versions, whoever comes first."""
    from wasmtime import Module
    from zetasql.wasi import get_wasm_path

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "syncer-tests"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    versions = "-".join(metadata.version(name) for name in ("zetasql", "wasmtime"))
    compiled = folder / f"googlesql-{versions}-{platform.machine()}.cwasm"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not compiled.exists():
            fresh = compiled.with_suffix(f".{os.getpid()}")
            fresh.write_bytes(Module.from_file(engine, str(get_wasm_path())).serialize())
            fresh.replace(compiled)
    return Module.deserialize_file(engine, str(compiled))
