//! Requests that a client may send twice without meaning it twice: the second gets the answer of
//! the first.
//!
//! # Spec
//! Client-Server API, "Transaction identifiers".

use serde::{Serialize, de::DeserializeOwned};

use super::{
    records::{TRANSACTION_COUNTS, TRANSACTION_RING, TRANSACTIONS},
    route::Caller,
    step::Step,
    table::Broken,
};
use crate::matrix::{DeviceId, UserId};

/// How many of a device are remembered.
const KEPT: u64 = 1000;

/// A transaction of a device: what was asked for, with the id that the client gave.
#[derive(Clone, Debug)]
pub(super) struct Transaction<'a> {
    caller: &'a Caller,
    key: String,
}

impl<'a> Transaction<'a> {
    /// The transaction of these parts of a request, the transaction id among them.
    pub(super) fn new(caller: &'a Caller, parts: &[&str]) -> Self {
        Self { caller, key: serde_json::json!(parts).to_string() }
    }

    /// The answer that it got before.
    ///
    /// # Errors
    /// When the records are broken.
    pub(super) fn answer<A: DeserializeOwned>(&self, step: &Step<'_>) -> Result<Option<A>, Broken> {
        let Caller { user, device, .. } = self.caller;
        step.get(TRANSACTIONS, (user, device, &self.key))?
            .map(|answer| serde_json::from_str(answer.get()))
            .transpose()
            .map_err(|error| Broken(error.to_string()))
    }

    /// Keeps its answer, and forgets the device's oldest one if there are too many.
    ///
    /// # Errors
    /// When the records are broken.
    pub(super) fn remember(
        self,
        step: &mut Step<'_>,
        answer: &impl Serialize,
    ) -> Result<(), Broken> {
        let Caller { user, device, .. } = self.caller;
        let answer = serde_json::value::to_raw_value(answer).map_err(|e| Broken(e.to_string()))?;
        let count = step.get(TRANSACTION_COUNTS, (user, device))?.unwrap_or(0);
        let place = count % KEPT;
        if let Some(oldest) = step.get(TRANSACTION_RING, (user, device, place))? {
            step.delete(TRANSACTIONS, (user, device, &oldest));
        }
        step.put(TRANSACTION_COUNTS, (user, device), &(count + 1))?;
        step.put(TRANSACTION_RING, (user, device, place), &self.key)?;
        step.put(TRANSACTIONS, (user, device, &self.key), &answer)
    }
}

/// Forgets all transactions of a device, which is no more.
///
/// # Errors
/// When the records are broken.
pub(super) fn forget(step: &mut Step<'_>, user: &UserId, device: &DeviceId) -> Result<(), Broken> {
    step.clear(TRANSACTIONS, (user, device))?;
    step.clear(TRANSACTION_RING, (user, device))?;
    step.delete(TRANSACTION_COUNTS, (user, device));
    Ok(())
}
