#!/usr/bin/env python3
"""What tests/playground runs once everything is installed and built: homeserver, peers, rooms, and grotto in this terminal."""
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from synapse import Homeserver  # noqa: E402

ROOT = os.path.abspath("target/playground")
GROTTO = os.path.abspath("target/debug/grotto")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def settle():
    """The accounts' password and the homeserver's port, made the first time."""
    path = f"{ROOT}/playground.json"
    if not os.path.exists(path):
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            json.dump({"port": free_port(), "password": secrets.token_urlsafe(12)}, file)
    return json.load(open(path))


class Peer:
    """An echo peer; see peer.py."""

    def __init__(self, base, name, password):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(__file__), "peer.py"), base, name, password,
             f"{ROOT}/{name}", "--echo"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(f"{ROOT}/{name}.log", "a"), text=True)
        self.until("ready")

    def until(self, kind):
        for line in self.process.stdout:
            value = json.loads(line)
            if value["k"] == kind:
                return value
        sys.exit(f"playground: a peer ended early; see {ROOT}")

    def ask(self, **command):
        self.process.stdin.write(json.dumps({"id": 1, **command}) + "\n")
        self.process.stdin.flush()
        return self.until("answer")

    def listen(self):
        """From here on nobody asks it anything: its lines go nowhere, so that it never waits for a reader."""
        subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=subprocess.DEVNULL)


def grotto(*arguments, **options):
    environment = {**os.environ, "GROTTO_DATA_DIR": f"{ROOT}/data"}
    return subprocess.run([GROTTO, *arguments], env=environment, **options)


def main():
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(1))  # so that what was started is ended
    if "--fresh" in sys.argv:
        shutil.rmtree(ROOT, ignore_errors=True)
    os.makedirs(ROOT, mode=0o700, exist_ok=True)
    first = not os.path.exists(f"{ROOT}/data/accounts")
    settings = settle()
    base, password = f"http://127.0.0.1:{settings['port']}", settings["password"]
    print("starting Synapse …", file=sys.stderr)
    server = Homeserver(ROOT, settings["port"], False)
    peers = []
    try:
        server.start()
        for name in ("you", "echo", "carol"):
            server.register(name, password)
        print("starting the echo peers …", file=sys.stderr)
        peers = [Peer(base, name, password) for name in ("echo", "carol")]
        if first:
            print("logging in …", file=sys.stderr)
            grotto("login", "@you:localhost", "--homeserver", base, "--password-file", "-", "--device-name", "playground",
                   input=password, text=True, check=True, stdout=subprocess.DEVNULL)
            echo = peers[0]
            direct = echo.ask(do="create", direct=True, invite=["@you:localhost"])["room"]
            group = echo.ask(do="create", name="playground", invite=["@you:localhost", "@carol:localhost"])["room"]
            for room in (direct, group):
                grotto("join", room, check=True, stdout=subprocess.DEVNULL)
                # The peers are on matrix-nio, which signs no devices.
                grotto("policy", room, "--devices", "all", check=True, stdout=subprocess.DEVNULL)
            echo.ask(do="send", room=direct, content={"msgtype": "m.text", "body": "Hello! Whatever you write here comes back."})
            echo.ask(do="send", room=group, content={"msgtype": "m.text", "body": "This group has three members; all of it is end-to-end encrypted."})
        for peer in peers:
            peer.listen()
        return grotto().returncode
    finally:
        for peer in peers:
            peer.process.stdin.close()
        server.end(15)


if __name__ == "__main__":
    sys.exit(main())
