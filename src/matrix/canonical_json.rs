//! Canonical JSON over raw text, strict about what it reads.
