"""What GoogleSQL makes of a statement: its kind, its result's columns, what it reads and what it writes.

The analyser runs as for customers (product mode EXTERNAL) and with the language features that the documentation
of BigQuery describes; it knows every function of GoogleSQL, also the few that BigQuery does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from tests.standins.bigquery.catalog import Refused, Stored
from tests.standins.bigquery.columns import Column, Schema
from tests.standins.bigquery.googlesql import SHARED, Complaint
from tests.standins.bigquery.scanning import Scan, Table, scans

FEATURES = """
ANALYTIC_FUNCTIONS TABLESAMPLE DML_UPDATE_WITH_JOIN TABLE_VALUED_FUNCTIONS TEMPLATE_FUNCTIONS NAMED_ARGUMENTS
CREATE_TABLE_PARTITION_BY CREATE_TABLE_CLUSTER_BY CREATE_TABLE_NOT_NULL CREATE_TABLE_FIELD_ANNOTATIONS
CREATE_TABLE_AS_SELECT_COLUMN_LIST CREATE_TABLE_LIKE CREATE_TABLE_COPY CREATE_TABLE_CLONE CREATE_SNAPSHOT_TABLE
ALTER_COLUMN_SET_DATA_TYPE ALTER_TABLE_RENAME_COLUMN COLUMN_DEFAULT_VALUE UNENFORCED_PRIMARY_KEYS FOREIGN_KEYS
NUMERIC_TYPE BIGNUMERIC_TYPE DECIMAL_ALIAS PARAMETERIZED_TYPES GEOGRAPHY INTERVAL_TYPE RANGE_TYPE CIVIL_TIME JSON_TYPE
JSON_ARRAY_FUNCTIONS JSON_VALUE_EXTRACTION_FUNCTIONS JSON_LAX_VALUE_EXTRACTION_FUNCTIONS JSON_CONSTRUCTOR_FUNCTIONS
JSON_MUTATOR_FUNCTIONS JSON_KEYS_FUNCTION JSON_STRICT_NUMBER_PARSING JSON_ARRAY_VALUE_EXTRACTION_FUNCTIONS
JSON_MORE_VALUE_EXTRACTION_FUNCTIONS ORDER_BY_COLLATE WITH_ON_SUBQUERY SELECT_STAR_EXCEPT_REPLACE
ORDER_BY_IN_AGGREGATE LIMIT_IN_AGGREGATE HAVING_IN_AGGREGATE NULL_HANDLING_MODIFIER_IN_ANALYTIC
NULL_HANDLING_MODIFIER_IN_AGGREGATE FOR_SYSTEM_TIME_AS_OF SAFE_FUNCTION_CALL GROUP_BY_STRUCT GROUP_BY_ARRAY
GROUP_BY_ROLLUP GROUPING_SETS GROUPING_BUILTIN GROUP_BY_ALL WEEK_WITH_WEEKDAY OMIT_INSERT_COLUMN_LIST
NULLS_FIRST_LAST_IN_ORDER_BY ALLOW_DASHES_IN_TABLE_NAME CONCAT_MIXED_TYPES WITH_RECURSIVE ALLOW_CONSECUTIVE_ON
ALLOW_REGEXP_EXTRACT_OPTIONALS DATE_TIME_CONSTRUCTORS DATE_ARITHMETICS ADDITIONAL_STRING_FUNCTIONS
EXTENDED_DATE_TIME_SIGNATURES EXTENDED_GEOGRAPHY_PARSERS PIVOT UNPIVOT IS_DISTINCT FORMAT_IN_CAST QUALIFY
LIKE_ANY_SOME_ALL BARE_ARRAY_ACCESS ARRAY_ORDERING ROUND_WITH_ROUNDING_MODE INVERSE_TRIG_FUNCTIONS CBRT_FUNCTIONS
ANNOTATION_FRAMEWORK COLLATION_SUPPORT COLLATION_IN_EXPLICIT_CAST PIPES LEGACY_BINARY_CONCAT
FUNCTION_ARGUMENTS_WITH_DEFAULTS ALTER_VIEWS_ALTER_COLUMN_SET_OPTIONS
"""
"""The language as docs.cloud.google.com/bigquery/docs/reference/standard-sql tells it."""

KINDS = {
    "BOOL": "BOOLEAN",
    "BYTES": "BYTES",
    "DATE": "DATE",
    "DATETIME": "DATETIME",
    "DOUBLE": "FLOAT",
    "GEOGRAPHY": "GEOGRAPHY",
    "INT64": "INTEGER",
    "INTERVAL": "INTERVAL",
    "JSON": "JSON",
    "NUMERIC": "NUMERIC",
    "BIGNUMERIC": "BIGNUMERIC",
    "STRING": "STRING",
    "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMP",
}
"""GoogleSQL's name of a type, without TYPE_, → BigQuery's."""

STATEMENTS = {
    "resolved_query_stmt_node": "SELECT",
    "resolved_insert_stmt_node": "INSERT",
    "resolved_delete_stmt_node": "DELETE",
    "resolved_update_stmt_node": "UPDATE",
    "resolved_merge_stmt_node": "MERGE",
    "resolved_truncate_stmt_node": "TRUNCATE_TABLE",
    "resolved_drop_stmt_node": "DROP_TABLE",
    "resolved_create_table_stmt_node": "CREATE_TABLE",
    "resolved_create_table_as_select_stmt_node": "CREATE_TABLE_AS_SELECT",
    "resolved_alter_table_stmt_node": "ALTER_TABLE",
}
"""Node of a statement → what BigQuery calls it; others are refused here."""

MUTATING = ("DELETE", "UPDATE", "MERGE", "TRUNCATE_TABLE", "INSERT")


@dataclass(frozen=True)
class Analysed:
    """A statement that GoogleSQL accepts. `node` is its resolved form, `tables` maps a path as written to a table."""

    sql: str
    kind: str
    fields: Schema
    scans: tuple[Scan, ...]
    target: str | None
    node: Any
    tables: Mapping[str, str] = field(default_factory=dict)


def analysed(
    sql: str,
    find: Callable[[str], Stored],
    project: str,
    parameters: Mapping[str, Column],
    altered: Sequence[list[str]] = (),
) -> Analysed:
    """Analyse one statement; `find` knows the tables by whole name. Raises Refused.

    `altered` is the path of the table after ALTER TABLE, which GoogleSQL wants to know and does not name.
    """
    options = analyser_options(parameters)
    try:
        paths = [*_paths(sql), *(tuple(path) for path in altered)]
        tables = {".".join(path): whole(path, project) for path in paths}
        known = [find(full_name) for full_name in tables.values()]
        by_path = {".".join(path): path for path in paths}
        catalog = described_tables(options, zip(by_path.values(), known, strict=True))
        return _analysed(
            sql,
            project,
            options.SerializeToString(deterministic=True),
            catalog.SerializeToString(deterministic=True),
            tuple((one.full_name, tuple(column["name"] for column in one.fields)) for one in known),
            tuple(tables.items()),
        )
    except Complaint as complaint:
        raise Refused(400, "invalidQuery", complaint.message) from None


@lru_cache(maxsize=256)
def _paths(sql: str) -> tuple[tuple[str, ...], ...]:
    """The tables that a statement names, each as written, part by part. Raises Complaint."""
    from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

    answer = SHARED.ask(
        "ExtractTableNamesFromStatement",
        service.ExtractTableNamesFromStatementRequest(sql_statement=sql, options=_options().language_options),
        service.ExtractTableNamesFromStatementResponse,
    )
    return tuple(tuple(path.table_name_segment) for path in answer.table_name)


@lru_cache(maxsize=256)
def _analysed(
    sql: str,
    project: str,
    options: bytes,
    catalog: bytes,
    known: tuple[Table, ...],
    tables: tuple[tuple[str, str], ...],
) -> Analysed:
    """Most statements are analysed twice: when they are weighed, and when they run. Raises Complaint, Refused."""
    from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service

    request = service.AnalyzeRequest(registered_catalog_id=SHARED.catalog(catalog), sql_statement=sql)
    request.options.ParseFromString(options)
    answer = SHARED.ask("Analyze", request, service.AnalyzeResponse)
    kind, node = _statement(answer.resolved_statement)
    target = _target(kind, node, known, project)
    return Analysed(sql, kind, _fields(kind, node), scans(node, known), target, node, dict(tables))


def analyser_options(parameters: Mapping[str, Column]) -> Any:
    """The analyser's options, with the types of these parameters."""
    from zetasql.wasi._pb2.zetasql.proto import options_pb2

    options = options_pb2.AnalyzerOptionsProto()
    options.CopyFrom(_options())
    for name, column in parameters.items():
        options.query_parameters.add(name=name).type.CopyFrom(type_of(column))
    return options


