"""The Salesforce stand-in: as strict as the service, asked over plain HTTP and without our adapter."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from destinations.standins import standins
from destinations.standins.salesforce import ADDRESS_BYTES_MAX, STAND_IN, SalesforceStandIn
from destinations.standins.salesforce_parts.org import whole_id
from destinations.standins.salesforce_parts.schema import RecordError, RequestError
from destinations.standins.salesforce_parts.tokens import JWT_GRANT
from destinations.standins.server import Server

CONTACT = "/sobjects/Contact"
KEYED = f"{CONTACT}/Product_User_Id__c"
COLLECTION = "/composite/sobjects"
KEYED_COLLECTION = f"{COLLECTION}/Contact/Product_User_Id__c"


@pytest.fixture
def standin() -> Iterator[SalesforceStandIn]:
    service = SalesforceStandIn()
    with Server({"": service}):
        yield service


class Caller:
    """Asks the stand-in with a good token, by addresses below the version."""

    def __init__(self, standin: SalesforceStandIn) -> None:
        self.standin = standin
        self.session = requests.Session()
        self.session.trust_env = False
        door = standin.tokens
        self.form = {
            "grant_type": "client_credentials",
            "client_id": door.client_id,
            "client_secret": door.client_secret,
        }
        token = self.token().json()["access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"

    def token(self, **form: str) -> requests.Response:
        return self.session.post(f"{self.standin.url}/services/oauth2/token", data=self.form | form, timeout=5)

    def ask(self, method: str, path: str, version: str = "v66.0", **options: Any) -> requests.Response:
        return self.session.request(
            method, f"{self.standin.url}/services/data/{version}{path}", timeout=5, allow_redirects=False, **options
        )

    def query(self, text: str) -> requests.Response:
        return self.ask("GET", "/query", params={"q": text})

    def collect(self, method: str, path: str, *records: dict[str, Any]) -> requests.Response:
        typed = [{"attributes": {"type": "Contact"}, **record} for record in records]
        return self.ask(method, path, json={"allOrNone": False, "records": typed})


@pytest.fixture
def caller(standin: SalesforceStandIn) -> Iterator[Caller]:
    made = Caller(standin)
    yield made
    made.session.close()


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()[0]["errorCode"]


def item_codes(answer: requests.Response) -> list[str]:
    return ["" if item["success"] else item["errors"][0]["statusCode"] for item in answer.json()]


# Finding it


def test_is_found_as_a_stand_in() -> None:
    """The stand-in is found under its kind, and its parts are not taken for stand-ins."""

    assert STAND_IN is standins()["salesforce"]
    assert "salesforce_parts" not in standins()


def test_settings_reach_it(standin: SalesforceStandIn) -> None:
    """The settings are TOML with the address and the credentials."""
    settings = tomllib.loads(standin.settings())

    assert {"login_url", "client_id", "client_secret"} == set(settings)
    assert standin.url == settings["login_url"]


def test_ids_have_their_check_letters() -> None:
    """The three added characters of an Id spell the capitals of the others."""

    assert "001D000000IRFmaIAH" == whole_id("001D000000IRFma")


# Tokens


def test_token_answer(caller: Caller) -> None:
    """A token comes with its instance, and with no time at which it ends."""
    answer = caller.token().json()

    assert caller.standin.url == answer["instance_url"]
    assert "expires_in" not in answer
    assert answer["issued_at"].isdigit()


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"client_id": "x"}, "invalid_client_id"),
        ({"client_secret": "x"}, "invalid_client"),
        ({"grant_type": "x"}, "unsupported_grant_type"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
        ({"grant_type": "password", "username": "x", "password": "x"}, "invalid_grant"),
        ({"grant_type": JWT_GRANT, "assertion": "x"}, "invalid_grant"),
    ],
)
def test_wrong_logins(form: dict[str, str], error: str, caller: Caller) -> None:
    """Each wrong login is refused in the OAuth form."""
    answer = caller.token(**form)

    assert (400, error) == (answer.status_code, answer.json()["error"])


def test_logins_are_forms_at_the_right_door(caller: Caller) -> None:
    """JSON is no login, and client credentials need the org's own address."""
    address = f"{caller.standin.url}/services/oauth2/token"

    assert "invalid_request" == caller.session.post(address, json=caller.form, timeout=5).json()["error"]

    caller.standin.tokens.is_my_domain = False

    assert "invalid_grant" == caller.token().json()["error"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"iss": "x"}, "invalid_client_id"),
        ({"sub": "x"}, "invalid_grant"),
        ({"aud": "https://example.com"}, "invalid_grant"),
        ({"exp": 100}, "invalid_grant"),
        ({"exp": time.time() + 3600}, "invalid_grant"),
    ],
)
def test_signed_assertions(changed: dict[str, Any], expected: str | None, caller: Caller) -> None:
    """An assertion needs the right issuer, subject, audience and an end within five minutes."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    door = caller.standin.tokens
    door.public_key = public.decode()
    claims = {
        "iss": door.client_id,
        "sub": door.username,
        "aud": "https://login.salesforce.com",
        "exp": time.time() + 180,
    }
    answer = caller.token(grant_type=JWT_GRANT, assertion=jwt.encode(claims | changed, key, algorithm="RS256"))

    assert expected == answer.json().get("error")


def test_tokens_end(caller: Caller) -> None:
    """A token is good for as many requests as was said, and for none once it is revoked."""
    caller.standin.tokens.alive = dict.fromkeys(caller.standin.tokens.alive, 1)

    assert 200 == caller.ask("GET", "/limits").status_code
    assert (401, "INVALID_SESSION_ID") == code(caller.ask("GET", "/limits"))


# Every answer


def test_every_answer_counts(caller: Caller) -> None:
    """Good and bad answers tell the use of the day, and the last request is followed by 403."""
    caller.standin.requests_allowed = 2
    headers = [caller.ask("GET", path).headers["Sforce-Limit-Info"] for path in ("/limits", "/nothing")]

    assert ["api-usage=1/2", "api-usage=2/2"] == headers
    assert (403, "REQUEST_LIMIT_EXCEEDED") == code(caller.ask("GET", "/limits"))


def test_versions(caller: Caller) -> None:
    """Versions are listed without credentials; a retired one is gone and an unknown one not found."""
    listed = requests.get(f"{caller.standin.url}/services/data/", timeout=5).json()

    assert "66.0" in [version["version"] for version in listed]
    assert (410, "GONE") == code(caller.ask("GET", "/limits", version="v30.0"))
    assert (404, "NOT_FOUND") == code(caller.ask("GET", "/limits", version="v99.0"))


def test_long_addresses(caller: Caller) -> None:
    """An address that is too long, alone or with its headers, is refused in HTML."""
    long = caller.ask("GET", "/query", params={"q": "x" * ADDRESS_BYTES_MAX})
    wide = caller.ask("GET", "/limits", headers={"X-Wide": "x" * ADDRESS_BYTES_MAX})

    assert (414, 431) == (long.status_code, wide.status_code)
    assert "URI Too Long" in long.text


@pytest.mark.parametrize(("method", "path"), [("DELETE", COLLECTION), ("POST", "/query"), ("PUT", f"{CONTACT}/003")])
def test_wrong_methods(method: str, path: str, caller: Caller) -> None:
    """A method that an address does not know is 405."""

    assert (405, "METHOD_NOT_ALLOWED") == code(caller.ask(method, path))


def test_bodies_are_json(caller: Caller) -> None:
    """Other content types, broken JSON, and NaN are refused."""
    headers = {"Content-Type": "application/json"}

    assert (415, "UNSUPPORTED_MEDIA_TYPE") == code(caller.ask("POST", CONTACT, data="a=b"))
    assert (400, "JSON_PARSER_ERROR") == code(caller.ask("POST", CONTACT, data="{", headers=headers))
    assert (400, "JSON_PARSER_ERROR") == code(
        caller.ask("POST", CONTACT, data='{"Activation_Score__c": NaN}', headers=headers)
    )


# Describe


def test_describe(caller: Caller) -> None:
    """An object is described with standard and custom fields, and 304 says that nothing changed."""
    answer = caller.ask("GET", f"{CONTACT}/describe")
    fields = {field["name"]: field for field in answer.json()["fields"]}

    assert (80, True) == (fields["Email"]["length"], fields["Email"]["idLookup"])
    assert (True, True) == (fields["Product_User_Id__c"]["externalId"], fields["Product_User_Id__c"]["custom"])
    assert ["cold", "warm", "hot"] == [choice["value"] for choice in fields["Activation_Band__c"]["picklistValues"]]

    since = {"If-Modified-Since": answer.headers["Last-Modified"]}

    assert 304 == caller.ask("GET", f"{CONTACT}/describe", headers=since).status_code
    assert (404, "NOT_FOUND") == code(caller.ask("GET", "/sobjects/Nothing/describe"))


def test_list_of_objects(caller: Caller) -> None:
    """All objects are listed, also one that was added."""
    caller.standin.org.add_object("Workspace__c", "a00")
    listed = caller.ask("GET", "/sobjects").json()["sobjects"]

    assert ["Lead", "Contact", "Account", "Workspace__c"] == [one["name"] for one in listed]


# Queries


def test_query_subset(caller: Caller) -> None:
    """AND, IN, NOT IN, =, !=, ORDER BY and LIMIT work; texts are compared without case."""
    put = caller.standin.put
    for name, score in (("Ada", 3.0), ("Bob", 1.0), ("Cyd", 2.0), ("Dan", None)):
        put("Contact", LastName=name, Email=f"{name.lower()}@example.com", Activation_Score__c=score)

    def names(rest: str) -> list[str]:
        answer = caller.query(f"SELECT Id, LastName FROM Contact {rest}").json()
        return [record["LastName"] for record in answer["records"]]

    assert ["Ada", "Bob"] == names("WHERE Email IN ('ADA@example.com','bob@EXAMPLE.com')")
    assert ["Bob"] == names("WHERE Email IN ('ada@example.com','bob@example.com') AND Activation_Score__c = 1")
    assert ["Cyd", "Dan"] == names("WHERE Email NOT IN ('ada@example.com','bob@example.com')")
    assert ["Ada", "Bob", "Cyd"] == names("WHERE Activation_Score__c != null")
    assert ["Ada", "Cyd"] == names("ORDER BY Activation_Score__c DESC LIMIT 2")


def test_query_answer(caller: Caller) -> None:
    """Records always have their attributes, and the Id only when it was asked for; 41 is 41.0 in a number field."""
    record_id = caller.standin.put("Contact", LastName="Ada", Activation_Score__c=41)
    (record,) = caller.query("SELECT LastName, Activation_Score__c FROM Contact").json()["records"]

    assert {"attributes", "LastName", "Activation_Score__c"} == set(record)
    assert "41.0" == str(record["Activation_Score__c"])
    assert record["attributes"]["url"].endswith(record_id)


def test_queries_by_keys(caller: Caller) -> None:
    """Ids count by their first 15 characters, other keys as their fields say; null and other conditions still hold."""
    caller.standin.add_field("Contact", "Key__c", "string", externalId=True, idLookup=True, caseSensitive=True)
    caller.standin.add_field("Contact", "Number__c", "double", externalId=True, idLookup=True)
    put = caller.standin.put
    ids = [
        put("Contact", LastName="Ada", Email="twin@example.com", Key__c="AB", Number__c=7),
        put("Contact", LastName="Bob", Email="TWIN@example.com", Key__c="ab"),
        put("Contact", LastName="Cyd", Number__c=8.5),
    ]
    put("Contact", LastName="Gone", Email="twin@example.com")
    caller.standin.org.delete("Contact", caller.standin.records("Contact")[3]["Id"])

    def names(condition: str) -> list[str]:
        answer = caller.query(f"SELECT LastName FROM Contact WHERE {condition}").json()
        return [record["LastName"] for record in answer["records"]]

    assert ["Ada", "Cyd"] == names(f"Id IN ('{ids[2][:15]}','{ids[0]}','{ids[2]}')")
    assert ["Ada"] == names(f"Id = '{ids[0][:15]}ZZZ'")
    assert ["Ada", "Bob"] == names("Email = ' Twin@example.com '")
    assert ["Bob"] == names("Email IN ('twin@example.com') AND Key__c = 'ab'")
    assert ["Bob"] == names("LastName = 'bob' AND Email IN ('twin@example.com')")
    assert ["Cyd"] == names("Email != 'twin@example.com'")
    assert ["Ada", "Bob", "Cyd"] == names("Email IN (null, 'twin@example.com')")
    assert ["Ada", "Cyd"] == names("Number__c IN (7.0, 8.5)")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("SELECT Id FROM Contact WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Email IN ()", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Email = 'o'neil'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact WHERE Email = 'a\\q'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Contact; DELETE", "MALFORMED_QUERY"),
        ("SELECT Nothing__c FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Description = 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Activation_Score__c = '1'", "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Id IN ('003')", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
    ],
)
def test_wrong_queries(text: str, error: str, caller: Caller) -> None:
    """A query that the service would not take is refused with its code."""

    assert (400, error) == code(caller.query(text))


def test_pages(caller: Caller) -> None:
    """A long answer comes in pages, and an old locator is refused."""
    for number in range(5):
        caller.standin.put("Contact", LastName=f"Person {number}")
    caller.standin.page_size = 2
    sizes, page = [], caller.query("SELECT Id FROM Contact").json()
    while not page["done"]:
        sizes.append(len(page["records"]))
        locator = page["nextRecordsUrl"].removeprefix("/services/data/v66.0")
        page = caller.ask("GET", locator).json()

    assert [2, 2, 1] == [*sizes, len(page["records"])]

    caller.standin.locators_expire = True

    assert (400, "INVALID_QUERY_LOCATOR") == code(caller.ask("GET", locator))


# Single records


def test_single_record_lives(caller: Caller) -> None:
    """A record is created, changed, read and deleted; null clears and what is absent stays."""
    created = caller.ask("POST", CONTACT, json={"LastName": "Ada", "Source__c": "a", "Activation_Score__c": 1.5})
    address = f"{CONTACT}/{created.json()['id']}"
    changed = caller.ask("PATCH", address, json={"Source__c": None})
    read = caller.ask("GET", address, params={"fields": "Name,Source__c,Activation_Score__c"}).json()
    del read["attributes"]

    assert (201, 204) == (created.status_code, changed.status_code)
    assert created.headers["Location"].endswith(address)
    assert {"Name": "Ada", "Source__c": None, "Activation_Score__c": 1.5} == read
    assert 204 == caller.ask("DELETE", address).status_code
    assert (404, "ENTITY_IS_DELETED") == code(caller.ask("PATCH", address, json={}))


def test_single_upsert(caller: Caller) -> None:
    """201 creates, 200 updates, 300 lists several, and `updateOnly=true` creates nothing."""
    body = {"LastName": "Ada"}
    address = f"{KEYED}/u%2F1"

    assert (404, "NOT_FOUND") == code(caller.ask("PATCH", f"{address}?updateOnly=true", json=body))
    assert 201 == caller.ask("PATCH", address, json=body).status_code
    assert False is caller.ask("PATCH", address, json=body).json()["created"]
    assert ["u/1"] == [record["Product_User_Id__c"] for record in caller.standin.records("Contact")]
    assert (400, "INVALID_FIELD") == code(caller.ask("PATCH", address, json=body | {"Product_User_Id__c": "u/1"}))
    assert (400, "INVALID_FIELD") == code(caller.ask("PATCH", address, json=body | {"Id": "003"}))
    assert (404, "NOT_FOUND") == code(caller.ask("PATCH", f"{CONTACT}/LastName/Ada", json=body))

    for _ in range(2):
        caller.standin.put("Contact", LastName="Twin", Email="twin@example.com")
    several = caller.ask("PATCH", f"{CONTACT}/Email/twin@example.com", json=body)

    assert (300, 2) == (several.status_code, len(several.json()))


def test_keys_follow_their_records(caller: Caller) -> None:
    """A key is free once its record has another, none, or is deleted, and taken again once that is taken back."""

    def found(key: str) -> int:
        return caller.ask("GET", f"{KEYED}/{key}").status_code

    first = caller.standin.put("Contact", LastName="Ada", Product_User_Id__c="u_1")
    caller.ask("PATCH", f"{CONTACT}/{first}", json={"Product_User_Id__c": "u_2"})

    assert (404, 200) == (found("u_1"), found("U_2"))

    second = caller.standin.put("Contact", LastName="Bob", Product_User_Id__c="u_1")
    caller.ask("PATCH", f"{CONTACT}/{first}", json={"Product_User_Id__c": None})
    taken = caller.ask("PATCH", f"{CONTACT}/{first}", json={"Product_User_Id__c": "U_1"})

    assert (404, 200) == (found("u_2"), found("u_1"))
    assert (400, "DUPLICATE_VALUE") == code(taken)

    caller.standin.org.delete("Contact", second)

    assert 404 == found("u_1")

    caller.standin.org.deleted.clear()

    assert 200 == found("u_1")


def test_keys_follow_their_fields(caller: Caller) -> None:
    """A field that is made a key, or whose case begins to count, is one for the records that are there already."""
    for name in ("ab", "AB"):
        caller.standin.put("Contact", LastName="Ada", Source__c=name)
    address = f"{CONTACT}/Source__c/ab"

    assert (404, "NOT_FOUND") == code(caller.ask("GET", address))

    source = caller.standin.org.objects["Contact"].fields["Source__c"]
    source["idLookup"] = True

    assert 300 == caller.ask("GET", address).status_code

    source["caseSensitive"] = True

    assert "ab" == caller.ask("GET", address).json()["Source__c"]


def test_spellings_of_ids(caller: Caller) -> None:
    """An Id is good with 15 characters as they are, or with 18 in any case."""
    for _ in range(12):
        whole = caller.standin.put("Contact", LastName="Ada")
    short = whole[:15]
    statuses = [
        caller.ask("GET", f"{CONTACT}/{text}").status_code
        for text in (
            whole,
            short,
            whole.lower(),
            whole.upper(),
            short.swapcase(),
            short + "AAA",
            whole[:17],
            short + "!!!",
        )
    ]

    assert short != short.swapcase()
    assert [200, 200, 200, 200, 404, 404, 400, 400] == statuses


# Collections


def test_collections_create_update_upsert(caller: Caller) -> None:
    """Each record is answered in its place, and only upserts say what they created."""
    created = caller.collect("POST", COLLECTION, {"LastName": "Ada", "Product_User_Id__c": "u_1"}, {}).json()
    updated = caller.collect("PATCH", COLLECTION, {"id": created[0]["id"], "Source__c": "a"}).json()
    upserted = caller.collect(
        "PATCH",
        KEYED_COLLECTION,
        {"Product_User_Id__c": "U_1", "Source__c": "b"},
        {"Product_User_Id__c": "u_2", "LastName": "Bob"},
    ).json()

    assert [True, False] == [item["success"] for item in created]
    assert {
        "success": False,
        "errors": [
            {
                "statusCode": "REQUIRED_FIELD_MISSING",
                "message": "Required fields are missing: [LastName]",
                "fields": ["LastName"],
            }
        ],
    } == created[1]
    assert [{"id": created[0]["id"], "success": True, "errors": []}] == updated
    assert [False, True] == [item["created"] for item in upserted]
    assert ["b", None] == [record["Source__c"] for record in caller.standin.records("Contact")]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"Source__c": "x" * 81}, "STRING_TOO_LONG"),
        ({"Activation_Score__c": 1e16}, "NUMBER_OUTSIDE_VALID_RANGE"),
        ({"Activation_Band__c": "Hot"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ({"Email": "badone"}, "INVALID_EMAIL_ADDRESS"),
        ({"IsEmailBounced": True}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"LastName": None}, "REQUIRED_FIELD_MISSING"),
        ({"LastName": ""}, "REQUIRED_FIELD_MISSING"),
        ({"Product_User_Id__c": "TAKEN"}, "DUPLICATE_VALUE"),
        ({"id": "003000000000099AAA"}, "INVALID_CROSS_REFERENCE_KEY"),
        ({"id": "nonsense"}, "MALFORMED_ID"),
        ({"Source__c": "x" * 80, "Score_Computed_At__c": "2026-01-01T00:00:00.000Z"}, ""),
        ({"Score_Computed_At__c": "2026-01-01T01:00:00+01:00", "Birthdate": "1815-12-10"}, ""),
    ],
)
def test_values_of_one_record(values: dict[str, Any], error: str, caller: Caller) -> None:
    """A value that its field cannot hold refuses its record and not the one beside it."""
    caller.standin.put("Contact", LastName="Other", Product_User_Id__c="taken")
    first, second = (caller.standin.put("Contact", LastName="Ada") for _ in range(2))
    answer = caller.collect("PATCH", COLLECTION, {"id": first} | values, {"id": second, "Source__c": "b"})

    assert [error, ""] == item_codes(answer)
    assert "b" == caller.standin.records("Contact")[-1]["Source__c"]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"Nothing__c": 1}, "INVALID_FIELD"),
        ({"Activation_Score__c": "1"}, "JSON_PARSER_ERROR"),
        ({"Activation_Score__c": True}, "JSON_PARSER_ERROR"),
        ({"Source__c": 1}, "JSON_PARSER_ERROR"),
        ({"Birthdate": "10.12.1815"}, "JSON_PARSER_ERROR"),
        ({"Score_Computed_At__c": "2026-01-01 00:00:00+00:00"}, "JSON_PARSER_ERROR"),
        ({"attributes": {}}, "INVALID_INPUT"),
        ({"attributes": {"type": "Nothing"}}, "INVALID_TYPE"),
    ],
)
def test_values_that_spoil_the_request(values: dict[str, Any], error: str, caller: Caller) -> None:
    """What cannot be read at all refuses the whole request, and nothing of it is applied."""
    first, second = (caller.standin.put("Contact", LastName="Ada") for _ in range(2))
    answer = caller.collect("PATCH", COLLECTION, {"id": first, "Source__c": "a"}, {"id": second} | values)

    assert (400, error) == code(answer)
    assert [None, None] == [record["Source__c"] for record in caller.standin.records("Contact")]


def test_an_unknown_field_may_refuse_its_record_alone(caller: Caller) -> None:
    """Which of the two the service does is a switch."""
    caller.standin.unknown_field_refuses_all = False
    record_id = caller.standin.put("Contact", LastName="Ada")

    assert ["INVALID_FIELD"] == item_codes(caller.collect("PATCH", COLLECTION, {"id": record_id, "Nothing__c": 1}))


@pytest.mark.parametrize("count", [0, 201])
def test_collections_have_a_size(count: int, caller: Caller) -> None:
    """A request holds 1 to 200 records."""

    assert (400, "INVALID_INPUT") == code(caller.collect("POST", COLLECTION, *[{"LastName": "Ada"}] * count))


def test_keys_of_collections(caller: Caller) -> None:
    """A key field is an external id; the same key or Id twice in one request is refused."""
    record_id = caller.standin.put("Contact", LastName="Ada", Email="ada@example.com")
    by_email = {"Email": "ada@example.com", "Source__c": "a"}

    assert (404, "NOT_FOUND") == code(caller.collect("PATCH", f"{COLLECTION}/Contact/Email", by_email))

    caller.standin.email_is_key = True

    assert [""] == item_codes(caller.collect("PATCH", f"{COLLECTION}/Contact/Email", by_email))
    assert ["DUPLICATE_VALUE"] * 2 == item_codes(
        caller.collect("PATCH", KEYED_COLLECTION, {"Product_User_Id__c": "u_1"}, {"Product_User_Id__c": "U_1"})
    )
    assert ["DUPLICATE_VALUE"] * 2 == item_codes(
        caller.collect("PATCH", COLLECTION, {"id": record_id}, {"id": record_id[:15]})
    )
    assert ["MISSING_ARGUMENT"] == item_codes(caller.collect("PATCH", KEYED_COLLECTION, {"LastName": "Ada"}))
    assert ["MISSING_ARGUMENT"] == item_codes(caller.collect("PATCH", COLLECTION, {"LastName": "Ada"}))


@pytest.mark.parametrize("key", [["003"], {"a": 1}, 7])
def test_keys_that_are_no_text(key: Any, caller: Caller) -> None:
    """What cannot be an Id finds no record, and the record that it would make is refused alone."""
    answer = caller.collect("PATCH", f"{COLLECTION}/Contact/Id", {"Id": key, "LastName": "Ada"})

    assert ["INVALID_FIELD_FOR_INSERT_UPDATE"] == item_codes(answer)


def test_records_of_another_type(caller: Caller) -> None:
    """The type of each record is the address's."""
    answer = caller.collect("PATCH", KEYED_COLLECTION, {"attributes": {"type": "Lead"}, "Product_User_Id__c": "u_1"})

    assert ["INVALID_TYPE"] == item_codes(answer)


