"""The command line does the whole job over the same workflows, with options derived from config.py."""

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import cli
import workflows
from config import ModelConfig, SamplingConfig, SelfPlayConfig, TrainConfig, parameters
from console import progress
from console.models import export_to
from errors import FileUnwritable
from events import SelfPlayCompared, Writing
from tests.training_kit import MODEL, fill, plan
from workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
TEXT = "Модель читает книгу и учится угадывать следующее слово. Человек смотрит на море и думает о книге.\n" * 60
SIZES = [
    "--vocab-size",
    "300",
    "--d-model",
    "32",
    "--num-layers",
    "2",
    "--num-heads",
    "2",
    "--d-ff",
    "64",
    "--max-seq-len",
    "32",
]


def run(workspace: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "AZR_WORKSPACE": str(workspace),
        "AZR_LANGUAGE": "en",
        "PYTHONUTF8": "1",
        "COLUMNS": "200",
    }
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    encoding = variables.get("PYTHONIOENCODING", "utf-8")
    return subprocess.run(
        command,
        env=environment | variables,
        capture_output=True,
        text=True,
        encoding=encoding,
        timeout=200,
        check=False,
    )


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command line in this process: what it returned and printed."""

    def called(*arguments: str, language: str = "en") -> Done:
        monkeypatch.setenv("AZR_WORKSPACE", str(tmp_path / "ws"))
        monkeypatch.setenv("AZR_LANGUAGE", language)
        monkeypatch.setattr(sys, "argv", ["cli.py", *arguments])
        code = cli.main()
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return called


def failed_in_a_sentence(done: Done, code: int) -> str:
    """The sentence on standard error of a command that failed as it should."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert "error." not in done.stderr and "cli." not in done.stderr.replace("cli.py", "")
    assert len(done.stderr.splitlines()) == code  # a wrong call also says where to read more
    return done.stderr


@pytest.mark.slow
def test_command_line_does_the_whole_job(tmp_path):
    book = tmp_path / "книга.txt"
    book.write_bytes(TEXT.encode("cp1251"))
    folder = tmp_path / "рабочая папка"
    created = run(folder, "create", " poet ", *SIZES)
    assert (created.returncode, "Model “poet” created" in created.stdout) == (0, True), created.stderr
    assert created.stdout.endswith("python start.py cli books add book.txt\n")
    added = run(folder, "books", "add", str(book), "--name", " книга ")
    assert "cp1251" in added.stdout, added.stderr
    assert added.stdout.endswith("python start.py cli train poet --book книга\n")
    trained = run(
        folder,
        *[
            "train",
            "poet",
            "--book",
            "книга",
            "--iterations",
            "6",
            "--eval-every",
            "3",
            "--batch-size",
            "2",
            "--num-threads",
            "1",
        ],
    )
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.count("val_loss") == 3
    assert "\n  python start.py cli generate poet " in trained.stdout
    assert not {"\x1b", "\r", "\x07"} & set(trained.stdout + trained.stderr)  # neither colours nor a bar in a file
    listed = run(folder, "models", "list")
    assert listed.stdout.splitlines()[1].split("\t")[::2] == ["poet", "6"]
    written = run(folder, "generate", "poet", "Модель", "--max-new-tokens", "8", "--version", "6")
    assert written.stdout.startswith("Модель") and "�" not in written.stdout
    refused = run(folder, "generate", "poet", "Модель", "--version", "5")
    assert refused.returncode == 1 and "5" in refused.stderr and "6" in refused.stderr  # which are kept
    exported = run(folder, "export", "poet", "--output", str(tmp_path / "poet.zip"))
    assert exported.returncode == 0, exported.stderr
    with zipfile.ZipFile(tmp_path / "poet.zip") as archive:
        assert json.loads(archive.read("poet/config.json"))["vocab_size"] == 300


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["create", "poet", "--num-heads", "7"], "7"),
        (["create", "poet", "--seed", str(2**80)], str(2**80)),
        (["create", "poet", "--seed", "-1"], "-1"),
        (["create", "a/b"], "a/b"),
        (["create", "poet", "--workspace", "FILE"], "FILE"),
        (["create", "poet", "--workspace", "FILE/inside"], "FILE"),
        (["books", "list", "--workspace", "FILE"], "FILE"),
        (["models", "list", "--workspace", "FILE.nowhere"], "FILE.nowhere"),
        (["books", "list", "--workspace", "x" * 300], "x" * 300),
        (["export", "nobody", "--workspace", "x" * 300], "x" * 300),
        (["create", "poet", "--workspace", "x" * 300], "x" * 300),
        (["books", "add", "x" * 300], "x" * 300),
        (["books", "add", "FILE.nowhere"], "FILE.nowhere"),
        (["books", "add", "FOLDER/ws"], "FOLDER/ws"),
        (["books", "delete", "nothing"], "nothing"),
        (["models", "delete", "nothing"], "nothing"),
        (["train", "nobody", "--book", "x"], "nobody"),
        (["train", "nobody", "--book", "x", "--seed", str(2**80)], str(2**80)),
        (["generate", "nobody", "x", "--seed", str(2**80)], str(2**80)),
        (["export", "nobody", "--output", "FILE"], "nobody"),
    ],
)
def test_mistake_is_named_in_one_sentence(tmp_path, call, language, arguments, named):
    file = tmp_path / "f.txt"
    file.write_text(TEXT, encoding="utf-8")
    (tmp_path / "ws").mkdir()

    def filled(text: str) -> str:
        return text.replace("FILE", str(file)).replace("FOLDER", str(tmp_path))

    done = call(*map(filled, arguments), language=language)
    sentence = failed_in_a_sentence(done, 1)
    assert filled(named) in sentence.replace("\u00a0", "").replace(",", "")
    assert bool(set(sentence) & set("абвгде")) == (language == "ru")


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["create"], "name"),
        (["train", "poet"], "--book"),
        (["create", "poet", "--nonsense"], "--nonsense"),
        (["create", "poet", "--d-model", "wide"], "wide"),
        (["create", "poet", "--preset", "tiny"], "tiny"),
        (["dance"], "dance"),
        (["books", "burn"], "burn"),
        (["create", "poet", "--d-model"], "--d-model"),
        (["train", "poet", "--endless=yes"], "--endless"),
        (["books", "list", "all", "of them"], "all of them"),
    ],
)
def test_wrong_call_is_explained_and_leads_to_the_help(call, language, arguments, named):
    sentence, more = failed_in_a_sentence(call(*arguments, language=language), 2).splitlines()
    assert named in sentence
    assert more.endswith("--help")
    assert not any(english in sentence for english in ("Option", "argument", "does not", "Got"))
    assert bool(set(sentence) & set("абвгде")) == (language == "ru")


