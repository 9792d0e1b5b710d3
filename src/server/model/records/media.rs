//! Files, and the server itself. Tags 90-109.

use crate::{
    server::model::{media::MediaRecord, table::Table},
    time::Timestamp,
};

/// `(file)`.
pub(crate) const MEDIA: Table<MediaRecord> = Table::new(90);
/// `(file, piece)`: its bytes, as they are.
pub(crate) const MEDIA_PIECES: Table<Vec<u8>> = Table::new(91);
/// `(user, file)`: files that are not whole, and since when.
pub(crate) const MEDIA_OF: Table<Timestamp> = Table::new(92);

/// `()`: the server's name.
pub(crate) const NAME: Table<String> = Table::new(93);