def test_types_of_a_collection_come_in_chunks(caller: Caller) -> None:
    """Records of several types go together in up to ten runs of one type."""
    ids = {
        "Contact": caller.standin.put("Contact", LastName="Ada"),
        "Account": caller.standin.put("Account", Name="Acme"),
    }

    def collected(runs: int) -> requests.Response:
        kinds = [("Contact", "Account")[number % 2] for number in range(runs)]
        records = [{"attributes": {"type": kind}, "id": ids[kind]} for kind in kinds]
        return caller.ask("PATCH", COLLECTION, json={"allOrNone": False, "records": records})

    assert 200 == collected(10).status_code
    assert (400, "INVALID_INPUT") == code(collected(11))


def test_somebody_else_may_come_in_between(caller: Caller) -> None:
    """What somebody else does just before a call is applied happens once, and the call then finds it."""
    ids = [caller.standin.put("Contact", LastName=name) for name in ("Ada", "Bob")]
    caller.standin.meanwhile = lambda: caller.standin.org.delete("Contact", ids[0])

    assert ["ENTITY_IS_DELETED", ""] == item_codes(
        caller.collect("PATCH", COLLECTION, *({"id": record_id, "Title": "Dr"} for record_id in ids))
    )
    assert [""] == item_codes(caller.collect("PATCH", COLLECTION, {"id": ids[1], "Title": "Lord"}))
    assert ["Bob"] == [record["Name"] for record in caller.standin.records("Contact")]


