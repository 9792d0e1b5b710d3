//! Device lists: kept current, checked, bounded.
