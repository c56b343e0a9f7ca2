"""What the documents say is so: commands run, tables are the code's own, links lead somewhere, buttons are called as told."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import typer

import cli
import config
import start
from benchmarks import examples
from i18n import LANGUAGES, translator
from tests.server_process import ROOT, serving

READMES = {"en": ROOT / "README.md", "ru": ROOT / "README.ru.md"}
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
COMMENT = re.compile(r" +#.*$", re.MULTILINE)  # at the end of a command
LONGEST_README_WORDS = 400
LARGEST_ANIMATION_BYTES = 1_500_000
CONFIGS = {
    config.ModelConfig: "",
    config.TrainConfig: "",
    config.SelfPlayConfig: "self_play.",
    config.SamplingConfig: "",
}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def between(text: str, marker: str) -> str:
    """What stands between `<!-- marker -->` and `<!-- /marker -->`, which must be there exactly once."""
    (found,) = re.findall(rf"<!-- {marker} -->(.*?)<!-- /{marker} -->", text, re.DOTALL)
    return found.strip()


def help_page(language: str, name: str) -> Path:
    return ROOT / "docs" / language / f"{name}.md"


def code_block(text: str, marker: str, language: str) -> str:
    (found,) = re.findall(rf"\A```{language}\n(.*)\n```\Z", between(text, marker), re.DOTALL)
    return found


# ---- tables and names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_parameters_table_is_the_generated_one(language):
    assert between(text_of(help_page(language, "parameters")), "parameters") == cli.parameters_table(language)


def test_parameters_table_has_every_field_and_an_edited_table_is_noticed():
    table = cli.parameters_table("en")
    for kind, prefix in CONFIGS.items():
        for parameter in config.parameters(kind):
            assert f"| `{prefix}{parameter.name}` |" in table
    assert table.replace("8000", "8001") != between(text_of(help_page("en", "parameters")), "parameters")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_parameter_has_label_and_help(language):
    told = translator(language)
    for kind, prefix in CONFIGS.items():
        for parameter in config.parameters(kind):
            label, text = told.field(prefix + parameter.name), told.field(prefix + parameter.name, "help")
            assert label and text and len(text) > 20, (language, prefix + parameter.name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_quick_start_names_the_pythons_that_start_accepts(language):
    told = between(text_of(help_page(language, "quick-start")), "pythons")
    versions = {tuple(map(int, version.split("."))) for version in re.findall(r"\b3\.\d+", told)}
    assert versions == {start.OLDEST_PYTHON, start.NEWEST_PYTHON}
    for system, machine in start.WHEEL_PLATFORMS:
        assert system.replace("Darwin", "macOS") in told and machine in told


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["start-here", "quick-start", "troubleshooting"])
def test_bold_names_are_those_of_tabs_buttons_and_sizes(language, name):
    bold = set(re.findall(r"\*\*(.+?)\*\*", text_of(help_page(language, name))))
    assert bold - set(map(str, translator(language).sentences.values())) == set()
    assert len(bold) >= 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_messages_in_troubleshooting_are_the_programs_own(language):
    said = " ".join(str(text) for text in translator(language).sentences.values()).casefold()
    said += " ".join(sentence[LANGUAGES.index(language)] for sentence in start.SENTENCES.values()).casefold()
    quote = r'^\| "(.+?)" \|' if language == "en" else r"^\| «(.+?)» \|"
    quoted = re.findall(quote, text_of(help_page(language, "troubleshooting")), re.MULTILINE)
    parts = [part.strip().casefold() for message in quoted for part in message.split("…")]
    assert [part for part in parts if part not in said] == []
    assert len(quoted) >= 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(document))
    inside = [link.split("#")[0] for link in links if not link.startswith(("https://", "#"))]
    assert [link for link in inside if not (document.parent / link).is_file()] == []
    assert [link for link in links if link.startswith("http:")] == []
    anchored = [link.split("#") for link in links if "#" in link and not link.startswith("https://")]
    assert [f"{file}#{anchor}" for file, anchor in anchored if anchor not in anchors(document, file)] == []


def anchors(document: Path, file: str) -> set[str]:
    """Return the anchors of a linked Markdown file's headings, as GitHub makes them."""
    text = text_of(document.parent / file if file else document)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_commands_that_are_named_exist(document):
    text = text_of(document)
    named = re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|bat|html|css))\b", text)
    named += [module.replace(".", "/") + ".py" for module in re.findall(r"python -m (benchmarks\.\w+)", text)]
    named += re.findall(r"python ((?:\w+/)*\w+\.py)", text)
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_readmes_show_the_same_commands_and_stay_short():
    shown = [
        re.findall(r"^```bash\n(.*?)^```", COMMENT.sub("", text_of(path)), re.MULTILINE | re.DOTALL)
        for path in READMES.values()
    ]
    assert shown[0] == shown[1] != []
    assert [path.name for path in READMES.values() if len(words_of(text_of(path))) > LONGEST_README_WORDS] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_readme_shows_a_first_run_that_loops_is_small_and_has_a_still_picture(language):
    file = ROOT / "docs" / "img" / f"tour-{language}.gif"
    animation = file.read_bytes()
    assert f"](docs/img/{file.name})" in text_of(READMES[language])
    assert b"NETSCAPE2.0\x03\x01\x00\x00\x00" in animation  # without an end
    assert int.from_bytes(animation[6:8], "little") >= 900  # pixels wide
    assert len(animation) < LARGEST_ANIMATION_BYTES
    assert file.with_suffix(".png").is_file()


