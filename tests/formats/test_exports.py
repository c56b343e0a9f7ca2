"""Formats by name: the table, and what each writer gives out."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from config import ModelConfig
from errors import NoTokenizer, UnsupportedFormat
from formats import exports
from formats.exports import Exportable
from formats.lineage import TrainingSummary

CONFIG = ModelConfig(vocab_size=300, d_model=8, num_layers=1, num_heads=2, d_ff=16, max_seq_len=16)
LINEAGE = (
    TrainingSummary(100, 3.5, 1.25, ("Война и мир",), "2030-01-02T03:04:05+00:00", 61.5),
    TrainingSummary(160, 3.1, None, ("Emma",), "2030-02-02T03:04:05+00:00", 90.0, from_iteration=120),
)


def model(folder: Path, tokenizer_size: int | None = 290) -> Exportable:
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return Exportable("поэт", CONFIG, tokenizer_size, LINEAGE, (folder / "config.json",))


def test_hf_is_a_zip_of_the_folder(tmp_path: Path) -> None:
    export = exports.export(model(tmp_path), "hf")
    assert (export.filename, export.media_type) == ("поэт.zip", "application/zip")
    with zipfile.ZipFile(io.BytesIO(b"".join(export.chunks))) as archive:
        assert archive.namelist() == ["поэт/config.json"]


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
    assert caught.value.parameters == {"format": format, "supported": "hf, card"}
