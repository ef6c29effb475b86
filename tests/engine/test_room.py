"""How many batches may be in flight: told answers, never the clock."""

from __future__ import annotations

from syncer.room import FIRST, Room


class Service:
    """What a delivery tells its room of the answers of one service."""

    def __init__(self, most: int) -> None:
        self.room = Room(most)
        self.too_many = self.paced = 0

    def round(self, *, too_many: int = 0, paced: int = 0) -> int:
        """All that may be in flight are, and come back; gives the room that is there then."""
        self.too_many += too_many
        self.paced += paced
        for others in range(self.room.size - 1, -1, -1):
            self.room.landed(others=others, was_full=True, too_many=self.too_many, paced=self.paced)
        return self.room.size


def test_a_round_of_answers_doubles_the_room_up_to_the_most() -> None:
    """Four at first; then twice as many after each round, and never more than is allowed."""
    service = Service(most=20)

    assert [4, 8, 16, 20, 20] == [FIRST, *(service.round() for _ in range(4))]


def test_a_small_most_holds_from_the_first_batch_on() -> None:
    """Who allows one batch in flight, or two, never has more."""
    assert [1, 2] == [Room(most).size for most in (1, 2)]
    assert [1, 2] == [Service(most).round() for most in (1, 2)]


def test_room_that_is_not_used_does_not_grow() -> None:
    """Where batches are back before all places are taken, more places would change nothing."""
    room = Room(16)
    for _ in range(10):
        room.landed(others=1, was_full=False, too_many=0, paced=0)

    assert 4 == room.size


def test_the_pace_ends_growth() -> None:
    """As long as requests wait for the pace, more of them in flight would only wait longer."""
    service = Service(most=16)

    assert [8, 15, 16] == [service.round(), service.round(paced=1), service.round()]


def test_too_many_halves_the_room_once_for_all_that_were_told_so() -> None:
    """A service that refuses sixteen requests at once is asked for eight, and then by and by for more."""
    service = Service(most=16)
    for _ in range(2):
        service.round()

    assert [8, 16] == [service.round(too_many=16), service.round()]


def test_one_batch_always_has_room() -> None:
    """However often a service says that it is too much, it is asked for one batch at a time."""
    service = Service(most=16)

    assert [2, 1, 1] == [service.round(too_many=1) for _ in range(3)]
