//! Logging in without a browser on this machine, and what becomes of a login afterwards: the real
//! program, Synapse, and an authorization server of our own.

mod attacks;
mod device;
mod provider;
mod renewal;
mod sso;
mod web;
