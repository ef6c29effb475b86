"""The config: what its settings are worth, where its references lead, and what is kept out of sight."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

import destinations
from syncer import files, starter
from syncer.alerts.settings import Email, Slack, Webhook
from syncer.config import Config, load
from syncer.config_file import BigQuerySource, ConfigFile, DatasetState, DeliveredLog, DuckDBSource, LocalState
from syncer.destination import DestinationSettings
from syncer.errors import Stopping, UserError
from syncer.files import Document
from syncer.mistakes import problems_of
from tests.standins import paper

SOURCE = """
[source]
type = "duckdb"
path = "warehouse.duckdb"
"""
DESTINATION = """
[destinations.paper]
base_url = "https://paper.example.com"
api_key = "a-key"
"""
MAPPING = """
destination = "{destination}"

[[sync]]
name = "{name}"
source = "activation.users"
key = "user_id"
object = "letter"
match = {{ id = "user_id" }}
fields = {{ score = "score" }}
"""


def write(folder: Path, config: str, **mappings: str) -> Path:
    """A config with its mapping files; without any, a sync `people` to `paper`."""
    (folder / "mappings").mkdir(exist_ok=True)
    for name, text in (mappings or {"paper": MAPPING.format(destination="paper", name="people")}).items():
        (folder / "mappings" / f"{name}.toml").write_text(text)
    file = folder / "config.toml"
    file.write_text(config)
    return file


def loaded(folder: Path, config: str, **mappings: str) -> Config:
    return load(write(folder, config, **mappings), paper.adapter, paper.kinds)


def refused(folder: Path, config: str, **mappings: str) -> list[str]:
    """The sentences with which the files are refused."""
    with pytest.raises(UserError) as raised:
        loaded(folder, config, **mappings)
    return [problem.sentence for problem in raised.value.problems]


def test_what_is_left_out_has_the_published_default(tmp_path: Path) -> None:
    """A config of a source and a destination is whole; everything else is as the reference says."""
    config = loaded(tmp_path, SOURCE + DESTINATION)

    assert {
        "changed_max": 0.30,
        "removed_max": 0.05,
        "deleted_max": 0.05,
        "cleared_max": 0.05,
        "unmapped_max": 0.05,
        "bands_moved_max": 0.30,
        "mean_shift_max": 0.5,
        "quantile_shift_max": 0.5,
        "edge_share_max": 0.20,
        "invalid_max": 0.20,
        "known_min": 100,
        "max_age": "36h",
    } == config.brakes.model_dump()
    assert ("127.0.0.1", 8080, None) == (config.service.host, config.service.port, config.service.token)
    assert 900.0 == config.schedule.every_seconds
    assert (3600.0, 14400.0, 86400.0, 259200.0, 604800.0) == config.delivery.retry_delays_seconds
    assert (60.0, 0.5, 30.0) == (
        config.delivery.retry_after_max,
        config.delivery.wait_first,
        config.delivery.wait_max,
    )
    assert (3, 60.0) == (config.delivery.failures_max, config.delivery.rest_seconds)
    assert tmp_path / "state" == config.state.path


def test_paths_are_relative_to_the_config_and_not_to_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same config means the same files from wherever it is named, also when it is named relatively."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "house").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write(tmp_path / "house", SOURCE + '[state]\npath = "kept/here"\n' + DESTINATION)

    config = load(Path("../house/config.toml"), paper.adapter, paper.kinds)

    assert isinstance(config.source, DuckDBSource)
    assert (tmp_path / "house" / "warehouse.duckdb").resolve() == config.source.path.resolve()
    assert (tmp_path / "house" / "kept" / "here").resolve() == config.state.path.resolve()
    assert config.source.path.is_absolute()
    assert config.state.path.is_absolute()
    assert ["paper.people"] == [sync.name for sync in config.syncs]


def test_absolute_paths_stay_as_they_are(tmp_path: Path) -> None:
    """A path from the root, or from a home, is not put below the config's folder."""
    config = loaded(
        tmp_path,
        '[source]\ntype = "duckdb"\npath = "/data/warehouse.duckdb"\n[state]\npath = "~/state"\n' + DESTINATION,
    )

    assert isinstance(config.source, DuckDBSource)
    assert Path("/data/warehouse.duckdb") == config.source.path
    assert Path.home() / "state" == config.state.path


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ('"20GB"', 20_000_000_000),
        ('"1.5 tb"', 1_500_000_000_000),
        ('"2GiB"', 2 * 2**30),
        ('"512 B"', 512),
        ("1000", 1000),
    ],
)
def test_bytes_are_written_with_a_unit_or_plain(tmp_path: Path, written: str, count: int) -> None:
    """GB counts thousands and GiB counts 1024s; a number is bytes."""
    source = f'[source]\ntype = "bigquery"\nproject = "acme"\nmax_bytes_billed = {written}\n'

    found = loaded(tmp_path, source + DESTINATION).source

    assert isinstance(found, BigQuerySource)
    assert count == found.max_bytes_billed