def test_export_into_no_folder_is_refused_before_anything_is_written(tmp_path, call, monkeypatch):
    (tmp_path / "ws").mkdir()
    exported = workflows.Export("poet.zip", "application/zip", iter([b"zip"]))
    monkeypatch.setattr(workflows, "export_model", lambda *_: exported)
    refused = call("export", "poet", "-o", str(tmp_path / "nowhere" / "x.zip"))
    assert str(tmp_path / "nowhere") in failed_in_a_sentence(refused, 1)
    assert call("export", "poet", "-o", str(tmp_path)).returncode == 0
    assert (tmp_path / "poet.zip").read_bytes() == b"zip"


def test_export_replaces_a_file_only_when_asked_to(tmp_path, call, monkeypatch):
    (tmp_path / "ws").mkdir()
    target = tmp_path / "poet.zip"
    target.write_bytes(b"older")
    monkeypatch.setattr(
        workflows, "export_model", lambda *_: workflows.Export("poet.zip", "application/zip", iter([b"zip"]))
    )
    refused = call("models", "export", "poet", "-o", str(target))
    assert str(target) in failed_in_a_sentence(refused, 1)
    assert target.read_bytes() == b"older"
    assert call("models", "export", "poet", "-o", str(target), "--overwrite").returncode == 0
    assert target.read_bytes() == b"zip"


def test_interrupted_export_leaves_nothing(tmp_path):
    def chunks():
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_to(tmp_path / "poet.zip", chunks())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "cp1251"])
def test_console_that_lacks_a_character_prints_a_replacement(tmp_path, encoding):
    book = tmp_path / "Кошка 😀.txt"
    book.write_text("Кошка 😀 сидела на окне 🐈 и ждала.\n" * 40, encoding="utf-8")
    console = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    added = run(tmp_path / "ws", "books", "add", str(book), **console)
    assert (added.returncode, added.stderr) == (0, "")
    listed = run(tmp_path / "ws", "books", "list", **console)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert ("Кошка ?" if encoding == "cp1251" else "?????") in listed.stdout


def test_model_is_listed_and_deleted(tmp_path, call):
    assert call("create", "poet", *SIZES).returncode == 0
    assert "poet" in call("models", "list").stdout
    deleted = call("models", "delete", " Poet ")
    assert (deleted.returncode, "Poet" in deleted.stdout) == (0, True)
    assert len(call("models", "list").stdout.splitlines()) == 1
    assert list(Workspace(tmp_path / "ws").models.iterdir()) == []


