//! The stream between real ends: our link, a third party's client, raw sockets; the gateway as a
//! service; a real Synapse behind it.

mod attacks;
pub(crate) mod ends;
mod faults;
mod limits;
mod media;
mod program;
mod recorder;
mod routes;
mod service;
mod talk;
