#!/usr/bin/env python3
"""An end-to-end encrypted peer on matrix-nio: a client that nobody of grotto wrote.

  peer.py BASE USER PASSWORD DIR [--echo] [--register [INVITATION]]

Joins whatever it is invited to and trusts every device it sees (matrix-nio sends to trusted devices only). With --echo it
answers each text sent after it began with the notice "echo: …"; with --register it makes its account first. Lives as long as its standard input is open. Prints JSON lines, each with "t",
the time in seconds:
  {"k": "ready", "user", "device"} once it has synced · {"k": "joined", "room"}
  {"k": "decrypted" | "plain", "room", "event", "sender", "type", "content"} for every room event of others and its own
  {"k": "undecryptable", "room", "event", "sender", "session"} · {"k": "late", …as decrypted} when its key came afterwards
  {"k": "trouble", "error"} when a sync failed
and one {"k": "answer", "id", …} for each command on standard input, in order:
  {"id", "do": "send", "room", "type"?, "content"} -> {"event", "called": time of the call}
  {"do": "create", "name"?, "invite", "encrypted"?} -> {"room"}
  {"do": "invite" | "kick", "room", "user"} · {"do": "join" | "leave" | "rotate", "room"} · {"do": "redact", "room", "event"}
  {"do": "upload", "room", "size", "name"} -> {"event", "sha256"} (a file of that many bytes, encrypted, and its message)
  {"do": "download", "content": of the message} -> {"sha256"} (of the clear bytes)
  {"do": "name", "name"} (display name) · {"do": "burst", "room", "contents": […]} -> {"events": […]} (one after another)
"""
import asyncio
import hashlib
import io
import json
import os
import sys
import time

import aiohttp
import nio


def say(**values):
    print(json.dumps({"t": time.time(), **values}), flush=True)


class Client(nio.AsyncClient):
    """matrix-nio, but a request that found no homeserver is made again.

    nio counts a room key as shared although its request failed; what it then sends, nobody can read.
    """

    async def _send(self, response_class, *arguments, **options):
        while True:
            try:
                return await super()._send(response_class, *arguments, **options)
            except (OSError, aiohttp.ClientError):
                if issubclass(response_class, nio.SyncResponse):
                    raise
                await asyncio.sleep(0.2)


# nio does not ask for what a limited timeline left out, so that a slow machine would look like a loss.
WHOLE = {"room": {"timeline": {"limit": 1000}}}


