"""The catalogues: complete in both languages, every key that is used exists, numbers and plural forms read right."""

from __future__ import annotations

import ast
import re
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import config
import errors
import events
import i18n
import start
import workspace
from i18n import LANGUAGES, MissingTranslation, negotiate, translator
from runs.reproducibility import differences
from selfplay.gate import NoticeCode

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = {
    "": config.ModelConfig,
    " ": config.TrainConfig,
    "self_play.": config.SelfPlayConfig,
    "  ": config.SamplingConfig,
}
FIELDS = [(prefix.strip(), p) for prefix, kind in CONFIGS.items() for p in config.parameters(kind)]
NOTICES = {  # code -> the values that come with it
    "resumed": {"iteration", "reason"},
    "resumed_not_exact": {"iteration", "reason"},
    "non_finite_skipped": {"times"},
    "spike_skipped": {"times"},
    "went_back": {"learning_rate"},
    "self_play_left_out": set(),
    "compiling": set(),
    "memorising": {"since"},
    "books_known": {"readings"},
    "self_play_started": set(),
    "self_play_acquitted": set(),
    "self_play_paused": set(),
    "self_play_resumed": set(),
    "micro_batch_halved": {"batch_size"},
    "checkpoint_corrupt": {"iteration"},
    "record_unreadable": {"model", "fields"},
    "weights_restored": {"iteration"},
    "early_stopped": {"best_iteration", "evaluations"},
    "vocab_hardly_fits": {"bytes_per_token", "first"},
    "vocab_smaller": {"tokens", "vocab_size"},
}
PYDANTIC_TYPES = [
    "missing",
    "int_type",
    "int_parsing",
    "int_from_float",
    "float_type",
    "finite_number",
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "string_type",
    "string_too_long",
    "string_too_short",
    "literal_error",
    "bool_type",
    "extra_forbidden",
    "json_invalid",
    "tuple_type",
    "list_type",
    "too_long",
    "too_short",
]
in_each_language = pytest.mark.parametrize("language", LANGUAGES)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def all_errors(kind: type[errors.AZRError] = errors.AZRError) -> Iterator[type[errors.AZRError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from all_errors(child)


# ---- both catalogues say the same ------------------------------------------------------------------------------------


def test_catalogues_have_the_same_keys() -> None:
    english, russian = (set(translator(language).sentences) for language in ("en", "ru"))
    assert english == russian
    assert len(english) > 400


def test_catalogues_have_the_same_placeholders() -> None:
    english, russian = (translator(language).sentences for language in ("en", "ru"))
    different = []
    for key, text in english.items():
        ours = [set.union(*map(placeholders, [t] if isinstance(t, str) else t)) for t in (text, russian[key])]
        different += [key] if ours[0] != ours[1] else []
    assert different == []


@in_each_language
def test_no_sentence_is_empty_or_untranslated(language: str) -> None:
    sentences = translator(language).sentences
    texts = {key: [text] if isinstance(text, str) else list(text) for key, text in sentences.items()}
    assert [key for key, forms in texts.items() if not all(form.strip() and form != key for form in forms)] == []


@in_each_language
def test_no_catalogue_names_a_key_twice(language: str) -> None:
    source = (ROOT / "locales" / language / "LC_MESSAGES" / "messages.po").read_text(encoding="utf-8")
    keys = re.findall(r'^msgid "(.+)"$', source, re.MULTILINE)
    assert len(keys) == len(set(keys))


def test_counted_sentences_have_every_form() -> None:
    for language, forms in (("en", 2), ("ru", 3)):
        counted = [text for text in translator(language).sentences.values() if not isinstance(text, str)]
        assert counted
        assert {len(text) for text in counted} == {forms}


# ---- everything that must be said is there ---------------------------------------------------------------------------


@in_each_language
@pytest.mark.parametrize(("prefix", "parameter"), FIELDS, ids=lambda value: getattr(value, "name", value))
def test_every_parameter_has_label_help_unit_and_choices(
    language: str, prefix: str, parameter: config.Parameter
) -> None:
    t = translator(language)
    label, help_text = t.field(prefix + parameter.name), t.field(prefix + parameter.name, "help")
    assert label
    assert help_text
    assert len(help_text) > 40
    assert help_text.endswith(".")
    if parameter.unit:
        assert t.gettext(f"unit.{parameter.unit}")
    for choice in parameter.choices:
        assert t.gettext(f"choice.{parameter.name}.{choice}")
    if parameter.optional:
        assert t.gettext(f"placeholder.{parameter.name}")


@in_each_language
@pytest.mark.parametrize("parameter", config.parameters(config.SelfPlayConfig), ids=lambda parameter: parameter.name)
def test_usual_value_in_the_help_of_self_play_is_the_default(language: str, parameter: config.Parameter) -> None:
    said = re.search(
        r"(?:usually|обычно) (\d+(?:[.,]\d+)?)", str(translator(language).field(f"self_play.{parameter.name}", "help"))
    )
    assert said is not None or parameter.kind not in ("int", "float")
    assert said is None or float(said[1].replace(",", ".")) == parameter.default


@in_each_language
def test_a_field_of_self_play_can_have_its_own_help(language: str) -> None:
    t = translator(language)
    assert t.field("self_play.max_new_tokens", "help") != t.field("max_new_tokens", "help")
    assert t.field("self_play.prompts.3") == t.field("prompts")
    assert t.field("no_such_field") is None


@in_each_language
def test_every_error_code_has_a_sentence(language: str) -> None:
    codes = {kind.code for kind in all_errors()}
    assert {code for code in codes if f"error.{code}" not in translator(language).sentences} == set()


@in_each_language
def test_every_rule_state_stage_and_notice_has_a_sentence(language: str) -> None:
    wanted = [f"error.invalid_name.{rule}" for rule in workspace.NAME_RULES]
    wanted += [f"error.invalid_input.{kind}" for kind in PYDANTIC_TYPES]
    wanted += [f"state.{state}" for state in events.State] + [f"stage.{stage}" for stage in events.Stage]
    wanted += [f"notice.{code}" for code in NOTICES]
    assert [key for key in wanted if key not in translator(language).sentences] == []


@in_each_language
@pytest.mark.parametrize(("code", "values"), NOTICES.items())
def test_a_notice_asks_only_for_what_comes_with_it(language: str, code: str, values: set[str]) -> None:
    assert placeholders(str(translator(language).sentences[f"notice.{code}"])) <= values


def test_every_notice_that_is_emitted_has_a_sentence_and_every_sentence_an_emitter() -> None:
    sentences = {key.removeprefix("notice.") for key in translator("en").sentences if key.startswith("notice.")}
    assert emitted_notices() == sentences


def emitted_notices() -> set[str]:
    """The codes written out in the program's calls of Notice(iteration, code, ...); the gate returns its own."""
    codes = set(get_args(NoticeCode))
    for path in source_code():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Notice") and len(node.args) > 1:
                code = node.args[1]
                choices = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
                codes |= {choice.value for choice in choices if isinstance(choice, ast.Constant)}
                written_out = all(isinstance(choice, ast.Constant) for choice in choices)
                assert written_out or path.name == "self_play.py", f"{path.name}: {ast.unparse(node)}"
    return codes


def source_code() -> Iterator[Path]:
    beside = {"tests", "benchmarks", "static", "templates", "locales", "docs", "books", "models", "checkpoints"}
    yield from ROOT.glob("*.py")
    for folder in sorted(ROOT.iterdir()):
        if folder.is_dir() and folder.name not in beside and not folder.name.startswith("."):
            yield from folder.rglob("*.py")


def test_every_key_that_is_used_exists() -> None:
    used = set(used_keys())
    assert len(used) > 150
    assert sorted(used - set(translator("en").sentences)) == []


def test_every_key_of_pages_and_scripts_is_used() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in source_files())
    keys = [key for key in translator("en").sentences if key.startswith(("page.", "js."))]
    assert [key for key in keys if key not in sources and not built_from_parts(key)] == []


def source_files() -> Iterator[Path]:
    yield from (ROOT / "templates").rglob("*.html")
    yield from (ROOT / "static" / "js").glob("*.js")
    yield from (ROOT / "web").glob("*.py")
    yield from (ROOT / "console").glob("*.py")
    yield from ROOT.glob("*.py")


def used_keys() -> Iterator[str]:
    """Keys written out in full: in templates and Python as call arguments, in scripts in double quotes."""
    for path in source_files():
        source = path.read_text(encoding="utf-8")
        if path.suffix == ".js":
            yield from re.findall(r'"(js\.\w+)"', source)
        else:
            yield from re.findall(r"""(?:_|gettext)\(["']([\w.]+\w)["'][,)]""", source)


def built_from_parts(key: str) -> bool:
    """Keys whose last part is chosen while the program runs."""
    families = (
        r"page\.library\.(rename|duplicate|delete)|js\.(rename|duplicate|deleted)_\w+|page\.compare\.title|js\.figure_\w+|"
        r"page\.(first|create|training|generation|library|help|docs|error)\.(title|tab)|page\.live\.\w+|"
        r"page\.rollout\.\w+|page\.stage\.\w+|page\.help\.group_\w+|page\.library\.fact_\w+|page\.generation\.(mood|view|precision)_\w+|page\.training\.group_\w+|js\.(coach|loop|copied|word|verdict|connection|next|finish|delete|tab|way|compared|export_stage)_\w+|js\.\w+_soon"
    )
    return re.fullmatch(families, key) is not None


# ---- sentences and numbers -------------------------------------------------------------------------------------------


def test_notice_of_a_vocabulary_that_hardly_fits_is_right_for_a_single_byte() -> None:
    said = translator("en").gettext("notice.vocab_hardly_fits", bytes_per_token=1.0, first=2.4)
    assert "Bytes per token on average: 1 in these books, 2.4 in those it was made from." in said


def test_an_error_names_field_value_and_remedy() -> None:
    error = errors.InvalidInput(field="self_play.every", reason="less_than_equal", value=5_000_000, le=100_000)
    said = translator("en").error(error)
    assert said == "Self-play every (self_play.every): 5,000,000 is too large. The largest possible value is 100,000."


def test_a_limit_in_bytes_is_told_as_a_size_too() -> None:
    parameters = {"reason": "greater_than_equal", "value": 5, "ge": 10_000_000}
    error = errors.InvalidInput(field="disk_budget_bytes", **parameters)
    assert "smallest possible value is 10,000,000 (10.0 MB)." in translator("en").error(error)
    assert "значение\u00a0— 10\u00a0000\u00a0000 (10,0 МБ)." in translator("ru").error(error)


def test_changes_since_a_checkpoint_are_told_in_words_without_digests() -> None:
    then = {"torch": "2.12.0+cpu", "code": "0badc0de", "num_threads": 2, "weight_decay": None, "self_play.every": 5}
    now = {"torch": "2.13.0+cpu", "code": "deadbeef", "num_threads": 4, "weight_decay": 0.1, "self_play.every": 9}
    values = {"iteration": 7, "reason": differences(now, then)}
    said = {language: translator(language).notice("resumed_not_exact", values) for language in LANGUAGES}
    assert "PyTorch 2.12.0+cpu → 2.13.0+cpu, the program itself, processor threads 2 → 4" in said["en"]
    assert "PyTorch 2.12.0+cpu → 2.13.0+cpu, сама программа, потоки процессора 2 → 4" in said["ru"]
    assert "weight decay — → 0.1, self-play every 5 → 9." in said["en"]
    assert not [text for text in said.values() if "beef" in text or "num_threads" in text]


def test_an_error_can_be_given_as_a_dictionary() -> None:
    error = {"code": "name_taken", "parameters": {"name": "поэт"}, "field": "name"}
    assert translator("ru").error(error) == translator("ru").error(errors.NameTaken(name="поэт", field="name"))


def test_values_are_never_interpreted() -> None:
    said = translator("en").error(errors.NameTaken(name="{limit} %s {0.__class__}"))
    assert "{limit} %s {0.__class__}" in said


@pytest.mark.filterwarnings("ignore::i18n.MissingTranslation")
def test_a_missing_key_shows_itself() -> None:
    assert translator("en").gettext("no.such.key") == "no.such.key"


def test_a_missing_key_or_value_fails_under_the_tests() -> None:
    with pytest.warns(MissingTranslation):
        translator("en").gettext("no.such.key")
    with pytest.warns(MissingTranslation):
        assert "—" in translator("en").gettext("error.name_taken")
    assert issubclass(MissingTranslation, KeyError)


@pytest.mark.parametrize(
    ("n", "said"),
    [(1, "1 книга"), (2, "2 книги"), (5, "5 книг"), (11, "11 книг"), (21, "21 книга"), (104, "104 книги")],
)
def test_russian_has_three_plural_forms(n: int, said: str) -> None:
    assert translator("ru").ngettext("count.books", n) == said


def test_numbers_follow_the_language() -> None:
    english, russian = translator("en"), translator("ru")
    assert english.number(12_345_678) == "12,345,678"
    assert russian.number(12_345_678) == "12\u00a0345\u00a0678"
    assert (english.number(0.0005), russian.number(0.0005)) == ("0.0005", "0,0005")
    assert (english.decimal(3.14159, 2), russian.decimal(3.14159, 2)) == ("3.14", "3,14")
    assert (english.number(10**400), english.number(1e-300)) == ("1e+400", "1e-300"), "nobody reads so many digits"
    assert english.number(None) == english.decimal(float("nan")) == english.bytes(float("inf")) == "—"


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 B"), (850, "850 B"), (1_234_567, "1.2 MB"), (20_000_000_000, "20.0 GB")]
)
def test_sizes_read_well(size: int, said: str) -> None:
    assert translator("en").bytes(size) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (42, "42 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3600, "1 h"), (273_600, "3 d 4 h")],
)
def test_durations_show_two_units_at_most(seconds: float, said: str) -> None:
    assert translator("en").duration(seconds) == said


