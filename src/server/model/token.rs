//! The tokens that clients get for a place in the stream: `s12_34` from a sync, `t12` for pages.
//! Both stand for "everything up to here".

use std::fmt;

use super::refusal::Refusal;

/// A place that a sync reached: `next_batch` and `pos`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SyncToken {
    /// In the stream: everything up to this number was seen.
    pub(super) number: u64,
    /// Among the changes of what is not on the disk: who types and who is there.
    pub(super) serial: u64,
    /// The last message for the device that was seen, when there were too many for one answer.
    pub(super) to_device: Option<u64>,
}

impl SyncToken {
    /// Reads a token.
    ///
    /// # Errors
    /// `M_UNKNOWN`, as other homeservers do: it is none of this server's.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        Self::read(text).ok_or_else(|| Refusal::new(400, "M_UNKNOWN", "invalid stream token"))
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('s')?.split('_').map(|part| part.parse::<u64>().ok());
        let number = parts.next()??;
        let serial = parts.next().unwrap_or(Some(0))?;
        let to_device = match parts.next() {
            Some(part) => Some(part?),
            None => None,
        };
        parts.next().is_none().then_some(Self { number, serial, to_device })
    }

    /// The last message for the device that was seen.
    pub(super) fn device_number(&self) -> u64 {
        self.to_device.unwrap_or(self.number)
    }
}

impl fmt::Display for SyncToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}_{}", self.number, self.serial)?;
        self.to_device.map_or(Ok(()), |to_device| write!(f, "_{to_device}"))
    }
}

/// Reads a token for a place in a room's history, which may be one of a sync.
///
/// # Errors
/// `M_INVALID_PARAM`: it is none of this server's.
pub(super) fn page_number(text: &str) -> Result<u64, Refusal> {
    let number = match text.strip_prefix('t') {
        Some(number) => number.parse().ok(),
        None => SyncToken::read(text).map(|token| token.number),
    };
    number.ok_or_else(|| Refusal::invalid("invalid token"))
}

/// The token for the place after this number, and before what follows it.
pub(super) fn page_token(number: u64) -> String {
    format!("t{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_written() {
        for to_device in [None, Some(5)] {
            let token = SyncToken { number: 12, serial: 34, to_device };
            assert_eq!(SyncToken::parse(&token.to_string()).unwrap(), token);
        }
        assert_eq!(SyncToken::parse("s12").unwrap().number, 12);
        assert_eq!(page_number("s12_34").unwrap(), 12);
        assert_eq!(page_number(&page_token(12)).unwrap(), 12);
    }

    #[test]
    fn other_texts_are_no_tokens() {
        for text in
            ["", "s", "12", "s-1", "s1_", "s1_2_", "s1_2_3_4", "t1_2", "s99999999999999999999"]
        {
            assert!(SyncToken::parse(text).is_err(), "{text}");
        }
        assert!(page_number("t").is_err());
    }
}