def test_model_is_renamed_duplicated_exported_and_imported(tmp_path, call):
    workspace = Workspace(tmp_path / "ws")
    fill(workspace)
    list(workflows.train(workspace, plan(workspace, iterations=3)))
    assert "бард" in call("models", "rename", MODEL, "бард").stdout
    assert "бард (2)" in call("models", "duplicate", "бард").stdout
    file = tmp_path / "b.gguf"
    exported = call("models", "export", "бард", "--format", "gguf", "--type", "q8_0", "-o", str(file))
    assert exported.returncode == 0, exported.stderr
    imported = call("models", "import", str(file), "--name", "новый")
    assert imported.returncode == 0, imported.stderr
    assert [line.split("\t")[0] for line in call("models", "list").stdout.splitlines()[1:]] == [
        "бард",
        "бард (2)",
        "новый",
    ]
    missing = failed_in_a_sentence(call("models", "import", str(tmp_path / "нет.zip")), 1)
    assert "нет.zip" in missing


COMMANDS = [[], ["books"], ["models"]] + [
    command.split()
    for command in (
        "create", "forecast", "train", "generate", "export", "serve", "parameters", "books add", "books list",
        "books delete", "models list", "models delete", "models export", "models import",
        "models rename", "models duplicate",
    )
]  # fmt: skip


@pytest.mark.parametrize("language", ["en", "ru"])
def test_help_of_every_command_is_in_one_language(language, call):
    for command in COMMANDS:
        done = call(*command, "--help", language=language)
        assert done.returncode == 0
        assert "field:" not in done.stdout and "cli." not in done.stdout.replace("cli.py", "")
        english = [word in done.stdout for word in ("Usage", "Options", "Show this", "required", "default:")]
        assert any(english) == (language == "en"), done.stdout


@pytest.mark.parametrize("language", ["en", "ru"])
def test_list_of_commands_tells_each_in_full(language, call):
    for group in ([], ["books"], ["models"]):
        assert "..." not in call(*group, "--help", language=language).stdout.partition("\n\n")[2]
    assert "Ollama" in call("models", "--help", language=language).stdout


def test_language_of_the_option_wins_wherever_it_stands(call):
    for arguments in (["--language", "ru", "books"], ["books", "--language=ru"]):
        assert "Добавить" in call(*arguments).stdout
    unknown = call("--language", "xx", "books")
    assert (unknown.returncode, "“xx”" in unknown.stderr) == (2, True)


def test_import_reads_no_catalogue_and_no_torch():
    check = "import sys, cli, i18n; sys.exit(i18n.translator.cache_info().currsize or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


WAITING = """
import sys, time
from console.progress import show
from events import IterationDone, Stage, StageBegun

def run():
    yield StageBegun(list(Stage)[0])
    try:
        for number in range(int(sys.argv[1])):
            yield IterationDone(number + 1, 2.0, 0.1, 1.0, 100.0, 0.1)
            print("done", flush=True)
            time.sleep(0.05)
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        print("saved", flush=True)

print(show(run(), anywhere=True))
"""


def test_console_tells_what_self_play_has_changed():
    began, reached = (Writing(reward, {}, looped, "", ()) for reward, looped in ((0.31, 0.71), (0.83, 0.12)))
    compared = SelfPlayCompared(350, 200, "Старик", {"greedy": began}, {"greedy": reached}, {})
    assert progress._line(compared) == "    350  greedy since 200: looped 0.710 -> 0.120  reward 0.310 -> 0.830"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize(("iterations", "ended", "said"), [("0", -signal.SIGTERM, ""), ("400", 0, "saved\nFalse\n")])
def test_signal_ends_a_training_at_once_and_saves_what_there_is(iterations, ended, said):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, iterations], cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout.readline() == ("waiting\n" if iterations == "0" else "done\n")
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=10)
    assert (process.returncode, rest.replace("done\n", "")) == (ended, said)


