"""The schema for editors says what the loader says: the shipped files are right, the faulty ones are not."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import destinations
from syncer.schema import config_schema, mapping_schema
from tests.standins import paper

HOUSE = Path(__file__).parents[1]
FAULTS = HOUSE / "tests" / "faults"
MAPPINGS = sorted((HOUSE / "mappings").glob("*.toml"))

CONFIG = config_schema(destinations.adapter, destinations.kinds)
PAPER = config_schema(paper.adapter, lambda: ["paper"])
MAPPING = mapping_schema()

BEYOND_A_SCHEMA = {
    # Addresses, paths, times and texts have a meaning that a schema cannot tell.
    "address_of_another_sort", "address_without_scheme", "password_in_an_address", "port_that_is_no_number",
    "http_to_another_host", "stand_in_of_bigquery_on_another_host", "key_file_content_instead_of_path",
    "variable_not_set", "variable_is_empty", "secret_file_is_missing", "secret_file_is_empty", "duckdb_path_is_empty",
    "reference_without_a_name", "reference_where_a_word_belongs", "bytes_with_unknown_unit", "bytes_below_zero",
    "every_too_short", "every_unreadable", "cron_that_never_fires", "cron_of_six_parts", "cron_minute_out_of_range",
    "cron_weekday_unknown", "unknown_timezone", "max_age_unreadable", "listen_without_port", "retry_delay_unreadable",
    "share_that_is_not_a_number", "schedule_of_a_sync_unreadable", "cron_of_a_sync_that_never_fires",
    "field_without_a_name", "bands_out_of_order", "quiet_hours_unreadable", "quiet_hours_that_are_none",
    "jitter_unreadable", "journal_kept_for_no_time",
    # What depends on other settings, on other files or on the adapter.
    "every_and_cron", "when_and_cron", "after_and_every", "after_a_sync_that_is_not_there", "after_each_other",
    "after_itself", "after_for_all_syncs", "state_in_bigquery",
    "first_wait_longer_than_the_longest", "listen_for_others_without_token",
    "schedule_of_a_sync_without_a_time", "source_and_query", "neither_source_nor_query", "query_file_is_missing",
    "query_file_is_empty", "two_syncs_of_one_name", "two_syncs_of_one_name_in_two_files", "column_and_value",
    "neither_column_nor_value", "constant_with_digits", "hysteresis_without_bands", "min_change_with_bands",
    "digits_of_a_text", "destination_not_configured", "object_that_the_destination_lacks",
    "secret_in_an_adapters_sentence", "field_that_the_destination_refuses", "mappings_folder_of_another_name",
    "destination_refuses_one_sync_of_a_file_with_a_mistake", "create_as_of_one_object", "create_as_of_another_object",
    "several_objects_and_none_to_create", "several_objects_where_there_is_one", "relation_where_there_are_none",
    "rescore_rate_without_a_version", "grace_where_rows_are_kept",
    "history_kept_for_a_colour", "delivered_without_history", "delivered_table_without_a_name",
    "delivered_table_of_three_parts_in_duckdb", "delivered_table_without_a_dataset",
    "alert_mail_to_no_address", "alert_mail_without_encryption", "alert_address_without_encryption",
    "alert_secret_too_short", "alerts_of_one_name", "alert_for_a_sync_that_is_not_there",
    "service_url_without_scheme", "destination_expires_no_day",
    "control_that_is_no_url", "control_that_cannot_be_read",
}  # fmt: skip


def mistakes(schema: dict[str, Any], data: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(schema).iter_errors(data)]


def as_json(file: Path) -> Any:
    """A TOML file as an editor's validator sees it; None when it is not TOML at all."""
    try:
        return json.loads(json.dumps(tomllib.loads(file.read_bytes().decode()), default=str))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return None


@pytest.mark.parametrize("schema", [CONFIG, MAPPING], ids=["config", "mapping"])
def test_a_schema_is_one(schema: dict[str, Any]) -> None:
    """It is valid by the draft that it names, it is plain JSON, and null, which TOML lacks, is not in it."""
    Draft202012Validator.check_schema(schema)

    assert "https://json-schema.org/draft/2020-12/schema" == schema["$schema"]
    assert schema == json.loads(json.dumps(schema))
    assert '"null"}' not in json.dumps(schema)
    assert "hidden" not in json.dumps(schema)


