//! grotto and matrix-sdk-crypto, the stack inside Element, with each other: everything of end-to-end encryption, in both
//! directions, on Synapse and on our own homeserver.

mod dehydrated;
mod identity;
mod key_requests;
mod keys;
mod peers;
mod secrets;
