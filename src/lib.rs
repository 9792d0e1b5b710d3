//! grotto: a terminal chat client for Matrix, end-to-end encrypted by default, over one WebSocket.
//!
//! This page is the map. Modules stand in layers; each may name only those below it (the table is
//! in `docs/architecture.md` and `tests/it/tidy.rs` holds the code to it). "Session" always means
//! an Olm or Megolm session, "event" a Matrix event; what the engine tells the screen is an
//! [`engine::Update`], what the screen asks is an [`engine::Command`], what travels is a frame.

// Layer 0: words, no behavior of their own.
pub mod config;
pub mod matrix;
pub mod qr;
pub mod secret;
pub mod time;
pub mod tls;

// Layer 1: pure cores.
pub mod e2ee;
pub mod rooms;
pub mod wire;

// Layer 2: one socket, one file, one gateway.
pub mod gateway;
pub mod link;
pub mod server;
pub mod store;

// Layer 3: composition of the above into a client.
pub mod engine;

// Layer 4: faces.
pub mod headless;
pub mod tui;

// Layer 5: wiring.
pub mod cli;
pub mod demo;
pub mod logging;
pub mod run;
