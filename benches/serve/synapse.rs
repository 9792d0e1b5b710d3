//! A Synapse beside ours, by `tests/rig/synapse.py`.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// A Synapse; ended when dropped.
#[derive(Debug)]
pub(crate) struct Synapse {
    supervisor: Child,
    /// The process of Synapse itself.
    pub(crate) server: u32,
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
}

impl Synapse {
    /// Starts one in `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let python: PathBuf = root.join("target/py/bin/python");
        let mut command = Command::new(python);
        command.arg(root.join("tests/rig/synapse.py")).arg(folder).arg(port.to_string());
        let mut supervisor = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ready"], true, "{ready}");
        let children = format!("/proc/{0}/task/{0}/children", supervisor.id());
        let children = std::fs::read_to_string(children).unwrap();
        let server = children.split_whitespace().next().unwrap().parse().unwrap();
        Self { supervisor, server, base: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Synapse {
    /// Closing its input asks the rig to end what it started.
    fn drop(&mut self) {
        if let Some(mut input) = self.supervisor.stdin.take() {
            drop(input.flush());
        }
        drop(self.supervisor.wait());
    }
}
