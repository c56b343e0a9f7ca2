"""HTML as a small tree that tests question with selectors: tag, #id, .class, [attribute], [attribute=value], descendants.

>>> parse("<ul class=a><li>one</li><li id=x>two</li></ul>").all(".a li[id=x]")[0].text
'two'
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"])
_STEP = re.compile(r"([\w-]+|\*)?((?:[#.][\w-]+|\[[\w-]+(?:=[^\]]*)?\])*)$")
_CONDITION = re.compile(r"#([\w-]+)|\.([\w-]+)|\[([\w-]+)(=)?([^\]]*)\]")


@dataclass
class Node:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)
    parent: Node | None = None

    @property
    def text(self) -> str:
        """Everything that can be read inside, with single spaces."""
        parts = (child if isinstance(child, str) else child.text for child in self.children)
        return " ".join(" ".join(parts).split())

    def walk(self) -> Iterator[Node]:
        for child in self.children:
            if isinstance(child, Node):
                yield child
                yield from child.walk()

    def up(self) -> Iterator[Node]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def all(self, selector: str) -> list[Node]:
        steps = selector.split()
        return [node for node in self.walk() if _matches(node, steps)]

    def one(self, selector: str) -> Node:
        """The only node that fits; anything else fails the test."""
        found = self.all(selector)
        assert len(found) == 1, f"{len(found)} nodes fit {selector!r}"
        return found[0]

    def __getitem__(self, attribute: str) -> str:
        return self.attributes[attribute]


def _matches(node: Node, steps: list[str]) -> bool:
    if not _fits(node, steps[-1]):
        return False
    if len(steps) == 1:
        return True
    return any(_matches(ancestor, steps[:-1]) for ancestor in node.up())


def _fits(node: Node, step: str) -> bool:
    parsed = _STEP.match(step)
    assert parsed, f"not a selector: {step!r}"
    tag, conditions = parsed.groups()
    if tag not in (None, "*", node.tag):
        return False
    for name, css_class, attribute, equals, value in _CONDITION.findall(conditions):
        if name and node.attributes.get("id") != name:
            return False
        if css_class and css_class not in node.attributes.get("class", "").split():
            return False
        if attribute and (attribute not in node.attributes or (equals and node[attribute] != value.strip("\"'"))):
            return False
    return True


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.here = Node("#document")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs}, parent=self.here)
        self.here.children.append(node)
        if tag not in VOID:
            self.here = node

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID or not any(node.tag == tag for node in (self.here, *self.here.up())):
            return
        while self.here.tag != tag and self.here.parent:
            self.here = self.here.parent
        self.here = self.here.parent or self.here

    def handle_data(self, data: str) -> None:
        self.here.children.append(data)


def parse(html: str) -> Node:
    builder = _Builder()
    builder.feed(html)
    builder.close()
    return builder.root