def words_of(text: str) -> list[str]:
    """Return the words that a person reads: without addresses, pictures and the lines of tables."""
    return re.findall(r"[\w'-]+", re.sub(r"\]\([^)]*\)|\|[-|]+\|", "] ", text))


# ---- the project in figures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_figures_of_the_project_are_about_right(language):
    """A figure may lag a third behind; `python -m benchmarks.overview` prints what it is now."""
    from benchmarks.overview import counts

    (column,) = zip(*figures(between(text_of(help_page(language, "overview")), "overview"), language)[2:], strict=True)
    told, counted = [int(number) for number in column], list(counts().values())
    assert len(told) == len(counted)
    assert [(one, other) for one, other in zip(told, counted, strict=True) if abs(one - other) > other / 3] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_sizes_in_the_overview_are_those_of_the_presets(language):
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text_of(help_page(language, "overview")), re.MULTILINE))
    for name, cells in rows.items():
        assert [int(re.sub(r"\D", "", cell)) for cell in cells.split("|")] == [
            getattr(preset, name) for preset in config.PRESETS.values()
        ]
    assert len(rows) == 6


# ---- every command -------------------------------------------------------------------------------------------------

COMMANDS = sorted(
    {
        (document.relative_to(ROOT).as_posix(), command)
        for document in DOCUMENTS
        for command in re.findall(r"python (?:start\.py cli|cli\.py) ([^`#\n]+)", text_of(document))
    }
)


@pytest.mark.parametrize(("document", "command"), COMMANDS)
def test_every_command_is_one_that_the_command_line_knows(document, command):
    """Name, options and number of arguments; nothing is carried out."""
    words = shlex.split(command.replace("--language ru", ""))
    if words == ["--help"]:
        return
    at = typer.main.get_command(cli.app)
    while hasattr(at, "commands"):
        at = at.commands[words.pop(0)]
    context = at.make_context("cli", words, resilient_parsing=False)  # raises for what it does not know
    assert (context.command, context.args) == (at, []), "a word of the command is left over"


TINY = [
    "--vocab-size",
    "300",
    "--d-model",
    "16",
    "--num-layers",
    "1",
    "--num-heads",
    "2",
    "--d-ff",
    "32",
    "--max-seq-len",
    "16",
]
SHORT = [
    "--iterations",
    "2",
    "--eval-every",
    "2",
    "--batch-size",
    "2",
    "--num-threads",
    "1",
    "--val-fraction",
    "0.3",
]
EXAMPLES = examples.examples(text_of(help_page("en", "examples")))