class Peer:
    def __init__(self, base, user, password, folder, echo):
        os.makedirs(folder, exist_ok=True)
        settings = nio.AsyncClientConfig(store_sync_tokens=True, encryption_enabled=True, max_limit_exceeded=0,
                                         max_timeouts=0)
        self.client = Client(base, user, store_path=folder, config=settings)
        self.password, self.echo, self.waiting = password, echo, []
        self.began = time.time() * 1000

    async def start(self):
        answer = await self.client.login(self.password, device_name="peer")
        if not isinstance(answer, nio.LoginResponse):
            sys.exit(f"peer: login failed: {answer}")
        self.client.add_event_callback(self.on_event, nio.Event)
        self.client.add_event_callback(self.on_invite, nio.InviteMemberEvent)
        self.client.add_to_device_callback(self.on_room_key, nio.RoomKeyEvent)
        self.client.add_response_callback(self.on_sync, nio.SyncResponse)

    async def follow(self):
        """Syncs for ever; a homeserver that is gone for a while is asked again."""
        while True:
            try:
                await self.client.sync_forever(timeout=30000, sync_filter=WHOLE, full_state=not self.client.next_batch)
            except Exception as error:  # nio lets through what the connection raised
                say(k="trouble", error=repr(error))
                await asyncio.sleep(0.2)

    def trust(self):
        for device in self.client.device_store:
            own = device.user_id == self.client.user_id and device.device_id == self.client.device_id
            if not own and not self.client.olm.is_device_verified(device):
                self.client.verify_device(device)

    async def on_sync(self, _):
        self.trust()

    async def on_invite(self, room, event):
        if event.state_key == self.client.user_id and event.membership == "invite":
            answer = await self.client.join(room.room_id)
            if isinstance(answer, nio.JoinResponse):
                say(k="joined", room=room.room_id)

    async def on_event(self, room, event):
        if isinstance(event, nio.MegolmEvent):
            say(k="undecryptable", room=room.room_id, event=event.event_id, sender=event.sender, session=event.session_id)
            self.waiting.append((room, event))
            return
        await self.tell("decrypted" if event.decrypted else "plain", room, event)

    async def tell(self, kind, room, event):
        source = event.source
        content = source.get("content", {})
        say(k=kind, room=room.room_id, event=event.event_id, sender=event.sender, type=source.get("type"), content=content)
        if self.echo and event.sender != self.client.user_id and content.get("msgtype") == "m.text":
            if "m.new_content" in content or event.server_timestamp < self.began:
                return
            await self.send(room.room_id, "m.room.message", {"msgtype": "m.notice", "body": "echo: " + content["body"]})

    async def on_room_key(self, _):
        for room, event in list(self.waiting):
            try:
                decrypted = self.client.decrypt_event(event)
            except nio.exceptions.EncryptionError:
                continue
            self.waiting.remove((room, event))
            await self.tell("late", room, decrypted)

    async def send(self, room, kind, content):
        self.trust()
        answer = await self.client.room_send(room, kind, content, ignore_unverified_devices=True)
        return getattr(answer, "event_id", None) or {"error": str(answer)}

    async def obey(self, command):
        what, room = command["do"], command.get("room")
        if what == "send":
            called = time.time()
            return {"event": await self.send(room, command.get("type", "m.room.message"), command["content"]), "called": called}
        if what == "burst":
            return {"events": [await self.send(room, "m.room.message", content) for content in command["contents"]]}
        if what == "create":
            encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
            answer = await self.client.room_create(name=command.get("name"), invite=command.get("invite", []),
                                                   is_direct=command.get("direct", False),
                                                   initial_state=[encryption] if command.get("encrypted", True) else [])
            return {"room": getattr(answer, "room_id", None), "text": str(answer)}
        if what == "upload":
            clear = os.urandom(command["size"])
            answer, keys = await self.client.upload(io.BytesIO(clear), content_type="application/octet-stream",
                                                    filename=command["name"], encrypt=True, filesize=len(clear))
            if not isinstance(answer, nio.UploadResponse):
                return {"error": str(answer)}
            content = {"msgtype": "m.file", "body": command["name"], "info": {"size": len(clear)},
                       "file": {"url": answer.content_uri, **keys}}
            return {"event": await self.send(room, "m.room.message", content), "sha256": hashlib.sha256(clear).hexdigest()}
        if what == "download":
            file = command["content"]["file"]
            answer = await self.client.download(mxc=file["url"])
            if not isinstance(answer, nio.MemoryDownloadResponse):
                return {"error": str(answer)}
            clear = nio.crypto.decrypt_attachment(answer.body, file["key"]["k"], file["hashes"]["sha256"], file["iv"])
            return {"sha256": hashlib.sha256(clear).hexdigest()}
        if what == "rotate":
            self.client.invalidate_outbound_session(room)
            return {}
        calls = {"invite": lambda: self.client.room_invite(room, command["user"]),
                 "kick": lambda: self.client.room_kick(room, command["user"]),
                 "join": lambda: self.client.join(room),
                 "leave": lambda: self.client.room_leave(room),
                 "redact": lambda: self.client.room_redact(room, command["event"]),
                 "name": lambda: self.client.set_displayname(command["name"])}
        return {"text": str(await calls[what]())}


async def register(base, user, password, invitation):
    """Makes an account, with a client of its own: the peer is another device."""
    client, name = nio.AsyncClient(base), user.removeprefix("@").split(":")[0]
    if invitation:
        answer = await client.register_with_token(name, password, invitation)
    else:
        answer = await client.register(name, password)
    if not isinstance(answer, nio.RegisterResponse):
        sys.exit(f"peer: not registered: {answer}")
    await client.logout()
    await client.close()


async def main():
    base, user, password, folder = sys.argv[1:5]
    if "--register" in sys.argv:
        await register(base, user, password, next(iter(sys.argv[sys.argv.index("--register") + 1:]), None))
    peer = Peer(base, user, password, folder, "--echo" in sys.argv)
    await peer.start()
    sync = asyncio.create_task(peer.follow())
    await peer.client.synced.wait()
    say(k="ready", user=peer.client.user_id, device=peer.client.device_id)
    lines = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        try:
            answer = await peer.obey(command)
        except Exception as error:  # whatever nio raises belongs to the test that asked
            answer = {"error": repr(error)}
        say(k="answer", id=command.get("id"), **answer)
    sync.cancel()
    await peer.client.close()


asyncio.run(main())
