//! Cuts the text of a JSON array of objects into its objects, without holding more than one.

use zeroize::Zeroizing;

use super::KeyFileError;

/// Largest object; a session has less than a kilobyte.
const MAX_ITEM_BYTES: usize = 64 << 10;

/// Where the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the array.
    Before,
    /// Between two objects.
    Between,
    /// In an object, this many brackets deep.
    Inside(u32),
    /// In a string of it.
    Text(u32),
    /// After a backslash there.
    Escape(u32),
    /// After the array.
    After,
}

/// The text so far.
pub(super) struct Items {
    place: Place,
    item: Zeroizing<Vec<u8>>,
}

impl Items {
    pub(super) fn new() -> Self {
        Self { place: Place::Before, item: Zeroizing::new(Vec::with_capacity(MAX_ITEM_BYTES)) }
    }

    /// Takes the next byte; gives an object when that was its last.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
        let was = self.place;
        self.place = next(was, byte).ok_or(KeyFileError::Content)?;
        match (was, self.place) {
            (Place::Before | Place::Between | Place::After, Place::Inside(_)) => {
                self.item.clear();
                self.item.push(byte);
            }
            (Place::Inside(_) | Place::Text(_) | Place::Escape(_), _) => {
                if MAX_ITEM_BYTES <= self.item.len() {
                    return Err(KeyFileError::Content);
                }
                self.item.push(byte);
            }
            (Place::Before | Place::Between | Place::After, _) => {}
        }
        let is_whole = matches!(was, Place::Inside(_)) && self.place == Place::Between;
        Ok(is_whole.then(|| self.item.clone()))
    }

    /// Whether the array came to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.place == Place::After
    }
}

fn next(place: Place, byte: u8) -> Option<Place> {
    Some(match (place, byte) {
        (Place::Before | Place::Between | Place::After, b' ' | b'\t' | b'\r' | b'\n') => place,
        (Place::Before, b'[') | (Place::Between, b',') | (Place::Inside(1), b'}') => Place::Between,
        (Place::Between, b'{') => Place::Inside(1),
        (Place::Between, b']') => Place::After,
        (Place::Before | Place::Between | Place::After, _) => return None,
        (Place::Inside(depth), b'"') => Place::Text(depth),
        (Place::Inside(depth), b'{' | b'[') => Place::Inside(depth.checked_add(1)?),
        (Place::Inside(depth), b'}' | b']') => Place::Inside(depth.checked_sub(1)?),
        (Place::Inside(depth), _) | (Place::Text(depth), b'"') => Place::Inside(depth),
        (Place::Text(depth), b'\\') => Place::Escape(depth),
        (Place::Text(depth) | Place::Escape(depth), _) => Place::Text(depth),
    })
}