@pytest.mark.slow
def test_every_command_of_the_examples_runs(tmp_path, monkeypatch, capsys):
    """In the order of the document, in one folder, on shortened texts and with tiny models."""
    examples.lay_out(tmp_path, None, share=0.02)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AZR_WORKSPACE", str(tmp_path))
    for command in [command for commands in EXAMPLES.values() for command in commands]:
        words = shlex.split(command.replace("--endless", "").replace("--preset small", ""))
        if words[1:3] != ["start.py", "cli"]:
            subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True)
            continue
        words += {"create": TINY, "train": SHORT}.get(words[3], [])
        monkeypatch.setattr(sys, "argv", ["cli.py", *words[3:]])
        assert cli.main() == 0, f"{command}\n{capsys.readouterr().err}"
    assert len(EXAMPLES) == 10


def test_examples_are_twelve_in_each_language():
    for language in LANGUAGES:
        numbers = re.findall(r"^## (\d+)\. ", text_of(help_page(language, "examples")), re.MULTILINE)
        assert numbers == [str(number) for number in range(1, 13)]


# ---- English and Russian ---------------------------------------------------------------------------------------------

TWINS = [(path, ROOT / "docs/ru" / path.name) for path in sorted((ROOT / "docs/en").glob("*.md"))]
TWINS.append((ROOT / "docs/architecture.md", ROOT / "docs/ru/architecture.md"))
each_twin = pytest.mark.parametrize(("english", "russian"), TWINS, ids=lambda path: path.stem)


def test_every_document_has_a_russian_twin():
    assert sorted(path.name for path in (ROOT / "docs/ru").glob("*.md")) == sorted(path.name for path, _ in TWINS)


@each_twin
def test_twins_have_the_same_headings_commands_and_code(english, russian):
    def levels(path):
        return re.findall(r"^(#+) ", text_of(path), re.MULTILINE)

    def commands(path):
        return sorted(re.findall(r"python -m benchmarks\.\w+", text_of(path).replace("-m\n", "-m ")))

    def shown(path):
        blocks = re.findall(r"^```(?:bash|python)\n.*?^```", text_of(path), re.MULTILINE | re.DOTALL)
        return [COMMENT.sub("", block) for block in blocks]

    assert levels(russian) == levels(english)
    assert commands(russian) == commands(english)
    assert shown(russian) == shown(english)


@each_twin
def test_twins_have_the_same_figures_in_their_tables(english, russian):
    if english.name in ("architecture.md", "parameters.md"):
        pytest.skip("the table of files stands in one language only, that of parameters is generated")
    assert figures(text_of(russian), "ru") == figures(text_of(english), "en")


def figures(text: str, language: str) -> list[list[str]]:
    """Return the numbers of each table row, in order of size, without the language's separators."""
    rows = [re.sub(r"`[^`]*`", "", line) for line in text.splitlines() if line.startswith("|")]
    if language == "ru":
        rows = [re.sub(r"(?<=\d) (?=\d{3}\b)", "", row).replace(",", ".") for row in rows]
    else:
        rows = [re.sub(r"(?<=\d),(?=\d{3}\b)", "", row) for row in rows]
    return [sorted(re.findall(r"\d+(?:\.\d+)?", row)) for row in rows]


def test_figures_that_differ_are_noticed():
    assert figures("| 1 000 | 2,5 % |", "ru") == figures("| 1,000 | 2.5% |", "en")
    assert figures("| 1 000 | 2,6 % |", "ru") != figures("| 1,000 | 2.5% |", "en")


def test_russian_table_of_rooms_is_the_english_one():
    def rooms(path):
        return sorted(re.findall(r"^\| (\d+) \| `(\w+)` \|", text_of(path), re.MULTILINE))

    assert rooms(ROOT / "docs/ru/architecture.md") == rooms(ROOT / "docs/architecture.md")


