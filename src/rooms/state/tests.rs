//! What a room is, whatever was sent.
