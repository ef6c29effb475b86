"""A batch sent, and each change's answer found in what customer.io says of the batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from destinations.customerio_parts.account import Account, Whereabouts
from destinations.customerio_parts.answers import Answer, Complaint
from destinations.customerio_parts.client import TrackClient
from destinations.customerio_parts.operations import OPERATIONS_MAX, body_of
from syncer.change import Change, Outcome, accepted, deferred, rejected
from syncer.errors import DestinationUnusable, Redirected, SyncerError


@dataclass(slots=True)
class Item:
    """One change, the operations that it becomes, and what customer.io has said of them so far."""

    change: Change
    operations: Sequence[bytes]
    taken: int = 0
    complaints: tuple[Complaint, ...] = ()
    refused: tuple[str, ...] = ()
    """A code for each operation that was refused."""
    unclear: str = ""
    """Why nobody knows what became of an operation."""

    @property
    def is_answered(self) -> bool:
        """Whether nothing more will be said."""
        return bool(self.unclear) or self.taken + len(self.refused) == len(self.operations)

    def outcome(self) -> Outcome:
        """What became of the change: accepted only when all its operations were."""
        if self.unclear:
            return deferred(self.change, "unclear", self.unclear, doubt=True)
        if not self.refused:
            return accepted(self.change)
        text = "; ".join(dict.fromkeys(one.text for one in self.complaints if one.text))
        if self.taken:
            # Half of it is there and half of it is not. Were it rejected, its fields would count as never written,
            # and a source that goes back to the old values would find nothing to send.
            return deferred(self.change, "partly_refused", text, doubt=True)
        return rejected(self.change, self.refused[0], text)


class _Part(NamedTuple):
    """One operation of an item."""

    item: Item
    operation: bytes

    def take(self) -> Outcome | None:
        """It was accepted; gives the outcome of the change when that was the last of its operations."""
        item = self.item
        item.taken += 1
        # Nearly always it is the only one, and this is asked for each of a million.
        return accepted(item.change) if len(item.operations) == 1 else self._answered()

    def refuse(self, complaints: Sequence[Complaint], code: str) -> Outcome | None:
        """It was refused; gives as `take` does."""
        reasons = [complaint.reason for complaint in complaints if complaint.reason]
        self.item.complaints += tuple(complaints)
        self.item.refused += (reasons[0] if reasons else code,)
        return self._answered()

    def _answered(self) -> Outcome | None:
        return self.item.outcome() if self.item.is_answered and not self.item.unclear else None


@dataclass(slots=True)
class _Piece:
    """Operations that go in one request. In doubt: an earlier request may have written them, and did not say."""

    parts: Sequence[_Part]
    is_in_doubt: bool = False

    def halves(self) -> list[_Piece]:
        """Both halves, the second one first, for a stack."""
        middle = len(self.parts) // 2
        return [_Piece(self.parts[middle:], self.is_in_doubt), _Piece(self.parts[:middle], self.is_in_doubt)]


class UnclearError(DestinationUnusable):
    """Nobody can be asked any more, and the batch may have been taken."""


def deliver(
    items: Sequence[Item],
    client: TrackClient,
    account: Account,
    whereabouts: Whereabouts,
    first: Answer | None = None,
) -> Iterator[Outcome]:
    """Send a batch; a piece that is refused as a whole is halved until the culprit stands alone.

    So is one of which something was refused without a word as to what. Sending each of its operations alone would end
    the same, with more requests: whatever a half is answered with holds for each of its operations, as only a clean
    200 (all taken) and a refusal of a single one are believed, and taking an operation twice changes nothing. Halves
    go in the order of the batch, so operations of one change keep theirs. `first` is what the whole batch was answered
    with, where it was sent before, in one request.

    Raises DestinationUnusable when the answer is not one that customer.io gives to a batch.
    """
    parts = [_Part(item, operation) for item in items for operation in item.operations]
    # A stack, from which the first one is taken first.
    pieces = [_Piece(parts[start : start + OPERATIONS_MAX]) for start in range(0, len(parts), OPERATIONS_MAX)][::-1]
    while pieces:
        piece = pieces.pop()
        try:
            answer = first or send(client, body_of([part.operation for part in piece.parts]), account, whereabouts)
        except SyncerError as error:
            piece.is_in_doubt |= isinstance(error, UnclearError)
            # Whoever counts what never left must not count what an earlier answer left open.
            yield from _doubtful([piece, *pieces], str(error))
            raise
        first = None
        if answer.status in (400, 413):
            if len(piece.parts) > 1:
                pieces += piece.halves()
            elif outcome := piece.parts[0].refuse(answer.complaints(), f"http_{answer.status}"):
                yield outcome
            continue
        blamed = _blamed(piece, answer)
        if blamed is not None:
            for index, part in enumerate(piece.parts):
                outcome = part.refuse(blamed[index], "refused") if index in blamed else part.take()
                if outcome is not None:
                    yield outcome
            continue
        # Something was refused, and nobody knows what. Writes may be repeated, so ask again with less.
        piece.is_in_doubt = True
        if len(piece.parts) > 1:
            pieces += piece.halves()
        else:
            yield from _doubtful([piece], f"customer.io answered {answer.status} and named no error.")


def send(client: TrackClient, body: bytes, account: Account, whereabouts: Whereabouts) -> Answer:
    """One request; returns only answers that customer.io gives to a batch: 200, 207, 400 and 413.

    Raises DestinationUnusable for others, as UnclearError where the batch may have been taken.
    """
    try:
        answer = client.batch(body)
    except Redirected as redirected:
        raise whereabouts.unusable(str(redirected), redirected) from None
    if answer.status in (401, 403):
        raise whereabouts.unusable(f"[destinations.{account.name}]: {account.refused_credentials(answer.status)}")
    # A proxy in between may answer 413 in its own way, and that still means: too large.
    if answer.status == 413 or (answer.status in (200, 207, 400) and isinstance(answer.body, dict)):
        return answer
    # A page with status 200 may be a proxy's own, or stand in the place of customer.io's answer.
    unusable = UnclearError if 200 <= answer.status < 300 else DestinationUnusable
    raise unusable(
        f"{account.settings.track} answered {answer.status} ({answer.content_type}) to a batch, and not as the Track "
        f"API does. Check `track_url` of [destinations.{account.name}], and whether a proxy is in between."
    )


def _blamed(piece: _Piece, answer: Answer) -> Mapping[int, list[Complaint]] | None:
    """Position in the piece → what is wrong there; None when something is, and the answer does not say where.

    A 200 with errors occurs in practice, and so does an error without a batch_index.
    """
    complaints = answer.complaints()
    if not complaints:
        return {} if answer.status == 200 else None
    if len(piece.parts) == 1:
        return {0: complaints}
    if piece.is_in_doubt:
        # The service has named an impossible position before, so its positions are not believed any more.
        return None
    blamed: dict[int, list[Complaint]] = {}
    for complaint in complaints:
        # True is an int in Python, and no index.
        if type(complaint.index) is not int or not 0 <= complaint.index < len(piece.parts):
            return None
        blamed.setdefault(complaint.index, []).append(complaint)
    return blamed


def _doubtful(pieces: Iterable[_Piece], message: str) -> Iterator[Outcome]:
    """Outcomes of the changes in these pieces that are written in part, or may be."""
    for piece in pieces:
        for part in piece.parts:
            if (piece.is_in_doubt or part.item.taken) and not part.item.is_answered:
                part.item.unclear = message
                yield part.item.outcome()