@pytest.mark.parametrize(
    ("cookie", "accept", "language"),
    [
        (None, None, "en"),
        (None, "ru", "ru"),
        (None, "de;q=0.9, ru-RU;q=0.8, en;q=0.5", "ru"),
        (None, "en-GB, ru;q=0.9", "en"),
        (None, "ru;q=0, en;q=0.1", "en"),
        (None, "fr, de", "en"),
        (None, "ru;q=nan;;,,q=", "en"),
        ("ru", "en", "ru"),
        ("../../etc", "ru", "ru"),
    ],
)
def test_language_is_the_remembered_one_else_the_browsers_best(
    cookie: str | None, accept: str | None, language: str
) -> None:
    assert negotiate(cookie, accept) == language


@pytest.mark.parametrize("chosen", [None, "", "ru", "en", "de"])
@pytest.mark.parametrize(
    "locales",
    [{}, {"LANG": "ru_RU.UTF-8"}, {"LANG": "en_US"}, {"LC_ALL": "ru_RU", "LANG": "C"}, {"LC_ALL": "", "LANG": "ru"}],
)
def test_console_language_is_one_rule_for_all_doors(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, locales: dict[str, str]
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG", "AZR_LANGUAGE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**locales, **({} if chosen is None else {"AZR_LANGUAGE": chosen})}.items():
        monkeypatch.setenv(name, value)
    is_russian = i18n.console_language() == "ru"
    assert start.speaks_russian() == is_russian  # it imports nothing of ours, so it repeats the rule
    if chosen in i18n.LANGUAGES:
        assert is_russian == (chosen == "ru")
    elif sys.platform != "win32":
        assert is_russian == ("ru" in (locales.get("LC_ALL") or locales.get("LANG", "")))
