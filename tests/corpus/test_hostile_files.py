"""Files made to harm: each is refused with what is wrong with it, in little time and memory, and leaves nothing behind."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from corpus.intake import add_books
from corpus.readers import isolation
from corpus.readers.formats import READERS, read_here
from errors import AZRError, BookRefused
from tests.corpus.book_files import CONTAINER, docx, epub, fb2, pdf, with_objects, word, zip_of
from workspace import Workspace

BILLION = '<!DOCTYPE x [<!ENTITY a "ха"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
ZEROS = bytes(48 << 20)  # they are compressed a thousandfold
STARTING_SECONDS = 30  # of a process, when everything else runs as well
PAGE = ["It was raining when the keeper came."]


def after_declaration(data: bytes, inserted: str) -> bytes:
    head, end, rest = data.partition(b"?>")
    return head + end + inserted.encode() + rest


def document(inserted: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(docx(word("&a;")))) as archive:
        return zip_of({"word/document.xml": after_declaration(archive.read("word/document.xml"), inserted)})


def encrypted_pdf() -> bytes:
    writer = PdfWriter(PdfReader(io.BytesIO(pdf([PAGE]))))
    writer.encrypt("secret", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def encrypted_zip() -> bytes:
    data = bytearray(zip_of({"a.txt": "текст"}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    return bytes(data)


LOOP = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 >>"]
BOUND = '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><e><EncryptionMethod Algorithm="aes"/></e></encryption>'
HOSTILE: dict[str, tuple[str, str, Callable[[], bytes]]] = {  # ending, reason, how it is made
    "fb2 with an entity bomb": ("fb2", "entities", lambda: after_declaration(fb2("<body><p>&b;</p></body>"), BILLION)),
    "fb2 that asks for a file": ("fb2", "entities", lambda: after_declaration(fb2("<body><p>&a;</p></body>"), OUTSIDE)),
    "docx with an entity bomb": ("docx", "entities", lambda: document(BILLION)),
    "docx that asks for a file": ("docx", "entities", lambda: document(OUTSIDE)),
    "epub with an entity bomb": ("epub", "entities", lambda: zip_of({"META-INF/container.xml": after_declaration(CONTAINER.encode(), BILLION), "a.opf": ""})),
    "epub with a chapter of a gigabyte": ("epub", "bomb", lambda: epub({"a": ZEROS})),
    "docx with a bomb": ("docx", "bomb", lambda: zip_of({"word/document.xml": b"<a>" + ZEROS.replace(b"\0", b" ")})),
    "zip with a bomb": ("zip", "bomb", lambda: zip_of({"a.txt": ZEROS})),
    "epub whose spine repeats a chapter": ("epub", "bomb", lambda: epub({"a": b"<p>" + ZEROS[: 3 << 20]}, spine=["a"] * 999)),
    "zip in a zip": ("zip", "nested", lambda: zip_of({"a.zip": zip_of({"b.zip": zip_of({"c.txt": "x"})})})),
    "zip of ten thousand files": ("zip", "many", lambda: zip_of({f"{number}.txt": "" for number in range(10_001)}, zipfile.ZIP_STORED)),
    "encrypted zip": ("zip", "encrypted", encrypted_zip),
    "encrypted pdf": ("pdf", "encrypted", encrypted_pdf),
    "epub bound to a shop": ("epub", "encrypted", lambda: epub({"a": "<p>x</p>"}, more={"META-INF/encryption.xml": BOUND})),
    "pdf whose pages hold themselves": ("pdf", "damaged", lambda: with_objects(LOOP)),
    "pdf that is cut off": ("pdf", "damaged", lambda: pdf([PAGE])[:200]),
    "docx that is cut off": ("docx", "damaged", lambda: docx(word("текст"))[:-60]),
    "epub that is a picture": ("epub", "damaged", lambda: b"\x89PNG\r\n\x1a\n" + bytes(500)),
    "pdf that is a program": ("pdf", "mislabelled", lambda: b"MZ" + bytes(500)),
}  # fmt: skip


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.prepare()
    return workspace


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "reason", "made"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_by_its_fault_and_leaves_nothing(
    ws: Workspace, ending: str, reason: str, made: Callable[[], bytes]
) -> None:
    data = made()
    began = time.monotonic()
    with pytest.raises(BookRefused) as refused:
        add_books(ws, f"книга.{ending}", io.BytesIO(data))
    assert (refused.value.parameters["reason"], refused.value.field) == (reason, "file")
    assert time.monotonic() - began < 5 + STARTING_SECONDS
    assert list(ws.books.iterdir()) == []


MEASURED = """
import resource, sys
from pathlib import Path
from corpus.readers import isolation
from errors import BookRefused
try:
    isolation.read(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), None, field="file")
