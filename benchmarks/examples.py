"""The worked examples of docs/en/examples.md, run as they stand there: each command, its processor time and its result.

    python -m benchmarks.examples [--novel FILE] [--only NAME ...] [--num-threads 1] [--endless-seconds 300] [--keep DIR]

A person has a diary, poems, subtitles, code and letters; here texts made from what the program brings along stand in for them,
under the file names of the commands. `novel.txt` is the file given, else a half of the Russian example book. Prints a
Markdown list for each example: what a command took in processor time (another program beside it does not count), what the
training reached, what was written. Examples that are marked "not run here" in the document are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "en" / "examples.md"
SPEECHES = ROOT / "books" / "example_book_en.txt"
STORY = ROOT / "books" / "example_book.txt"
MONTHS = [
    "января",
    "февраля",
    "марта",
    "апреля",
    "мая",
    "июня",
    "июля",
    "августа",
    "сентября",
    "октября",
    "ноября",
    "декабря",
]
ENTRY_PARAGRAPHS = 3  # of the story, for a day of the diary
LETTERS = 1500


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--novel", type=Path)
    options.add_argument("--only", nargs="+")
    options.add_argument("--num-threads", type=int, default=1)
    options.add_argument("--endless-seconds", type=int, default=300)
    options.add_argument("--keep", type=Path, help="a folder in which inputs, books and models stay")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        lay_out(folder, chosen.novel)
        for name, commands in examples(DOCUMENT.read_text(encoding="utf-8")).items():
            if not chosen.only or name in chosen.only:
                print(f"\n## {name}", flush=True)
                for command in commands:
                    run(command, folder, chosen.num_threads, chosen.endless_seconds)


def examples(document: str) -> dict[str, list[str]]:
    """Return the commands of each example by its name."""
    found = re.findall(r"<!-- example-(\w+) -->\n```bash\n(.*?)\n```", document, re.DOTALL)
    return {name: block.splitlines() for name, block in found}


def arguments_of(command: str) -> list[str]:
    """Return a command as it is run without setting anything up: `python start.py cli` is `cli.py` of this Python."""
    words = shlex.split(command)
    assert words[0] == "python", command
    known = words[1:3] == ["start.py", "cli"]
    return [sys.executable, str(ROOT / "cli.py"), *words[3:]] if known else [sys.executable, *words[1:]]


def run(command: str, folder: Path, num_threads: int, endless_seconds: int) -> None:
    arguments = arguments_of(command)
    if " cli train " in command:
        arguments += ["--num-threads", str(num_threads)]
    environment = os.environ | {"AZR_WORKSPACE": str(folder), "AZR_LANGUAGE": "en", "PYTHONUTF8": "1"}
    before = processor_seconds()
    with subprocess.Popen(arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            printed, _ = process.communicate(timeout=endless_seconds if "--endless" in command else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate()
    print(f"\n`{command}`: {processor_seconds() - before:.0f} s, exit status {process.returncode}\n\n{printed.strip()}")
    if " cli train " in command:
        print(f"\n{reached(folder, arguments[3])}", flush=True)


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reached(folder: Path, model: str) -> str:
    """Return what the last training of a model reached, from its log."""
    lines = (folder / "checkpoints" / model / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    checks = [event for event in map(json.loads, lines) if "val_loss" in event]
    best = min(checks, key=lambda event: event["val_loss"])
    return (
        f"val_loss {checks[0]['val_loss']:.2f} -> {best['val_loss']:.2f} at iteration {best['iteration']}, "
        f"{best['bits_per_byte']:.2f} bits per byte, last iteration {checks[-1]['iteration']}"
    )


# ---- what stands in for a person's texts -----------------------------------------------------------------------------


def lay_out(folder: Path, novel: Path | None, share: float = 1.0) -> None:
    """Write the inputs of all examples; `share` below 1 shortens each of them."""
    (folder / "books").mkdir(parents=True, exist_ok=True)
    story, speeches = (shortened(path.read_text(encoding="utf-8"), share) for path in (STORY, SPEECHES))
    for path, text in ((STORY, story), (SPEECHES, speeches)):
        (folder / "books" / path.name).write_text(text, encoding="utf-8")
    written: dict[str, Callable[[], str]] = {
        "diary.txt": lambda: diary(story),
        "poems.txt": lambda: poems(speeches),
        "film.srt": lambda: subtitles(speeches),
        "letters.jsonl": lambda: "".join(letters(int(LETTERS * share))),
        "novel.txt": lambda: novel.read_text(encoding="utf-8") if novel else story[len(story) // 2 :],
    }
    for name, make in written.items():
        (folder / name).write_text(make(), encoding="utf-8")
    project = folder / "project"
    project.mkdir(exist_ok=True)
    sources = sorted([*ROOT.glob("*.py"), *(ROOT / "corpus").rglob("*.py"), *(ROOT / "runs").glob("*.py")])
    for source in sources[: max(1, int(len(sources) * share))]:
        shutil.copy(source, project / "_".join(source.relative_to(ROOT).parts))


def shortened(text: str, share: float) -> str:
    return text[: int(len(text) * share)]


def diary(story: str) -> str:
    """Return the paragraphs of a story under the days of a year, again and again."""
    paragraphs = [paragraph for paragraph in story.split("\n\n") if len(paragraph) > 80]
    entries = []
    for i in range(0, len(paragraphs), ENTRY_PARAGRAPHS):
        day = i // ENTRY_PARAGRAPHS
        date = f"{day % 28 + 1} {MONTHS[day // 28 % 12]}."
        entries.append("\n".join([date, *paragraphs[i : i + ENTRY_PARAGRAPHS]]))
    return "\n\n".join(entries)


def poems(speeches: str) -> str:
    """Return the verses of a play without the names of those who speak."""
    blocks = [block.partition("\n")[2] for block in speeches.split("\n\n")]
    return "\n\n".join(block for block in blocks if block.count("\n") > 1)


def subtitles(speeches: str) -> str:
    """Return what is said in a play as a .srt file, two lines at a time, three seconds each."""
    spoken = [line for block in speeches.split("\n\n") for line in block.splitlines()[1:]]
    cues = []
    for number, start in enumerate(range(0, len(spoken), 2), 1):
        begin, end = (f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02},000" for s in (3 * number, 3 * number + 2))
        cues.append(f"{number}\n{begin} --> {end}\n" + "\n".join(spoken[start : start + 2]))
    return "\n\n".join(cues) + "\n"


def letters(count: int) -> Iterator[str]:
    """Yield lines of JSON, each with a short letter as an office writes them; the same ones every time."""
    draw = random.Random(0)
    greetings = ["Здравствуйте, {}!", "Добрый день, {}!", "Уважаемая {}!"]
    names = ["Анна", "Мария", "Ольга", "Вера", "Елена", "Нина", "Татьяна", "Ирина"]
    reasons = [
        "Спасибо за ваше письмо от {day} {month}.",
        "Мы получили ваш заказ от {day} {month}.",
        "Напоминаю о встрече {day} {month}.",
        "Пишу вам о договоре, который мы подписали {day} {month}.",
        "Отвечаю на ваш вопрос о книгах.",
        "Благодарю вас за разговор по телефону.",
    ]
    bodies = [
        "Книги уже на складе, мы отправим их в пятницу утром.",
        "К сожалению, одной книги пока нет, она придёт через неделю.",
        "Счёт приложен к письму, оплатить его можно до конца месяца.",
        "Встреча начнётся в десять часов в большом зале библиотеки.",
        "Пожалуйста, проверьте адрес и напишите, если он изменился.",
        "Если этот день вам не подходит, предложите, пожалуйста, другой.",
        "Мы можем доставить заказ на дом или оставить его в магазине.",
        "Новый договор отличается от старого только сроком.",
    ]
    closings = ["С уважением,\n{}", "Всего доброго,\n{}", "До встречи,\n{}"]
    for _ in range(count):
        date = {"day": draw.randint(1, 28), "month": draw.choice(MONTHS)}
        body = " ".join([draw.choice(reasons).format(**date), *draw.sample(bodies, draw.randint(2, 4))])
        parts = [
            draw.choice(greetings).format(draw.choice(names)),
            body,
            draw.choice(closings).format(draw.choice(names)),
        ]
        yield json.dumps({"text": "\n\n".join(parts)}, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
