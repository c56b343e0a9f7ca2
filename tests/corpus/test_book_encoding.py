"""Which encoding a book is in. The Russian texts were written for these tests; the short one has 150 characters."""

from __future__ import annotations

import codecs
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.readers.encoding import ENCODINGS, Damage, canonical, decoded, detect, sample_of
from errors import BookUnreadable, InvalidInput, NotText

SHORT = (
    "Ранним утром старик вышел на берег. Ветер стих, и море лежало гладкое, как стекло. "
    "Он долго смотрел вдаль, будто ждал кого-то, и улыбался своим мыслям."
)
STORY = """Глава первая

Старый смотритель маяка жил один и давно привык к тишине. Каждый вечер он поднимался по узкой лестнице, зажигал лампу и
записывал в тетрадь погоду: откуда дует ветер, высока ли волна, какие корабли прошли мимо. Читать его записи было некому,
но он любил порядок и не пропускал ни одного дня.

Однажды осенью к берегу прибило ящик. Внутри, завернутая в промасленную бумагу, лежала книга на незнакомом языке. Смотритель
перелистал её, ничего не понял и поставил на полку рядом с тетрадями. "Когда-нибудь, - подумал он, - придёт человек, который
сможет её прочесть". Ёлки за окном шумели, начинался дождь, и лампа горела ровно и ярко.
"""
WESTERN = {
    "french": "Il était une fois, dans une forêt très éloignée, une petite fille qui préparait le dîner en rêvant d’été.",
    "german": "Der große Bär lebte früher in den Wäldern über dem Fluß. „Natürlich“, sagte er und hörte zu.",
    "spanish": "El niño pequeño corría por el jardín. ¿Dónde está el señor? ¡Mañana volverá con una canción!",
    "english": "It was the best of times — it was the worst of times, “we had everything”; he’d paid £5 for a café.",
}
CYRILLIC = ("utf_8", "utf_16_le", "utf_16_be", "cp1251", "koi8_r", "cp866", "mac_cyrillic", "iso8859_5")


@pytest.mark.parametrize("encoding", CYRILLIC)
@pytest.mark.parametrize("text", [STORY, SHORT, SHORT[:80], SHORT.upper()], ids=["story", "short", "line", "capitals"])
def test_russian_is_read_in_every_encoding(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    assert data.decode(detect(data)) == text


@pytest.mark.parametrize("encoding", CYRILLIC)
def test_each_encoding_of_a_story_is_called_by_its_name(encoding: str) -> None:
    assert detect(STORY.encode(encoding)) == encoding


@pytest.mark.parametrize("times", [1, 50])  # a long text may be refused where a short one is given the benefit of doubt
@pytest.mark.parametrize("language", WESTERN)
def test_western_text_is_cp1252(language: str, times: int) -> None:
    assert detect((WESTERN[language] * times).encode("cp1252")) == "cp1252"


@pytest.mark.parametrize(
    "text",
    [
        "“Yes,” he said — “it’s done…” ",
        "Intel® and Core™ at 20° — see note † and ‡, • 5 × 5 ± 1, © 1999. ",
        "The price is £5, or ½ of it. ",
    ],
    ids=["quotes", "signs", "prices"],
)
@pytest.mark.parametrize("times", [1, 200])
def test_english_with_no_letter_beyond_ascii_is_read(text: str, times: int) -> None:
    data = (text * times).encode("cp1252")
    assert data.decode(detect(data)) == text * times


def test_a_long_russian_book_is_read_in_every_encoding() -> None:
    for encoding in CYRILLIC:
        assert detect((STORY * 20).encode(encoding)) == encoding


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(codecs.BOM_UTF8, "utf_8"), (codecs.BOM_UTF16_LE, "utf_16_le"), (codecs.BOM_UTF16_BE, "utf_16_be")],
)
@pytest.mark.parametrize("text", [STORY, "他说今天很好", "A"], ids=["russian", "chinese", "letter"])
def test_a_byte_order_mark_decides(mark: bytes, encoding: str, text: str) -> None:
    assert detect(mark + text.encode(encoding)) == encoding


def test_tables_drawn_in_dos_are_cp866() -> None:
    assert detect(("╔══════╗\n║ Меню ║\n╚══════╝\nФайл │ Правка\n" + SHORT).encode("cp866")) == "cp866"


def test_a_rule_of_repeated_signs_does_not_outvote_the_words() -> None:
    assert detect(("═" * 2000 + "\n" + SHORT).encode("cp866")) == "cp866"


def test_russian_dialogue_among_english_prose_is_found() -> None:
    text = "The old man looked at the sea and said: " * 20 + "— Привет, мир! Это русский текст. —"
    assert detect(text.encode("koi8_r", "replace")) == "koi8_r"


@pytest.mark.parametrize("encoding", ["cp1251", "mac_cyrillic"])
@pytest.mark.parametrize("text", ["— Да.\n— Нет.\n", "но он — не пел", "из окон — тепло и снег"])
def test_a_dash_between_words_is_not_taken_for_a_capital(text: str, encoding: str) -> None:
    assert text.encode(encoding).decode(detect(text.encode(encoding))) == text


@pytest.mark.parametrize("text", ["Старая история", "Моя семья", "Моя земля, твоя заря"])
@pytest.mark.parametrize("encoding", ["cp1251", "mac_cyrillic"])
def test_a_capital_does_not_stand_behind_a_small_letter(text: str, encoding: str) -> None:
    assert text.encode(encoding).decode(detect(text.encode(encoding))) == text


