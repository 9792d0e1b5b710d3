//! Drawing that knows no application: text and lists.
