//! Values of arguments, parsed once at the edge.

use std::{fmt, path::PathBuf, time::Duration};

use crate::matrix::{EventId, OwnedEventId, OwnedTransactionId, OwnedUserId, UserId};

/// Who or where to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginTarget {
    /// A full user id.
    User(OwnedUserId),
    /// A server; the user's name is asked for.
    Server(String),
}

/// Where a secret is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOrStdin {
    /// Standard input (`-`).
    Stdin,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for FileOrStdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// `-` or a path.
#[expect(clippy::unnecessary_wraps, reason = "the shape clap asks of a value parser")]
pub(super) fn file_or_stdin(text: &str) -> Result<FileOrStdin, String> {
    Ok(if text == "-" { FileOrStdin::Stdin } else { FileOrStdin::File(text.into()) })
}

/// `@user:server`, or a server's name or URL.
pub(super) fn login_target(text: &str) -> Result<LoginTarget, String> {
    if text.starts_with('@') {
        return user_id(text).map(LoginTarget::User);
    }
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err("give a user id like @alice:example.org, or a server like example.org".into());
    }
    Ok(LoginTarget::Server(text.to_owned()))
}

/// A time in seconds, not zero, at most a day.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let given = text.parse().ok().and_then(|number| Duration::try_from_secs_f64(number).ok());
    given
        .filter(|time| !time.is_zero() && *time <= Duration::from_secs(86_400))
        .ok_or_else(|| "give a number of seconds above 0, at most 86400".to_owned())
}

/// A full user id.
pub(super) fn user_id(text: &str) -> Result<OwnedUserId, String> {
    UserId::parse(text).map_err(|error| format!("{error}; a user id looks like @alice:example.org"))
}

/// An event id.
pub(super) fn event_id(text: &str) -> Result<OwnedEventId, String> {
    EventId::parse(text).map_err(|error| {
        format!("{error}; an event id begins with $ (quote it: the shell expands $)")
    })
}

/// A transaction id: the name of one attempt to send.
pub(super) fn transaction_id(text: &str) -> Result<OwnedTransactionId, String> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c));
    if text.is_empty() || text.len() > 255 || !plain {
        return Err("an id has 1 to 255 letters, digits, '-', '_', '.' or '~'".to_owned());
    }
    Ok(text.into())
}

/// A duration: seconds, or a number with `ms`, `s` or `m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; give seconds, or for instance 500ms, 30s, 2m");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let number: f64 = digits.parse().ok().filter(|n: &f64| n.is_finite()).ok_or_else(wrong)?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1000.0,
        "m" => number * 60.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_unless_they_say_otherwise() {
        let read = |text| duration(text).ok().map(|d| d.as_millis());
        assert_eq!(read("30"), Some(30_000));
        assert_eq!(read("1.5"), Some(1_500));
        assert_eq!(read("250ms"), Some(250));
        assert_eq!(read("2m"), Some(120_000));
        for wrong in ["", "0", "-1", "inf", "nan", "3h", "s", "1e400"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_login_target_is_a_user_or_a_server() {
        assert!(matches!(login_target("@a:example.org"), Ok(LoginTarget::User(_))));
        assert!(matches!(login_target("example.org"), Ok(LoginTarget::Server(_))));
        assert!(login_target("@alice").is_err());
        assert!(login_target("").is_err());
    }
}
