//! Homeservers for tests, Synapse and our own, and the ways by which grotto reaches them.

use std::{path::PathBuf, process::Command, sync::OnceLock};

use grotto::wire::STREAM_PATH;
use serde_json::{Value, json};

use crate::rig::{GROTTO, Lines, folder, free_port, python, script};

/// Which program is the homeserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The reference.
    Synapse,
    /// `grotto serve`.
    Serve,
}

/// Which rate limits a homeserver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateLimits {
    /// As good as none.
    Raised,
    /// A few messages are too many: Synapse's own, and of ours, whose own hardly anybody meets, as
    /// few.
    Tight,
}

/// Whether `grotto serve` tells clients of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Offered,
    Kept,
}

/// A homeserver and the way to it. Each scenario runs on several: see `scenario`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// Synapse, by the gateway in grotto's own process.
    Synapse,
    /// Synapse, by a `grotto gateway` service.
    SynapseByGateway,
    /// `grotto serve`, by its own stream.
    Serve,
    /// `grotto serve` over HTTP, by the gateway in grotto's own process.
    ServeOverHttp,
    /// `grotto serve` over HTTP, by a `grotto gateway` service.
    ServeByGateway,
}

impl On {
    /// Which homeserver that is.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Synapse | Self::SynapseByGateway => Kind::Synapse,
            Self::Serve | Self::ServeOverHttp | Self::ServeByGateway => Kind::Serve,
        }
    }

    /// The homeserver that most tests share, and the way to it.
    pub(crate) fn shared(self) -> &'static Place {
        static PLACES: [OnceLock<Place>; 5] = [const { OnceLock::new() }; 5];
        PLACES[self as usize].get_or_init(|| match self {
            Self::Synapse | Self::Serve | Self::ServeOverHttp => {
                Homeserver::start(self, RateLimits::Raised).keep()
            }
            Self::SynapseByGateway => gateway(&Self::Synapse.shared().base),
            Self::ServeByGateway => gateway(&Self::Serve.shared().base),
        })
    }
}

/// Where a homeserver is, and the stream to it if grotto is to be told.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
    /// For `--stream-url`.
    pub(crate) stream_url: Option<String>,
}

impl Place {
    /// A homeserver to which grotto finds the way itself.
    pub(crate) fn at(base: impl Into<String>) -> Self {
        Self { base: base.into(), stream_url: None }
    }
}

/// A homeserver of one's own, for tests that stop or burden it; and behind [`On::shared`].
pub(crate) struct Homeserver {
    lines: Lines,
    /// Where it is.
    pub(crate) place: Place,
}

impl Homeserver {
    /// Starts one.
    pub(crate) fn start(on: On, limits: RateLimits) -> Self {
        let port = free_port();
        let mut lines = Lines::start(match on {
            On::Synapse | On::SynapseByGateway => synapse(port, limits),
            On::Serve | On::ServeByGateway => serve(port, limits, Stream::Offered),
            On::ServeOverHttp => serve(port, limits, Stream::Kept),
        });
        lines.ready("the homeserver's start");
        Self { lines, place: Place::at(format!("http://127.0.0.1:{port}")) }
    }

    /// Starts a Synapse with settings of its own in the place of the rig's.
    pub(crate) fn synapse_with(settings: &Value) -> Self {
        let port = free_port();
        let mut command = synapse(port, RateLimits::Raised);
        command.arg("--with").arg(settings.to_string());
        let mut lines = Lines::start(command);
        lines.ready("the homeserver's start");
        Self { lines, place: Place::at(format!("http://127.0.0.1:{port}")) }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.lines.tell(&json!({"do": "kill"}));
        self.lines.find("the homeserver's end", |line| line["stopped"] == true);
    }

    /// Starts it again, on the same port with the same data.
    pub(crate) fn start_again(&mut self) {
        self.lines.tell(&json!({"do": "start"}));
        self.lines.ready("the homeserver's new start");
    }

    /// Leaves it running for the life of this process.
    fn keep(self) -> Place {
        self.lines.keep();
        self.place
    }
}

fn synapse(port: u16, limits: RateLimits) -> Command {
    let mut command = Command::new(python());
    command.arg(script("synapse.py")).arg(folder("synapse")).arg(port.to_string());
    if limits == RateLimits::Tight {
        command.arg("--shipped-limits");
    }
    command
}

/// Our own, open to everybody. Its limits of logins and registrations are raised always, as Synapse's
/// are: all tests have one address.
fn serve(port: u16, limits: RateLimits, stream: Stream) -> Command {
    let data = folder("serve");
    let raised = "{ burst = 1_000_000, pause_ms = 0 }";
    let send = match limits {
        RateLimits::Raised => format!("send = {raised}"),
        RateLimits::Tight => "send = { burst = 10, pause_ms = 500 }".to_owned(),
    };
    let settings = format!(
        "[public]\nstream = {}\n[registration]\nopen = true\n\
         [limits]\nmax_file_mib = 100\nmax_connections_per_address = 10_000\n\
         [rates]\nlogin = {raised}\nregister = {raised}\n{send}\n",
        stream == Stream::Offered
    );
    std::fs::write(data.join("server.toml"), settings).unwrap();
    let address = format!("127.0.0.1:{port}");
    let mut command = kept(&format!("http://{address}/healthz"), data.join("log"));
    command.args([GROTTO, "serve", "--name", "localhost", "--listen", &address, "--data"]);
    command.arg(data);
    command
}

/// A `grotto gateway` before this homeserver, for the life of this process.
pub(crate) fn gateway(base: &str) -> Place {
    let home = folder("gateway");
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = kept(&format!("http://{address}/healthz"), home.join("log"));
    command.args([GROTTO, "gateway", "--homeserver", base, "--listen", &address]);
    command.env("XDG_STATE_HOME", &home);
    let mut lines = Lines::start(command);
    lines.ready("the gateway's start");
    lines.keep();
    Place { base: base.to_owned(), stream_url: Some(format!("ws://{address}{STREAM_PATH}")) }
}

/// A server that ends with this process at the latest, and answers this URL; its arguments follow.
fn kept(url: &str, log: PathBuf) -> Command {
    let mut command = Command::new(python());
    command.arg(script("keep.py")).arg(url).arg(log);
    command
}