def test_ukrainian_is_read_as_cp1251() -> None:
    text = "Реве та стогне Дніпр широкий, сердитий вітер завива, додолу верби гне високі."
    assert detect(text.encode("cp1251")) == "cp1251"


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\1\0\x08\6\0\0\0\x5c\x72\xa8\x66",
        b"PK\x03\x04\x14\0\0\0\x08\0book.txt",
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
        rb"{\rtf1\ansi Hello}",
        bytes(range(256)) * 40,
        b"text\0" * 100,
        b"\x7fELF\2\1\1" + bytes(64),
        ("他說今天天氣很好我們去公園散步吧" * 20).encode("big5"),
        ("吾輩は猫である名前はまだ無いどこで生れたかとんと見当がつかぬ" * 20).encode("euc_jp"),
    ],
    ids=["png", "zip", "pdf", "rtf", "all-bytes", "nul-rich", "elf", "big5", "euc_jp"],
)
def test_what_is_no_text_we_read_is_refused(data: bytes) -> None:
    with pytest.raises(NotText) as refused:
        detect(data)
    assert refused.value.field == "file"


def test_utf8_with_one_wrong_byte_stays_utf8() -> None:
    data = STORY.encode()
    assert detect(data[:301] + b"\xff" + data[301:]) == "utf_8"


def test_one_stray_control_character_does_not_make_text_binary() -> None:
    assert detect(("\x01" + STORY).encode("cp1251")) == "cp1251"


def test_no_bytes_are_utf8() -> None:
    assert detect(b"") == "utf_8"


# ---- the sample ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", CYRILLIC)
def test_the_sample_of_a_long_book_is_small_and_tells_the_same(encoding: str) -> None:
    data = (STORY * 400).encode(encoding)
    sample = sample_of(io.BytesIO(data))
    assert len(sample) <= 3 << 16
    assert len(data) > len(sample)
    assert detect(sample) == encoding
    sample.decode(encoding)  # no piece of it was cut inside a character


def test_the_sample_of_a_short_book_is_the_book() -> None:
    assert sample_of(io.BytesIO(STORY.encode())) == STORY.encode()


def test_the_sample_reaches_into_head_middle_and_end() -> None:
    data = b"h" * (1 << 18) + b"m" * (1 << 18) + b"e" * (1 << 18)
    assert set(sample_of(io.BytesIO(data))) == set(b"hme")


def test_a_sample_around_a_place_holds_the_place() -> None:
    data = b"." * 300_001 + b"!" + b"." * 300_000
    assert b"!" in sample_of(io.BytesIO(data), around=300_001)
    assert b"!" not in sample_of(io.BytesIO(data), around=100_000)


def test_text_without_a_single_character_border_at_an_even_place_is_still_utf8() -> None:
    assert detect(sample_of(io.BytesIO(("a" + "й" * 300_000).encode()))) == "utf_8"


@pytest.mark.slow
@given(st.binary(max_size=300))
def test_any_bytes_are_given_an_encoding_or_refused(data: bytes) -> None:
    try:
        assert detect(data) in ENCODINGS
    except NotText:
        pass


@pytest.mark.slow
@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_printable_utf8_is_utf8_whatever_it_says(text: str) -> None:
    data = text.encode()
    assert detect(b" " + data) == "utf_8"  # the space keeps a mark in the text from being first


# ---- decoding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_decoding_in_chunks_gives_the_text(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpus.readers.encoding._CHUNK_BYTES", 7)
    texts = {
        "cp1252": "café",
        "cp1250": "Už dlouho",
        "iso8859_2": "Už dlouho",
        "cp1253": "το πρωί",
        "cp1254": "Yaşlı",
        "cp1255": "אל הים",
    }
    text = "café 🙂" if encoding.startswith("utf") else texts.get(encoding, STORY)
    assert "".join(decoded(io.BytesIO(text.encode(encoding)), encoding, Damage(), field="file")) == text


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    ("data", "encoding", "position"),
    [
        ("абв".encode() + b"\xff\xfe" + "гд".encode(), "utf_8", 6),
        ("а".encode() + b"\xd0", "utf_8", 2),  # the last character is cut off
        ("абв".encode("utf_16_le") + b"\x00\xdc", "utf_16_le", 6),
        ("абв".encode("utf_16_be") + b"\x04", "utf_16_be", 6),
        (b"abcdef\x98g", "cp1251", 6),
    ],
)
def test_the_first_wrong_byte_is_told(
    data: bytes, encoding: str, position: int, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpus.readers.encoding._CHUNK_BYTES", chunk_bytes)
    with pytest.raises(BookUnreadable) as unreadable:
        list(decoded(io.BytesIO(data), encoding, Damage(), field="encoding"))
    assert unreadable.value.parameters == {"encoding": encoding, "position": position}
    assert unreadable.value.field == "encoding"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("utf-8", "utf_8"),
        ("UTF8", "utf_8"),
        ("Windows-1251", "cp1251"),
        (" cp1251 ", "cp1251"),
        ("KOI8-R", "koi8_r"),
        ("IBM866", "cp866"),
        ("maccyrillic", "mac_cyrillic"),
        ("ISO-8859-5", "iso8859_5"),
        ("utf-16-le", "utf_16_le"),
        ("Shift-JIS", "cp932"),
        ("gbk", "gb18030"),
        ("EUC-KR", "cp949"),
    ],
)
def test_encodings_are_known_by_their_other_names(written: str, name: str) -> None:
    assert canonical(written) == name


@pytest.mark.parametrize("written", ["", "rot13", "zlib", "utf_7", "big5", "../cp1251", "a\0b", "\ud800", "x" * 9999])
def test_other_encodings_are_refused_with_the_list(written: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        canonical(written)
    assert refused.value.field == "encoding"
    assert refused.value.parameters["expected"] == ", ".join(ENCODINGS)
    assert len(str(refused.value.parameters["value"])) <= 40
    str(refused.value.parameters["value"]).encode()  # no lone surrogate travels on into the answer
