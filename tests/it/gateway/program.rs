//! The gateway as its operators run it: a process of its own.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use grotto::wire::STREAM_PATH;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::rig::{GROTTO, folder};

pub(crate) struct Program {
    pub(crate) address: SocketAddr,
    child: Child,
    home: PathBuf,
}

impl Program {
    /// Starts it at the most verbose, with these options beside the homeserver's URL.
    pub(crate) fn start(homeserver: &str, options: &[&str]) -> Self {
        let home = folder("service");
        let mut command = Command::new(GROTTO);
        command.args(["--json", "-vvv", "gateway", "--homeserver", homeserver]);
        command.args(["--listen", "127.0.0.1:0"]).args(options);
        for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"] {
            command.env(name, &home);
        }
        let stderr = fs::File::create(home.join("stderr")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = said["listening"].as_str().unwrap().parse().unwrap();
        Self { address, child, home }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}{STREAM_PATH}", self.address)
    }

    /// Most memory that was in use so far, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Stops it; gives its whole log.
    pub(crate) fn stop(mut self) -> String {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        let log: String = crate::headless::files(&self.home)
            .iter()
            .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
            .collect();
        assert!(log.contains("listener stopped"), "there is a log");
        assert!(!log.contains("panicked"), "{log}");
        log
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
