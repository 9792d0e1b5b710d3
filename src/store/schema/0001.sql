-- Schema 1. Frozen: a test holds its hash. Changes go into the next file.

CREATE TABLE account (
  id            INTEGER PRIMARY KEY CHECK (id = 1),
  user_id       TEXT    NOT NULL,
  device_id     TEXT    NOT NULL,
  homeserver    TEXT    NOT NULL,
  stream_url    TEXT,
  access_token  TEXT    NOT NULL,
  position      TEXT,                 -- of the sync stream; NULL before the first answer
  instance      BLOB    NOT NULL,     -- random name of this store
  generation    INTEGER NOT NULL      -- commits so far
) STRICT;

-- Records of the session layer, opaque here.
CREATE TABLE record (
  kind          TEXT NOT NULL,
  first         TEXT NOT NULL,
  second        TEXT NOT NULL,
  value         BLOB NOT NULL,
  PRIMARY KEY (kind, first, second)
) STRICT, WITHOUT ROWID;

CREATE TABLE room (
  id            INTEGER PRIMARY KEY,
  room_id       TEXT    NOT NULL UNIQUE,
  summary       TEXT,                 -- JSON; NULL while only events or state are known
  record        TEXT,                 -- JSON; what the engine keeps beside the summary
  reached_start INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Current state.
CREATE TABLE state (
  room          INTEGER NOT NULL REFERENCES room (id) ON DELETE CASCADE,
  kind          TEXT    NOT NULL,
  state_key     TEXT    NOT NULL,
  event         TEXT    NOT NULL,     -- JSON
  UNIQUE (room, kind, state_key)
) STRICT;

CREATE TABLE event (
  room          INTEGER NOT NULL REFERENCES room (id) ON DELETE CASCADE,
  position      INTEGER NOT NULL,
  event_id      TEXT    NOT NULL,
  kind          TEXT    NOT NULL,     -- the outer type
  target        TEXT,                 -- event that this one relates to or redacts
  session_id    TEXT,                 -- Megolm session, while undecryptable
  reason        TEXT,                 -- why, while undecryptable
  event         TEXT    NOT NULL,     -- JSON
  body          TEXT    NOT NULL,     -- JSON
  UNIQUE (room, position),
  UNIQUE (room, event_id)
) STRICT;
CREATE INDEX event_by_target  ON event (room, target, position)     WHERE target IS NOT NULL;
CREATE INDEX event_by_session ON event (room, session_id, position) WHERE session_id IS NOT NULL;
CREATE INDEX event_by_reason  ON event (reason)           WHERE reason IS NOT NULL;

-- Events are missing just before `position`.
CREATE TABLE gap (
  room          INTEGER NOT NULL REFERENCES room (id) ON DELETE CASCADE,
  position      INTEGER NOT NULL,
  token         TEXT,
  PRIMARY KEY (room, position)
) STRICT, WITHOUT ROWID;

-- Messages of ours that the server has not answered. AUTOINCREMENT: a number is never used again.
CREATE TABLE outbox (
  seq           INTEGER PRIMARY KEY AUTOINCREMENT,
  room_id       TEXT    NOT NULL,
  txn           TEXT    NOT NULL UNIQUE,
  at            INTEGER NOT NULL,
  item          TEXT    NOT NULL,     -- JSON
  state         TEXT    NOT NULL      -- JSON
) STRICT;
