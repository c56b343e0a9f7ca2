"""Files that no single encoding fits: glued together, damaged, or in the code page of another language. All texts were made up."""

from __future__ import annotations

import io
from itertools import permutations
from pathlib import Path

import pytest

from corpus.readers import plain_text
from corpus.readers.encoding import detect
from corpus.readers.foreign import foreign_encoding
from corpus.readers.mixture import find_mixture
from corpus.readers.reading import Reading
from errors import NotText, TwoEncodings

LINE = "Утром бабушка вышла из дома и пошла к колодцу. Внук ещё спал, и ей было жаль его будить.\n"
UKRAINIAN = "Ще не настав ранок, а бабуся вже вийшла з хати й пішла до криниці. Її онук іще спав. Є такі дні, коли все завмирає.\n"
FRENCH = "Le vieux pêcheur sortit en mer ; il pensait à sa fille et au pain qu'elle avait cuit l'été dernier.\n"
MIXTURES = {
    "half_half": (("utf_8", 12), ("cp1251", 12)),
    "cp1251_koi8": (("cp1251", 12), ("koi8_r", 12)),
    "utf8_1_cp1251_19": (("utf_8", 1), ("cp1251", 19)),
    "one_line_at_the_end": (("utf_8", 400), ("cp866", 1)),
    "a_stretch_inside": (("koi8_r", 30), ("utf_8", 3), ("koi8_r", 30)),
}
OTHER_LANGUAGES = {
    "greek_cp1253": ("Το πρωί ο γέρος ψαράς βγήκε στη θάλασσα. Ο ουρανός ήταν καθαρός.\n", "cp1253"),
    "greek_8859_7": ("Το πρωί ο γέρος ψαράς βγήκε στη θάλασσα. Ο ουρανός ήταν καθαρός.\n", "iso8859_7"),
    "hebrew_cp1255": ("בבוקר יצא הדייג הזקן אל הים. השמים היו בהירים ורוח קלה נשבה.\n", "cp1255"),
    "turkish_cp1254": (
        "Yaşlı adam sabah erkenden kalktı, çayını içti ve bahçeye çıktı. Güneş daha doğmamıştı.\n",
        "cp1254",
    ),
    "czech_8859_2": ("Už dlouho čekal starý hodinář na dopis od své dcery a díval se na řeku.\n", "iso8859_2"),
    "czech_cp1250": ("Už dlouho čekal starý hodinář na dopis od své dcery a díval se na řeku.\n", "cp1250"),
    "polish_cp1250": (
        "Rano stary rybak wyszedł w morze. Wiał lekki wiatr, a on myślał o córce i o źrebięciu.\n",
        "cp1250",
    ),
    "hungarian_8859_2": (
        "Reggel az öreg halász kihajózott, és könnyű szellő fújt. A lányára gondolt, ősz volt.\n",
        "iso8859_2",
    ),
    "chinese_gbk": ("早晨，老渔夫出海了。天空晴朗，微风轻轻地吹着。\n", "gbk"),
    "japanese_shift_jis": ("朝、年老いた漁師は海へ出ました。空は晴れていて、そよ風が吹いていました。\n", "shift_jis"),
    "korean_euc_kr": (
        "아침에 늙은 어부는 바다로 나갔다. 하늘은 맑고 바람이 가볍게 불었다. 그는 딸을 생각했다.\n",
        "euc_kr",
    ),
    "romanian_8859_2": (
        "Dimineaţa bătrânul pescar a ieşit pe mare şi se gândea la fiica lui, că o să vină.\n",
        "iso8859_2",
    ),
}
UNCERTAIN = {
    "arabic_cp1256": ("في الصباح خرج الصياد العجوز إلى البحر وكانت السماء صافية\n", "cp1256"),
    "chinese_big5": ("早晨，老漁夫出海了。天空晴朗，微風輕輕地吹著。\n", "big5"),
    "japanese_euc_jp": ("朝、年老いた漁師は海へ出ました。空は晴れていて、そよ風が吹いていました。\n", "euc_jp"),
    "names_only": ("Čeněk Dvořák, Jiří Novák, Šárka Křížová, Ondřej Němec\n", "iso8859_2"),
}


def read(data: bytes, folder: Path, encoding: str | None = None) -> Reading:
    source = folder / "source"
    source.write_bytes(data)
    return plain_text.read(source, folder / "target", encoding, field="file")


# ---- two encodings in one file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", MIXTURES.values(), ids=MIXTURES)
def test_two_encodings_in_one_file_are_refused_with_the_line(
    parts: tuple[tuple[str, int], ...], tmp_path: Path
) -> None:
    with pytest.raises(TwoEncodings) as refused:
        read(b"".join(LINE.encode(encoding) * lines for encoding, lines in parts), tmp_path)
    assert refused.value.parameters == {"line": parts[0][1] + 1}
    assert refused.value.field == "file"


@pytest.mark.parametrize(
    ("first", "second"), list(permutations(["utf_8", "cp1251", "koi8_r", "cp866", "iso8859_5"], 2))
)
def test_every_change_of_a_russian_encoding_is_found(first: str, second: str) -> None:
    assert find_mixture(io.BytesIO(LINE.encode(first) * 9 + LINE.encode(second) * 2)) == 10