def test_a_reference_is_always_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of digits with leading zeros arrives as it is, from a variable as from a file."""
    monkeypatch.setenv("PAPER_API_KEY", "007")
    (tmp_path / "url").write_text("https://paper.example.com\r\n")
    config = loaded(tmp_path, SOURCE + '[destinations.paper]\nbase_url = "file:url"\napi_key = "env:PAPER_API_KEY"\n')

    settings = config.destinations["paper"].settings

    assert isinstance(settings, paper.PaperSettings)
    assert "007" == settings.api_key.get_secret_value()
    assert "https://paper.example.com" == settings.base_url


def test_a_reference_is_resolved_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a section of our own, in a table of texts and in a list."""
    monkeypatch.setenv("PATH_OF_SCORES", "scores.duckdb")
    monkeypatch.setenv("LABEL", "b")
    monkeypatch.setenv("DELAY", "2h")
    config = loaded(
        tmp_path,
        '[source]\ntype = "duckdb"\npath = "env:PATH_OF_SCORES"\n[delivery]\nretry_delays = ["1h", "env:DELAY"]\n'
        + DESTINATION
        + 'labels = { a = "env:LABEL" }\n',
    )

    settings = config.destinations["paper"].settings

    assert isinstance(config.source, DuckDBSource)
    assert tmp_path / "scores.duckdb" == config.source.path
    assert ("1h", "2h") == config.delivery.retry_delays
    assert isinstance(settings, paper.PaperSettings)
    assert {"a": "b"} == settings.labels


def test_a_missing_variable_is_told_once(tmp_path: Path) -> None:
    """A reference that stands for nothing is one problem, and not another one for what it is not."""
    config = SOURCE + '[destinations.paper]\nbase_url = "env:NOWHERE_TO_BE_FOUND"\nregion = "env:NOWHERE_EITHER"\n'

    assert [
        "The environment variable NOWHERE_TO_BE_FOUND is not set. Set it and start again.",
        "The environment variable NOWHERE_EITHER is not set. Set it and start again.",
    ] == [sentence for sentence in refused(tmp_path, config) if "variable" in sentence]
    assert 3 == len(refused(tmp_path, config))


def test_a_config_shows_no_secret(tmp_path: Path) -> None:
    """Printing a config, as a debugger or a log would, shows stars for keys."""
    config = loaded(tmp_path, SOURCE + '[service]\ntoken = "hush"\n' + DESTINATION.replace("a-key", "hush-hush"))

    assert "hush" not in repr(config)


def test_a_sentence_loses_every_line_of_a_secret(tmp_path: Path) -> None:
    """What an adapter quotes by mistake does not reach the user, in whatever form, nor what another secret begins."""
    document = Document(
        tmp_path / "config.toml",
        {"key": "BEGIN\nhush-1\nEND", "long": "hush-1-and-more", "short": "on"},
        {},
        {("key",): "file:key.pem", ("long",): "env:LONG", ("short",): "env:SHORT"},
    )

    problem = document.problem(("key",), f"no {document.data['key']!r} and no hush-1-and-more on it")

    assert "No 'file:key.pem\\nfile:key.pem\\nEND' and no env:LONG on it." == problem.sentence


