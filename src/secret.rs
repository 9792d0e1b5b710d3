//! Secret values: wiped when dropped, never printed, compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A value that must not reach a log, a message or a core dump.
///
/// There is no `Display`, no `Serialize`, and `Debug` prints the type's name only. Reading goes
/// through [`Secret::expose`], so every place that does can be found.
#[derive(Clone, Default)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes `value` into custody.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Hands out the value; the caller must neither log nor keep it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{}>(..)", std::any::type_name::<T>())
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_content() {
        let secret = Secret::new(String::from("hunter2"));
        assert_eq!(format!("{secret:?}"), "Secret<alloc::string::String>(..)");
    }

    #[test]
    fn equality_is_by_content() {
        assert_eq!(Secret::new(vec![1_u8, 2]), Secret::new(vec![1_u8, 2]));
        assert_ne!(Secret::new(vec![1_u8, 2]), Secret::new(vec![1_u8, 3]));
    }
}
