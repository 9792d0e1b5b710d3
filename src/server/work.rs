//! The slow computations of the model, away from its thread.

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};

use super::model::{Done, Work};

/// Bytes of a salt.
const SALT_BYTES: usize = 16;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;
/// What is asked of the system for the memory of one computation: more than is used, because
/// allocators give memory back at once only above some size (glibc: 32 MiB), and what is never
/// touched costs nothing.
const ASKED_BYTES: usize = 34 << 20;

/// Does it.
pub(super) fn perform(work: Work) -> Done {
    match work {
        Work::Hash { password } => Done::Hash(hash(password.expose()).unwrap_or_default()),
        Work::Verify { password, hash } => {
            Done::Verified(is_right(password.expose(), &hash).unwrap_or(false))
        }
    }
}

/// A new hash of a password, as text.
fn hash(password: &str) -> Option<String> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).ok()?;
    let params = Params::default();
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).ok()?,
        salt: Some(Salt::new(&salt).ok()?),
        hash: None,
    };
    let hash = PasswordHash { hash: Some(compute(password, &hash, HASH_BYTES)?), ..hash };
    Some(hash.to_string())
}

/// Whether the hash is one of this password.
fn is_right(password: &str, hash: &str) -> Option<bool> {
    let hash = PasswordHash::new(hash).ok()?;
    let wanted = hash.hash.as_ref()?;
    // Outputs are compared in constant time.
    Some(compute(password, &hash, wanted.as_bytes().len())? == *wanted)
}

/// The hash of a password as another one says: with its salt, in its way.
fn compute(password: &str, like: &PasswordHash, length: usize) -> Option<Output> {
    let params = Params::try_from(like).ok()?;
    let count = params.block_count();
    let algorithm = Algorithm::try_from(like.algorithm.as_str()).ok()?;
    let version = like.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let mut memory = Vec::with_capacity(count.max(ASKED_BYTES / Block::SIZE));
    memory.resize(count, Block::new());
    let mut bytes = [0; Output::MAX_LENGTH];
    let bytes = bytes.get_mut(..length)?;
    let argon2 = Argon2::new(algorithm, version, params);
    let salt = like.salt.as_ref()?;
    argon2
        .hash_password_into_with_memory(password.as_bytes(), salt.as_ref(), bytes, &mut memory)
        .ok()?;
    Output::new(bytes).ok()
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    use super::*;

    #[test]
    fn hashes_are_those_of_everybody_else() {
        let ours = hash("correct horse").unwrap();
        assert!(ours.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{ours}");
        assert!(Argon2::default().verify_password(b"correct horse", ours.as_str()).is_ok());
        let theirs: PasswordHash = Argon2::default().hash_password(b"correct horse").unwrap();
        for hash in [ours, theirs.to_string()] {
            assert_eq!(is_right("correct horse", &hash), Some(true));
            assert_eq!(is_right("correct house", &hash), Some(false));
        }
        assert_eq!(is_right("x", "not a hash"), None);
    }
}