def test_http_is_for_this_machine_only(tmp_path: Path) -> None:
    """A stand-in on a loopback address is welcome under every spelling of it."""
    for address in ("http://localhost:1", "http://127.0.0.1:1/paper", "http://[::1]:1", "https://paper.example.com"):
        config = loaded(tmp_path, SOURCE + DESTINATION.replace("https://paper.example.com", address))

        assert address == config.destinations["paper"].settings.base_url

    for address in ("http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com"):
        sentences = refused(tmp_path, SOURCE + DESTINATION.replace("https://paper.example.com", address))

        assert ["Plain http is allowed for this machine only"] == [sentence[:43] for sentence in sentences]


def test_a_service_for_others_needs_a_token(tmp_path: Path) -> None:
    """Loopback needs none, in both families; any other address does."""
    for listen, host in (("[::1]:0", "::1"), ("localhost:8080", "localhost")):
        assert host == loaded(tmp_path, SOURCE + f'[service]\nlisten = "{listen}"\n' + DESTINATION).service.host

    assert 1 == len(refused(tmp_path, SOURCE + '[service]\nlisten = "[::]:8080"\n' + DESTINATION))
    guarded = loaded(tmp_path, SOURCE + '[service]\nlisten = "0.0.0.0:9"\ntoken = "t"\n' + DESTINATION)

    assert ("0.0.0.0", 9) == (guarded.service.host, guarded.service.port)


def test_two_destinations_may_be_of_one_kind(tmp_path: Path) -> None:
    """The name is the user's; the type says what it is, and is filled in where it was left out."""
    second = DESTINATION.replace("destinations.paper]", 'destinations.archive]\ntype = "paper"')
    config = loaded(tmp_path, SOURCE + DESTINATION + second)

    assert {"paper": "paper", "archive": "paper"} == {one.name: one.kind for one in config.destinations.values()}
    assert "paper" == config.destinations["paper"].settings.type


def test_judging_a_mapping_asks_the_service_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that asked its service while files are read would be stopped before the request."""
    monkeypatch.setattr(paper.Paper, "refuse", paper.Paper.check)

    with pytest.raises(Stopping):
        loaded(tmp_path, SOURCE + DESTINATION)


TWO = SOURCE + DESTINATION + DESTINATION.replace("destinations.paper]", 'destinations.archive]\ntype = "paper"')


def test_syncs_are_chosen_by_name_or_by_destination(tmp_path: Path) -> None:
    """No name means all; a destination means its syncs; each comes once, in the order of the files."""
    other = MAPPING.format(destination="", name="a").split("\n\n", 1)[1].replace("score =", "other =")
    config = loaded(
        tmp_path,
        TWO,
        b=MAPPING.format(destination="paper", name="z") + other,
        a=MAPPING.format(destination="archive", name="people"),
    )

    assert ["archive.people", "paper.z", "paper.a"] == [sync.name for sync in config.choose([])]
    assert ["paper.z", "paper.a"] == [sync.name for sync in config.choose(["paper"])]
    assert ["archive.people", "paper.a"] == [sync.name for sync in config.choose(["paper.a", "archive", "paper.a"])]


def test_a_sync_that_is_not_there_is_guessed_at(tmp_path: Path) -> None:
    """Every unknown name is told, with what was probably meant or with what there is."""
    config = loaded(tmp_path, TWO)

    with pytest.raises(UserError) as raised:
        config.choose(["paper.peeple", "papr", "archive", "x", "paper"])

    assert [
        "There is no sync 'paper.peeple'. Did you mean `paper.people`?",
        "There is no sync 'papr'. Did you mean `paper`?",
        "The destination archive has no syncs; write a mapping file for it.",
        "There is no sync 'x'. The syncs are paper.people.",
    ] == [problem.sentence for problem in raised.value.problems]


def test_a_file_that_may_not_be_read_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's refusal becomes a sentence; it is simulated, because root may read everything."""
    file = write(tmp_path, SOURCE)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match="cannot be read: permission denied"):
        load(file, paper.adapter, paper.kinds)


