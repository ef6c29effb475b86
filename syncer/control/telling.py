"""What the control store knows for those who watch: what alerts have told, and what they have still to send.

An alert's message is queued in the commit that remembers that its trouble was told, so a process that dies in between
neither forgets a message nor queues it twice. Two processes may tell at once: whoever's row goes in has told it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from syncer.control.connection import row
from syncer.control.noting import Noting

Members = tuple[tuple[str, str], ...]
"""(slot, sync) of everything that has a trouble."""


@dataclass(frozen=True, slots=True)
class Told:
    """A trouble that an alert has told about and that was not over then."""

    cause: str
    since: float
    """Seconds since 1970."""
    title: str
    members: Members


@dataclass(frozen=True, slots=True)
class Message:
    """Something that an alert has to send; `body` is JSON and holds neither keys nor values nor secrets."""

    id: str
    alert: str
    made: float
    body: str
    attempts: int = 0
    next_at: float = 0.0


class Telling(Noting):
    """The watchers' part of the store."""

    def last_success(self, sync: str) -> float | None:
        """When the newest run that was done ended, in seconds since 1970."""
        with self._reading() as db:
            found = row(
                db,
                "SELECT max(finished) FROM run JOIN sync ON sync.id = run.sync_id WHERE sync.name = ? "
                "AND result = 'done'",
                [sync],
            )
            return None if found is None or found[0] is None else float(found[0])

    # --- what alerts have told -------------------------------------------------------------------------------

    def told(self, alert: str) -> list[Told]:
        """The troubles that an alert has told about and that are not over, as far as it knows."""
        with self._reading() as db:
            found = db.execute("SELECT cause, since, title, members FROM told WHERE alert = ? ORDER BY since", [alert])
            return [
                Told(cause, since, title, tuple((slot, sync) for slot, sync in json.loads(members)))
                for cause, since, title, members in found
            ]

    def tell(
        self,
        alert: str,
        begun: Sequence[Told],
        over: Iterable[str],
        known: Iterable[Told],
        messages: Callable[[set[str]], Iterable[Message]],
    ) -> int:
        """Remember which troubles have begun, and which causes are over, and queue what is to be said of them, in one
        commit; returns how many messages. `messages` is asked for those of the causes that nobody else has told.

        `known` are troubles that go on, with who has them now.
        """
        with self._writing() as db:
            ours = set[str]()
            for one in begun:
                if db.execute(
                    "INSERT INTO told(alert, cause, since, title, members) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT (alert, cause) DO NOTHING RETURNING cause",
                    [alert, one.cause, one.since, one.title, json.dumps(one.members)],
                ):
                    ours.add(one.cause)
            for cause in over:
                if db.execute("DELETE FROM told WHERE alert = ? AND cause = ? RETURNING cause", [alert, cause]):
                    ours.add(cause)
            for one in known:
                db.execute(
                    "UPDATE told SET members = ? WHERE alert = ? AND cause = ?",
                    (json.dumps(one.members), alert, one.cause),
                )
            queued = list(messages(ours)) if ours else []
            newest = row(db, "SELECT max(made) FROM message WHERE alert = ?", [alert])
            made = newest[0] if newest and newest[0] is not None else 0.0
            for message in queued:
                # They leave in the order in which they were made, also those of one instant.
                made = max(message.made, made + 0.001)
                db.execute(
                    "INSERT INTO message(id, alert, made, body, attempts, next_at) VALUES (?, ?, ?, ?, ?, ?)",
                    (message.id, message.alert, made, message.body, message.attempts, message.next_at),
                )
            return len(queued)

    # --- what alerts have to send ----------------------------------------------------------------------------

    def undelivered(self) -> list[Message]:
        """All messages that were not delivered yet, the oldest first."""
        with self._reading() as db:
            found = db.execute("SELECT id, alert, made, body, attempts, next_at FROM message ORDER BY made, id")
            return [Message(*one) for one in found]

    def claim(self, message: Message, until: float) -> bool:
        """Take a message to send it; nobody else does before `until`. False when somebody else has it."""
        with self._writing() as db:
            found = db.execute(
                "UPDATE message SET next_at = ?, attempts = attempts + 1 WHERE id = ? AND attempts = ? RETURNING id",
                [until, message.id, message.attempts],
            )
            return bool(found)

    def put_off(self, message_id: str, until: float) -> None:
        """A message could not be delivered; it is tried again then."""
        with self._writing() as db:
            db.execute("UPDATE message SET next_at = ? WHERE id = ?", (until, message_id))

    def sent(self, message_id: str) -> None:
        """A message was delivered, or is given up."""
        with self._writing() as db:
            db.execute("DELETE FROM message WHERE id = ?", (message_id,))
