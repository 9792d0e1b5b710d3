//! Keys for end-to-end encryption. The server stores them, gives them out and checks what it can;
//! whether to trust them is for clients to decide.

pub(super) mod cross_signing;
pub(super) mod device_keys;
pub(super) mod one_time;
pub(super) mod signatures;
#[cfg(test)]
mod tests;
