"""Small files of every format, made on the spot: what tests of readers read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

WORDS = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
CONTAINER = """<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""


def zip_of(entries: Mapping[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def fb2(
    body: str,
    *,
    declared: str | None = "utf-8",
    written: str = "utf-8",
    description: str = "",
    end: str = "</FictionBook>",
) -> bytes:
    declaration = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    head = f'{declaration}<FictionBook xmlns="http://www.gribuser.ru/xml/fictionbook/2.0" xmlns:l="http://www.w3.org/1999/xlink">'
    return f"{head}<description><title-info>{description}</title-info></description>{body}{end}".encode(written)


def epub(
    chapters: Mapping[str, str | bytes],
    *,
    spine: Sequence[str] = (),
    metadata: str = "",
    more: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """An e-book whose archive holds the chapters in the given order and whose spine may name another; a chapter is its <body>."""
    items = "".join(f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"/>' for name in chapters)
    references = "".join(f'<itemref idref="{name}"/>' for name in spine or chapters)
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/" version="3.0">'
        f"<metadata>{metadata}</metadata><manifest>{items}</manifest><spine>{references}</spine></package>"
    )
    pages = {
        f"OEBPS/{name}.xhtml": text
        if isinstance(text, bytes)
        else f'<html xmlns:epub="http://www.idpf.org/2007/ops"><head><title>{name}</title></head><body>{text}</body></html>'
        for name, text in chapters.items()
    }
    return zip_of(
        {
            "mimetype": "application/epub+zip",
            **pages,
            "META-INF/container.xml": CONTAINER,
            "OEBPS/book.opf": package,
            **(more or {}),
        }
    )


def docx(body: str, more: Mapping[str, str] | None = None) -> bytes:
    document = f'<?xml version="1.0"?><w:document xmlns:w="{WORDS}" xmlns:mc="m" xmlns:wps="s" xmlns:v="v"><w:body>{body}</w:body></w:document>'
    return zip_of({"[Content_Types].xml": "<Types/>", "word/document.xml": document, **(more or {})})


def word(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def pdf(pages: Sequence[Sequence[str]], *, info: str = "", extra: str = "") -> bytes:
    """A PDF with lines of Latin text, one list for each page."""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    kids = []
    for lines in pages:
        content = "BT /F1 12 Tf 14 TL 72 760 Td " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
        kids.append(f"{len(objects) + 1} 0 R")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects) + 2} 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    objects.append(f"<< {info} >>")
    return with_objects(objects, f"/Info {len(objects)} 0 R {extra}")


def with_objects(objects: Sequence[str], trailer: str = "") -> bytes:
    """A PDF of these objects, the first of which is its catalog."""
    data, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    return (
        data
        + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{len(data)}\n%%EOF\n".encode(
            "latin-1"
        )
    )
