"""A batch sent, and each change's answer found in what customer.io says of the batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from destinations.customerio_parts.account import Account
from destinations.customerio_parts.answers import Answer, Complaint
from destinations.customerio_parts.client import TrackClient
from syncer.change import Change, Outcome, accepted, deferred, rejected
from syncer.errors import DestinationUnusable, Redirected, SyncerError


@dataclass(frozen=True, slots=True)
class Item:
    """One change and the operation that it becomes."""

    change: Change
    operation: dict[str, Any]


@dataclass(slots=True)
class _Piece:
    """Items that go in one request. In doubt: an earlier request may have written them, and did not say."""

    items: Sequence[Item]
    is_in_doubt: bool = False

    def halves(self) -> list[_Piece]:
        """Both halves, the second one first, for a stack."""
        middle = len(self.items) // 2
        return [_Piece(self.items[middle:], self.is_in_doubt), _Piece(self.items[:middle], self.is_in_doubt)]


def deliver(items: Sequence[Item], client: TrackClient, account: Account) -> Iterator[Outcome]:
    """Send a batch; a piece that is refused as a whole is halved until the culprit stands alone.

    Raises DestinationUnusable when the answer is not one that customer.io gives to a batch.
    """
    pieces = [_Piece(items)] if items else []
    while pieces:
        piece = pieces.pop()
        try:
            answer = _send(client, piece, account)
        except SyncerError as error:
            # Whoever counts what never left must not count what an earlier answer left open.
            yield from _doubtful([piece, *pieces], str(error))
            raise
        if answer.status in (400, 413):
            if len(piece.items) > 1:
                pieces += piece.halves()
            else:
                yield _refused(piece.items[0].change, answer.complaints(), f"http_{answer.status}")
            continue
        blamed = _blamed(piece, answer)
        if blamed is not None:
            for index, item in enumerate(piece.items):
                complaints = blamed.get(index)
                yield _refused(item.change, complaints, "refused") if complaints else accepted(item.change)
            continue
        # Something was refused, and nobody knows what. Writes may be repeated, so ask again with less.
        piece.is_in_doubt = True
        if len(piece.items) > 1:
            pieces += piece.halves()
        else:
            yield from _doubtful([piece], f"customer.io answered {answer.status} and named no error.")


def _send(client: TrackClient, piece: _Piece, account: Account) -> Answer:
    """One request; returns only answers that customer.io gives to a batch: 200, 207, 400 and 413."""
    try:
        answer = client.batch([item.operation for item in piece.items])
    except Redirected as redirected:
        raise DestinationUnusable(account.redirected(redirected)) from None
    if answer.status in (401, 403):
        raise DestinationUnusable(f"[destinations.{account.name}]: {account.refused_credentials(answer.status)}")
    # A proxy in between may answer 413 in its own way, and that still means: too large.
    if answer.status == 413 or (answer.status in (200, 207, 400) and isinstance(answer.body, dict)):
        return answer
    # A page with status 200 may be a proxy's own, or stand in the place of customer.io's answer.
    piece.is_in_doubt = piece.is_in_doubt or 200 <= answer.status < 300
    raise DestinationUnusable(
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
    if len(piece.items) == 1:
        return {0: complaints}
    if piece.is_in_doubt:
        # The service has named an impossible position before, so its positions are not believed any more.
        return None
    blamed: dict[int, list[Complaint]] = {}
    for complaint in complaints:
        # True is an int in Python, and no index.
        if type(complaint.index) is not int or not 0 <= complaint.index < len(piece.items):
            return None
        blamed.setdefault(complaint.index, []).append(complaint)
    return blamed


def _doubtful(pieces: Iterable[_Piece], message: str) -> Iterator[Outcome]:
    for piece in pieces:
        if piece.is_in_doubt:
            for item in piece.items:
                yield deferred(item.change, "unclear", message, doubt=True)


def _refused(change: Change, complaints: Sequence[Complaint], code: str) -> Outcome:
    text = "; ".join(dict.fromkeys(complaint.text for complaint in complaints if complaint.text))
    reasons = [complaint.reason for complaint in complaints if complaint.reason]
    return rejected(change, reasons[0] if reasons else code, text)