except BookRefused as refused:
    print(refused.parameters["reason"], resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory otherwise")
@pytest.mark.parametrize("name", ["epub with a chapter of a gigabyte", "docx with a bomb"])
def test_a_hostile_file_takes_little_memory(name: str, tmp_path: Path) -> None:
    format, reason, made = HOSTILE[name]
    (tmp_path / "source").write_bytes(made())
    code = [sys.executable, "-c", MEASURED, format, str(tmp_path / "source"), str(tmp_path / "target")]
    said = subprocess.run(code, cwd=isolation.ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == reason
    assert int(said[1]) < 300_000  # kB


@pytest.mark.slow
def test_a_parser_that_never_ends_is_ended(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SECONDS", 1.0)
    form = "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X {n} 0 R >> >> /Length {length} >>\nstream\n{content}\nendstream"
    content = "/X Do " * 60
    forms = [
        form.format(n=number + 1 if number < 40 else 4, length=len(content), content=content) for number in range(4, 41)
    ]
    page = (
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 41 0 R /Resources << /XObject << /X 4 0 R >> >> >>"
    )
    stream = f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"
    kids = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>", page]
    began = time.monotonic()
    with pytest.raises(BookRefused) as refused:
        add_books(ws, "a.pdf", io.BytesIO(with_objects([*kids, *forms, stream])))
    assert refused.value.parameters["reason"] in ("slow", "damaged", "scanned")
    assert time.monotonic() - began < 3 + STARTING_SECONDS
    assert list(ws.books.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_parser_that_wants_all_memory_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.rtf").write_bytes(b"{\\rtf1 " + b"x" * (4 << 20) + b"}")
    monkeypatch.setattr(isolation, "MEMORY_BYTES", 40 << 20)
    monkeypatch.setattr(isolation, "MEMORY_PER_BYTE", 0)
    monkeypatch.setattr(isolation, "MOST_MEMORY_BYTES", 0)
    with pytest.raises(BookRefused) as refused:
        READERS["rtf"].read(tmp_path / "a.rtf", tmp_path / "text", None, field="file")
    assert refused.value.parameters["reason"] == "memory"


BEGUN = "import os, time; from corpus.readers.child import _Deadline; d = _Deadline(open(os.devnull, 'w'), {silent}, {whole})\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begun", "doing", "status"),
    [
        (BEGUN.format(silent=0.1, whole=60), "time.sleep(60)", {1}),
        (BEGUN.format(silent=1, whole=60), "while True: pass", {1, -24}),
        (BEGUN.format(silent=60, whole=1), "while True: d.push()", {1, -24}),
    ],
    ids=["asleep", "busy", "busy-and-pushing"],
)
def test_a_child_without_progress_is_ended(begun: str, doing: str, status: set[int], tmp_path: Path) -> None:
    began = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(isolation.ROOT)}
    done = subprocess.run([sys.executable, "-c", begun + doing], cwd=tmp_path, env=environment, check=False)
    assert done.returncode in status
    assert time.monotonic() - began < 10 + STARTING_SECONDS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["md", "html", "fb2", "epub", "docx", "pdf", "rtf"])
def test_damaged_bytes_end_in_a_book_or_an_error_with_words(format: str, tmp_path: Path) -> None:
    made: dict[str, bytes] = {
        "md": b"# a [b](c) *d* `e` <f>" * 9, "html": b"<p>a&nbsp;<b>c</b><!-- d --><a href='#'>1</a></p>" * 9,
        "fb2": fb2("<body><section><p>текст</p></section></body>"), "epub": epub({"a": "<p>раз</p>", "b": "<p>два</p>"}),
        "docx": docx(word("раз") * 9), "pdf": pdf([PAGE] * 2), "rtf": rb"{\rtf1\ansi\ansicpg1251 \'d8\'b8\u1076?{\b x}\par}" * 3,
    }  # fmt: skip
    chance = random.Random(5)
    source = tmp_path / "source"
    for _ in range(25):
        data = bytearray(made[format])
        for _ in range(chance.randrange(1, 12)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        source.write_bytes(bytes(data[: chance.randrange(len(data) // 2, len(data) + 1)]))
        try:
            assert read_here(format, source, tmp_path / "target", None, field="file").characters
        except AZRError as error:
            assert error.field == "file"
