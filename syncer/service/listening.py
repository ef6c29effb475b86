"""The HTTP side of the daemon: a socket that is listened on, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import uvicorn

from syncer.config_file import Service
from syncer.errors import SyncerError

START_SECONDS = 10.0
"""How long it may take to listen."""
LOOK_SECONDS = 1.0
"""How often the server looks at the clock for the `Date` that it answers with, and whether it is to stop."""


class Server(uvicorn.Server):
    """Looks once a second, where the library looks ten times: an idle daemon lets its machine rest."""

    async def main_loop(self) -> None:
        """Until the server is to stop."""
        while not await self.on_tick(0):
            await asyncio.sleep(LOOK_SECONDS)


def listen(application: Any, service: Service) -> uvicorn.Server:
    """Serve an ASGI application until `should_exit` is set. Raises SyncerError when the address cannot be had."""
    config = uvicorn.Config(
        application, host=service.host, port=service.port, log_config=None, access_log=False, lifespan="off"
    )
    server = Server(config)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except BaseException as error:  # noqa: BLE001 - uvicorn leaves with SystemExit when the port is taken
            failed.append(error)

    thread = threading.Thread(target=run, name="http", daemon=True)
    thread.start()
    until = time.monotonic() + START_SECONDS
    while not server.started and not failed and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.01)
    if not server.started:
        raise SyncerError(
            f"The address {service.listen} cannot be listened on; another program may have it. "
            "Write another `service.listen`."
        )
    return server


def port_of(server: uvicorn.Server) -> int:
    """The port that it listens on, also when a free one was asked for."""
    return int(server.servers[0].sockets[0].getsockname()[1])
