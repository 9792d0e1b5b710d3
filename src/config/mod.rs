//! The user's file, checked: TOML in, plain values out, errors with line and column.
