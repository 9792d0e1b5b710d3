#!/usr/bin/env python3
"""A terminal: runs a program in a pseudo-terminal, records every byte it writes, and shows the screen as text.

  terminal.py RECORDING COLUMNS ROWS -- PROGRAM [ARG…]

Commands are JSON lines on standard input, each answered by one JSON line:
  {"do": "type", "text": "…"} (bytes as a keyboard sends them) -> {"t": when}
  {"do": "press", "text": "…", "quiet": S} -> {"t": when it was typed, "first": seconds until the first byte or null,
    "bytes": all that came until S seconds were quiet}
  {"do": "screen"} -> {"lines": […], "cursor": [column, row], "bytes": all bytes so far} (once 0.1 s were quiet) · {"do": "resize", "columns": C, "rows": R} -> {}
  {"do": "wait", "text": "…", "ms": N} -> {"found": bool, "lines": […], "t": when the last bytes came, in seconds,
    "since_start": the same since the program's start, "bytes": all bytes so far} (until the text is on the screen, or with
    "gone": true until it is there no more)
  {"do": "signal", "name": "SIGKILL"} -> {} · {"do": "pid"} -> {"pid": N}
  {"do": "exit", "ms": N} -> {"status": N or null, "lines": […]}
A frame that the program has begun (synchronized output) is looked at when it is whole, as terminals show it.
The program is killed when standard input closes.
"""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

import pyte
import wcwidth


BEGIN_FRAME, END_FRAME = b"\x1b[?2026h", b"\x1b[?2026l"


def cells(screen, y):
    """The letters of a row: (column, text, style). pyte's own `display` fails where half of a wide letter was overwritten."""
    x = 0
    while x < screen.columns:
        cell = screen.buffer[y][x]
        yield x, cell.data or " ", cell
        x += 2 if cell.data and wcwidth.wcwidth(cell.data[0]) == 2 else 1


def set_size(terminal, columns, rows):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Terminal:
    def __init__(self, recording, columns, rows, program):
        self.recording = open(recording, "ab", buffering=0)
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.status = None
        self.started = self.came = time.time()
        self.drawing, self.rest = False, b""
        self.bytes = 0
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            # Who runs the tests in the background has them ignored, which is inherited; in a terminal they are not.
            for name in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
                signal.signal(name, signal.SIG_DFL)
            # Before the program looks: the other end may be slower than it.
            set_size(0, columns, rows)
            os.execvp(program[0], program)

    def resize(self, columns, rows):
        set_size(self.master, columns, rows)
        self.screen.resize(rows, columns)

    def read(self, seconds):
        """Takes what the program writes for at most so long; answers whether anything came."""
        data = b""
        while select.select([self.master], [], [], 0 if data else seconds)[0]:
            try:
                part = os.read(self.master, 65536)
            except OSError:
                part = b""
            if not part:
                self.reap(0)
                break
            # The kernel gives a frame in pieces of 4 kB: all of them before the slow part.
            self.came = time.time()
            data += part
        self.bytes += len(data)
        self.recording.write(data)
        self.stream.feed(data)
        self.note_frames(data)
        return bool(data)

    def note_frames(self, data):
        """Whether a frame was begun and not ended. What tells so may come in two pieces."""
        text = self.rest + data
        begun, ended = text.rfind(BEGIN_FRAME), text.rfind(END_FRAME)
        if begun != ended:
            self.drawing = ended < begun
        self.rest = text[1 - len(BEGIN_FRAME):]

    def reap(self, flags):
        if self.status is None:
            pid, status = os.waitpid(self.pid, flags)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def lines(self):
        return ["".join(data for _, data, _ in cells(self.screen, y)).rstrip() for y in range(self.screen.lines)]

    def wait(self, text, seconds, gone):
        deadline = time.monotonic() + seconds
        while True:
            # Looked at before the screen: what a program wrote last is read after its end.
            ended = self.reap(os.WNOHANG) is not None or time.monotonic() > deadline
            self.read(0 if ended else 0.05)
            if (ended or not self.drawing) and any(text in line for line in self.lines()) != gone:
                return True
            if ended:
                return False

    def press(self, text, quiet):
        before, typed = self.bytes, time.time()
        os.write(self.master, text.encode())
        ready, _, _ = select.select([self.master], [], [], quiet)
        first = time.time() - typed if ready else None
        while self.read(quiet):
            pass
        return {"t": typed, "first": first, "bytes": self.bytes - before}

    def obey(self, command):
        what = command["do"]
        if what == "type":
            typed = time.time()
            os.write(self.master, command["text"].encode())
            return {"t": typed}
        elif what == "resize":
            self.resize(command["columns"], command["rows"])
        elif what == "press":
            return self.press(command["text"], command["quiet"])
        elif what == "screen":
            deadline = time.monotonic() + 60
            while self.read(0.1) or self.drawing and self.reap(os.WNOHANG) is None and time.monotonic() < deadline:
                pass
            return {"lines": self.lines(), "cursor": [self.screen.cursor.x, self.screen.cursor.y], "bytes": self.bytes}
        elif what == "wait":
            found = self.wait(command["text"], command["ms"] / 1000, command.get("gone", False))
            return {"found": found, "lines": self.lines(), "t": self.came, "since_start": self.came - self.started,
                    "bytes": self.bytes}
        elif what == "signal":
            os.kill(self.pid, getattr(signal, command["name"]))
        elif what == "pid":
            return {"pid": self.pid}
        elif what == "exit":
            deadline = time.monotonic() + command["ms"] / 1000
            while self.reap(os.WNOHANG) is None and time.monotonic() < deadline:
                self.read(0.05)
            return {"status": self.status, "lines": self.lines()}
        return {}


def main():
    split = sys.argv.index("--")
    recording, columns, rows = sys.argv[1:split]
    terminal = Terminal(recording, int(columns), int(rows), sys.argv[split + 1:])
    pending = b""
    try:
        while True:
            watched = [sys.stdin.fileno()] + ([terminal.master] if terminal.status is None else [])
            ready, _, _ = select.select(watched, [], [])
            if terminal.master in ready and not terminal.read(0) and terminal.status is not None:
                continue
            if sys.stdin.fileno() not in ready:
                continue
            data = os.read(sys.stdin.fileno(), 65536)
            if not data:
                return
            pending += data
            while b"\n" in pending:
                line, pending = pending.split(b"\n", 1)
                print(json.dumps(terminal.obey(json.loads(line))), flush=True)
    finally:
        if terminal.status is None:
            os.kill(terminal.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
