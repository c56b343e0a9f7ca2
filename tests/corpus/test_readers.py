"""Every format of a book becomes its text and nothing else; what was left out is counted, what is lost is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus.readers.formats import READERS, format_of, read_here, recognised
from corpus.readers.pdf_lines import paragraphs
from corpus.readers.reading import Found, Reading
from errors import AZRError, BookRefused, EmptyBook
from tests.corpus.book_files import docx, epub, fb2, pdf, word, zip_of

APART = ("md", "html", "fb2", "epub", "docx", "pdf", "rtf")
Read = Callable[..., tuple[str, Reading]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """`read(filename, data)` gives the text and the reading, all in this process."""

    def read(filename: str, data: bytes | str, encoding: str | None = None) -> tuple[str, Reading]:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(data if isinstance(data, bytes) else data.encode())
        format = recognised(format_of(filename), source)
        here = (lambda *given, **named: read_here(format, *given, **named)) if format in APART else READERS[format].read
        reading = here(source, target, encoding, field="file")
        return target.read_text(encoding="utf-8"), reading

    return read


def left_out(reading: Reading) -> dict[str, int]:
    return {each.code: each.count for each in reading.left_out}


# ---- plain text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_text_of_project_gutenberg_is_read_without_its_licence(read: Read, line_end: str) -> None:
    source = """The Project Gutenberg eBook of The Sea

Title: The Sea

Author: Ann Lee

*** START OF THE PROJECT GUTENBERG EBOOK THE SEA ***

I

It rained.

*** END OF THE PROJECT GUTENBERG EBOOK THE SEA ***
Donate.
"""
    text, reading = read("pg1.txt", source.replace("\n", line_end))
    assert text == "I\n\nIt rained.\n"
    assert (reading.title, reading.author, left_out(reading)) == ("The Sea", "Ann Lee", {"licence": 9})


def test_other_plain_text_stays_as_it_is(read: Read) -> None:
    text = "End of the Project Gutenberg was in sight.\nСпасибо, что скачали книгу в библиотеке.\n"
    assert read("a.txt", text)[0] == text


# ---- text with signs -------------------------------------------------------------------------------------------------


def test_markdown_becomes_text_without_its_signs(read: Read) -> None:
    source = """---
title: "Сад"
author: Анна Ли
---
# Глава *первая*

