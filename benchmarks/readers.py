"""Fast mode: readers of bytes in the place of the services, so that a sender is measured and not a stand-in.

They check nothing: no login, no field, no limit, no order of calls. A body is read whole, its records are counted by
counting a text, and the answer says that all of them were taken. Whether what arrives is right is for the strict
stand-ins, and for the tests.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import children, nights

Handler = Callable[["Request"], tuple[str, str, bytes]]
"""Gives status, content type and body of the answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was read of one request."""

    method: str
    path: str
    body: bytes


class Customerio:
    """Takes every operation of every batch."""

    def __init__(self, url: str) -> None:
        self.settings = {"site_id": "site", "api_key": "key", "track_url": url}
        self.records = 0

    def __call__(self, request: Request) -> tuple[str, str, bytes]:
        self.records += request.body.count(b'"identify"')
        return "200 OK", "application/json", b"{}"


class Salesforce:
    """Takes every line of every job of Bulk API 2.0, which has ended at the first look."""

    def __init__(self, url: str) -> None:
        self.settings = {"login_url": url, "client_id": "client", "client_secret": "secret"}
        self.records = 0
        self._jobs: list[bytes] = []
        self._token = json.dumps({"access_token": "token", "instance_url": url}).encode()

    def __call__(self, request: Request) -> tuple[str, str, bytes]:
        place = request.path.removeprefix("/services/data/v66.0/")
        match place.partition("?")[0].split("/"):
            case ["", "services", "oauth2", "token"]:
                return "200 OK", "application/json", self._token
            case ["sobjects", "Contact", "describe"]:
                return "200 OK", "application/json", json.dumps(_contact()).encode()
            case ["jobs", "ingest"]:
                self._jobs.append(b"")
                return "200 OK", "application/json", json.dumps({"id": f"750{len(self._jobs):015}"}).encode()
            case ["jobs", "ingest", job_id]:
                state = "UploadComplete" if request.method == "PATCH" else "JobComplete"
                facts = {"state": state, "operation": "upsert", "externalIdFieldName": "Product_User_Id__c"}
                lines = self._jobs[int(job_id[3:]) - 1].count(b"\n") - 1
                return "200 OK", "application/json", json.dumps(facts | {"numberRecordsProcessed": lines}).encode()
            case ["jobs", "ingest", job_id, "batches"]:
                self._jobs[int(job_id[3:]) - 1] = request.body
                self.records += request.body.count(b"\n") - 1
                return "201 Created", "application/json", b""
            case ["jobs", "ingest", job_id, "successfulResults"]:
                return "200 OK", "text/csv", self._told(int(job_id[3:]) - 1)
            case ["jobs", "ingest", job_id, name]:
                header = self._jobs[int(job_id[3:]) - 1].partition(b"\n")[0]
                more = b'"sf__Id","sf__Error",' if name == "failedResults" else b""
                return "200 OK", "text/csv", more + header + b"\n"
        return "404 Not Found", "application/json", b"[]"

    def _told(self, number: int) -> bytes:
        """The file as it came, with an Id before each line; it is asked for once."""
        header, _, lines = self._jobs[number].rstrip(b"\n").partition(b"\n")
        told = b"003000000000001AAA,true,"
        return b"sf__Id,sf__Created," + header + b"\n" + told + lines.replace(b"\n", b"\n" + told) + b"\n"


READERS = {"customerio": Customerio, "salesforce": Salesforce}


def serve(kind: str, latency_seconds: float, port_file: Path) -> None:
    """Answer until the parent ends, each request after so many seconds; the settings of a destination that reach it
    are told in the file."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    reader = READERS[kind](url)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_answer, args=(connection, reader, latency_seconds), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    children.serve(port_file, {"url": url, "settings": reader.settings})


def _answer(connection: socket.socket, handle: Handler, latency_seconds: float) -> None:
    """The requests of one connection, one after the other."""
    with connection, connection.makefile("rb") as arriving:
        while line := arriving.readline():
            method, path, _ = line.decode().split(" ", 2)
            length, is_chunked = 0, False
            while (header := arriving.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                is_chunked |= name.lower() == b"transfer-encoding"
            body = arriving.read(length)
            if is_chunked:
                raise ValueError("A body without a length is not read here.")
            status, content_type, content = handle(Request(method, path, body))
            time.sleep(latency_seconds)
            head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
            connection.sendall(head.encode() + content)


def _contact() -> dict[str, object]:
    """A description with the fields of the benchmark."""
    types = {"score": "double", "count": "double", "flag": "boolean", "at": "datetime", "text": "string"}
    kinds = {f"{name}__c": types[name.partition("_")[0]] for name in nights.columns()}
    rights = {"createable": True, "updateable": True, "filterable": True, "nillable": True}
    fields = [
        {"name": name, "type": kind, "length": 255, "precision": 18, "scale": 2, **rights}
        for name, kind in {"LastName": "string", **kinds}.items()
    ]
    fields.append({"name": "Product_User_Id__c", "type": "string", "length": 255, "externalId": True, **rights})
    return {"name": "Contact", "createable": True, "updateable": True, "queryable": True, "fields": fields}
