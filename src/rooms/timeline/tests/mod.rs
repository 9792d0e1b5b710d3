//! What people see, whatever came and in whatever order.

mod arrival;
mod echo;
mod messages;
mod rig;
mod verification;
