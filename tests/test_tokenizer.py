"""The tokenizer: nothing is lost, pieces join, bytes join, and stock `AutoTokenizer` reads its export alike."""

from __future__ import annotations

import functools
import platform
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tokenizer as tokenizer_module
from benchmarks.endurance import in_use_bytes
from config import ModelConfig
from formats import huggingface
from tokenizer import END_OF_TEXT, Tokenizer, cut

VOCAB_SIZE = 1500
LETTERS = str.maketrans("0123456789", "абвгдежзий")

PROSE = """\
Библиотекарша закрыла ставни и зажгла лампу. За окном шумело море, и в этом шуме ей слышался чей-то голос: «Читай дальше».
Она открыла книгу на двадцать третьей странице. Там говорилось о машине, которая выучилась писать, прочитав все книги в доме.

— И что же она написала? — спросил мальчик.
— Сначала одни буквы, потом слова, потом то, что ты слышишь сейчас, — ответила она.

The machine wrote slowly, letter by letter, and didn't mind that nobody's watching. "We'll see," it said; they've waited.
"""

SAMPLES = {
    "russian prose": "Мальчик долго молчал, а потом спросил: «А она знает, что такое море?»\n— Знает слово, — сказала она.\n",
    "yo and capitals": "ЁЖИК в тумане, съёмка, объём, ПОДЪЕЗД №5, по-прежнему, кто-нибудь",
    "code": "def f(x: int) -> str:\n\treturn f\"{x:>04d}\"  # ok?\n\n\nif __name__ == '__main__':\n    print(f(1_000))\n",
    "emoji": "👩‍👩‍👧 🇷🇺 ☃️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ok👍🏽",
    "numbers": "1234567 3.14159 1e-5 12:30 2024-01-02 1 000 000 ½ ٣ ⅷ",
    "blanks": "  two   three\t\ttabs \n\n \r\n  end  ",
    "scripts": "汉字と仮名 עברית العربية हिन्दी ไทย e\u0301 \u200b\ufeff \x00\x7f",
    "contractions": "don't I'LL we'Ve 's 'tis O'Neil",
}


@functools.cache
def fitted() -> Tokenizer:
    """Fitted on the samples as well, so that numbers, code and blanks have long tokens that a wrong cut would break."""
    return Tokenizer.fit([PROSE * 20, *(sample * 5 for sample in SAMPLES.values())], VOCAB_SIZE)


# ---- nothing is lost -------------------------------------------------------------------------------------------------

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200)
book_like = st.text(alphabet=" \n\r\tабвгд.,-—«»Ёёz'1", max_size=400)


@settings(max_examples=300, deadline=None)
@given(texts | book_like)
@example(END_OF_TEXT)
@example("\x00\ud7ff\uffff\U0010ffff")
def test_decoding_gives_back_what_was_encoded(text: str) -> None:
    tokenizer = fitted()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=200, deadline=None)
@given(texts | book_like)
def test_token_bytes_join_to_the_text_in_utf8(text: str) -> None:
    tokenizer = fitted()
    assert b"".join(tokenizer.token_bytes(token) for token in tokenizer.encode(text)) == text.encode("utf-8")


def test_every_byte_has_a_token() -> None:
    tokenizer = fitted()
    single = {tokenizer.token_bytes(token) for token in range(tokenizer.size)} - {b""}
    assert {bytes([byte]) for byte in range(256)} <= single


@settings(max_examples=300, deadline=None)
@given(book_like | texts, st.integers(1, 60))
@example("а\nб", 1)
@example("а \n \nб\n\n'll\n1\nx", 1)
def test_pieces_join_to_the_whole(text: str, characters: int) -> None:
    pieces = list(fitted().encode_in_pieces(text, characters))
    assert "".join(piece for piece, _ in pieces) == text
    assert [token for _, ids in pieces for token in ids] == fitted().encode(text)


