//! Invites that wait until history is handed over: kept, so that they go out though the program died.

use std::collections::BTreeSet;

use crate::{
    e2ee::{Machine, MachineError, lookup::Table, step::Step},
    matrix::{OwnedRoomId, OwnedUserId},
};

const RECORD: &str = "open_invites";

/// Who is to be invited where.
type Guest = (OwnedRoomId, OwnedUserId);

impl Machine {
    /// An invite begins: it is open until [`Machine::end_invite`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn begin_invite(&mut self, guest: &Guest, step: &mut Step<'_>) -> Result<(), MachineError> {
        let mut open = read(step)?;
        if open.insert(guest.clone()) {
            step.put(Table::Misc, RECORD, "", &open)?;
        }
        Ok(())
    }

    /// The server took an invite, or refused it for good.
    ///
    /// # Errors
    /// When the store fails.
    pub fn end_invite(&mut self, guest: &Guest, step: &mut Step<'_>) -> Result<(), MachineError> {
        let mut open = read(step)?;
        if open.remove(guest) {
            step.put(Table::Misc, RECORD, "", &open)?;
        }
        Ok(())
    }

    /// Invites that were begun and did not end.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open_invites(&self, step: &Step<'_>) -> Result<BTreeSet<Guest>, MachineError> {
        read(step)
    }
}

fn read(step: &Step<'_>) -> Result<BTreeSet<Guest>, MachineError> {
    Ok(step.get(Table::Misc, RECORD, "")?.unwrap_or_default())
}
