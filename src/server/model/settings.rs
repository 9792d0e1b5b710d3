//! How a server is set up, as far as its model has to know.

use std::time::Duration;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name: what stands behind the colon of its users.
    pub name: String,
    /// Where clients find it, for `.well-known`; nothing when it cannot know.
    pub public_url: Option<String>,
    /// Whether clients are told that the server has the stream.
    pub offers_stream: bool,
    /// Who may register.
    pub registration: Registration,
    /// Largest file, in bytes.
    pub max_media_bytes: u64,
    /// Most bytes of files, events and backed up keys of one account.
    pub max_account_bytes: u64,
    /// Limits of how often.
    pub rates: Rates,
    /// People to turn to, for `/.well-known/matrix/support`: `matrix_id` or `email_address` each.
    pub contacts: Vec<Contact>,
    /// A page to turn to.
    pub support_page: Option<String>,
}

/// Somebody who answers for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// `m.role.admin` or `m.role.security`.
    pub role: String,
    /// Matrix id.
    pub matrix_id: Option<String>,
    /// Mail address.
    pub email_address: Option<String>,
}

/// Who may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Whoever has a one-time invite token.
    ByInvite,
    /// Anybody.
    Open,
}

/// How often something may be done: a bucket that holds `burst` and fills by one each `pause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many at once.
    pub burst: u32,
    /// Time until one more.
    pub pause: Duration,
}

/// All rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Attempts to log in, of one account.
    pub login: Rate,
    /// Attempts to register, of one address.
    pub register: Rate,
    /// Events sent, of one account.
    pub send: Rate,
    /// Searches for people and rooms, of one account.
    pub search: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            login: Rate { burst: 10, pause: Duration::from_secs(6) },
            register: Rate { burst: 10, pause: Duration::from_secs(6) },
            send: Rate { burst: 500, pause: Duration::from_millis(20) },
            search: Rate { burst: 60, pause: Duration::from_secs(1) },
        }
    }
}

impl Settings {
    /// A server of this name, closed to strangers.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            public_url: None,
            offers_stream: true,
            registration: Registration::ByInvite,
            max_media_bytes: 50 << 20,
            max_account_bytes: 4 << 30,
            rates: Rates::default(),
            contacts: Vec::new(),
            support_page: None,
        }
    }
}
