//! A device that waits at the server: made, found, read, replaced; with a server that lies about
//! it, and with a program that dies at any point.

mod lies;
mod making;
mod scene;
mod taking;
