//! The configuration file as a user meets it.