def test_a_locked_account_locks_its_contacts(caller: Caller) -> None:
    """Somebody who holds an account holds its contacts too, for as many tries as was said; others are free."""
    account = caller.standin.put("Account", Name="Acme")
    ids = [
        caller.standin.put("Contact", LastName="Ada", AccountId=account),
        caller.standin.put("Contact", LastName="B"),
    ]
    caller.standin.org.locked[account] = 2

    def collected() -> list[str]:
        return item_codes(caller.collect("PATCH", COLLECTION, *({"id": one, "Title": "Dr"} for one in ids)))

    assert ["UNABLE_TO_LOCK_ROW", ""] == collected()
    assert (400, "UNABLE_TO_LOCK_ROW") == code(caller.ask("PATCH", f"{CONTACT}/{ids[0]}", json={"Title": "Dr"}))
    assert ["", ""] == collected()


def test_converted_locked_and_duplicate_records(caller: Caller) -> None:
    """Converted leads refuse, locked rows let go in time, and duplicate rules can be overruled."""
    org = caller.standin.org
    lead = caller.standin.put("Lead", LastName="Moved", Company="C", Email="moved@example.com")
    contact = org.convert(lead)
    org.locked[contact] = 1
    org.duplicate_emails.add("twin@example.com")
    allow = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
    twin = {"LastName": "Twin", "Email": "twin@example.com"}

    assert (400, "CANNOT_UPDATE_CONVERTED_LEAD") == code(
        caller.ask("PATCH", f"/sobjects/Lead/{lead}", json={"Source__c": "a"})
    )
    assert ["UNABLE_TO_LOCK_ROW"] == item_codes(caller.collect("PATCH", COLLECTION, {"id": contact}))
    assert [""] == item_codes(caller.collect("PATCH", COLLECTION, {"id": contact}))
    assert (400, "DUPLICATES_DETECTED") == code(caller.ask("POST", CONTACT, json=twin))
    assert 201 == caller.ask("POST", CONTACT, json=twin, headers=allow).status_code


