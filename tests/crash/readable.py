"""The command line with a customer.io that is read back person by person, for tests of what reads a destination.

Run as a program, with the words of a command.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import destinations
from destinations.customerio import Customerio
from syncer.change import Held, Value, Wanted
from syncer.cli import cli
from syncer.mapping import Sync


class Readable(Customerio):
    """Reads a person's attributes, which the service keeps as texts."""

    def read(self, sync: Sync, records: Iterable[Wanted]) -> Iterator[Held]:
        with self.transport.session() as session:
            session.headers["Authorization"] = f"Bearer {self.settings.app_key.get_secret_value()}"
            for one in records:
                answer = session.get(f"{self.settings.app}/v1/customers/{one.match['id']}/attributes?id_type=id")
                there = answer.json()["customer"]["attributes"] if answer.ok else None
                yield Held(one.key, None if there is None else {name: there.get(name) for name in FIELDS})

    def holds(self, sync: Sync, name: str, value: Value, held: object) -> bool:
        return ("" if value is None else str(value)) == ("" if held is None else str(held))


FIELDS = ("score", "label", "label_1", "label_2", "label_3")

if __name__ == "__main__":
    destinations.adapter = lambda kind: Readable
    cli(prog_name="syncer")
