"""One member's turn: find, compare, tell, write what differs, and look whether the tags stayed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from destinations.orbit_parts.activities import Telling, crossings
from destinations.orbit_parts.client import REFUSED, Answered, Client, member_in
from destinations.orbit_parts.roster import Roster
from destinations.orbit_parts.rules import WRITABLE, Identifier
from destinations.orbit_parts.values import difference, retagged, steps_in, written
from syncer.change import Change, Outcome, accepted, deferred, rejected
from syncer.errors import DestinationUnusable, ServiceUnavailable, Stopping

ROUNDS_MAX = 3
"""Writings that are looked at again, and, before each, readings that are compared with the one before."""

Member = Mapping[str, Any]


class Visit:
    """One change's requests. Knows whether a write was answered, since from then on a failure leaves doubt."""

    def __init__(
        self, client: Client, roster: Roster, change: Change, *, creates: bool, telling: Telling | None
    ) -> None:
        self._client = client
        self._roster = roster
        self._change = change
        self._creates = creates
        self._telling = telling
        self._has_written = False
        self.end: Answered | None = None
        """Why the destination is unusable from here on, when the outcome is a deferred one all the same."""
        ((name, self._value),) = change.match.items()
        self._identifier = Identifier.of(name)

    def outcome(self) -> Outcome:
        """What became of the change. Raises what the transport raises as long as nothing may have arrived."""
        try:
            return self._go()
        except (ServiceUnavailable, Stopping, DestinationUnusable) as error:
            # A write whose fate is unknown belongs to this change alone; the next request of the batch meets
            # the same trouble, if it lasts, and says so for all that are left.
            if self._has_written or getattr(error, "doubt", False):
                self.end = error if isinstance(error, Answered) else None
                return deferred(self._change, "unanswered", str(error), doubt=True)
            raise

    def _go(self) -> Outcome:
        change = self._change
        met = self._find() or self._made()
        if isinstance(met, Outcome):
            return met
        if (refusal := self._tell(met)) is not None:
            return refusal
        member, fields = met, change.fields
        for number in range(ROUNDS_MAX):
            settled = self._settled(member, fields)
            if isinstance(settled, Outcome):
                return settled
            member, body = settled
            if not body:
                return accepted(change)
            if number and body.get("tags") == []:
                # Whether no tags at all can be written as a list is not known; the other form is an empty text.
                body["tags"] = ""
            status, answer = self._client.change(member, body)
            if status in REFUSED:
                return _refusal(change, status, answer)
            if status == 404:
                return self._gone()
            self._has_written = True
            if not body.keys() & {"tags", "tags_to_add"}:
                return accepted(change)
            # Only tags are looked at again: of the other keys a service may keep a tidied form.
            fields = steps_in(change.fields)
            seen = self._client.member(member["id"])
            if seen is None:
                return self._gone()
            member = seen
        left = difference(member, fields)
        if left.get("tags") == []:
            return rejected(change, "last_tag", "The service does not take a member's last tag off.")
        return self._contended() if left else accepted(change)

    def _find(self) -> Member | None:
        if self._roster.lacks(self._identifier, self._value):
            return None
        found = self._client.find(self._identifier, self._value)
        if found is None and not self._identifier.is_id:
            self._roster.searched_in_vain()
        return found

    def _made(self) -> Member | Outcome:
        """The new member, where one is to be made.

        An existing one can come back here: one that was made since, or by a first attempt whose answer was lost.
        Comparing covers all three.
        """
        if self._change.kind == "removed" or not self._creates:
            return self._gone()
        fields = self._change.fields
        steps = steps_in(fields)
        member = {name: written(name, value) for name, value in fields.items() if name not in steps}
        # A crossing is told before its tag is written, and can be told of a known member only.
        tags = {} if self._telling else retagged([], steps)
        status, answer = self._client.make(member | tags, self._identifier.identity(self._value))
        if status in REFUSED:
            return _refusal(self._change, status, answer)
        self._has_written = True
        return member_in(answer) or self._gone()

    def _tell(self, member: Member) -> Outcome | None:
        """Tell each step that is to change; an outcome when that is refused.

        Before the tags, which are what shows that there is something to tell: dying in between repeats it.
        """
        if self._telling is None:
            return None
        for crossing in crossings(member["tags"], self._change.fields):
            status, answer = self._client.tell(member, self._telling.activity(self._change, crossing))
            if status == 404:
                return self._gone()
            if status in REFUSED and not _is_told(answer):
                for key, setting in (("weight", "activity_weight"), ("activity_type_key", "activity")):
                    if key in _errors(answer):
                        raise Answered(setting, f"Orbit refuses the {setting} of this destination. Correct {setting}.")
                return _refusal(self._change, status, answer)
        return None

    def _settled(self, member: Member, fields: Mapping[str, Any]) -> tuple[Member, dict[str, Any]] | Outcome:
        """The member as read last, and the body for it; a list of all tags only when a second reading has the same.

        Other people write tags as well. What they wrote since the first reading is in the second one.
        """
        body = difference(member, fields)
        for _ in range(ROUNDS_MAX):
            if "tags" not in body:
                return member, body
            seen = self._client.member(member["id"])
            if seen is None:
                return self._gone()
            # Whether tags come in the same order and case each time is not known.
            is_same = {tag.casefold() for tag in seen["tags"]} == {tag.casefold() for tag in member["tags"]}
            member, body = seen, difference(seen, fields)
            if is_same:
                return member, body
        return self._contended()

    def _contended(self) -> Outcome:
        # When something was written, ours may be there or not by now, so the value that was last accepted is no
        # longer known to be true.
        sentence = "Somebody else keeps rewriting this member's tags."
        return deferred(self._change, "contended", sentence, doubt=self._has_written)

    def _gone(self) -> Outcome:
        """Nobody is there: nothing is left to clear, and nothing to write to."""
        if self._change.kind == "removed":
            return accepted(self._change)
        return rejected(self._change, "missing", "No member of the workspace has this identity.")


def _errors(body: Any) -> Mapping[str, Any]:
    """The `errors` of a refusal where they are a map of key to texts."""
    errors = body.get("errors") if isinstance(body, dict) else None
    return errors if isinstance(errors, dict) else {}


def _is_told(body: Any) -> bool:
    """Whether a refusal says that the activity is there already: of the whole activity, its key was at fault."""
    errors = body.get("errors") if isinstance(body, dict) else None
    if isinstance(errors, dict):
        return errors.keys() == {"key"}
    return bool(re.search(r"\bkey\b.*\btaken\b", str(errors), re.IGNORECASE))


def _refusal(change: Change, status: int, body: Any) -> Outcome:
    """`errors` is a map of key to texts, a text, or a list of texts."""
    errors = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(errors, dict):
        words = [str(one) for one in errors] if isinstance(errors, list) else [str(errors or "No reason given.")]
        return rejected(change, str(status), "; ".join(words))
    code = "_".join([str(status), *sorted(WRITABLE.keys() & errors.keys())])
    texts = [
        f"{key} {text}" for key, found in errors.items() for text in (found if isinstance(found, list) else [found])
    ]
    return rejected(change, code, "; ".join(texts))
