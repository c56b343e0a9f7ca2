"""The command line does the whole job over the same workflows, with options derived from config.py."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import cli
from config import ModelConfig, SamplingConfig, SelfPlayConfig, TrainConfig, parameters
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


def run(workspace: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "AZR_WORKSPACE": str(workspace),
        "AZR_LANGUAGE": "en",
        "PYTHONUTF8": "1",
        "COLUMNS": "200",
    }
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=200, check=False
    )


@pytest.mark.slow
def test_command_line_does_the_whole_job(tmp_path):
    book = tmp_path / "книга.txt"
    book.write_bytes(TEXT.encode("cp1251"))
    folder = tmp_path / "рабочая папка"
    created = run(folder, "create", "poet", *SIZES)
    assert (created.returncode, "Model “poet” created" in created.stdout) == (0, True), created.stderr
    added = run(folder, "books", "add", str(book))
    assert "cp1251" in added.stdout, added.stderr
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
    written = run(folder, "generate", "poet", "Модель", "--max-new-tokens", "8", "--seed", "1")
    assert written.stdout.startswith("Модель") and "�" not in written.stdout
    exported = run(folder, "export", "poet", "--output", str(tmp_path / "poet.zip"))
    assert exported.returncode == 0, exported.stderr
    with zipfile.ZipFile(tmp_path / "poet.zip") as archive:
        assert json.loads(archive.read("poet/config.json"))["vocab_size"] == 300


@pytest.mark.slow
def test_command_line_names_a_mistake_in_one_sentence(tmp_path):
    refused = run(tmp_path, "create", "poet", "--num-heads", "7")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr and "7" in refused.stderr


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
