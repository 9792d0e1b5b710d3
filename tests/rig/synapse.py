#!/usr/bin/env python3
"""A real Synapse on 127.0.0.1 that lives as long as this program's standard input is open.

  synapse.py DIR PORT [--shipped-limits] [--with JSON]

JSON holds settings of Synapse's that replace ours. Prints one JSON object a line. First {"ready": true} once the homeserver answers; then, for each JSON object on standard
input, one answer:
  {"do": "register", "user": N, "password": P} -> {"user_id": ..}
  {"do": "kill"} (SIGKILL) · {"do": "stop"} · {"do": "start"} (waits until it answers) · {"do": "log"} (last lines)
"""
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

RAISED = {"per_second": 1e6, "burst_count": 1e6}


def config(folder, port, shipped_limits, more):
    """Writes homeserver.yaml (JSON is YAML) and the log config; returns the former's path."""
    settings = {
        "server_name": "localhost",
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "pid_file": f"{folder}/homeserver.pid",
        "listeners": [{"port": port, "type": "http", "tls": False, "bind_addresses": ["127.0.0.1"],
                       "resources": [{"names": ["client", "media"], "compress": True}]}],
        "database": {"name": "sqlite3", "args": {"database": f"{folder}/homeserver.db"}},
        "log_config": f"{folder}/log.yaml",
        "media_store_path": f"{folder}/media",
        "signing_key_path": f"{folder}/signing.key",
        "macaroon_secret_key": secrets.token_hex(16),
        "form_secret": secrets.token_hex(16),
        "report_stats": False,
        "suppress_key_server_warning": True,
        "trusted_key_servers": [],
        "federation_domain_whitelist": [],
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "url_preview_enabled": False,
        "presence": {"enabled": False},
        "bcrypt_rounds": 4,
        "room_list_publication_rules": [{"action": "allow"}],
        "max_upload_size": "100M",
        "experimental_features": {"msc3814_enabled": True, "msc4222_enabled": True},
    }
    if not shipped_limits:
        settings.update({
            "rc_message": RAISED, "rc_registration": RAISED, "rc_registration_token_validity": RAISED,
            "rc_login": {"address": RAISED, "account": RAISED, "failed_attempts": RAISED},
            "rc_admin_redaction": RAISED, "rc_joins": {"local": RAISED, "remote": RAISED}, "rc_joins_per_room": RAISED,
            "rc_invites": {"per_room": RAISED, "per_user": RAISED, "per_issuer": RAISED}, "rc_media_create": RAISED,
            "rc_room_creation": RAISED, "rc_reports": RAISED, "rc_user_directory": RAISED, "rc_profile": RAISED,
            "rc_key_requests": RAISED,
        })
    else:
        settings.update({"rc_registration": RAISED,
                         "rc_login": {"address": RAISED, "account": RAISED, "failed_attempts": RAISED}})
    settings.update(more)
    log = {"version": 1, "disable_existing_loggers": False,
           "formatters": {"line": {"format": "%(asctime)s %(name)s %(levelname)s %(message)s"}},
           "handlers": {"file": {"class": "logging.FileHandler", "formatter": "line",
                                 "filename": f"{folder}/homeserver.log"}},
           "root": {"level": "WARNING", "handlers": ["file"]}}
    os.makedirs(f"{folder}/media", exist_ok=True)
    path = f"{folder}/homeserver.yaml"
    with open(path, "w") as file:
        json.dump(settings, file, indent=1)
    with open(f"{folder}/log.yaml", "w") as file:
        json.dump(log, file, indent=1)
    return path


class Homeserver:
    def __init__(self, folder, port, shipped_limits, more):
        self.folder, self.port = folder, port
        self.base = f"http://127.0.0.1:{port}"
        self.config = config(folder, port, shipped_limits, more)
        self.process = None
        subprocess.run([sys.executable, "-m", "synapse.app.homeserver", "-c", self.config, "--generate-keys"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        out = open(f"{self.folder}/stdout.log", "a")
        self.process = subprocess.Popen([sys.executable, "-m", "synapse.app.homeserver", "-c", self.config],
                                        cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError("Synapse exited at start: " + self.log()["log"])
            try:
                urllib.request.urlopen(self.base + "/_matrix/client/versions", timeout=5).read()
                return {"ready": True}
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("Synapse did not answer within 120 s: " + self.log()["log"])

    def end(self, how):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return {"stopped": True}

    def register(self, user, password):
        body = {"username": user, "password": password, "inhibit_login": True, "auth": {"type": "m.login.dummy"}}
        request = urllib.request.Request(self.base + "/_matrix/client/v3/register", method="POST",
                                         data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        try:
            return json.load(urllib.request.urlopen(request, timeout=60))
        except urllib.error.HTTPError as error:
            return {"error": error.read().decode(errors="replace")}

    def log(self):
        text = ""
        for name in ("stdout.log", "homeserver.log"):
            path = f"{self.folder}/{name}"
            if os.path.exists(path):
                text += "".join(open(path, errors="replace").readlines()[-15:])
        return {"log": text}


def main():
    folder, port = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    os.makedirs(folder, exist_ok=True)
    more = json.loads(sys.argv[sys.argv.index("--with") + 1]) if "--with" in sys.argv else {}
    server = Homeserver(folder, port, "--shipped-limits" in sys.argv, more)

    def say(value):
        print(json.dumps(value), flush=True)

    try:
        say(server.start())
        for line in sys.stdin:
            command = json.loads(line)
            what = command["do"]
            if what == "register":
                say(server.register(command["user"], command["password"]))
            elif what == "kill":
                say(server.end(signal.SIGKILL))
            elif what == "stop":
                say(server.end(signal.SIGTERM))
            elif what == "start":
                say(server.start())
            elif what == "log":
                say(server.log())
    finally:
        server.end(signal.SIGKILL)


if __name__ == "__main__":
    main()
