# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change single values of an XML document and leave every other byte as it is.

The recorder's documents belong to XProtect: Tandem knows a few of their values and nothing about the rest. So nothing
is ever parsed and written out again. The parser only tells where a value lies, and those bytes alone are replaced;
order, comments, white space, encoding, byte order mark, line ends and unknown elements stay byte for byte.

A path is the way below the root element, ``recorder/id``, and ends in ``@name`` for an attribute:
``recorder/serverEncryption/@certificateHash``.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from xml.parsers import expat

MAX_BYTES = 8 * 1024 * 1024

_ATTRIBUTE = re.compile(r"""\s([^\s=<>/"']+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlError(ValueError):
    """The document or the wish is not acceptable. `line` and `column` count from 1; None when no place is to blame."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None):
        where = f" (line {line}, column {column})" if line is not None else ""
        super().__init__(message + where)
        self.line = line
        self.column = column


@dataclasses.dataclass
class _Element:
    """One element on a wanted path: where its start tag and its pieces of text lie, in bytes."""

    line: int
    column: int
    tag_begin: int
    tag_end: int = -1
    content_end: int = -1
    attributes: dict[str, str] = dataclasses.field(default_factory=dict)
    text: list[str] = dataclasses.field(default_factory=list)
    text_spans: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    children: bool = False


def read_values(document: bytes, paths: list[str]) -> dict[str, str | None]:
    """The value at each path, exactly as the parser sees it (nothing stripped); None where the document has none."""
    found = _scan(document, paths)
    return {path: _value(found, path) for path in paths}


def set_values(document: bytes, values: dict[str, str]) -> bytes:
    """`document` with the given values. Paths that do not exist are refused; equal values change nothing."""
    found = _scan(document, list(values))
    edits: list[tuple[int, int, str]] = []
    for path, value in values.items():
        _check_value(path, value)
        before = _value(found, path)
        if before is None:
            raise _missing(found, path)
        if before != value:
            edits += _edits(document, found, path, value)
    result = document
    for begin, end, text in sorted(edits, reverse=True):
        result = result[:begin] + text.encode(found.codec, "xmlcharrefreplace") + result[end:]
    if edits and read_values(result, list(values)) != values:
        raise XmlError("the edited document does not read back with the wanted values: nothing was changed")
    return result


# -- finding -----------------------------------------------------------------------------------------------------------

class _Scanner:
    """One pass over the document that remembers the elements on the wanted paths."""

    def __init__(self, document: bytes, paths: list[str]):
        self.document = document
        self.codec = "utf-8"
        self.elements: dict[tuple[str, ...], _Element] = {}
        self._wanted = {_split(path)[0] for path in paths}
        self._wanted |= {steps[:n] for steps in self._wanted for n in range(len(steps))}
        self._stack: list[str] = []
        self._open: list[_Element | None] = []
        self._tag: _Element | None = None  # its start tag ends where the next event begins
        self._text_begin: int | None = None
        self._parser = expat.ParserCreate()

    def run(self) -> None:
        parser = self._parser
        parser.buffer_text = False  # each event must come with its own place
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartCdataSectionHandler = self._text_event
        parser.EndCdataSectionHandler = self._text_event
        parser.CommentHandler = lambda text: self._mark()
        parser.ProcessingInstructionHandler = lambda target, data: self._mark()
        parser.DefaultHandler = lambda data: self._mark()
        self.codec = _codec_of_mark(self.document) or self.codec
        try:
            parser.Parse(self.document, True)
        except expat.ExpatError as error:
            raise XmlError(f"not well-formed XML: {expat.ErrorString(error.code)}", error.lineno, error.offset + 1) from error
        except (LookupError, ValueError) as error:
            if isinstance(error, XmlError):
                raise
            raise XmlError(f"cannot be decoded: {error}", *self._place()) from error

    def _place(self) -> tuple[int, int]:
        return self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber + 1

    def _mark(self) -> int:
        """Every event comes here first: it ends the start tag and the piece of text before it."""
        here = self._parser.CurrentByteIndex
        if self._tag is not None:
            self._tag.tag_end, self._tag = here, None
        if self._text_begin is not None:
            element = self._open[-1] if self._open else None
            if element is not None and here > self._text_begin:
                element.text_spans.append((self._text_begin, here))
            self._text_begin = None
        return here

    def _text_event(self) -> None:
        self._text_begin = self._mark()

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        self._mark()
        if encoding and _codec_of_mark(self.document) is None:
            self.codec = encoding

    def _doctype(self, *unused: t.Any) -> None:
        raise XmlError("the document has a DTD (<!DOCTYPE>): entity declarations are refused", *self._place())

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        here = self._mark()
        line, column = self._place()
        if self._open and self._open[-1] is not None:
            self._open[-1].children = True
        if self._open:
            self._stack.append(name)
        steps = tuple(self._stack)
        element = None
        if steps in self._wanted:
            if steps in self.elements:
                raise XmlError(f"<{name}> occurs twice at {'/'.join(steps)}: the path does not name one value", line, column)
            element = self.elements[steps] = _Element(line, column, here, attributes=dict(attributes))
        self._tag = element
        self._open.append(element)

    def _end(self, name: str) -> None:
        here = self._mark()
        element = self._open.pop()
        if element is not None:
            element.content_end = here
        if self._open:
            self._stack.pop()

    def _characters(self, data: str) -> None:
        self._text_event()
        element = self._open[-1] if self._open else None
        if element is not None:
            element.text.append(data)


def _scan(document: bytes, paths: list[str]) -> _Scanner:
    if len(document) > MAX_BYTES:
        raise XmlError(f"the document has {len(document)} bytes, more than the {MAX_BYTES} that are accepted")
    scanner = _Scanner(document, paths)
    scanner.run()
    return scanner


def _split(path: str) -> tuple[tuple[str, ...], str | None]:
    steps = path.split("/")
    attribute = steps.pop()[1:] if steps[-1].startswith("@") else None
    if not path or attribute == "" or any(not step or not re.fullmatch(r"[^\s@\[\]*<>&\"']+", step) for step in steps):
        raise XmlError(f"not a usable path: {path!r}")
    return tuple(steps), attribute


def _codec_of_mark(document: bytes) -> str | None:
    if document.startswith(b"\xff\xfe"):
        return "utf-16-le"
    if document.startswith(b"\xfe\xff"):
        return "utf-16-be"
    if document[:2] == b"<\0":
        return "utf-16-le"
    if document[:2] == b"\0<":
        return "utf-16-be"
    return "utf-8" if document.startswith(b"\xef\xbb\xbf") else None


def _value(found: _Scanner, path: str) -> str | None:
    steps, attribute = _split(path)
    element = found.elements.get(steps)
    if element is None:
        return None
    if attribute is not None:
        return element.attributes.get(attribute)
    if element.children:
        raise XmlError(f"{path} has child elements: it is not one value", element.line, element.column)
    return "".join(element.text)


def _missing(found: _Scanner, path: str) -> XmlError:
    steps, attribute = _split(path)
    nearest = next(steps[:n] for n in range(len(steps), -1, -1) if steps[:n] in found.elements)
    what = f"attribute {attribute}" if nearest == steps else f"element <{steps[len(nearest)]}>"
    place = found.elements[nearest]
    return XmlError(f"{path} does not exist: no {what} in /{'/'.join(nearest)}", place.line, place.column)


# -- changing ----------------------------------------------------------------------------------------------------------

def _check_value(path: str, value: str) -> None:
    bad = _FORBIDDEN.search(value)
    if bad:
        raise XmlError(f"the value for {path} holds a character that XML forbids: {bad.group()!r}")


def _edits(document: bytes, found: _Scanner, path: str, value: str) -> list[tuple[int, int, str]]:
    steps, attribute = _split(path)
    element = found.elements[steps]
    tag = document[element.tag_begin:element.tag_end].decode(found.codec)
    if attribute is not None:
        return [_attribute_edit(element, found.codec, tag, attribute, value)]
    text = _escape(value)
    if "\r\n" in tag or _crlf(document, found.codec):
        text = text.replace("\n", "\r\n")
    if tag.endswith("/>"):
        return [(element.tag_begin, element.tag_end, f"{tag[:-2].rstrip()}>{text}</{_name(tag)}>")]
    if not element.text_spans:
        return [(element.tag_end, element.tag_end, text)]
    # Comments inside the value stay: the text goes where the first piece was, the other pieces go.
    first, *others = _joined(element.text_spans)
    return [(first[0], first[1], text)] + [(begin, end, "") for begin, end in others]


def _attribute_edit(element: _Element, codec: str, tag: str, attribute: str, value: str) -> tuple[int, int, str]:
    match = next(match for match in _ATTRIBUTE.finditer(tag) if match.group(1) == attribute)
    group = 2 if match.group(2) is not None else 3
    begin = element.tag_begin + len(tag[:match.start(group)].encode(codec))
    end = begin + len(match.group(group).encode(codec))
    quoted = _escape(value).replace("\t", "&#9;").replace("\n", "&#10;")
    return begin, end, quoted.replace('"', "&quot;") if group == 2 else quoted.replace("'", "&apos;")


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for begin, end in spans:
        if result and result[-1][1] == begin:
            result[-1] = (result[-1][0], end)
        else:
            result.append((begin, end))
    return result


def _name(tag: str) -> str:
    return re.match(r"<([^\s/>]+)", tag).group(1)  # type: ignore[union-attr]


def _escape(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def _crlf(document: bytes, codec: str) -> bool:
    return "\r\n".encode(codec) in document