def described_tables(options: Any, tables: Iterable[tuple[Sequence[str], Stored]]) -> Any:
    """A catalog of the built-in functions and these tables, numbered from 1, each under the path of its mention."""
    from zetasql.wasi._pb2.zetasql.proto import simple_catalog_pb2

    catalog = simple_catalog_pb2.SimpleCatalogProto(name="bigquery")
    catalog.builtin_function_options.language_options.CopyFrom(options.language_options)
    for number, (segments, stored) in enumerate(tables, 1):
        _add(catalog, segments, stored, number)
    return catalog


def whole(segments: Sequence[str], project: str) -> str:
    """The whole name of a table as a statement writes it. Raises Refused."""
    parts = ".".join(segments).split(".")
    if len(parts) == 2:
        return ".".join([project, *parts])
    if len(parts) != 3:
        name = ".".join(segments)
        raise Refused(400, "invalid", f'Table "{name}" must be qualified with a dataset (e.g. dataset.table).')
    return ".".join(parts)


def type_of(column: Column) -> Any:
    """A column's type as GoogleSQL has it."""
    from zetasql.wasi._pb2.zetasql.public import type_pb2

    made = type_pb2.TypeProto()
    if column.get("mode") == "REPEATED":
        made.type_kind = type_pb2.TYPE_ARRAY
        made.array_type.element_type.CopyFrom(type_of({**column, "mode": "NULLABLE"}))
    elif column["type"] == "RECORD":
        made.type_kind = type_pb2.TYPE_STRUCT
        for part in column["fields"]:
            made.struct_type.field.add(field_name=part["name"]).field_type.CopyFrom(type_of(part))
    elif column["type"] == "RANGE":
        made.type_kind = type_pb2.TYPE_RANGE
        made.range_type.element_type.CopyFrom(type_of(column["rangeElementType"]))
    else:
        name = next(name for name, kind in KINDS.items() if kind == column["type"])
        made.type_kind = type_pb2.TypeKind.Value(f"TYPE_{name}")
    return made


