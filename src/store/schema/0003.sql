-- Schema 3. Frozen: a test holds its hash. Changes go into the next file.

-- Number (inode) of the file that this store is in: another one means that it is a copy, or was
-- restored from a backup. NULL before it was opened for the first time, and in memory.
ALTER TABLE account ADD COLUMN place TEXT;
