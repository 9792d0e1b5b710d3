//! What the endpoints do, by topic.

mod odd;
mod outside;
mod people;
