#!/usr/bin/env python3
"""Draws docs/screen.svg: a picture of the real screen, from what `grotto demo` writes to a terminal.

  cargo build && target/py/bin/python tests/rig/picture.py [PROGRAM]      (target/debug/grotto)

It takes part in the demo as a person would, and draws the cells of the terminal emulator as text in an SVG.
"""
import os
import sys
from html import escape

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from terminal import Terminal, cells  # noqa: E402

COLUMNS, ROWS = 88, 26
CELL, LINE, SIZE, EDGE, TOP = 8.4, 18, 14, 16, 34
BACKGROUND, FOREGROUND = "#16181d", "#d6d8de"
# The sixteen colors that every terminal has in shades of its own, as the emulator numbers them, in ours.
SHADES = dict(zip(
    "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5 7f7f7f ff0000 00ff00 ffff00 5c5cff ff00ff 00ffff ffffff".split(),
    "30343d e06c75 98c379 d8b56a 6aa2f0 c68ae0 62bfc9 c8ccd4 7c8290 f08088 b2dc92 f0cf80 8cbaff dca2f4 82dce6 ffffff".split()))
NAMED = dict(zip("black red green brown blue magenta cyan white".split(), SHADES.values()))
TAB, ENTER, ALT_A, QUIT = "\t", "\r", "\x1ba", "\x11"
# What is typed, and what is on the screen before it goes on.
SCENE = [
    (None, "1/16"),
    (None, "   23"),
    (ALT_A, "kettle on"),
    ("Hello! What a quiet place." + ENTER, "2/16"),
    (TAB, "r reply"),
    ("+", "React:"),
    (":tada:" + ENTER, "🎉 1"),
    ("i", "Write an encrypted"),
    ("Robin, how are the frogs?" + ENTER, "compost"),
    (TAB, "r reply"),
    ("r", "replying to Robin"),
    ("I like it here already", "already"),
]


def play(program):
    terminal = Terminal(os.devnull, COLUMNS, ROWS, [program, "demo"])
    for keys, text in SCENE:
        if keys:
            os.write(terminal.master, keys.encode())
        if not terminal.wait(text, 20):
            sys.exit(f"picture: {text!r} does not come:\n" + "\n".join(terminal.lines()))
    while terminal.read(0.5):
        pass
    rows = [list(cells(terminal.screen, y)) for y in range(ROWS)]
    cursor = (terminal.screen.cursor.x, terminal.screen.cursor.y)
    os.write(terminal.master, QUIT.encode())
    while terminal.reap(os.WNOHANG) is None:
        terminal.read(0.1)
    return rows, cursor


def color(name, otherwise):
    if name == "default":
        return otherwise
    return "#" + (NAMED.get(name) or SHADES.get(name) or name)


def look(style):
    """Foreground, background and the rest of a cell's style."""
    front, back = color(style.fg, FOREGROUND), color(style.bg, BACKGROUND)
    if style.reverse:
        front, back = back, front
    return front, back, style.bold, style.italics, style.underscore


def runs(row):
    """Neighbors with one look together: (column, columns, text, look). What is not ASCII stands alone, so that a font
    with other widths moves nothing else."""
    found = []
    ends = [column for column, _, _ in row[1:]] + [COLUMNS]
    for (column, text, style), end in zip(row, ends):
        last = found[-1] if found else None
        if last and last[3] == look(style) and text.isascii() and last[2].isascii():
            found[-1] = (last[0], end - last[0], last[2] + text, last[3])
        else:
            found.append((column, end - column, text, look(style)))
    return found


def draw(rows, cursor):
    width, height = round(COLUMNS * CELL + 2 * EDGE), ROWS * LINE + TOP + EDGE
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
        "<title>grotto in a terminal: an encrypted conversation in a group of three</title>",
        f'<rect width="100%" height="100%" rx="9" fill="{BACKGROUND}"/>',
        *(f'<circle cx="{EDGE + 5 + 18 * at}" cy="17" r="5.5" fill="{fill}"/>'
          for at, fill in enumerate(["#e0625a", "#dfb13f", "#5db555"])),
        f'<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="{SIZE}" '
        'xml:space="preserve">',
    ]
    for y, row in enumerate(rows):
        for column, columns, text, (front, back, bold, italic, under) in runs(row):
            left, wide, top = EDGE + column * CELL, columns * CELL, TOP + y * LINE
            if back != BACKGROUND:
                out.append(f'<rect x="{left:.1f}" y="{top}" width="{wide:.1f}" height="{LINE}" fill="{back}"/>')
            if not text.strip():
                continue
            left, wide, text = left + CELL * (len(text) - len(text.lstrip())), CELL * len(text.strip()), text.strip()
            # The box drawing reaches from row to row only if it is drawn.
            if text == "│":
                out.append(f'<rect x="{left + CELL / 2 - .5:.1f}" y="{top}" width="1" height="{LINE}" fill="{front}"/>')
                continue
            shape = " ".join(name for name, is_on in [
                ('font-weight="bold"', bold), ('font-style="italic"', italic), ('text-decoration="underline"', under)] if is_on)
            fit = f'textLength="{wide:.1f}" lengthAdjust="spacingAndGlyphs"' if text.isascii() else ""
            out.append(f'<text x="{left:.1f}" y="{top + 13.5}" fill="{front}" {shape} {fit}>{escape(text)}</text>')
    x, y = cursor
    out.append(f'<rect x="{EDGE + x * CELL:.1f}" y="{TOP + y * LINE + 1}" width="{CELL}" height="{LINE - 2}" fill="{FOREGROUND}" '
               'opacity=".7"/>')
    return "\n".join(out + ["</g>", "</svg>", ""])


def main():
    program = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/debug/grotto")
    picture = draw(*play(program))
    with open("docs/screen.svg", "w") as file:
        file.write(picture)


if __name__ == "__main__":
    main()
