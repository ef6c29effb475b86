"""What the stand-in of customer.io holds, and what operations do to it, at once or after a while."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from destinations.standins.customerio_parts.records import Record, as_text
from destinations.standins.server import StandIn


class Workspace(StandIn):
    """People, objects and their relationships. Where the documents leave open what happens, an attribute says."""

    def __init__(self, object_types: Mapping[str, str], clock: Callable[[], float]) -> None:
        super().__init__()
        self.object_types = dict(object_types)
        """Name → id."""
        self.clock = clock

        self.email_may_change_by_id = False
        self.relating_makes_record = False
        """Whether `add_relationships` of a person or an object that is not there makes it."""
        self.relating_makes_related = False
        """Whether the other end of a relationship is made when it is not there."""

        self.v1_takes_floats = True
        self.v1_errors_are_a_list = False

        # Forms in which the App API may answer.
        self.bulk_is_wrapped = True
        self.not_found_status_is_text = True
        self.type_ids_are_numbers = False
        self.applies_after_seconds = 0.0
        self.applies_nothing = False
        """200 for everything and not a trace of it: only reading back finds out."""
        self.null_removes_from_people = True
        """Whether a null in an identify of v2 removes a person's attribute, as it does in v1; or says nothing."""
        self.floats: Literal["shortest", "fixed", "exponent"] = "shortest"
        """How a fraction is printed when it is read back."""

        self.activity: list[str] = []
        """What customer.io took with a 200 and did not do."""
        self.people: dict[str, Record] = {}
        """cio_id → person."""
        self.objects: dict[tuple[str, str], Record] = {}
        """Object type id and object id → object."""
        self.relationships: dict[tuple[str, tuple[str, str]], dict[str, str]] = {}
        """cio_id of a person, and an object → attributes of their relationship."""
        self.suppressed: set[tuple[str, str]] = set()
        """Kind of identifier, and the identifier."""
        self.segments: dict[int, set[str]] = {}
        """Id of a manual segment → cio_ids. Made by people in the interface, and so by tests."""
        self.described: dict[str, str] = {}
        """Attribute → its description in the interface."""
        self._ids: dict[str, dict[str, str]] = {"id": {}, "email": {}, "phone": {}}
        """Kind of identifier → its value, emails in lower case → cio_id."""
        self._waiting: deque[tuple[float, Callable[[], Any]]] = deque()
        self._touches = 0
        self._made = 0

    def person(self, identifier: str, kind: str = "id") -> dict[str, str] | None:
        """A person's attributes as they are now, or None when there is no such person."""
        with self.lock:
            self.apply_what_is_due()
            found = self.find_person(kind, identifier)
            return dict(found.attributes) if found else None

    def object(self, type_id: str, object_id: str) -> dict[str, str] | None:
        """An object's attributes as they are now, or None when there is no such object."""
        with self.lock:
            self.apply_what_is_due()
            found = self.objects.get((type_id, object_id))
            return dict(found.attributes) if found else None

    def related(self, type_id: str, object_id: str) -> set[str]:
        """Ids of the people who are related to an object, or their emails where they have no id."""
        with self.lock:
            self.apply_what_is_due()
            whose = [cio_id for cio_id, one in self.relationships if one == (type_id, object_id)]
            held = [self.people[cio_id].identifiers for cio_id in whose]
            return {identifiers.get("id") or identifiers["email"] for identifiers in held}

    # What operations do.

    def take(self, effects: Iterable[Callable[[], Any]]) -> None:
        """Into the queue, from where they are applied at once or after a while."""
        if self.applies_nothing:
            return
        due = self.clock() + self.applies_after_seconds
        self._waiting.extend((due, effect) for effect in effects)
        self.apply_what_is_due()

    def apply_what_is_due(self) -> None:
        """Apply what was taken and whose time has come."""
        now = self.clock()
        while self._waiting and self._waiting[0][0] <= now:
            self._waiting.popleft()[1]()

    def perform(self, operation: dict[str, Any]) -> None:
        """Apply one operation of v2, which was found good."""
        identifiers = operation.get("identifiers", {})
        related = operation.get("cio_relationships", [])
        match operation["type"], operation["action"]:
            case "person", "identify":
                kind, value = next(iter(identifiers.items()))
                attributes = {
                    name: one
                    for name, one in operation.get("attributes", {}).items()
                    if one is not None or self.null_removes_from_people
                }
                if self.identify_person(kind, value, attributes, operation.get("timestamp")):
                    self._relate(operation, related)
            case "person", "delete":
                self.delete_person(*next(iter(identifiers.items())))
            case "person", "suppress":
                self.suppress(*next(iter(identifiers.items())))
            case "person", "unsuppress":
                self.unsuppress(*next(iter(identifiers.items())))
            case "person", "merge":
                self.merge(operation["primary"], operation["secondary"])
            case "object", "identify" | "identify_anonymous":
                self._identify_object(identifiers, operation.get("attributes", {}))
                self._relate(operation, related)
            case "object", "delete":
                self._delete_object(identifiers)
            case kind, "add_relationships":
                if self.relating_makes_record:
                    self._make(kind, identifiers)
                self._relate(operation, related)
            case _, "delete_relationships":
                for one in related:
                    if key := self._relationship(operation, one):
                        self.relationships.pop(key, None)

    def identify_person(self, kind: str, value: str, attributes: dict[str, Any], timestamp: int | None) -> bool:
        """Make or change a person; False when that was not done, and `activity` says why."""
        is_update_only = attributes.pop("_update", False)
        found = self.find_person(kind, value)
        wanted = {kind: value}
        for name in ("id", "email"):
            if name in attributes and (text := attributes.pop(name)) is not None:
                wanted.setdefault(name, str(text))
        if any((name, _comparable(name, text)) in self.suppressed for name, text in wanted.items()):
            self.activity.append("Ignored: this identifier is suppressed")
            return False
        for name, text in wanted.items():
            owner = found if name == kind else self.find_person(name, text)
            if owner is not None and found is not None and owner is not found:
                self.activity.append(f"Attribute Update Failure: {name} belongs to another person")
                return False
            found = found or owner
        if found is None and kind == "cio_id":
            self.activity.append("Dropped: there is no person with this cio_id")
            return False
        if found is None and is_update_only:
            self.activity.append("Failed Attribute Change: there is no such person, and _update is true")
            return False
        if found is None:
            found = Record(self._new_cio_id(), {})
            self.people[found.cio_id] = found
        for name, text in wanted.items():
            held = found.identifiers.get(name)
            if name == "cio_id" or (held is not None and _comparable(name, held) == _comparable(name, text)):
                continue
            is_allowed = held is None or kind == "cio_id" or (name == "email" and self.email_may_change_by_id)
            if not is_allowed:
                self.activity.append(f"Attribute Update Failure: {name} cannot be changed this way")
                return False
        for name, text in wanted.items():
            if name != "cio_id" and found.identifiers.get(name) != text:
                self._index(found, name, text)
        self._write(found, attributes, timestamp, removes_empty=False)
        return True

    def _identify_object(self, identifiers: dict[str, str], attributes: dict[str, Any]) -> None:
        found = self.find("object", identifiers)
        if found is None and "cio_object_id" in identifiers:
            self.activity.append("Dropped: there is no object with this cio_object_id")
            return
        if found is None:
            found = Record(self._new_cio_id("ob"), dict(identifiers))
            self.objects[identifiers["object_type_id"], identifiers["object_id"]] = found
        self._write(found, attributes, None, removes_empty=True)

    def _write(self, record: Record, attributes: dict[str, Any], timestamp: int | None, *, removes_empty: bool) -> None:
        second = int(self.clock()) if timestamp is None else timestamp
        held, seconds = record.attributes, record.timestamps
        changed = set()
        for name, value in attributes.items():
            text = None if value is None or (removes_empty and value == "") else self._text(value)
            if text == held.get(name):
                continue
            if second < seconds.get(name, second):
                self.activity.append(f"Older than what is held: {name}")
                continue
            if text is None:
                del held[name]
            else:
                held[name] = text
            seconds[name] = second
            changed.add(name)
        if changed or not record.touched:
            self._touches += 1
            record.touched, record.changed = self._touches, changed

    def _text(self, value: Any) -> str:
        if isinstance(value, float) and self.floats != "shortest":
            return f"{value:.25f}" if self.floats == "fixed" else f"{value:.16e}"
        return as_text(value)

    def suppress(self, kind: str, value: str) -> None:
        """A person goes, and cannot be made again by any identifier that they had."""
        found = self.find_person(kind, value)
        held = found.identifiers if found else {}
        self.delete_person(kind, value)
        self.suppressed |= {(name, _comparable(name, text)) for name, text in {**held, kind: value}.items()}

    def unsuppress(self, kind: str, value: str) -> None:
        """An identifier may be used again; who had it stays gone."""
        self.suppressed.discard((kind, _comparable(kind, value)))

    def delete_person(self, kind: str, value: str) -> None:
        """A person goes, with all relationships; nobody is no error."""
        found = self.find_person(kind, value)
        if found is None:
            return
        del self.people[found.cio_id]
        for name, held in found.identifiers.items():
            self._ids[name].pop(_comparable(name, held), None)
        self.relationships = {key: held for key, held in self.relationships.items() if key[0] != found.cio_id}
        for members in self.segments.values():
            members.discard(found.cio_id)

    def _delete_object(self, identifiers: dict[str, str]) -> None:
        found = self.find("object", identifiers)
        if found is None:
            return
        key = (found.identifiers["object_type_id"], found.identifiers["object_id"])
        del self.objects[key]
        self.relationships = {pair: held for pair, held in self.relationships.items() if pair[1] != key}

    def merge(self, primary: dict[str, str], secondary: dict[str, str]) -> None:
        """The second person goes into the first."""
        kept, gone = self.find("person", primary), self.find("person", secondary)
        if kept is None or gone is None or kept is gone:
            self.activity.append("Failed Merge: both people have to exist, and to be two")
            return
        self.delete_person("cio_id", gone.cio_id)
        for name, value in gone.identifiers.items():
            if name not in kept.identifiers:
                self._index(kept, name, value)
        self._write(kept, gone.attributes | kept.attributes, None, removes_empty=False)

    def _make(self, kind: str, identifiers: dict[str, str]) -> None:
        if kind == "person":
            self.identify_person(*next(iter(identifiers.items())), {}, None)
        else:
            self._identify_object(identifiers, {})

    def _relate(self, operation: dict[str, Any], related: list[dict[str, Any]]) -> None:
        for one in related:
            if self.relating_makes_related:
                self._make("object" if operation["type"] == "person" else "person", one["identifiers"])
            if key := self._relationship(operation, one):
                attributes = one.get("relationship_attributes") or {}
                held = self.relationships.setdefault(key, {})
                held |= {name: as_text(value) for name, value in attributes.items() if value not in (None, "")}
                for name in [name for name, value in attributes.items() if value in (None, "")]:
                    held.pop(name, None)

    def _relationship(self, operation: dict[str, Any], related: dict[str, Any]) -> tuple[str, tuple[str, str]] | None:
        ends = {operation["type"]: operation["identifiers"]}
        ends["object" if operation["type"] == "person" else "person"] = related["identifiers"]
        person, thing = self.find("person", ends["person"]), self.find("object", ends["object"])
        if person is None or thing is None:
            self.activity.append("Failed Relationship: one of its ends does not exist")
            return None
        return person.cio_id, (thing.identifiers["object_type_id"], thing.identifiers["object_id"])

    # Finding.

    def find(self, kind: str, identifiers: dict[str, str]) -> Record | None:
        """A person or an object by the identifiers of an operation."""
        if kind == "person":
            return self.find_person(*next(iter(identifiers.items())))
        if "cio_object_id" in identifiers:
            return next((one for one in self.objects.values() if one.cio_id == identifiers["cio_object_id"]), None)
        return self.objects.get((identifiers["object_type_id"], identifiers["object_id"]))

    def find_person(self, kind: str, value: str) -> Record | None:
        """A person by one kind of identifier; emails have no case."""
        if kind == "cio_id":
            return self.people.get(value)
        cio_id = self._ids[kind].get(_comparable(kind, value))
        return self.people[cio_id] if cio_id else None

    def _index(self, person: Record, name: str, value: str) -> None:
        if name in person.identifiers:
            self._ids[name].pop(_comparable(name, person.identifiers[name]))
        self._ids[name][_comparable(name, value)] = person.cio_id
        person.identifiers[name] = value

    def _new_cio_id(self, prefix: str = "") -> str:
        self._made += 1
        return f"{prefix}a3{self._made:010x}"


def _comparable(name: str, value: str) -> str:
    return value.lower() if name == "email" else value
