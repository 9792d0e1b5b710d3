//! grotto as a person or a script runs it: a data folder of its own, the real program.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::{
    homeserver::Place,
    rig::{self, GROTTO, Lines, PASSWORD, Terminal},
};

/// An account logged in on a device with its own data folder.
pub(crate) struct Grotto {
    /// Everything it may write: data, config, state, runtime.
    pub(crate) home: PathBuf,
    /// Its user id.
    pub(crate) user: String,
}

impl Grotto {
    /// Registers an account and logs in; sends to devices that nobody vouches for too.
    pub(crate) fn log_in(place: &Place, name: &str) -> Self {
        Self::log_in_with(place, name, &[])
    }

    /// The same with more arguments for `login`.
    pub(crate) fn log_in_with(place: &Place, name: &str, arguments: &[&str]) -> Self {
        Self::log_in_as(place, rig::register(&place.base, name), arguments)
    }

    /// Logs in once more to an account, on a device of its own.
    pub(crate) fn log_in_again(place: &Place, user: &str) -> Self {
        Self::log_in_as(place, user.to_owned(), &[])
    }

    /// Registers an account and logs in; sends only to devices that their owner signed.
    pub(crate) fn log_in_strictly(place: &Place, name: &str) -> Self {
        Self::on_a_device_of(place, rig::register(&place.base, name), &[])
    }

    /// The same on another device of an account.
    pub(crate) fn log_in_again_strictly(place: &Place, user: &str) -> Self {
        Self::on_a_device_of(place, user.to_owned(), &[])
    }

    fn log_in_as(place: &Place, user: String, arguments: &[&str]) -> Self {
        let grotto = Self::on_a_device_of(place, user, arguments);
        // The peers are bots that sign nothing.
        grotto.json(&[&["policy", "--devices", "all"], arguments].concat());
        grotto
    }

    fn on_a_device_of(place: &Place, user: String, arguments: &[&str]) -> Self {
        let grotto = Self { home: rig::folder("grotto"), user };
        let login = [&["--json"], &grotto.login(place)[..], arguments].concat();
        let output = grotto.run_with_input(&login, PASSWORD);
        assert!(output.status.success(), "login: {}", String::from_utf8_lossy(&output.stderr));
        grotto
    }

    /// The arguments of a login by a password on standard input.
    pub(crate) fn login<'a>(&'a self, place: &'a Place) -> Vec<&'a str> {
        let mut arguments = vec!["login", &self.user, "--homeserver", &place.base];
        arguments.extend(["--password-file", "-"]);
        if let Some(url) = &place.stream_url {
            arguments.extend(["--stream-url", url]);
        }
        arguments
    }

    /// Variables that keep it inside its folder.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let folders = [
            "XDG_DATA_HOME",
            "XDG_CONFIG_HOME",
            "XDG_STATE_HOME",
            "XDG_CACHE_HOME",
            "XDG_RUNTIME_DIR",
        ];
        folders
            .iter()
            .map(|name| {
                let path = self.home.join(name.to_lowercase());
                std::fs::create_dir_all(&path).unwrap();
                ((*name).to_owned(), path.to_str().unwrap().to_owned())
            })
            .collect()
    }

    /// The program with these arguments, not started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(GROTTO);
        command.args(arguments).envs(self.environment());
        for name in ["GROTTO_ACCOUNT", "GROTTO_CONFIG", "GROTTO_DATA_DIR", "GROTTO_PASSPHRASE_FILE"]
        {
            command.env_remove(name);
        }
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        rig::finish(command.spawn().unwrap())
    }

    /// Runs it to its end with this on standard input.
    #[track_caller]
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that ends without reading its input is the test's to judge, by its status.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        rig::finish(child)
    }

    /// Runs it with `--json`; it must succeed. Its lines.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(&[&["--json"], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {:?} {error}", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Follows all rooms; holds the account until dropped.
    pub(crate) fn tail(&self) -> Lines {
        Lines::start_deaf(self.command(&["--json", "tail"]))
    }

    /// Opens the interface in a terminal.
    pub(crate) fn open(&self, size: (u16, u16)) -> Terminal {
        self.start(size, &[])
    }

    /// Starts it with these arguments in a terminal.
    pub(crate) fn start(&self, size: (u16, u16), arguments: &[&str]) -> Terminal {
        let environment = self.environment();
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Terminal::start(size, &[&[GROTTO], arguments].concat(), &environment)
    }
}