def test_a_disk_that_fails_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other errors of the system come with its own words for them."""

    def refuse(self: Path) -> bytes:
        raise OSError(5, "Input/output error", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match="It cannot be read: Input/output error"):
        files.read(tmp_path / "config.toml", "")


def test_a_key_of_several_lines_that_is_there_twice_is_told(tmp_path: Path) -> None:
    """The parser notices at the end of the second value, where no name stands."""
    file = tmp_path / "config.toml"
    file.write_text('x = 1\nx = """\nhush\n"""\n')

    with pytest.raises(UserError, match=r"config\.toml:4: At column 4, a setting is named twice") as raised:
        files.read(file, "")

    assert "hush" not in str(raised.value)


def test_dotted_names_without_end_are_no_crash(tmp_path: Path) -> None:
    """Each dot makes a table within another one, so a thousand of them are refused like a thousand brackets."""
    file = tmp_path / "config.toml"
    file.write_text("a." * 2_000 + "a = 1")

    with pytest.raises(UserError, match="nested too deeply"):
        load(file, destinations.adapter, destinations.kinds)


def test_a_number_without_end_is_no_crash(tmp_path: Path) -> None:
    """A number of more digits than Python reads is refused with its line."""
    file = tmp_path / "config.toml"
    file.write_text("[a]\nx = 1\ny = { z = -" + "9" * 5_000 + " }\n")

    with pytest.raises(UserError, match=r"config\.toml:3: A number has more digits"):
        files.read(file, "")


def test_values_that_are_nested_too_deeply_are_no_crash(tmp_path: Path) -> None:
    """A file that would exhaust the parser is refused with a sentence."""
    file = tmp_path / "config.toml"
    file.write_text("x = " + "[" * 5000 + "]" * 5000)

    with pytest.raises(UserError, match="nested too deeply"):
        files.read(file, "")


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    """A file that was saved with a Windows editor reads the same, and its lines are counted right."""
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xef\xbb\xbf[a]\r\nx = 1\r\n\r\n[b]\r\ny = 2\r\n")

    document = files.read(file, "")

    assert {"a": {"x": 1}, "b": {"y": 2}} == document.data
    assert 5 == document.lines[("b", "y")]


def test_every_spot_of_a_file_has_its_line(tmp_path: Path) -> None:
    """Tables, arrays of tables, dotted and quoted keys, strings of several lines, lists and inline tables."""
    file = tmp_path / "odd.toml"
    file.write_text(
        '''# A comment with = and [brackets]
top = 1
"quoted.key" = "a # no comment"

[table . "sub"]  # A comment.
a.b = [ # Inside a list.
  "one", { x = 1, "y" = [2] },
]
text = """
[not.a.table]
fake = "\\""" and so on"""
raw = \'\'\'
[[neither]]
\'\'\'
date = 1979-05-27 07:32:00
after = { deep = { deeper = true } }

[[sync]]
name = "one"
[sync.fields]
s = 'it = [x'
[[sync]]
name = "two"
[[sync.parts]]
[[sync.parts]]
p = 1
[sync.fields]
t = "x"
'''
    )

    lines = files.read(file, "").lines

    assert {
        ("top",): 2,
        ("quoted.key",): 3,
        ("table",): 5,
        ("table", "sub"): 5,
        ("table", "sub", "a"): 6,
        ("table", "sub", "a", "b"): 6,
        ("table", "sub", "a", "b", 0): 7,
        ("table", "sub", "a", "b", 1): 7,
        ("table", "sub", "a", "b", 1, "x"): 7,
        ("table", "sub", "a", "b", 1, "y"): 7,
        ("table", "sub", "a", "b", 1, "y", 0): 7,
        ("table", "sub", "text"): 9,
        ("table", "sub", "raw"): 12,
        ("table", "sub", "date"): 15,
        ("table", "sub", "after"): 16,
        ("table", "sub", "after", "deep"): 16,
        ("table", "sub", "after", "deep", "deeper"): 16,
        ("sync",): 18,
        ("sync", 0): 18,
        ("sync", 0, "name"): 19,
        ("sync", 0, "fields"): 20,
        ("sync", 0, "fields", "s"): 21,
        ("sync", 1): 22,
        ("sync", 1, "name"): 23,
        ("sync", 1, "parts"): 24,
        ("sync", 1, "parts", 0): 24,
        ("sync", 1, "parts", 1): 25,
        ("sync", 1, "parts", 1, "p"): 26,
        ("sync", 1, "fields"): 27,
        ("sync", 1, "fields", "t"): 28,
    } == lines


class Ruled(BaseModel):
    """A model whose settings are of the sorts that adapters of others may use."""

    model_config = {"strict": True, "extra": "forbid"}

    short: str = Field(default="", max_length=2)
    shaped: str = Field(default="", pattern="^[a-z]+$")
    listed: list[int] = Field(default=[], min_length=2, max_length=3)
    bounded: int = Field(default=5, gt=1, lt=9)
    stepped: int = Field(default=4, multiple_of=2)
    secret: SecretStr = SecretStr("")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("short", "long", "Is longer than 2 characters."),
        ("shaped", "A1", "Is not written as this setting wants it (it has to match ^[a-z]+$)."),
        ("listed", [1], "Needs 2 entries at least, and has 1."),
        ("listed", [1, 2, 3, 4], "Takes 3 entries at most, and has 4."),
        ("listed", [1, "x"], "Has to be a whole number, not the text 'x'."),
        ("bounded", 1, "Has to be more than 1, not the number 1."),
        ("bounded", 9, "Has to be less than 9, not the number 9."),
        ("bounded", True, "Has to be a whole number, not true."),
        ("stepped", 3, "Is not what this setting takes; `syncer schema` describes it."),
        ("secret", {"hush": 1}, "Has to be a text, not a table."),
        ("secret", True, "Has to be a text, not true or false."),
        ("unheard_of", 1, "`unheard_of` is not a setting here. There are `short`, `shaped`, `listed`, `bounded`, "),
    ],
)
def test_rules_of_adapters_are_told_in_our_words(tmp_path: Path, name: str, value: object, sentence: str) -> None:
    """Whatever rule of pydantic an adapter uses, the sentence is plain, and a rule that we do not know has one too."""
    document = Document(tmp_path / "config.toml", {name: value}, {})
    with pytest.raises(ValidationError) as raised:
        Ruled.model_validate(document.data)

    (problem,) = problems_of(raised.value, Ruled, document)

    assert problem.sentence.startswith(sentence)


def test_reading_a_config_does_not_load_what_it_does_not_need() -> None:
    """Warehouses, the scheduler and the web server are imported by who uses them."""
    heavy = ("apscheduler", "duckdb", "google", "pyarrow", "starlette", "uvicorn", "destinations")
    program = f"import sys, syncer.config; sys.exit(any(name in sys.modules for name in {heavy!r}))"

    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode


# The sample, and what `syncer init` makes of it.

SAMPLE = Path(__file__).parents[1] / "config.example.toml"


@pytest.fixture
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r'"env:(\w+)"', SAMPLE.read_text()):
        monkeypatch.setenv(name, f"value-of-{name.lower()}")


@pytest.mark.usefixtures("_secrets")
def test_the_starter_files_load_as_they_are(tmp_path: Path) -> None:
    """After `syncer init` only secrets are missing: the sample and the shipped mappings fit each other."""
    written = starter.write(tmp_path / "new")

    config = load(tmp_path / "new" / "config.toml", destinations.adapter, destinations.kinds)

    assert SAMPLE.read_text() == (tmp_path / "new" / "config.toml").read_text()
    assert {"config.toml", "customerio.toml", "orbit.toml", "salesforce.toml"} == {path.name for path in written}
    assert {"customerio", "orbit", "salesforce"} == {sync.destination for sync in config.syncs}


def test_the_starter_overwrites_nothing(tmp_path: Path) -> None:
    """Files that are there are all named, they stay as they are, and no other is written beside them."""
    (tmp_path / "config.toml").write_text("mine\n")
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "orbit.toml").write_text("mine too\n")

    with pytest.raises(UserError) as raised:
        starter.write(tmp_path)

    assert ["config.toml", "orbit.toml"] == [Path(problem.place).name for problem in raised.value.problems]
    assert "mine\n" == (tmp_path / "config.toml").read_text()
    assert ["orbit.toml"] == [path.name for path in (tmp_path / "mappings").iterdir()]


def test_the_starter_says_where_it_cannot_write(tmp_path: Path) -> None:
    """A file in the place of the folder is a sentence, not a traceback."""
    (tmp_path / "taken").write_text("")

    with pytest.raises(UserError, match="It cannot be written"):
        starter.write(tmp_path / "taken")


def told_lines() -> list[tuple[str, str, str]]:
    """Section, setting and value of every line of the sample, live or with one sign in front."""
    section, found = "", []
    for line in SAMPLE.read_text().splitlines():
        if header := re.fullmatch(r"(?:# )?\[{1,2}([\w.]+)\]{1,2}", line):
            section = header[1]
        elif setting := re.fullmatch(r"(?:# )?(\w+) = (.+)", line):
            found.append((section, setting[1], setting[2]))
    return found


def models() -> dict[str, list[type[BaseModel]]]:
    """The models of every section of the sample; the source has two, and alerts three."""
    sections: dict[str, list[type[BaseModel]]] = {"": [ConfigFile], "source": [DuckDBSource, BigQuerySource]}
    sections["state"] = [LocalState, DatasetState]
    for name in ("schedule", "brakes", "plans", "service", "delivery", "history", "log"):
        annotation = ConfigFile.model_fields[name].annotation
        assert isinstance(annotation, type)
        sections[name] = [annotation]
    sections["delivered"] = [DeliveredLog]
    sections["alerts"] = [Slack, Webhook, Email]
    for kind in ("customerio", "orbit", "salesforce"):
        sections[f"destinations.{kind}"] = [destinations.adapter(kind).settings_type]
    return sections


def test_the_sample_knows_every_setting() -> None:
    """Whoever reads the sample has seen all settings; those of every destination are told once, in front."""
    told = {(section, name) for section, name, _ in told_lines()}
    sections = set(models())
    for section, of_section in models().items():
        for model in of_section:
            names = set(model.model_fields) - sections - {"source", "destinations"}
            if section.startswith("destinations."):
                names -= set(DestinationSettings.model_fields)

            assert set() == {name for name in names if (section, name) not in told}
    for name in set(DestinationSettings.model_fields) - {"type"}:
        assert f"##   {name} = " in SAMPLE.read_text()


EXAMPLES = {
    "type", "project", "credentials", "impersonate", "endpoint", "storage_endpoint", "app_key", "track_url", "app_url",
    "username", "private_key", "refresh_token", "password", "security_token", "duplicate_rule_header", "cron", "when",
    "token", "every", "activity", "after", "quiet", "jitter", "log", "url", "name", "syncs", "port", "ca_file", "user",
    "dataset", "control",
}  # fmt: skip
"""Settings whose commented line is an example, because they have no default that could be written."""


def test_the_sample_shows_defaults_as_they_are() -> None:
    """A commented setting shows what holds without it."""
    sample = SAMPLE.read_text()
    shown = []
    for section, name, text in told_lines():
        field = next(model.model_fields[name] for model in models()[section] if name in model.model_fields)
        # A section that is left out has no defaults either.
        if section == "delivered" or name in EXAMPLES or field.is_required() or f"# {name} = {text}" not in sample:
            continue
        value = tomllib.loads(f"value = {text}")["value"]
        shown.append((name, {"20GB": 20_000_000_000, "state": Path("state")}.get(str(value), value)))

        assert (name, field.default) == (name, tuple(value) if isinstance(value, list) else shown[-1][1])
    assert 15 <= len(shown)
