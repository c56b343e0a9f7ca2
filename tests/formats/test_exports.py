"""Formats by name: the table, and what each writer gives out."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from config import ModelConfig
from errors import NoCheckpoint, NoTokenizer, UnsupportedFormat
from formats import exports
from formats.exports import Exportable
from formats.lineage import TrainingSummary
from tests.training_kit import make_model
from tokenizer import Tokenizer

CONFIG = ModelConfig(vocab_size=300, d_model=8, num_layers=1, num_heads=2, d_ff=16, max_seq_len=16)
TOKENIZER = Tokenizer.fit(["мама мыла раму, мама мыла раму"], 290)
LINEAGE = (
    TrainingSummary(100, 3.5, 1.25, ("Война и мир",), "2030-01-02T03:04:05+00:00", 61.5),
    TrainingSummary(160, 3.1, None, ("Emma",), "2030-02-02T03:04:05+00:00", 90.0, from_iteration=120),
)


def model(folder: Path, tokenizer_size: int | None = 290, checkpoint: dict[str, Path] | None = None) -> Exportable:
    (folder / "config.json").write_text("{}", encoding="utf-8")
    weights = make_model(shape=CONFIG).state_dict()
    return Exportable(
        "поэт",
        CONFIG,
        tokenizer_size,
        LINEAGE,
        (folder / "config.json",),
        lambda: (weights, TOKENIZER),
        checkpoint or {},
    )


def test_hf_is_a_zip_of_the_folder(tmp_path: Path) -> None:
    export = exports.export(model(tmp_path), "hf")
    assert (export.filename, export.media_type) == ("поэт.zip", "application/zip")
    with zipfile.ZipFile(io.BytesIO(b"".join(export.chunks))) as archive:
        assert archive.namelist() == ["поэт/config.json", "поэт/README.md"]
        assert archive.read("поэт/README.md").decode("utf-8").splitlines()[5] == "# поэт"


def test_hf_of_a_model_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoTokenizer):
        exports.export(model(tmp_path, None), "hf")


def test_card_is_the_text_of_the_readme_with_every_training(tmp_path: Path) -> None:
    export = exports.export(model(tmp_path, None), "card")
    assert (export.filename, export.media_type) == ("поэт.md", "text/markdown; charset=utf-8")
    text = b"".join(export.chunks).decode("utf-8")
    assert "# поэт" in text and "- Война и мир\n- Emma\n" in text
    assert "| 1 | Война и мир | 1–100 | 3.5000 | 1.2500 | 2030-01-02 |" in text
    assert "| 2 | Emma | 121–160 | 3.1000 | – | 2030-02-02 |" in text
    assert "| val_loss | 3.1000 nats per token |" in text


@pytest.mark.parametrize("format", ["onnx", "", "HF"])
def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path, format: str) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        exports.export(model(tmp_path), format)
    assert caught.value.field == "format"
    assert caught.value.parameters == {"format": format, "supported": "hf, gguf, ollama, checkpoint, card"}


def test_an_unknown_number_type_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        exports.export(model(tmp_path), "gguf", "q4_k")
    assert caught.value.field == "type"
    assert caught.value.parameters == {"format": "q4_k", "supported": "f32, f16, bf16, q8_0"}


@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_gguf_has_the_size_that_was_announced(tmp_path: Path, kind: str) -> None:
    export = exports.export(model(tmp_path), "gguf", kind)
    content = b"".join(export.chunks)
    assert export.filename == f"поэт-{kind}.gguf"
    assert (content[:4], len(content)) == (b"GGUF", export.size)


def test_ollama_is_a_zip_with_a_modelfile_beside_the_gguf_it_names(tmp_path: Path) -> None:
    export = exports.export(model(tmp_path), "ollama", "bf16")
    assert export.filename == "поэт-ollama-bf16.zip"
    with zipfile.ZipFile(io.BytesIO(b"".join(export.chunks))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["поэт/model-bf16.gguf", "поэт/Modelfile", "поэт/README.md"]
        modelfile = archive.read("поэт/Modelfile").decode("utf-8")
    assert "\r" not in modelfile
    assert modelfile.splitlines()[:4] == [
        "FROM ./model-bf16.gguf",
        'TEMPLATE """{{ .Prompt }}"""',
        'PARAMETER stop "<|endoftext|>"',
        "PARAMETER num_ctx 16",
    ]
    assert "PARAMETER temperature 0.7" in modelfile


def test_checkpoint_is_a_zip_laid_out_like_a_workspace(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text("{}", encoding="utf-8")
    export = exports.export(model(tmp_path, checkpoint={"step-00000001/state.json": state}), "checkpoint")
    with zipfile.ZipFile(io.BytesIO(b"".join(export.chunks))) as archive:
        assert archive.namelist() == [
            "models/поэт/config.json",
            "models/поэт/README.md",
            "checkpoints/поэт/step-00000001/state.json",
        ]


def test_checkpoint_of_a_model_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoCheckpoint):
        exports.export(model(tmp_path), "checkpoint")