Шёл **дождь**, и [сад](http://example.org/a) стоял `мокрый`.[^1]
![Вид](view.png)
> Тише, — сказала она. snake_case_name и 2 * 3 * 4

```python
x = "**не трогать**"
```

[^1]: Примечание.
"""
    text, reading = read("a.md", source)
    assert text == (
        "Глава первая\n\nШёл дождь, и сад стоял мокрый.\n\nТише, — сказала она. snake_case_name и 2 * 3 * 4\n\n"
        'x = "**не трогать**"\n'
    )
    assert (reading.title, reading.author, reading.encoding) == ("Сад", "Анна Ли", "utf_8")
    assert left_out(reading) == {"notes": 1, "note_marks": 1, "pictures": 1, "links": 1, "about": 1}


def test_a_web_page_becomes_its_paragraphs(read: Read) -> None:
    page = """<!DOCTYPE html><html lang="ru"><head><meta charset="windows-1251"><title>Сад &mdash; рассказ</title>
    <meta name="author" content="Анна Ли"><style>p { color: red }</style></head><body>
    <nav><ul><li><a href="/">Главная</a></li></ul></nav><h1>Сад</h1>
    <p>Шёл&nbsp;дождь<sup><a href="#n1">[1]</a></sup>, и
    сад <b>мок</b>.</p><p hidden>тайное</p><pre>  if x:
    y</pre><p>Раз<br>два</p><table><tr><td>1</td><td>два</td></tr></table>
    <script>alert("нет")</script><aside class="footnotes"><p id="n1">Сноска.</p></aside><footer>© 2020</footer></body></html>"""
    text, reading = read("a.HTM", page.encode("cp1251"))
    assert text == "Сад\n\nШёл дождь, и сад мок.\n  if x:\n    y\nРаз\nдва\n1\tдва\n"
    assert (reading.title, reading.author, reading.language, reading.encoding) == (
        "Сад — рассказ",
        "Анна Ли",
        "ru",
        "cp1251",
    )
    assert left_out(reading) == {"scripts": 2, "navigation": 2, "notes": 1, "note_marks": 1}


# ---- FictionBook -----------------------------------------------------------------------------------------------------

STORY = "<body><title><p>Сад</p></title><section><p>Ранним утром старик вышел на берег. Ветер стих, и море лежало гладкое.</p></section></body>"
STORY_TEXT = "Сад\n\nРанним утром старик вышел на берег. Ветер стих, и море лежало гладкое.\n"


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        ("utf-8", "utf-8"),
        ("windows-1251", "cp1251"),
        ("utf-8", "cp1251"),
        ("windows-1251", "utf-8"),
        (None, "cp1251"),
        ("koi8-r", "cp1251"),
        ("no-such-code", "koi8_r"),
        ("utf-16", "utf-16"),
    ],
)
def test_the_encoding_of_a_fiction_book_is_found_whatever_it_declares(
    read: Read, declared: str | None, written: str
) -> None:
    text, reading = read("a.fb2", fb2(STORY, declared=declared, written=written))
    assert text == STORY_TEXT
    assert reading.wrong_characters == 0


def test_a_fiction_book_is_its_text_without_notes_and_pictures(read: Read) -> None:
    description = (
        "<genre>prose</genre><author><first-name>Анна</first-name><last-name>Ли</last-name></author>"
        "<book-title>Сад &amp; дом</book-title><annotation><p>О чём книга.</p></annotation><lang>ru</lang>"
    )
    body = (
        '<body><section><title><p>Глава</p></title><p>Шёл&nbsp;дождь<a l:href="#n1" type="note">[1]</a> & ветер <style name="x">дул</style>.</p>'
        '<image l:href="#p"/><poem><stanza><v>Раз</v><v>два</v></stanza></poem><p>Конец</section></body>'
        '<body name="notes"><section id="n1"><p>Сноска</p></section></body><binary id="p">AAAA</binary>'
    )
    text, reading = read("a.fb2", fb2(body, description=description))
    assert text == "Глава\n\nШёл дождь & ветер дул.\n\nРаз\nдва\n\nКонец\n"
    assert (reading.title, reading.author, reading.language) == ("Сад & дом", "Анна Ли", "ru")
    assert left_out(reading) == {"notes": 1, "note_marks": 1, "pictures": 1, "about": 1}
    assert not reading.is_cut_off


def test_a_fiction_book_that_was_cut_off_is_read_and_told(read: Read) -> None:
    text, reading = read("a.fb2", fb2(STORY, end="")[:-30])
    assert reading.is_cut_off
    assert text.startswith("Сад\n\nРанним утром")


def test_a_paragraph_that_was_never_closed_ends_with_its_body(read: Read) -> None:
    text, _ = read("a.fb2", fb2("<body><p>Начало.</p><p>Ранним утром</body>"))
    assert text == "Начало.\nРанним утром\n"


# ---- e-books ---------------------------------------------------------------------------------------------------------


def test_chapters_of_an_e_book_come_in_the_order_of_its_spine(read: Read) -> None:
    metadata = "<dc:title>Сад</dc:title><dc:creator>Анна Ли</dc:creator><dc:language>ru-RU</dc:language>"
    chapters = {"c": "<p>три</p>", "a": "<h1>Раз</h1><p>раз</p>", "b": "<p>два&nbsp;&mdash; два</p>"}
    text, reading = read("a.epub", epub(chapters, spine=("a", "b", "c"), metadata=metadata))
    assert text == "Раз\n\nраз\n\nдва — два\n\nтри\n"
    assert (reading.title, reading.author, reading.language, reading.encoding) == ("Сад", "Анна Ли", "ru", "")


def test_contents_notes_and_licence_pages_of_an_e_book_are_left_out(read: Read) -> None:
    chapters = {
        "text": '<p>раз<a epub:type="noteref" href="n.xhtml#1">1</a></p>',
        "toc": '<nav epub:type="toc"><p>Глава 1</p></nav>',
        "legal": '<section epub:type="copyright-page"><p>© Все права</p></section>',
        "n": '<aside epub:type="footnote"><p>Сноска</p></aside>',
        "links": "".join(f'<p><a href="{n}.xhtml">Глава {n}</a> {n}</p>' for n in range(9)),
        "end": "<p>два</p><p>*** END OF THE PROJECT GUTENBERG EBOOK ***</p><p>Donate</p>",
    }
    text, reading = read("a.epub", epub(chapters))
    assert text == "раз\n\nдва\n"
    assert left_out(reading) == {"contents": 2, "licence": 4, "notes": 1, "note_marks": 1}


def test_one_bad_chapter_does_not_lose_the_book(read: Read) -> None:
    chapters = {"a": "<p>раз</p>", "b": "<p>" + "два " * 50 + "</p>", "c": "<p>три</p>"}
    data = bytearray(epub(chapters))
    place = data.index(b"OEBPS/b.xhtml") + len("OEBPS/b.xhtml")
    data[place + 20] ^= 0xFF
    text, reading = read("a.epub", bytes(data))
    assert text == "раз\n\nтри\n"
    assert (reading.lost_parts, reading.lost_part) == (1, "OEBPS/b.xhtml")


# ---- Word ------------------------------------------------------------------------------------------------------------


def test_a_word_document_reads_as_it_reads_in_the_end(read: Read) -> None:
    body = (
        '<w:p><w:pPr><w:pStyle w:val="11"/></w:pPr><w:r><w:t>Глава 1</w:t><w:tab/><w:t>5</w:t></w:r></w:p>'
        '<w:p><w:pPr><w:tabs><w:tab w:val="left"/></w:tabs></w:pPr><w:r><w:t xml:space="preserve">Шёл </w:t></w:r>'
        "<w:del><w:r><w:delText>снег</w:delText></w:r></w:del><w:ins><w:r><w:t>дождь</w:t></w:r></w:ins>"
        '<w:r><w:footnoteReference w:id="1"/></w:r><w:r><w:t>.</w:t></w:r></w:p>'
        "<w:p><w:r><mc:AlternateContent><mc:Choice><w:drawing><w:txbxContent>" + word("в рамке") + "</w:txbxContent></w:drawing></mc:Choice>"
        "<mc:Fallback><w:pict>" + word("в рамке") + "</w:pict></mc:Fallback></mc:AlternateContent><w:t>после</w:t></w:r></w:p>"
        "<w:tbl><w:tr><w:tc>" + word("1") + "</w:tc><w:tc>" + word("два") + word("три") + "</w:tc></w:tr></w:tbl><w:moveFrom>" + word("ушло") + "</w:moveFrom>"
    )  # fmt: skip
    space = 'xmlns:w="w"'
    more = {
        "word/styles.xml": f'<w:styles {space}><w:style w:styleId="11"><w:name w:val="toc 1"/></w:style></w:styles>',
        "word/footnotes.xml": f'<w:footnotes {space}><w:footnote w:type="separator"/><w:footnote w:id="1"/></w:footnotes>',
        "word/comments.xml": f"<w:comments {space}><w:comment/><w:comment/></w:comments>",
        "word/header1.xml": "<h/>",
        "docProps/core.xml": '<c xmlns:dc="d"><dc:title>Сад</dc:title><dc:creator>Анна Ли</dc:creator></c>',
    }
    text, reading = read("a.docx", docx(body, more))
    assert text == "Шёл дождь.\nв рамке\nпосле\n1\tдва три\n"
    assert (reading.title, reading.author) == ("Сад", "Анна Ли")
    assert left_out(reading) == {"contents": 1, "headers": 1, "notes": 1, "comments": 2, "deleted": 2}


def test_hidden_text_of_a_word_document_is_left_out(read: Read) -> None:
    def run(properties: str, text: str) -> str:
        return f"<w:r><w:rPr>{properties}</w:rPr><w:t>{text}</w:t></w:r>"

    hidden = run("<w:vanish/>", " тайное") + run('<w:vanish w:val="0"/>', " явное")
    mark = "<w:pPr><w:rPr><w:vanish/></w:rPr></w:pPr>"  # hides the end of the paragraph only
    assert read("a.docx", docx(f"<w:p>{mark}{run('<w:b/>', 'Сад')}{hidden}</w:p>"))[0] == "Сад явное\n"


def test_rich_text_is_read_with_its_title(read: Read) -> None:
    source = (
        rb"{\rtf1\ansi\ansicpg1251{\fonttbl{\f0\fcharset204 Arial;}}{\info{\title \'d1\'e0\'e4}{\author Ann Lee}}"
        rb"{\header Running}{\pict\pngblip 00ff00}\f0 \'d8\'b8\'eb \u1076?\u1086?\u1078?\u1076?\u1100?.{\footnote \'ed\'e5\'f2}\par a\cell b\cell\row}"
    )
    text, reading = read("a.rtf", source)
    assert text.splitlines()[:1] == ["Шёл дождь."]
    assert "a\tb" in text and "Running" not in text and "нет" not in text
    assert (reading.title, reading.author) == ("Сад", "Ann Lee")
    assert left_out(reading) == {"headers": 1, "notes": 1, "pictures": 1}


@pytest.mark.parametrize("named", [b"", b"\\ansicpg1252", b"\\ansicpg1252{\\fonttbl{\\f0\\fcharset0 Arial;}}"])
def test_russian_letters_of_rich_text_are_found_whatever_it_names(read: Read, named: bytes) -> None:
    line = "Ранним утром старик вышел в сад и долго смотрел на море. "
    escaped = b"".join(b"\\'%02x" % byte if byte > 127 else bytes([byte]) for byte in (3 * line).encode("cp1251"))
    assert read("a.rtf", b"{\\rtf1\\ansi" + named + b"\\f0 " + escaped + b"}")[0].startswith(line)
    french = b"\\'e9t\\'e9 \\'e0 la for\\'eat, l'\\'e2me du gar\\'e7on. " * 9
    assert "été à la forêt, l'âme du garçon." in read("b.rtf", b"{\\rtf1\\ansi" + named + b" " + french + b"}")[0]


# ---- PDF -------------------------------------------------------------------------------------------------------------

PROSE = [
    "It was raining when the keeper of the old light-",
    "house came down to the shore and looked at the sea",
    "that had been quiet for many days in that summer.",
]


def test_a_pdf_becomes_paragraphs_without_running_titles_and_page_numbers(read: Read) -> None:
    pages = [
        ["The Sea and the Land", *PROSE, f"In year {'abcd'[number - 1]} it ended.", f"- {number} -"]
        for number in range(1, 5)
    ]
    text, reading = read("a.pdf", pdf(pages, info="/Title (The Sea) /Author (Ann Lee)"))
    paragraph = (
        "It was raining when the keeper of the old lighthouse came down to the shore and looked at the sea that had been quiet for many "
        "days in that summer."
    )
    assert text.startswith(paragraph)
    assert "In year d it ended." in text
    assert "The Sea and" not in text and "- 2 -" not in text
    assert (reading.title, reading.author) == ("The Sea", "Ann Lee")
    assert left_out(reading) == {"page_numbers": 4, "running_titles": 4, "hyphens": 4}


def test_a_pdf_of_a_play_keeps_the_speakers_that_begin_its_pages(read: Read) -> None:
    pages = [["BRUTUS:", "Speak.", "BRUTUS:", "Once more.", "BRUTUS:", f"I say {word}."] for word in "abcd"]
    text, reading = read("a.pdf", pdf(pages, info=r"/Title (\(anonymous\)) /Author (anonymous)"))
    assert text.count("BRUTUS:") == 12
    assert not left_out(reading) and (reading.title, reading.author) == ("", "")


def test_words_that_fall_apart_into_letters_are_told(read: Read) -> None:
    assert read("a.pdf", pdf([[" ".join("itwasraininganditrained") for _ in range(5)]]))[1].letters_apart == 100
    assert read("a.pdf", pdf([PROSE]))[1].letters_apart == 0


def test_hyphens_contents_and_dialogue_of_pages_are_understood() -> None:
    found = Found()
    page = """XIV
Глава 1 ........ 5
Он пришёл когда-то давно, и с тех пор его никто здесь не ви-
дел, потому что он жил один и выходил только ночью, когда-
то это всех удивляло.
— Кто там? — спросила она.
— Это я, — ответил он и вошёл в дом, не снимая своего пальто."""
    assert list(paragraphs([f"{page}\nxiv"], found)) == [
        "XIV",
        "Он пришёл когда-то давно, и с тех пор его никто здесь не видел, потому что он жил один и выходил только ночью, когда-то это всех удивляло.",
        "— Кто там? — спросила она.",
        "— Это я, — ответил он и вошёл в дом, не снимая своего пальто.",
    ]
    assert (found.left_out["contents"], found.left_out["hyphens"]) == (1, 1)


def test_a_scan_without_text_is_refused_with_its_pages(read: Read) -> None:
    with pytest.raises(BookRefused) as refused:
        read("a.pdf", pdf([[], [], []]))
    assert refused.value.parameters == {"reason": "scanned", "pages": 3}


# ---- data and chats --------------------------------------------------------------------------------------------------


def test_subtitles_are_what_is_said(read: Read) -> None:
    source = "\ufeff1\r\n00:00:01,000 --> 00:00:02,000\r\n<i>Кто</i>\r\n{\\an8}там?\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\n42\r\n\r\n"
    text, reading = read("a.srt", source)
    assert text == "Кто там?\n42\n"
    assert left_out(reading) == {"times": 2}


def test_web_subtitles_are_what_is_said(read: Read) -> None:
    source = """\ufeffWEBVTT - Кино
Kind: captions
Language: ru

STYLE
::cue { color: red }

NOTE
Перевод вольный.

1
00:01.000 --> 00:02.000 align:start position:0%
<v Аня>Кто</v>
<c.yellow>там</c>?

01:00:03.000 --> 01:00:04.000
<00:00:03.500>42 &lt; 43 &amp; всё
"""
    text, reading = read("a.vtt", source)
    assert text == "Кто там?\n42 < 43 & всё\n"
    assert left_out(reading) == {"times": 2}
    assert read("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nNOTE is said &amp;\n")[0] == "NOTE is said &amp;\n"


def test_captions_that_roll_up_are_said_once(read: Read) -> None:
    source = "WEBVTT\n\n00:01.000 --> 00:02.000\n \nРаз<00:01.500><c> два</c>\n\n00:02.000 --> 00:02.010\nРаз два\n \n\n00:02.010 --> 00:03.000\nРаз два\nтри<00:02.500><c> четыре</c>\n"
    assert read("a.vtt", source)[0] == "Раз два\nтри четыре\n"


def test_a_table_with_tabs_is_the_column_of_its_texts(read: Read) -> None:
    assert read("a.tsv", '1\tДа, да, да\n2\t"Стих\nдругой"\n')[0] == "Да, да, да\nСтих\nдругой\n"


def test_json_lines_are_their_texts_and_a_bad_line_is_told(read: Read) -> None:
    rows: list[Any] = [{"text": "раз\nдва", "id": 7, "url": "x"}, "три", {"prompt": "Кто?", "completion": "Я."}]
    asked = {"role": "user", "content": [{"type": "text", "text": "Где?"}, {"type": "image_url"}]}
    rows.append({"messages": [asked, {"role": "assistant", "content": "Там."}]})
    source = "\n".join([*(json.dumps(row, ensure_ascii=False) for row in rows), "{oops", '{"n": 1}'])
    text, reading = read("a.jsonl", source)
    assert text == "раз\nдва\n\nтри\n\nКто?\nЯ.\n\nГде?\nТам.\n"
    assert (left_out(reading), reading.lost_parts, reading.lost_part) == ({"fields": 2}, 2, "5")


@pytest.mark.parametrize(
    "source",
    ['id;текст;дата\n1;"Шёл дождь;\nсильный";2020\n2;Стих;2021\n', "1\tШёл дождь;\n2\tСтих\n3\t\n"],
    ids=["named", "nameless"],
)
def test_a_table_is_the_column_of_its_texts(read: Read, source: str) -> None:
    text, reading = read("a.csv", source)
    assert text in ("Шёл дождь;\nсильный\nСтих\n", "Шёл дождь;\nСтих\n")
    assert left_out(reading) == {"columns": source.count(";", 0, 15) or 1}


def test_the_line_that_tells_excel_the_delimiter_is_no_row(read: Read) -> None:
    assert read("a.csv", "sep=;\nid;текст\n1;Шёл, шёл, шёл дождь\n")[0] == "Шёл, шёл, шёл дождь\n"


def test_a_telegram_chat_is_who_said_what(read: Read) -> None:
    messages: list[dict[str, Any]] = [
        {"id": 1, "type": "service", "action": "create_group", "text": ""},
        {"id": 2, "type": "message", "date": "2020", "from": "Анна", "text": "Привет!"},
        {
            "id": 3,
            "type": "message",
            "from": "Борис",
            "text": ["Смотри: ", {"type": "link", "text": "сад"}, {"type": "x", "text": None}],
            "photo": "p.jpg",
        },
        {"id": 4, "type": "message", "from": None, "text": ""},
    ]
    text, reading = read(
        "result.json", json.dumps({"name": "Друзья", "messages": messages}, ensure_ascii=False, indent=1)
    )
    assert text == "Анна: Привет!\nБорис: Смотри: сад\n"
    assert (reading.title, left_out(reading)) == ("Друзья", {"times": 3, "service": 1, "media": 1})
    whole = {"chats": {"list": [{"name": "А", "messages": messages}, {"name": "Б", "messages": messages[1:2]}]}}
    assert read("result.json", json.dumps(whole))[0].count("Анна: Привет!") == 2


def test_a_telegram_chat_as_a_page_is_who_said_what(read: Read) -> None:
    source = """<!DOCTYPE html><html><head><meta charset="utf-8"/><title>Exported Data</title></head><body><div class="page_wrap">
<div class="page_header"><a class="content block_link" href="#"><div class="text bold">Друзья</div></a></div>
<div class="page_body chat_page"><div class="history">
<div class="message service" id="message-1"><div class="body details">1 February 2024</div></div>
<div class="message default clearfix" id="message1">
 <div class="pull_left userpic_wrap"><div class="userpic"><div class="initials">А</div></div></div>
 <div class="body"><div class="pull_right date details" title="01.02.2024">10:01</div>
  <div class="from_name">Анна </div><div class="reply_to details">In reply to <a href="#">this message</a></div>
  <div class="text">Смотри: <a href="https://a.b">сад</a><br>и <strong>море</strong></div></div></div>
<div class="message default clearfix joined" id="message2"><div class="body"><div class="pull_right date details">10:02</div>
  <div class="media_wrap clearfix"><a class="photo_wrap" href="p.jpg"><img src="p.jpg"></a></div><div class="text">Ещё</div></div></div>
<div class="message default clearfix" id="message3"><div class="body"><div class="from_name">Борис</div>
  <div class="forwarded body"><div class="from_name">Канал <span class="date details">01.02.2024</span></div><div class="text">Новость</div></div></div></div>
</div></div></div></body></html>"""
    text, reading = read("messages.html", source)
    assert text == "Анна: Смотри: сад\nи море\nАнна: Ещё\nБорис: Новость\n"
    assert (reading.title, left_out(reading)) == ("Друзья", {"times": 3, "service": 1, "media": 1})


@pytest.mark.parametrize(
    "source",
    [
        "[12.03.24, 14:05:11] Анна: \u200eСообщения защищены.\n[12.03.24, 14:05:12] Анна: Раз\nдва\n\u200e[12.03.24, 14:05:13] Борис: <Без медиафайлов>\n[12.03.24, 14:06:00] Борис: Три: да\n",
        "12.03.2024, 14:05 - Анна создала группу\n12.03.2024, 14:05 - Анна: Раз\nдва\n12.03.2024, 14:05 - Борис: <Media omitted>\n12.03.2024, 14:06 - Борис: Три: да\n",
        "3/12/24, 2:05\u202fPM - Анна создала группу\n3/12/24, 2:05\u202fPM - Анна: Раз\nдва\n3/12/24, 2:05 PM - Борис: a.jpg (file attached)\n3/12/24, 2:06 PM - Борис: Три: да\n",
    ],
    ids=["iphone", "android", "american"],
)
def test_a_whatsapp_chat_is_known_by_its_lines_and_is_who_said_what(read: Read, source: str) -> None:
    text, reading = read("_chat.txt", source)
    assert text == "Анна: Раз\nдва\nБорис: Три: да\n"
    assert left_out(reading) == {"times": 4, "service": 1, "media": 1}


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "data", "reason"),
    [
        ("a.fb2", "Просто текст без тегов, и ничего больше.", "mislabelled"),
        ("a.epub", zip_of({"a.txt": "текст"}), "mislabelled"),
        ("a.epub", docx(word("текст")), "mislabelled"),
        ("a.docx", epub({"a": "<p>текст</p>"}), "mislabelled"),
        ("a.docx", b"\xd0\xcf\x11\xe0" + bytes(600), "old_word"),
        ("a.pdf", "Просто текст.", "mislabelled"),
        ("a.rtf", "Просто текст.", "mislabelled"),
        ("a.srt", "Просто текст.", "mislabelled"),
        ("a.vtt", "WEBVTT\n\nПросто текст.", "mislabelled"),
        ("a.jsonl", "Просто текст.", "mislabelled"),
        ("a.json", '{"a": 1}', "not_a_chat"),
        ("a.docx", docx(word("текст"))[:200], "damaged"),
        ("a.epub", b"text", "damaged"),
        ("a.pdf", pdf([PROSE])[:300], "damaged"),
    ],
)
def test_what_is_not_the_format_of_its_ending_is_refused(
    read: Read, filename: str, data: bytes | str, reason: str
) -> None:
    with pytest.raises(BookRefused) as refused:
        read(filename, data)
    assert (refused.value.field, refused.value.parameters["reason"]) == ("file", reason)


@pytest.mark.parametrize("format", READERS)
def test_an_empty_file_is_refused_in_every_format(format: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"")
    here = (lambda *given, **named: read_here(format, *given, **named)) if format in APART else READERS[format].read
    with pytest.raises(AZRError) as refused:
        here(tmp_path / "source", tmp_path / "target", None, field="file")
    assert isinstance(refused.value, BookRefused | EmptyBook)
    assert refused.value.field == "file"
