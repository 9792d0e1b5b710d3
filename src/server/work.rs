//! The slow computations of the model, away from its thread.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};

use super::model::{Done, Work};

/// Does it.
pub(super) fn perform(work: Work) -> Done {
    match work {
        Work::Hash { password } => Done::Hash(
            Argon2::default()
                .hash_password(password.as_bytes())
                .map(|hash| hash.to_string())
                .unwrap_or_default(),
        ),
        Work::Verify { password, hash } => {
            let is_right = PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            });
            Done::Verified(is_right)
        }
    }
}
