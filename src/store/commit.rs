//! The commit: all writes of a step in one transaction, then what the step held back.

use rusqlite::{Connection, TransactionBehavior};

use super::{
    account, crypto,
    error::{CommitError, StoreError},
    event,
    handle::Store,
    lease, outbox,
    room::{self, GapWrite, Numbers},
    writes::{Pending, Writes},
};

impl Store {
    /// Writes the step in one transaction and gives out what it held back. When this returns, the
    /// writes survive a crash and a power cut; a sync position that comes alone, only a crash.
    ///
    /// # Errors
    /// When it could not be written; then the file is as it was before, and what the step held
    /// back is gone. The caller ends the engine that made the step: its memory is ahead of the
    /// file.
    pub fn commit<T>(&mut self, step: Pending<T>) -> Result<T, CommitError> {
        let (writes, held) = step.into_parts();
        if writes.is_position_only() {
            self.write_unsynced(&writes)?;
        } else if !writes.is_empty() {
            self.write(&writes)?;
        }
        if let Some(token) = writes.access_token {
            self.replace_access_token(token);
        }
        if let Some(lease) = writes.lease {
            self.replace_lease(lease);
        }
        Ok(held)
    }

    fn write(&mut self, writes: &Writes) -> Result<(), CommitError> {
        let transaction =
            self.connection_mut().transaction_with_behavior(TransactionBehavior::Immediate)?;
        apply(&transaction, writes)?;
        transaction.commit()?;
        Ok(())
    }

    /// Writes a sync position that came with nothing to keep (somebody typed, say) without waiting
    /// for the disk: a message that is typed meanwhile would wait too. Should a power cut take the
    /// position away, the server tells the same nothing again.
    fn write_unsynced(&mut self, writes: &Writes) -> Result<(), CommitError> {
        self.connection().pragma_update(None, "synchronous", "NORMAL")?;
        let written = self.write(writes);
        self.connection().pragma_update(None, "synchronous", "FULL")?;
        written
    }
}

/// Applies the writes in the order of the fields of [`Writes`].
fn apply(connection: &Connection, writes: &Writes) -> Result<(), StoreError> {
    crypto::write(connection, &writes.crypto)?;
    apply_rooms(connection, writes)?;
    for change in &writes.outbox {
        outbox::write(connection, change)?;
    }
    if let Some(token) = &writes.access_token {
        account::set_access_token(connection, token)?;
    }
    if let Some(lease) = &writes.lease {
        lease::write(connection, lease)?;
    }
    if let Some(position) = &writes.position {
        account::set_position(connection, position)?;
    }
    account::advance_generation(connection)
}

fn apply_rooms(connection: &Connection, writes: &Writes) -> Result<(), StoreError> {
    let mut numbers = Numbers::new(connection);
    for room in &writes.gone_rooms {
        numbers.forget(room)?;
    }
    for row in &writes.rooms {
        room::write_row(connection, numbers.of(&row.summary.room_id)?, row)?;
    }
    for room in &writes.reset_state {
        room::reset_state(connection, numbers.of(room)?)?;
    }
    for (room, event) in &writes.state {
        room::write_state(connection, numbers.of(room)?, event)?;
    }
    for (room, stored) in &writes.events {
        event::write(connection, numbers.of(room)?, stored)?;
    }
    for gap in &writes.gaps {
        match gap {
            GapWrite::Open { room, gap } => room::open_gap(connection, numbers.of(room)?, gap)?,
            GapWrite::Close { room, position } => {
                room::close_gap(connection, numbers.of(room)?, *position)?;
            }
        }
    }
    for room in &writes.reached_start {
        room::write_reached_start(connection, numbers.of(room)?)?;
    }
    Ok(())
}
