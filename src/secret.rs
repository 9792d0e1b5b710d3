//! Secret values: wiped when dropped, never printed, compared in constant time.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
};

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

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

/// Its only field wipes itself.
impl<T: Zeroize> ZeroizeOnDrop for Secret<T> {}

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

/// Compiles only for types that are wiped when dropped and have no `Display` form.
macro_rules! guarded {
    ($($secret:ty),+ $(,)?) => { $(
        const _: fn() = || {
            /// With a `Display` form there are two ways to the name, and so none.
            trait Shown<Way> {
                fn way() {}
            }
            impl<T: ?Sized> Shown<()> for T {}
            impl<T: ?Sized + std::fmt::Display> Shown<u8> for T {}
            fn is_wiped<T: zeroize::ZeroizeOnDrop>() {}
            let _no_display: fn() = <$secret as Shown<_>>::way;
            let _wiped: fn() = is_wiped::<$secret>;
        };
    )+ };
}
pub(crate) use guarded;

guarded!(Secret<String>, Secret<Vec<u8>>, Secret<[u8; 32]>);

/// Names for users, rooms and events in logs: the same within a run, meaningless outside it.
#[derive(Clone, Default)]
pub struct Pseudonyms(RandomState);

impl Pseudonyms {
    /// Draws the key of this run.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of `id`: eight hexadecimal digits.
    pub fn of(&self, id: &str) -> Pseudonym {
        // The cut loses nothing that matters: names have to differ within one log.
        Pseudonym(self.0.hash_one(id) >> 32)
    }
}

/// What stands in a log for an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pseudonym(u64);

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~{:08x}", self.0)
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_content() {
        let secret = Secret::new(String::from("hunter2"));
        assert_eq!(format!("{secret:?}"), "Secret<alloc::string::String>(..)");
    }

    #[test]
    fn a_pseudonym_is_stable_within_a_run_and_hides_the_id() {
        let (run, other) = (Pseudonyms::new(), Pseudonyms::new());
        let name = run.of("@ann:example.org").to_string();
        assert_eq!(name, run.of("@ann:example.org").to_string());
        assert_ne!(name, run.of("@bob:example.org").to_string());
        assert_ne!(name, other.of("@ann:example.org").to_string());
        assert!(name.len() == 9 && !name.contains("ann"), "{name}");
    }

    #[test]
    fn equality_is_by_content() {
        assert_eq!(Secret::new(vec![1_u8, 2]), Secret::new(vec![1_u8, 2]));
        assert_ne!(Secret::new(vec![1_u8, 2]), Secret::new(vec![1_u8, 3]));
    }
}
