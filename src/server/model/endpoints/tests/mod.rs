//! What the endpoints do, by topic.

mod limits;
mod odd;
mod outside;
mod people;
