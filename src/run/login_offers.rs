//! What ways of logging in a homeserver offers, and which of them is taken.
//!
//! # Spec
//! Client-Server API, "Login", "Client login via SSO" and "Server metadata discovery".

use std::fmt::Write as _;

use serde::Deserialize;

use super::{
    caller::{CallError, Caller},
    failure::Failure,
    secrets,
};
use crate::{
    cli::{Exit, LoginArgs},
    gateway::{Metadata, OAuthError},
    link::Route,
    matrix::{MatrixError, SafeText},
};

/// More providers than anybody chooses among.
const MOST_PROVIDERS: usize = 50;
/// Cells of a provider's name that are shown.
const NAME_CELLS: usize = 60;
/// How often a question is asked again.
const TRIES: u32 = 3;

/// What a homeserver offers.
#[derive(Debug)]
pub(super) struct Offers {
    has_password: bool,
    sso: Option<SingleSignOn>,
    /// Its authorization server, or why that is of no use.
    oauth: Result<Option<Metadata>, OAuthError>,
}

/// Single sign-on.
#[derive(Clone, Debug, Default)]
struct SingleSignOn {
    providers: Vec<Provider>,
    /// The server wants clients that know OAuth to offer nothing else of the older ways.
    is_preferred: bool,
}

/// An identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Provider {
    /// Its id: letters, digits and `-._~`.
    pub id: String,
    /// Its name.
    pub name: SafeText,
}

/// The way that is taken.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub(super) enum Means {
    /// A password.
    Password,
    /// Single sign-on, at this provider if there is a choice.
    SingleSignOn(Option<Provider>),
    /// A code that is allowed in a browser.
    DeviceCode(Metadata),
}

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Only whether there is a login by password, of those that have it given.
    Password,
    /// All.
    Everything,
}

#[derive(Deserialize)]
struct Flows {
    flows: Vec<Flow>,
}

#[derive(Deserialize)]
struct Flow {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    identity_providers: Vec<RawProvider>,
    #[serde(default, alias = "org.matrix.msc3824.delegated_oidc_compatibility")]
    oauth_aware_preferred: bool,
}

#[derive(Deserialize)]
struct RawProvider {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
}

