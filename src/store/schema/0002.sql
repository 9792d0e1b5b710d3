-- Schema 2. Frozen: a test holds its hash. Changes go into the next file.

-- Events that were decrypted and carry a red mark, by sender: few, and looked at again whenever
-- the sender's devices change.
CREATE INDEX event_by_mark ON event (json_extract(event, '$.sender'), room, position)
  WHERE json_extract(body, '$.decrypted.shield.color') = 'red';
