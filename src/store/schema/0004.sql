-- Schema 4. Frozen: a test holds its hash. Changes go into the next file.

-- How long the access token lives, and what renews it.
ALTER TABLE account ADD COLUMN standing TEXT NOT NULL DEFAULT 'active'; -- active, expired or ended
ALTER TABLE account ADD COLUMN refresh_token TEXT;
ALTER TABLE account ADD COLUMN renew_at INTEGER;  -- milliseconds since the epoch
ALTER TABLE account ADD COLUMN oauth TEXT;        -- JSON; NULL where the homeserver renews it