impl Offers {
    /// Asks the homeserver.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub(super) async fn ask(
        route: &Route,
        homeserver: &str,
        question: Question,
    ) -> Result<Self, CallError> {
        let mut caller = Caller::connect(route, None).await?;
        let offers = Self::ask_on(&mut caller, homeserver, question).await;
        caller.close().await;
        offers
    }

    async fn ask_on(
        caller: &mut Caller,
        homeserver: &str,
        question: Question,
    ) -> Result<Self, CallError> {
        let answer = caller.ask("GET", "/_matrix/client/v3/login", None).await?;
        let body = answer.body.get();
        let mut offers = match answer.status {
            200..300 => Self::of_flows(body),
            // Those that only know OAuth have no such call.
            400 | 403 | 404 | 405 => Self::of_flows("{}"),
            status => return Err(MatrixError::parse(status, body.as_bytes()).into()),
        };
        if question == Question::Everything {
            offers.oauth = metadata(caller, homeserver).await?;
        }
        Ok(offers)
    }

    /// Reads the flows; one that is malformed is left out.
    fn of_flows(body: &str) -> Self {
        let flows =
            serde_json::from_str::<Flows>(body).map_or_else(|_other| Vec::new(), |it| it.flows);
        let sso = flows.iter().find(|flow| flow.r#type == "m.login.sso");
        Self {
            has_password: flows.iter().any(|flow| flow.r#type == "m.login.password"),
            sso: sso.map(|flow| SingleSignOn {
                providers: flow
                    .identity_providers
                    .iter()
                    .filter_map(provider)
                    .take(MOST_PROVIDERS)
                    .collect(),
                is_preferred: flow.oauth_aware_preferred,
            }),
            oauth: Ok(None),
        }
    }

    /// Takes the way that the arguments name, or asks which.
    ///
    /// # Errors
    /// When the server does not offer it, or nobody can be asked.
    pub(super) fn choose(self, arguments: &LoginArgs) -> Result<Means, Failure> {
        let offered = self.words();
        let missing = |what: &str| {
            let words = format!("the homeserver offers no {what}; it offers {offered}");
            Failure::say(Exit::Failed, words)
        };
        if arguments.register {
            return Ok(Means::Password);
        }
        if arguments.password_file.is_some() {
            let can = self.has_password.then_some(Means::Password);
            return can.ok_or_else(|| missing("login by password"));
        }
        if let Some(wanted) = &arguments.sso {
            let sso = self.sso.ok_or_else(|| missing("single sign-on"))?;
            return sso.choose(Some(wanted)).map(Means::SingleSignOn);
        }
        if arguments.device_code {
            let metadata = self.oauth.map_err(|error| Failure::new(Exit::Failed, error))?;
            let metadata = metadata.filter(Metadata::has_device_grant);
            let metadata = metadata.ok_or_else(|| missing("login by a code (--device-code)"))?;
            return Ok(Means::DeviceCode(metadata));
        }
        self.ask_which()
    }

    /// What there is, for whoever wants something else.
    fn words(&self) -> String {
        let mut ways = Vec::new();
        if self.has_password {
            ways.push("a password");
        }
        if self.sso.is_some() {
            ways.push("single sign-on (--sso)");
        }
        if matches!(&self.oauth, Ok(Some(metadata)) if metadata.has_device_grant()) {
            ways.push("a code to allow in a browser (--device-code)");
        }
        if ways.is_empty() { "no way that grotto knows".to_owned() } else { ways.join(", ") }
    }

    /// Asks which way, where there are several.
    fn ask_which(self) -> Result<Means, Failure> {
        let none = Failure::say(Exit::Failed, format!("the homeserver offers {}", self.words()));
        let Self { has_password, sso, oauth } = self;
        let is_modern = sso.as_ref().is_some_and(|sso| sso.is_preferred);
        let mut ways = Vec::new();
        if let Some(metadata) = oauth.ok().flatten().filter(Metadata::has_device_grant) {
            ways.push((
                "a short code, to allow in a browser anywhere",
                Means::DeviceCode(metadata),
            ));
        }
        if has_password && !is_modern {
            ways.push(("a password", Means::Password));
        }
        if sso.is_some() {
            let label = "single sign-on: an address to open in a browser anywhere";
            ways.push((label, Means::SingleSignOn(None)));
        }
        let labels: Vec<&str> = ways.iter().map(|(label, _)| *label).collect();
        let index = ask_number("Ways to log in:", &labels)?;
        let (_, means) = ways.into_iter().nth(index).ok_or(none)?;
        match (means, sso) {
            (Means::SingleSignOn(_), Some(sso)) => sso.choose(None).map(Means::SingleSignOn),
            (means, _) => Ok(means),
        }
    }
}

impl SingleSignOn {
    /// The provider that is wanted, by name or id; the only one; or the one that is chosen.
    fn choose(self, wanted: Option<&str>) -> Result<Option<Provider>, Failure> {
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        let names: Vec<&str> = self.providers.iter().map(|it| it.name.as_str()).collect();
        let index = match wanted {
            Some(wanted) => {
                let is_meant = |it: &Provider| {
                    it.id == wanted || it.name.as_str().to_lowercase() == wanted.to_lowercase()
                };
                let words = format!(
                    "the homeserver has no identity provider {wanted:?}; it has: {}",
                    if names.is_empty() { "none to choose".to_owned() } else { names.join(", ") }
                );
                let found = self.providers.iter().position(is_meant);
                found.ok_or_else(|| Failure::say(Exit::Failed, words))?
            }
            None => ask_number("Identity providers:", &names)?,
        };
        Ok(self.providers.into_iter().nth(index))
    }
}

/// Asks for one of these; of one, or none, there is nothing to ask.
fn ask_number(title: &str, labels: &[&str]) -> Result<usize, Failure> {
    if labels.len() < 2 {
        return Ok(0);
    }
    let mut question = format!("{title}\n");
    for (number, label) in labels.iter().enumerate() {
        writeln!(question, "  {}  {label}", number + 1).unwrap_or_default();
    }
    write!(question, "Number, 1 to {} [1]: ", labels.len()).unwrap_or_default();
    for _ in 0..TRIES {
        let Some(answer) = secrets::ask_line(&question)? else { break };
        match answer.parse::<usize>() {
            _ if answer.is_empty() => return Ok(0),
            Ok(number) if (1..=labels.len()).contains(&number) => return Ok(number - 1),
            Ok(_) | Err(_) => secrets::warn("that is none of these numbers; once more"),
        }
    }
    Err(Failure::say(Exit::Usage, format!("{title} none was chosen; name one: see --help")))
}

/// A provider that can stand in an address and in a list.
fn provider(raw: &RawProvider) -> Option<Provider> {
    let is_id = (1..=255).contains(&raw.id.len())
        && !raw.id.bytes().all(|byte| byte == b'.')
        && raw.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let name = SafeText::short(&raw.name, NAME_CELLS);
    let name = if name.is_blank() { SafeText::short(&raw.id, NAME_CELLS) } else { name };
    is_id.then(|| Provider { id: raw.id.clone(), name })
}

/// What the homeserver says of its authorization server; none where it has none.
async fn metadata(
    caller: &mut Caller,
    homeserver: &str,
) -> Result<Result<Option<Metadata>, OAuthError>, CallError> {
    for path in [
        "/_matrix/client/v1/auth_metadata",
        "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
    ] {
        let answer = caller.ask("GET", path, None).await?;
        if (200..300).contains(&answer.status) {
            return Ok(Metadata::parse(answer.body.get(), homeserver).map(Some));
        }
    }
    Ok(Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sso(body: &str) -> SingleSignOn {
        Offers::of_flows(body).sso.unwrap()
    }

    #[test]
    fn a_provider_whose_id_could_lead_elsewhere_or_whose_name_acts_is_harmless() {
        let body = r#"{"flows":[{"type":"m.login.sso","identity_providers":[
            {"id":"oidc-github","name":"GitHub"},
            {"id":"../../admin","name":"Evil"},
            {"id":"..","name":"Evil"},
            {"id":"a b","name":"Evil"},
            {"id":"","name":"Evil"},
            {"id":"loud","name":"\u001b]0;x\u0007\u202eGoogle"},
            {"id":"blank","name":" "},
            {"name":"nameless"}]}]}"#;
        let providers = sso(body).providers;
        let ids: Vec<&str> = providers.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(ids, ["oidc-github", "loud", "blank"]);
        assert!(!providers[1].name.as_str().contains(['\u{1b}', '\u{7}', '\u{202e}']));
        assert_eq!(providers[2].name.as_str(), "blank");
    }

    #[test]
    fn providers_are_chosen_by_name_or_id_and_only_where_there_is_a_choice() {
        let body = r#"{"flows":[{"type":"m.login.sso","identity_providers":[
            {"id":"oidc-a","name":"Acme"},{"id":"oidc-b","name":"Beta"}]}]}"#;
        let chosen = |wanted: &str| sso(body).choose(Some(wanted)).unwrap().unwrap().id;
        assert_eq!(chosen("acme"), "oidc-a");
        assert_eq!(chosen("oidc-b"), "oidc-b");
        let words = sso(body).choose(Some("Gamma")).unwrap_err().words();
        assert!(words.contains("Acme, Beta"), "{words}");
        assert_eq!(sso(r#"{"flows":[{"type":"m.login.sso"}]}"#).choose(None).unwrap(), None);
    }

    #[test]
    fn what_is_no_list_of_flows_offers_nothing() {
        for body in ["{}", "[]", "null", r#"{"flows":7}"#, r#"{"flows":[]}"#] {
            let words = Offers::of_flows(body).words();
            assert_eq!(words, "no way that grotto knows", "{body}");
        }
    }
}
