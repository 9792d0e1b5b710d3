//! Tracing to a file, filtered, never to the terminal.
