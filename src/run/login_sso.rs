//! Single sign-on without a browser on this machine: a link to open elsewhere, and the address at
//! which that browser ends, to paste back. Nothing listens anywhere: the browser is sent to an
//! address that exists nowhere, and keeps it in its address bar.
//!
//! # Spec
//! Client-Server API, "Client login via SSO".

use url::Url;

use super::{failure::Failure, login_offers::Provider, secrets};
use crate::{cli::Exit, secret::Secret};

/// Where the browser ends. Names in `.invalid` exist nowhere (RFC 6761), and `https` keeps a network
/// that answers for all names from reading the rest.
const NOWHERE: &str = "https://grotto.invalid/paste-this-address";
const HOST: &str = "grotto.invalid";
/// Of this attempt; an address from another one is not taken.
const STATE: &str = "grotto_state";
/// Longest token that is taken.
const MAX_TOKEN_BYTES: usize = 2048;
/// How often a wrong paste is asked for again.
const TRIES: u32 = 3;

/// One attempt.
#[derive(Debug)]
pub(super) struct SignOn {
    /// What to open.
    link: Url,
    state: String,
}

/// What is wrong with what was pasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum BadPaste {
    #[error("nothing was pasted")]
    Empty,
    #[error("that holds characters that no address has; copy it again")]
    Characters,
    #[error("that is too long for an address of this kind; copy it again")]
    TooLong,
    #[error("that is another address; it begins with https://grotto.invalid/")]
    Elsewhere,
    #[error("that address is from another attempt; open the link above")]
    OtherAttempt,
    #[error("that address has no loginToken in it; copy all of it")]
    NoToken,
}

impl SignOn {
    /// Begins an attempt at a homeserver.
    ///
    /// # Errors
    /// When the system gives no randomness, or the homeserver's address is none.
    pub(super) fn begin(homeserver: &str, provider: Option<&Provider>) -> Result<Self, Failure> {
        let random = getrandom::u64()
            .map_err(|error| Failure::say(Exit::Failed, format!("no random bytes: {error}")))?;
        Self::with_state(homeserver, provider, format!("{random:016x}"))
            .ok_or_else(|| Failure::say(Exit::Failed, format!("{homeserver:?} is no address")))
    }

    fn with_state(homeserver: &str, provider: Option<&Provider>, state: String) -> Option<Self> {
        let base = homeserver.trim_end_matches('/');
        let provider = provider.map(|it| format!("/{}", it.id)).unwrap_or_default();
        let path = format!("{base}/_matrix/client/v3/login/sso/redirect{provider}");
        let mut link = Url::parse(&path).ok()?;
        let back = format!("{NOWHERE}?{STATE}={state}");
        link.query_pairs_mut().append_pair("redirectUrl", &back).append_pair("action", "login");
        Some(Self { link, state })
    }

    /// Shows the link and asks for what comes of it.
    ///
    /// # Errors
    /// When nobody can be asked, or nothing of use was pasted.
    pub(super) fn converse(&self) -> Result<Secret<String>, Failure> {
        // An address of ours in ASCII: the terminal can be trusted with it.
        secrets::say(&format!(
            "Open this address in a browser, on any machine, and sign in:\n\n{}\n\nAt the end the \
             browser cannot find {HOST}: that is as it should be. Copy the whole address out of \
             its address bar, soon, and paste it here. It is not shown.\n",
            self.link
        ));
        for _ in 0..TRIES {
            let Some(pasted) = secrets::ask("Address, or login token: ")? else { break };
            match self.read(pasted.expose()) {
                Ok(token) => return Ok(token),
                Err(wrong) => secrets::warn(&wrong.to_string()),
            }
        }
        Err(Failure::say(Exit::Usage, "single sign-on needs the address that the browser ends at"))
    }

