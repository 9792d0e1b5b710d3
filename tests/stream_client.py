#!/usr/bin/env python3
"""A client of the stream, written only from docs/stream.md: logs in, syncs, acknowledges, sends.

    stream_client.py URL USER PASSWORD TEXT

URL is that of the stream (ws://127.0.0.1:PORT/_matrix/client/unstable/stream). It makes a room, sends TEXT, waits
until the text comes back in an update, then connects anew from the acknowledged position, sends again with the same
transaction id, and checks that the event id is the same. Prints one JSON line with what it found.
"""

import asyncio
import json
import sys
from urllib.parse import quote

import websockets

SUBPROTOCOL = "grotto.stream.v1"
MAX_UPDATE_BYTES = 64 << 20
PATIENCE = 60


class Stream:
    """One connection: requests by id, updates in order."""

    def __init__(self, socket):
        self.socket = socket
        self.last_id = 0
        self.answers = {}
        self.updates = []

    @classmethod
    async def connect(cls, url, token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        socket = await websockets.connect(
            url,
            subprotocols=[SUBPROTOCOL],
            additional_headers=headers,
            compression=None,
            max_size=MAX_UPDATE_BYTES,
        )
        assert socket.subprotocol == SUBPROTOCOL
        return cls(socket)

    async def send(self, kind, **fields):
        await self.socket.send(json.dumps({"kind": kind, **fields}))

    async def receive(self):
        """Takes one frame and puts it where it belongs."""
        frame = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE))
        if frame["kind"] == "response":
            self.answers[frame["id"]] = frame
        elif frame["kind"] == "update":
            self.updates.append(frame)
        elif frame["kind"] == "error":
            raise SystemExit(f"error frame: {frame}")
        # Frames of unknown kind are ignored.

    async def call(self, method, path, body=None):
        self.last_id += 1
        request = {"id": self.last_id, "method": method, "path": path}
        if body is not None:
            request["body"] = body
        await self.send("request", **request)
        while self.last_id not in self.answers:
            await self.receive()
        answer = self.answers.pop(self.last_id)
        if answer["status"] != 200:
            raise SystemExit(f"{method} {path}: {answer}")
        return answer["body"]

    async def update(self):
        while not self.updates:
            await self.receive()
        return self.updates.pop(0)

    async def close(self):
        await self.socket.close(1000, "done")


def texts(update, room):
    """The bodies of the room's messages in an update."""
    joined = update["body"].get("rooms", {}).get("join", {}).get(room, {})
    events = joined.get("timeline", {}).get("events", [])
    return [event["content"].get("body") for event in events if event["type"] == "m.room.message"]


async def log_in(url, user, password):
    stream = await Stream.connect(url)
    versions = await stream.call("GET", "/_matrix/client/versions")
    assert versions["versions"]
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
    }
    account = await stream.call("POST", "/_matrix/client/v3/login", login)
    await stream.close()
    return account["access_token"]


async def main(url, user, password, text):
    token = await log_in(url, user, password)

    stream = await Stream.connect(url, token)
    me = await stream.call("GET", "/_matrix/client/v3/account/whoami")
    room = (await stream.call("POST", "/_matrix/client/v3/createRoom", {}))["room_id"]
    await stream.send("sync", filter={"room": {"state": {"lazy_load_members": True}}})
    first = await stream.update()
    assert "since" not in first
    position = first["position"]
    await stream.send("ack", position=position)

    path = f"/_matrix/client/v3/rooms/{quote(room, safe='')}/send/m.room.message/txn-1"
    content = {"msgtype": "m.text", "body": text}
    event = (await stream.call("PUT", path, content))["event_id"]
    seen = texts(first, room)
    while text not in seen:
        update = await stream.update()
        assert update["since"] == position, "an update is missing"
        position = update["position"]
        seen += texts(update, room)
        await stream.send("ack", position=position)
    await stream.close()

    # The same bytes again, on a new connection that continues from the acknowledged position.
    stream = await Stream.connect(url, token)
    await stream.send("sync", since=position)
    again = (await stream.call("PUT", path, content))["event_id"]
    after = (await stream.call("PUT", path + "-after", {"msgtype": "m.text", "body": "after"}))["event_id"]
    later = []
    while "after" not in later:
        update = await stream.update()
        assert update["since"] == position, "an update is missing"
        position = update["position"]
        later += texts(update, room)
        await stream.send("ack", position=position)
    await stream.close()
    print(json.dumps({
        "user": me["user_id"],
        "seen": seen.count(text) + later.count(text),
        "same_event": event == again,
        "other_event": after != event,
    }))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