def test_pieces_join_to_the_whole_however_little_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    text = PROSE * 3 + "мачта1 2,«3»" * 50 + "中文" * 300 + "\n \n" + PROSE
    for name, least in ("REMEMBERED_OF_BOOKS", 50), ("PIECES_AT_ONCE", 2), ("CHUNKS_AT_ONCE", 3):
        monkeypatch.setattr(tokenizer_module, name, least)
        pieces = fitted().encode_in_pieces(text, 200)
        assert [token for _, ids in pieces for token in ids] == fitted().encode(text)


def test_what_is_remembered_of_a_book_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_module, "REMEMBERED_OF_BOOKS", 2_000)
    chunks, most = tokenizer_module._Chunks(fitted()._engine), 0
    for number in range(100):
        list(chunks.encode([" ".join(f"слово{number}к{word}" for word in "абвгдежзик")]))
        most = max(most, sum(map(len, chunks._known)))
    assert 1_000 < most < 2_200


def test_the_join_sees_a_chunk_that_ends_inside_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_module, "_CHUNK", re.compile(r"[\s\S]{1,3}"))
    pieces = list(fitted().encode_in_pieces(PROSE, 100))
    assert [token for _, ids in pieces for token in ids] != fitted().encode(PROSE)


def test_a_long_text_comes_in_several_pieces() -> None:
    assert len(list(fitted().encode_in_pieces(PROSE * 20, 1000))) > 5


def test_the_join_sees_a_cut_inside_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_module, "_SEAM", re.compile(r"[^\W\d_](?=[^\W\d_])"))
    tokenizer = fitted()
    pieces = list(tokenizer.encode_in_pieces(PROSE, 100))
    assert [token for _, ids in pieces for token in ids] != tokenizer.encode(PROSE)


# ---- size and special token ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocab_size", [257, 300, 600, 5000])
def test_size_never_exceeds_what_was_asked_for(vocab_size: int) -> None:
    tokenizer = Tokenizer.fit([PROSE], vocab_size)
    assert 257 <= tokenizer.size <= vocab_size
    assert max(tokenizer.encode(PROSE)) < tokenizer.size


def test_a_small_book_yields_fewer_tokens_than_asked_for() -> None:
    assert Tokenizer.fit(["мама мыла раму"], 5000).size < 300


def test_end_of_text_is_id_0_and_no_text_spells_it() -> None:
    tokenizer = fitted()
    assert tokenizer.end_of_text == 0
    assert 0 not in tokenizer.encode(f"a{END_OF_TEXT}b")
    assert 0 not in next(tokenizer.encode_in_pieces(f"a{END_OF_TEXT}b"))[1]
    assert tokenizer.decode([0]) == "" and tokenizer.token_bytes(0) == b""


def test_a_fitted_word_is_one_token() -> None:
    tokenizer = fitted()
    assert len(tokenizer.encode(" потом")) == 1
    assert len(tokenizer.encode("потом" * 2)) > 1


def test_json_gives_the_same_tokenizer_back() -> None:
    tokenizer = fitted()
    again = Tokenizer.from_json(tokenizer.to_json())
    assert (again.size, again.end_of_text, again.to_json()) == (tokenizer.size, 0, tokenizer.to_json())
    assert again.encode(f"море{END_OF_TEXT}") == tokenizer.encode(f"море{END_OF_TEXT}")


# ---- its export ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        path, config = Path(name), ModelConfig(vocab_size=VOCAB_SIZE)
        (path / "config.json").write_text(huggingface.config_json(config, fitted()), encoding="utf-8")
        (path / "tokenizer_config.json").write_text(huggingface.tokenizer_config_json(config), encoding="utf-8")
        (path / "tokenizer.json").write_text(fitted().to_json(), encoding="utf-8")
        yield path


@pytest.mark.parametrize("sample", SAMPLES)
def test_auto_tokenizer_gives_equal_ids_and_text(folder: Path, sample: str) -> None:
    from transformers import AutoTokenizer

    stock, text = AutoTokenizer.from_pretrained(folder), SAMPLES[sample]
    ids = fitted().encode(text)
    assert stock(text)["input_ids"] == ids
    assert stock.decode(ids) == text