    /// The token in what was pasted: the whole address, its query, or the token alone.
    fn read(&self, pasted: &str) -> Result<Secret<String>, BadPaste> {
        let text = pasted.trim();
        if text.is_empty() {
            return Err(BadPaste::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadPaste::Characters);
        }
        if text.len() > 2 * MAX_TOKEN_BYTES {
            return Err(BadPaste::TooLong);
        }
        let token = if text.contains("://") {
            let url = Url::parse(text).map_err(|_not_a_url| BadPaste::Elsewhere)?;
            if url.scheme() != "https" || url.host_str() != Some(HOST) {
                return Err(BadPaste::Elsewhere);
            }
            self.of_query(url.query().unwrap_or_default())?
        } else if text.contains("loginToken=") {
            self.of_query(text.rsplit_once('?').map_or(text, |(_, query)| query))?
        } else {
            text.to_owned()
        };
        let is_token = (1..=MAX_TOKEN_BYTES).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        if is_token { Ok(Secret::new(token)) } else { Err(BadPaste::NoToken) }
    }

    /// The token of a query; a state that is not ours spoils it.
    fn of_query(&self, query: &str) -> Result<String, BadPaste> {
        let pairs = || url::form_urlencoded::parse(query.as_bytes());
        if pairs().any(|(key, value)| key == STATE && value != self.state.as_str()) {
            return Err(BadPaste::OtherAttempt);
        }
        let mut tokens = pairs().filter(|(key, _)| key == "loginToken");
        match (tokens.next(), tokens.next()) {
            (Some((_, token)), None) => Ok(token.into_owned()),
            (_, _) => Err(BadPaste::NoToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> SignOn {
        SignOn::with_state("https://matrix.example.org", None, "5ca1ab1e".to_owned()).unwrap()
    }

    fn read(pasted: &str) -> Result<String, BadPaste> {
        attempt().read(pasted).map(|token| token.expose().clone())
    }

    #[test]
    fn the_link_leads_to_the_homeserver_and_back_to_nowhere() {
        let provider =
            Provider { id: "oidc-acme".to_owned(), name: crate::matrix::SafeText::line("Acme") };
        let base = "https://example.org/matrix/";
        let link = SignOn::with_state(base, Some(&provider), "x".to_owned()).unwrap().link;
        assert_eq!(
            link.as_str(),
            "https://example.org/matrix/_matrix/client/v3/login/sso/redirect/oidc-acme\
             ?redirectUrl=https%3A%2F%2Fgrotto.invalid%2Fpaste-this-address%3Fgrotto_state%3Dx\
             &action=login"
        );
    }

    #[test]
    fn an_address_its_query_or_the_token_alone_will_do() {
        for pasted in [
            "https://grotto.invalid/paste-this-address?grotto_state=5ca1ab1e&loginToken=syl_x~1",
            "  https://grotto.invalid/paste-this-address?loginToken=syl_x%7E1&grotto_state=5ca1ab1e ",
            "?grotto_state=5ca1ab1e&loginToken=syl_x~1",
            "loginToken=syl_x~1",
            "syl_x~1",
        ] {
            assert_eq!(read(pasted).as_deref(), Ok("syl_x~1"), "{pasted}");
        }
    }

    #[test]
    fn rubbish_and_what_others_made_is_refused() {
        let ours = "https://grotto.invalid/x?grotto_state=5ca1ab1e&loginToken=";
        for (pasted, wrong) in [
            (String::new(), BadPaste::Empty),
            (" \t".to_owned(), BadPaste::Empty),
            (format!("{ours}a\u{1b}[2J"), BadPaste::Characters),
            (format!("{ours}a\u{202e}b"), BadPaste::Characters),
            ("two words".to_owned(), BadPaste::Characters),
            ("x".repeat(5000), BadPaste::TooLong),
            ("x".repeat(3000), BadPaste::NoToken),
            ("https://evil.example/?loginToken=a".to_owned(), BadPaste::Elsewhere),
            ("http://grotto.invalid/?loginToken=a".to_owned(), BadPaste::Elsewhere),
            ("https://grotto.invalid.evil.example/?loginToken=a".to_owned(), BadPaste::Elsewhere),
            (
                "https://grotto.invalid/?grotto_state=00&loginToken=a".to_owned(),
                BadPaste::OtherAttempt,
            ),
            ("https://grotto.invalid/paste-this-address".to_owned(), BadPaste::NoToken),
            (ours.to_owned(), BadPaste::NoToken),
            (format!("{ours}a&loginToken=b"), BadPaste::NoToken),
            (format!("{ours}a%00b"), BadPaste::NoToken),
            (format!("{ours}a%0d%0ab"), BadPaste::NoToken),
        ] {
            assert_eq!(read(&pasted), Err(wrong), "{pasted:?}");
        }
    }
}