@pytest.mark.parametrize("encoding", ["utf_8", "cp1251", "koi8_r", "cp866", "mac_cyrillic", "iso8859_5"])
def test_a_russian_book_with_a_foreign_passage_has_one_encoding(encoding: str) -> None:
    text = LINE * 30 + FRENCH.encode("ascii", "ignore").decode() * 10 + "— 12 — 1941 г. №5…\n" * 20 + LINE * 3
    assert find_mixture(io.BytesIO(text.encode(encoding, "ignore"))) is None


def test_a_mixed_file_is_read_where_a_person_names_the_encoding(tmp_path: Path) -> None:
    data = LINE.encode("cp1251") * 12 + LINE.encode("koi8_r") * 12
    assert read(data, tmp_path, "cp1251").characters == 24 * len(LINE)


# ---- a few wrong bytes -------------------------------------------------------------------------------------------------


def test_one_bad_byte_is_taken_counted_and_its_line_told(tmp_path: Path) -> None:
    reading = read(LINE.encode() * 9 + b"\xff" + LINE.encode() * 11, tmp_path)
    assert (reading.encoding, reading.wrong_characters, reading.wrong_line) == ("utf_8", 1, 10)
    assert (tmp_path / "target").read_text(encoding="utf-8") == LINE * 9 + "\ufffd" + LINE * 11


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1000])
def test_bad_bytes_are_counted_over_the_borders_of_chunks(
    chunk_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpus.readers.encoding._CHUNK_BYTES", chunk_bytes)
    reading = read((LINE * 5 + "\ufffd").encode() + b"\n\xff\n" + LINE.encode() * 5 + b"\xd0", tmp_path)
    assert (reading.wrong_characters, reading.wrong_line) == (2, 7)


def test_an_undamaged_book_has_no_damage(tmp_path: Path) -> None:
    assert read(LINE.encode() + "\ufffd".encode(), tmp_path).wrong_characters == 0


def test_a_pound_sign_in_an_english_book_is_no_damage(tmp_path: Path) -> None:
    reading = read(b"It cost him a shilling.\n" * 9000 + b"It cost \xa35.\n" + b"That was all.\n" * 9000, tmp_path)
    assert (reading.encoding, reading.wrong_characters) == ("cp1252", 0)


# ---- other languages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 12, 400])
@pytest.mark.parametrize("encoding", ["koi8_u", "cp1125", "cp1251"])
def test_ukrainian_is_read_in_its_encodings(encoding: str, times: int) -> None:
    data = (UKRAINIAN * times).encode(encoding)
    assert detect(data) == encoding
    assert data.decode(detect(data)) == UKRAINIAN * times


@pytest.mark.parametrize("times", [1, 12, 400])
@pytest.mark.parametrize(("text", "encoding"), OTHER_LANGUAGES.values(), ids=OTHER_LANGUAGES)
def test_another_language_is_read_in_its_code_page(text: str, encoding: str, times: int, tmp_path: Path) -> None:
    read((text * times).encode(encoding), tmp_path)
    assert (tmp_path / "target").read_text(encoding="utf-8") == text * times


@pytest.mark.parametrize("times", [12, 400])
@pytest.mark.parametrize(("text", "encoding"), UNCERTAIN.values(), ids=UNCERTAIN)
def test_what_is_not_certain_is_refused(text: str, encoding: str, times: int, tmp_path: Path) -> None:
    with pytest.raises(NotText):
        read((text * times).encode(encoding), tmp_path)


@pytest.mark.parametrize("encoding", ["cp1251", "koi8_r", "cp866", "mac_cyrillic", "iso8859_5"])
def test_russian_is_never_taken_for_another_language(encoding: str) -> None:
    book = (Path(__file__).parents[2] / "books" / "example_book.txt").read_text(encoding="utf-8")
    pieces = (book[start : start + 200] for start in range(0, len(book), len(book) // 200))
    assert [piece for piece in pieces if foreign_encoding(piece.encode(encoding, "ignore"))] == []


@pytest.mark.parametrize(
    "text",
    [
        FRENCH,
        "Am Morgen fuhr der alte Fischer hinaus. Der Himmel war klar, und er dachte über die große Tür nach, schön.\n",
        "Por la mañana el viejo pescador salió al mar. El cielo estaba despejado y él pensó en su hija. ¿Qué haría?\n",
        "De manhã o velho pescador saiu para o mar. O céu estava limpo e não havia vento. Pensou no pão.\n",
        "På morgonen gick den gamle fiskaren ut på sjön. Himlen var klar och han tänkte på sin dotter över ön.\n",
        "Om morgenen dro den gamle fiskeren ut på sjøen. Han tenkte på brødet som var bakt, været var godt.\n",
        "Á morgun fór gamli sjómaðurinn á sjó. Himinninn var heiður og það blés léttur vindur.\n",
        "He met Göthe and Brontë at a café; the naïve crème brûlée of El Niño, Übermensch, façade, jalapeño.\n",
    ],
)
def test_western_languages_are_still_read(text: str) -> None:
    data = (text * 40).encode("cp1252")
    assert data.decode(detect(data)) == text * 40