@pytest.mark.slow
def test_export_writes_into_a_device_and_names_a_file_that_cannot_be(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        export_to(pipe, iter([b"model"]))
        assert read.result(timeout=10) == b"model"
    assert pipe.is_fifo(), "not replaced by a file"
    for impossible in (tmp_path / ("x" * 300), Path("/proc/x")):
        with pytest.raises(FileUnwritable):
            export_to(impossible, iter([b"model"]))


def test_prompt_that_is_not_text_is_named(call, tmp_path):
    (tmp_path / "ws").mkdir()
    assert "prompt" in failed_in_a_sentence(call("generate", "nobody", "\udcff"), 1)


@pytest.mark.slow
def test_command_line_is_refused_while_the_workspace_is_held(tmp_path):
    with Workspace(tmp_path).lock("http://localhost:8000"):
        refused = run(tmp_path, "create", "poet", *SIZES)
    assert refused.returncode == 1
    assert "http://localhost:8000" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "configs"),
    [
        ("create", [(ModelConfig, "")]),
        ("train", [(TrainConfig, ""), (SelfPlayConfig, "self-play-")]),
        ("generate", [(SamplingConfig, "")]),
    ],
)
def test_every_parameter_is_an_option(tmp_path, command, configs):
    shown = run(tmp_path, command, "--help").stdout
    for config, prefix in configs:
        for parameter in parameters(config):
            assert f"--{prefix}{parameter.name.replace('_', '-')}" in shown


@pytest.mark.parametrize("language", ["en", "ru"])
def test_parameters_table_has_a_row_with_meaning_for_every_field(language):
    rows = cli.parameters_table(language).splitlines()[2:]
    assert len(rows) == sum(len(parameters(c)) for c in (ModelConfig, TrainConfig, SelfPlayConfig, SamplingConfig))
    assert all(len(row.split(" | ")[-1].strip(" |")) > 20 for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--workspace", "HERE", "models", "list"],
        ["models", "--workspace=HERE", "list"],
        ["models", "list", "--workspace", "HERE"],
        ["--workspace", "elsewhere", "models", "list", "--workspace", "HERE"],
    ],
)
def test_workspace_of_the_option_wins_wherever_it_stands(tmp_path, call, arguments):
    fill(Workspace(tmp_path / "здесь"))
    done = call(*(each.replace("HERE", str(tmp_path / "здесь")) for each in arguments))
    assert (done.returncode, done.stderr) == (0, "")
    assert MODEL in done.stdout
    assert failed_in_a_sentence(call("--workspace", str(tmp_path / "нигде"), "models", "list"), 1)
    assert "--workspace" in failed_in_a_sentence(call("models", "--workspace"), 2)


@pytest.mark.slow
def test_adding_a_book_says_what_is_to_be_known_about_it(tmp_path: Path) -> None:
    book = tmp_path / "marks.txt"
    book.write_bytes("Жил-был кот.<|endoftext|>\n".encode() * 60 + b"\xff\n")
    added = run(tmp_path / "ws", "books", "add", str(book))
    assert added.returncode == 0
    assert "<|endoftext|>" in added.stdout and "61" in added.stdout


@pytest.mark.parametrize("command", [["books", "list"], ["forecast", MODEL, "--book", "example_book"]])
def test_example_books_are_there_where_a_new_workspace_needs_books(tmp_path, call, command):
    assert call("create", MODEL, *SIZES).returncode == 0
    done = call(*command)
    assert (done.returncode, done.stderr) == (0, "")
    listed = call("books", "list").stdout
    assert "example_book\tБиблиотека у моря" in listed and "example_book_en\tCoriolanus" in listed
    assert call("books", "delete", "example_book").returncode == 0
    assert "Библиотека" not in call("books", "list").stdout  # it stays away


@pytest.mark.slow
def test_training_in_a_new_workspace_finds_the_example_book(call):
    assert call("create", MODEL, *SIZES).returncode == 0
    done = call("train", MODEL, "--book", "example_book_en", "--iterations", "1", "--batch-size", "2")
    assert done.returncode == 0, done.stderr


def test_books_are_listed_while_a_server_holds_a_new_workspace(tmp_path, call):
    workspace = Workspace(tmp_path / "ws")
    workspace.prepare()
    with workspace.lock("http://localhost:8000"):
        assert call("books", "list").returncode == 0


def test_books_of_a_folder_are_added_and_a_bad_one_is_named(tmp_path: Path, call: Callable[..., Done]) -> None:
    folder = tmp_path / "полка" / "том"
    folder.mkdir(parents=True)
    (folder / "раз.txt").write_text(TEXT, encoding="utf-8")
    (folder / "два.md").write_text("# Два", encoding="utf-8")
    (folder / "три.srt").write_text("не субтитры", encoding="utf-8")
    (folder / "cover.jpg").write_bytes(b"x")
    (folder / ".hidden.txt").write_text(TEXT, encoding="utf-8")
    done = call("books", "add", str(folder.parent), str(tmp_path / "nowhere.txt"), language="en")
    assert done.returncode == 1
    assert re.findall("Book “(.+?)” added", done.stdout) == ["два", "раз"]
    errors = done.stderr.splitlines()
    assert errors[0].startswith("три.srt: This file is not SRT")
    assert errors[1].startswith("nowhere.txt: File not found")
    assert len(errors) == 2
