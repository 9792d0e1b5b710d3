//! The two ends of the wire between the engine and a face (screen, command line, control socket).

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::engine::{Command, Update};

/// How many commands a face may have waiting; more are refused by `try_send`, and the face says so.
const COMMANDS: usize = 256;

/// Updates waiting for the main face. When they are full the engine waits, which stops it from
/// reading the socket: back-pressure reaches the network.
const MAIN_UPDATES: usize = 256;

/// Updates waiting for a guest. A guest whose queue is full does not read and is dropped.
const GUEST_UPDATES: usize = 4096;

/// Whom the engine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaceKind {
    /// The face the program was started for: the engine waits for it, and ends when it is gone.
    Main,
    /// Came later, through the control socket: dropped when it does not read.
    Guest,
}

/// A face's end.
#[derive(Debug)]
pub struct Handle {
    /// What the face asks.
    pub commands: Sender<Command>,
    /// What the engine tells; closed when the engine ended or dropped the face.
    pub updates: Receiver<Update>,
}

/// The engine's end.
#[derive(Debug)]
pub struct Face {
    pub(super) kind: FaceKind,
    pub(super) commands: Receiver<Command>,
    pub(super) updates: Sender<Update>,
}

/// Makes the two ends; give the [`Face`] to the engine through the channel of faces.
pub fn face(kind: FaceKind) -> (Handle, Face) {
    let updates_bound = match kind {
        FaceKind::Main => MAIN_UPDATES,
        FaceKind::Guest => GUEST_UPDATES,
    };
    let (command_sender, commands) = channel(COMMANDS);
    let (updates, update_receiver) = channel(updates_bound);
    let handle = Handle { commands: command_sender, updates: update_receiver };
    (handle, Face { kind, commands, updates })
}