def test_the_sample_is_right_by_the_schema() -> None:
    """An editor shows no mistake in the config that `syncer init` writes."""

    assert [] == mistakes(CONFIG, as_json(HOUSE / "config.example.toml"))


@pytest.mark.parametrize("file", MAPPINGS, ids=lambda file: file.name)
def test_a_shipped_mapping_is_right_by_the_schema(file: Path) -> None:
    """An editor shows no mistake in the mapping files that ship."""

    assert [] == mistakes(MAPPING, as_json(file))


def test_the_base_of_all_faults_is_right_by_the_schema() -> None:
    """What each faulty file differs from is right, so the schema sees its fault and nothing else."""

    assert [] == mistakes(PAPER, as_json(FAULTS / "base" / "config.toml"))
    assert [] == mistakes(MAPPING, as_json(FAULTS / "base" / "mappings" / "paper.toml"))


def faulty_files() -> list[Any]:
    """Every file of the fault suite that is TOML, with the schema that it belongs to."""
    found = []
    for case in sorted(FAULTS.iterdir()):
        for file in sorted(case.rglob("*.toml")):
            if case.name != "base" and file.is_file() and as_json(file) is not None:
                schema = PAPER if file.name == "config.toml" else MAPPING
                found.append(pytest.param(case.name, schema, file, id=f"{case.name}/{file.name}"))
    return found


@pytest.mark.parametrize(("case", "schema", "file"), faulty_files())
def test_the_schema_sees_the_mistakes_that_a_schema_can_see(case: str, schema: dict[str, Any], file: Path) -> None:
    """Wrong names, types, words and numbers are marked while they are typed; nothing right is."""
    one_of_several = case == "several_mistakes_in_several_files" and file.name == "scissors.toml"
    can_be_seen = case not in BEYOND_A_SCHEMA and not one_of_several

    assert can_be_seen == bool(mistakes(schema, as_json(file)))


@pytest.mark.parametrize(
    ("section", "is_right"),
    [
        ('[destinations.orbit]\nworkspace = "a"\napi_key = "k"', True),
        ('[destinations.mine]\ntype = "orbit"\nworkspace = "a"\napi_key = "k"', True),
        ('[destinations.salesforce]\ntype = "orbit"\nworkspace = "a"\napi_key = "k"', True),
        ('[destinations.mine]\nworkspace = "a"\napi_key = "k"', False),
        ('[destinations.orbit]\ntype = "salesforce"\nworkspace = "a"\napi_key = "k"', False),
        ('[destinations.orbit]\nworkspace = "a"\napi_key = "k"\nregion = "eu"', False),
        ('[destinations.orbit]\nworkspace = "env:ORBIT_WORKSPACE"\napi_key = "k"', True),
        ('[destinations.orbit]\nworkspace = "not a slug"\napi_key = "k"', False),
        ('[destinations.customerio]\nsite_id = "s"\napi_key = "k"\nregion = "env:REGION"', True),
        ('[destinations.customerio]\nsite_id = "s"\napi_key = "k"\nregion = "uk"', False),
    ],
)
def test_a_destination_is_judged_by_its_kind(section: str, is_right: bool) -> None:
    """The type decides, else the name; a reference may stand wherever a text may."""
    config = tomllib.loads(f'source = {{ type = "duckdb", path = "w" }}\n{section}\n')

    assert is_right == (not mistakes(CONFIG, config))


def test_every_setting_is_described() -> None:
    """An editor that shows the schema has a sentence for each setting of the house."""
    bare = []

    def look(schema: dict[str, Any], path: str) -> None:
        for name, setting in schema.get("properties", {}).items():
            if "description" not in setting and "anyOf" not in setting:
                bare.append(f"{path}.{name}")
        for name, inner in schema.get("$defs", {}).items():
            look(inner, name)

    look(CONFIG, "config")
    look(MAPPING, "mapping")

    assert [] == [name for name in bare if not name.startswith("BrakeChanges.")]
