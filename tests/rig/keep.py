#!/usr/bin/env python3
"""Keeps a server running as long as this program's standard input is open.

  keep.py URL LOG PROGRAM ARGUMENTS…

Prints one JSON object a line. First {"ready": true} once URL answers; then, for each JSON object on standard input, one answer:
  {"do": "kill"} (SIGKILL) · {"do": "stop"} · {"do": "start"} (waits until it answers)
"""
import json
import signal
import subprocess
import sys
import time
import urllib.request


class Kept:
    def __init__(self, url, log, program):
        self.url, self.log, self.program, self.process = url, log, program, None

    def start(self):
        log = open(self.log, "a")
        self.process = subprocess.Popen(self.program, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.url, timeout=5).read()
                return {"ready": True}
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{self.program} did not start: {open(self.log, errors='replace').read()[-2000:]}")

    def end(self, how):
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return {"stopped": True}


def main():
    kept = Kept(sys.argv[1], sys.argv[2], sys.argv[3:])

    def say(value):
        print(json.dumps(value), flush=True)

    try:
        say(kept.start())
        for line in sys.stdin:
            what = json.loads(line)["do"]
            say(kept.start() if what == "start" else kept.end(signal.SIGKILL if what == "kill" else signal.SIGTERM))
    finally:
        kept.end(signal.SIGKILL)


main()