@settings(max_examples=150, deadline=None)
@given(text=(texts | book_like).filter(lambda text: END_OF_TEXT not in text))
def test_auto_tokenizer_gives_equal_ids_for_any_text(folder: Path, text: str) -> None:
    assert stock_tokenizer(folder)(text)["input_ids"] == fitted().encode(text)


@functools.cache
def stock_tokenizer(folder: Path):  # type: ignore[no-untyped-def]
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_auto_tokenizer_knows_the_special_token(folder: Path) -> None:
    stock = stock_tokenizer(folder)
    assert (stock.bos_token_id, stock.eos_token_id, stock.pad_token_id, len(stock)) == (0, 0, 0, fitted().size)
    assert stock(END_OF_TEXT + "море")["input_ids"] == fitted().encode(END_OF_TEXT + "море")  # as in a book
    assert set(stock("море")) == {"input_ids", "attention_mask"}


def test_the_comparison_sees_another_pattern(folder: Path, tmp_path: Path) -> None:
    """With the pattern of GPT-2, which some programs assume, most sentences are cut differently."""
    import json

    from transformers import AutoTokenizer

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    engine = json.loads(fitted().to_json())
    engine["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps(engine), encoding="utf-8")
    stock = AutoTokenizer.from_pretrained(tmp_path)
    differing = [sample for sample, text in SAMPLES.items() if stock(text)["input_ids"] != fitted().encode(text)]
    assert {"russian prose", "code", "numbers"} <= set(differing)


@pytest.mark.skipif(platform.libc_ver() < ("glibc", "2.33"), reason="counted by glibc's mallinfo2")
def test_new_words_do_not_fill_the_memory() -> None:
    """Self-play takes prompts from everywhere in a book, for weeks."""
    tokenizer = Tokenizer.fit(["мама мыла раму " * 50], 300)
    words = ["слово" + str(number).translate(LETTERS) for number in range(20_000)]
    tokenizer.encode(" ".join(words[:2_000]))
    before = in_use_bytes()
    tokenizer.encode(" ".join(words))
    assert in_use_bytes() - before < 1_000_000


# ---- cutting -----------------------------------------------------------------------------------------------------------

_PIECES_OF_TEXT = [
    "слово",
    "word",
    "don't",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "12345",
    "7",
    ",",
    ".",
    "!»",
    "—",
    "'s",
    "[",
    "я",
    "²",
    "中文",
    "。",
    "😀",
    "\n    ",
]


@given(st.lists(st.sampled_from(_PIECES_OF_TEXT), max_size=60).map("".join), st.integers(1, 30))
def test_pieces_of_any_text_have_the_tokens_of_the_whole(text: str, characters: int) -> None:
    pieces = list(fitted().encode_in_pieces(text, characters))
    assert "".join(piece for piece, _ in pieces) == text
    assert [token for _, ids in pieces for token in ids] == fitted().encode(text)


@pytest.mark.parametrize("text", ["[12:30] Аня: привет!\n" * 3000, "привет, как дела? " * 4000, "0.12, 0.34; " * 6000])
def test_every_ordinary_text_is_cut_in_pieces_of_the_wanted_size(text: str) -> None:
    pieces = list(cut(text, 1000))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) < 1100


def test_a_run_without_a_place_to_cut_is_cut_all_the_same() -> None:
    pieces = list(cut("A" * 700_000, 1000, reach=500))
    assert "".join(pieces) == "A" * 700_000
    assert max(map(len, pieces)) == 1500


def test_fitting_in_pieces_learns_what_fitting_on_the_whole_learns() -> None:
    text = (PROSE + "\n") * 40
    assert Tokenizer.fit([text], 600).to_json() == Tokenizer.fit(cut(text, 50), 600).to_json()
