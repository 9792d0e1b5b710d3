//! Where a control socket is when its path is longer than systems take.

use std::{
    fmt::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// Longest path of a socket that every system takes, in bytes.
const LONGEST: usize = 103;

/// `preferred`, or a short path that is the same in every process of this user: in a folder of
/// theirs alone (see [`super::Door::open`]) below `/tmp`.
pub(crate) fn address(preferred: PathBuf) -> PathBuf {
    let bytes = preferred.as_os_str().as_bytes();
    if bytes.len() <= LONGEST {
        return preferred;
    }
    let mut name = String::new();
    for byte in Sha256::digest(bytes).iter().take(8) {
        // Writing into a string cannot fail.
        write!(name, "{byte:02x}").unwrap_or_default();
    }
    let user = rustix::process::geteuid().as_raw();
    Path::new("/tmp").join(format!("grotto-{user}")).join(format!("{name}.sock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_too_long_gets_a_short_one_of_its_own() {
        let short = PathBuf::from("/run/user/1000/grotto/0011223344556677.sock");
        assert_eq!(address(short.clone()), short);
        let long = |name: &str| PathBuf::from(format!("/{}/{name}", "x".repeat(200)));
        let first = address(long("a.sock"));
        assert!(first.as_os_str().len() <= LONGEST, "{}", first.display());
        assert_eq!(first, address(long("a.sock")));
        assert_ne!(first, address(long("b.sock")));
    }
}
