"""Docstrings of this project as reStructuredText: names in backticks, formulas and doctests as they stand."""

from __future__ import annotations

import re

from public_names import short_names

SECTIONS = ("Args", "Raises", "Returns", "Source", "Yields", "Attributes")
RUN_IN = re.compile(r"(Bias|Cost|Memory|Shapes|Variance)( with .{1,30})?: ")
"""Lines that begin so are paragraphs of their own, about one property each."""
BULLET = re.compile(r"(\s*)([-*]|\d+\.) ")


def prepare(lines: list[str]) -> list[str]:
    """Lines of a docstring as lines of reStructuredText, sections of arguments left to Napoleon.

    >>> prepare(["Rows of `T` sum to 1.", "", "    r~_j = sum_i T_ij r_i", "", ">>> share(r, T)"])
    ['Rows of ``T`` sum to 1.', '', '::', '', '    r~_j = sum_i T_ij r_i', '', '>>> share(r, T)']
    """
    result: list[str] = []
    in_section = False
    for block in blocks(lines):
        first = block[0]
        indent = len(first) - len(first.lstrip())
        header = _is_header(first)
        if header:
            in_section = True
        elif indent == 0:
            in_section = False
        if any(line.lstrip().startswith(">>>") for line in block):
            at = next(i for i, line in enumerate(block) if line.lstrip().startswith(">>>"))
            result += [*inline(block[:at]), *([""] if at else []), *block[at:], ""]
        elif header:
            result += [first, *inline(block[1:]), ""]
        elif indent and not in_section and not BULLET.match(first) and not _continues_list(result):
            result += ["::", "", *block, ""]
        else:
            result += [*_paragraphs(inline(block)), ""]
    return result[:-1]


def blocks(lines: list[str]) -> list[list[str]]:
    """The lines in groups that empty lines separate; a section that follows a line at once begins a group."""
    found: list[list[str]] = [[]]
    for line in lines:
        ends_section = found[-1] and _is_header(found[-1][0]) and not line.startswith(" ")
        if not line.strip():
            found.append([])
        elif _is_header(line) or ends_section:
            found.append([line])
        else:
            found[-1].append(line)
    return [group for group in found if group]


def _is_header(line: str) -> bool:
    return line.endswith(":") and line.rstrip(":") in SECTIONS


def inline(lines: list[str]) -> list[str]:
    """Names in backticks as code, and what reStructuredText would read as markup escaped."""
    pieces = re.split(r"(`+[^`]+`+)", "\n".join(lines))
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            pieces[index] = _escaped(piece)
            continue
        before = pieces[index - 1][-1:] or " "
        after = (pieces[index + 1] if index + 1 < len(pieces) else "")[:1] or " "
        code = " ".join(piece.strip("`").split())
        full = short_names().get(code.removesuffix("()"))
        text = f":py:obj:`{code} <{full}>`" if full else f"``{code}``"
        opened = "" if before.isspace() or before in "([{'\"-/:" else "\\ "
        closed = "" if after.isspace() or after in ".,;:!?)]}'\"-/" else "\\ "
        pieces[index] = opened + text + closed
    return "".join(pieces).split("\n") if lines else []


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("|", "\\|")
    text = re.sub(r"(?m)(^\s*[-*] )|\*", lambda found: found[1] or "\\*", text)
    text = re.sub(r"(?<=\w)_(?!\w)", r"\\_", text)
    return re.sub(r"(?m)^(\s*)(\w\.|\(\w\)|\w\))(?= )", r"\1\\\2", text)


def _paragraphs(lines: list[str]) -> list[str]:
    """A line that begins a property or a list gets an empty line before it."""
    result: list[str] = []
    for line in lines:
        listed = BULLET.match(line)
        if (result and RUN_IN.match(line)) or (result and result[-1] and listed and not _in_list(result)):
            result.append("")
        result.append(RUN_IN.sub(lambda found: f"**{found[0].strip()}** ", line, count=1))
    return result


def _in_list(lines: list[str]) -> bool:
    for line in reversed(lines):
        if BULLET.match(line):
            return True
        if not line.startswith(" "):
            return False
    return False


def _continues_list(result: list[str]) -> bool:
    before = [line for line in result if line.strip()]
    return bool(before) and (
        bool(BULLET.match(before[-1])) or (before[-1].startswith(" ") and _in_list(before))
    )