def column_of(name: str, kind: Any) -> Column:
    """A column of this type of GoogleSQL's."""
    from zetasql.wasi._pb2.zetasql.public import type_pb2

    if kind.type_kind == type_pb2.TYPE_ARRAY:
        return {**column_of(name, kind.array_type.element_type), "mode": "REPEATED"}
    made: Column = {"name": name, "mode": "NULLABLE"}
    if kind.type_kind == type_pb2.TYPE_STRUCT:
        parts = [
            column_of(part.field_name or f"_field_{number}", part.field_type)
            for number, part in enumerate(kind.struct_type.field, 1)
        ]
        return made | {"type": "RECORD", "fields": parts}
    if kind.type_kind == type_pb2.TYPE_RANGE:
        return made | {
            "type": "RANGE",
            "rangeElementType": {"type": column_of("", kind.range_type.element_type)["type"]},
        }
    return made | {"type": KINDS[type_pb2.TypeKind.Name(kind.type_kind).removeprefix("TYPE_")]}


def defined(definition: Any) -> Column:
    """A column of a CREATE TABLE or ADD COLUMN, with what is declared of it."""
    made = column_of(definition.name, definition.type)
    annotations = definition.annotations
    declared = annotations.type_parameters
    if declared.HasField("numeric_type_parameters"):
        numbers = declared.numeric_type_parameters
        made |= {"precision": str(numbers.precision), "scale": str(numbers.scale)}
    elif declared.HasField("string_type_parameters"):
        made["maxLength"] = str(declared.string_type_parameters.max_length)
    return made | ({"mode": "REQUIRED"} if annotations.not_null else {})