def test_cut_answers(caller: Caller) -> None:
    """On demand an answer lacks its last records, which were applied all the same."""
    caller.standin.answers_cut = 1
    answer = caller.collect("POST", COLLECTION, {"LastName": "Ada"}, {"LastName": "Bob"})

    assert (1, 2) == (len(answer.json()), len(caller.standin.records("Contact")))


# Seeds and tables


def test_seed_and_tables(standin: SalesforceStandIn) -> None:
    """Half of the people become contacts, a quarter leads, nine tenths of the accounts accounts; none is news."""
    people = [
        {"user_id": f"u_{number}", "email": f"u{number}@example.com", "name": f"Ada {number}", "github": None}
        for number in range(40)
    ]
    people[0]["email"] = None
    accounts = [{"account_id": f"a_{number}", "name": "Acme", "domain": f"a{number}.example"} for number in range(20)]
    standin.seed(people, [], accounts)
    contacts, leads, owners = standin.tables()

    assert [("Contacts", 19), ("Leads", 10), ("Accounts", 18)] == [
        (table.title, len(table.rows)) for table in (contacts, leads, owners)
    ]
    assert not any(changed for table in (contacts, leads, owners) for changed in table.changed)

    record_id = standin.records("Contact")[7]["Id"]
    standin.org.update("Contact", record_id, {"Activation_Score__c": 41.5})
    newest = standin.tables()[0]

    assert ("u_16", "41.5") == (newest.rows[0]["Product_User_Id__c"], newest.rows[0]["Activation_Score__c"])
    assert {"Activation_Score__c"} == newest.changed[0]
    assert set(newest.columns) == set(newest.rows[0])


def test_seeds_pass_the_same_rules(standin: SalesforceStandIn) -> None:
    """What a test or a seed puts there is held to the rules of the service too."""
    with pytest.raises(RecordError):
        standin.put("Contact", FirstName="Nobody")
    with pytest.raises(RequestError):
        standin.put("Contact", LastName="Ada", Nothing__c=1)
