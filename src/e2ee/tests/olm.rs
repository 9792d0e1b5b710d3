//! Olm messages between machines: opened, checked, mended.