@cache
def _options() -> Any:
    from zetasql.wasi._pb2.zetasql.proto import options_pb2
    from zetasql.wasi._pb2.zetasql.public import options_pb2 as public

    options = options_pb2.AnalyzerOptionsProto(
        default_timezone="UTC",
        error_message_mode=public.ERROR_MESSAGE_ONE_LINE,
        prune_unused_columns=True,
        statement_context=public.CONTEXT_DEFAULT,
    )
    language = options.language_options
    language.product_mode = public.PRODUCT_EXTERNAL
    language.name_resolution_mode = public.NAME_RESOLUTION_DEFAULT
    language.enabled_language_features.extend(
        public.LanguageFeature.Value(f"FEATURE_{name}") for name in FEATURES.split()
    )
    language.reserved_keywords.append("QUALIFY")
    return options


def _add(catalog: Any, segments: Sequence[str], stored: Stored, number: int) -> None:
    """The table under the path by which a statement calls it."""
    *above, name = segments
    for one in above:
        catalog = next((found for found in catalog.catalog if found.name == one), None) or catalog.catalog.add(name=one)
    table = catalog.table.add(name=name, full_name=stored.full_name, serialization_id=number)
    for column in stored.fields:
        table.column.add(name=column["name"], is_writable_column=True).type.CopyFrom(type_of(column))


def _statement(answer: Any) -> tuple[str, Any]:
    """Kind and node of a statement, below the wrappers that only say of which family it is."""
    name = ""
    while (name := answer.WhichOneof("node") or "") and name not in STATEMENTS:
        answer = getattr(answer, name)
        if not answer.DESCRIPTOR.name.startswith("AnyResolved"):
            break
    if name not in STATEMENTS or getattr(getattr(answer, name), "object_type", "TABLE") != "TABLE":
        raise Refused(400, "invalidQuery", f"Not spoken here: {answer.DESCRIPTOR.name}")
    return STATEMENTS[name], getattr(answer, name)


def _fields(kind: str, node: Any) -> Schema:
    if kind not in ("SELECT", "CREATE_TABLE_AS_SELECT", "CREATE_TABLE"):
        return []
    if kind in ("CREATE_TABLE", "CREATE_TABLE_AS_SELECT"):
        return [defined(one) for one in node.parent.column_definition_list]
    fields, anonymous = [], 0
    for output in node.output_column_list:
        name = output.name
        if not name or name.startswith("$"):
            name, anonymous = f"f{anonymous}_", anonymous + 1
        fields.append(column_of(name, output.column.type))
    seen: set[str] = set()
    twice = {one["name"] for one in fields if one["name"].lower() in seen or seen.add(one["name"].lower())}
    if twice:
        raise Refused(
            400,
            "invalidQuery",
            "Duplicate column names in the result are not supported. Found duplicate(s): " + ", ".join(sorted(twice)),
        )
    return fields


def _target(kind: str, node: Any, known: Sequence[Table], project: str) -> str | None:
    if kind in ("INSERT", "DELETE", "UPDATE", "MERGE", "TRUNCATE_TABLE"):
        return known[node.table_scan.table.serialization_id - 1][0]
    if kind in ("CREATE_TABLE", "CREATE_TABLE_AS_SELECT"):
        return whole(list(node.parent.parent.name_path), project)
    if kind == "DROP_TABLE":
        return whole(list(node.name_path), project)
    if kind == "ALTER_TABLE":
        return whole(list(node.parent.name_path), project)
    return None
