//! What the endpoints do, by topic.

mod dehydrated;
mod limits;
mod odd;
mod outside;
mod people;