# ---- the job by curl -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_job_by_curl_runs_line_by_line(tmp_path):
    """In a folder with nothing but the example book, against a server of its own on another port."""
    bash = require_program("bash")
    require_program("curl")
    lines = code_block(text_of(help_page("en", "cheat-sheet")), "curl", "bash").splitlines()
    folder = tmp_path / "here"
    (folder / "books").mkdir(parents=True)
    shutil.copy(ROOT / "books/example_book.txt", folder / "books")
    (folder / ".curlrc").write_text("fail-with-body\nshow-error\nnoproxy = localhost\n", encoding="utf-8")
    with serving(tmp_path / "workspace") as server:
        for line in lines:
            if "DELETE" in line and server.get("/models")["models"]:
                assert_formats_are_documented(server.workspace)
                asked = code_block(text_of(help_page("en", "formats")), "openai", "python")
                assert len(run([sys.executable, "-c", asked.replace(":8000", f":{server.port}")], folder)) > 10
            command = line.replace("localhost:8000", f"localhost:{server.port}")
            assert command != line, "a line that does not speak to the server"
            output = run([bash, "-c", command], folder)
            assert_answer(line, output)
            if saved := re.search(r" -o (\S+) 'localhost:8000(.+?)'", line):
                with urllib.request.urlopen(server.address + saved[2]) as answer:
                    assert answer.headers.get_filename() == saved[1]  # as a browser would name it
        assert server.get("/models") == {"models": []}
        assert "Traceback" not in text_of(server.workspace / "server.err")
    written = run(
        [sys.executable, "-c", code_block(text_of(help_page("en", "formats")), "transformers", "python")], folder
    )
    assert written.startswith("Искусственный интеллект") and len(written) > len("Искусственный интеллект\n")
    if importlib.util.find_spec("xllamacpp") is not None:
        assert (
            len(
                run(
                    [sys.executable, "-c", code_block(text_of(help_page("en", "formats")), "llama.cpp", "python")],
                    folder,
                )
            )
            > 10
        )


def require_program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        reason = f"no {name} here"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return path


def run(command: list[str], folder: Path) -> str:
    environment = os.environ | {"CURL_HOME": str(folder), "HOME": str(folder), "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=240, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def assert_answer(line: str, output: str) -> None:
    if "until " in line or " -o " in line or "DELETE" in line:
        assert output == ""
    elif " -sN " in line:
        assert "event: " in output and "data: {" in output and "event: error" not in output
    else:
        answer = json.loads(output)
        assert isinstance(answer, dict) and answer.get("error") is None


def assert_formats_are_documented(workspace: Path) -> None:
    """docs/*/formats.md name every file of the three folders."""
    text = text_of(ROOT / "docs/en/formats.md")
    russian = text_of(ROOT / "docs/ru/formats.md")
    files = [
        path.relative_to(workspace) for path in workspace.rglob("*") if path.is_file() and path.parent != workspace
    ]
    assert len(files) > 10
    for file in files:
        known = file.name if file.parts[0] != "books" or file.name.startswith(".") else f"<name>{file.suffix}"
        named = re.sub(r"step-\d+(-\d+)?", "step-00001000", "/".join([*file.parts[2:-1], known]))
        named = re.sub(r"^[0-9a-f]{32}\.", "<digest>.", named)
        assert f"`{named}`" in text, f"{file} is not described as `{named}`"
        named = named.replace("<digest>", "<сумма>")
        assert f"`{named}`" in russian, f"{file} is not described in Russian as `{named}`"


@pytest.mark.slow
def test_a_call_that_is_refused_fails_under_curl(tmp_path):
    """The negative control: with the settings above a refusal is a failure, not a text."""
    bash = require_program("bash")
    require_program("curl")
    (tmp_path / ".curlrc").write_text("fail-with-body\nnoproxy = localhost\n", encoding="utf-8")
    with serving(tmp_path / "workspace") as server:
        with urllib.request.urlopen(f"{server.address}/healthz", timeout=30) as answer:
            assert answer.status == 200
        with pytest.raises(AssertionError, match="nothing_to_stop"):
            run([bash, "-c", f"curl -s -X POST localhost:{server.port}/stop_training"], tmp_path)
