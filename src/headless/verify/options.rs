//! What to verify, and how.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    engine::Scan,
    matrix::{OwnedDeviceId, OwnedUserId},
};

/// What to verify, and how.
#[derive(Debug)]
pub struct VerifyOptions {
    /// Whom; ourselves for another device of ours.
    pub user: OwnedUserId,
    /// Only this device of theirs.
    pub device: Option<OwnedDeviceId>,
    /// Who asks.
    pub begin: Begin,
    /// Who compares.
    pub compare: Comparer,
    /// What is done with codes.
    pub code: Code,
    /// Columns and rows of the terminal, if there is one.
    pub size: Option<(u16, u16)>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// We do.
    Ask,
    /// They do, or did.
    Await,
}

/// Who says that both sides show the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparer {
    /// The user, in a typed line.
    Typed,
    /// Whoever reads our output compares.
    Caller,
}

/// What is done with codes.
#[derive(Debug)]
pub enum Code {
    /// Nothing: emoji are compared.
    None,
    /// Ours is shown.
    Show,
    /// Theirs comes as a typed line of base64.
    Typed,
    /// Theirs is in a file, read by this when it is time.
    File(fn(&Path) -> io::Result<Vec<u8>>, PathBuf),
}

impl Code {
    pub(super) fn scan(&self) -> Scan {
        match self {
            Self::None | Self::Show => Scan::No,
            Self::Typed | Self::File(..) => Scan::Yes,
        }
    }
}
