//! The two servers, and the ids that each of them gave to what the generator named.

use std::{
    collections::HashMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    call::{Body, Call, Who},
    compare::{self, Answer, Finding},
};
use crate::{
    homeserver::{Homeserver, On, RateLimits},
    rig::{PASSWORD, PATIENCE},
};

/// How long Synapse may take to tell rooms of a new name.
const SETTLING: Duration = Duration::from_secs(15);

/// Synapse, and `grotto serve`.
pub(super) struct Pair {
    runtime: tokio::runtime::Runtime,
    synapse: Side,
    serve: Side,
    _homeservers: [Homeserver; 2],
}

/// One server.
struct Side {
    base: String,
    client: reqwest::Client,
    ids: HashMap<String, String>,
    tokens: HashMap<String, String>,
}

/// What came of a call.
pub(super) struct Made {
    pub(super) call: Call,
    pub(super) synapse: Answer,
    pub(super) serve: Answer,
    pub(super) findings: Vec<Finding>,
}

impl Pair {
    pub(super) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
        let homeservers =
            [On::Synapse, On::ServeOverHttp].map(|on| Homeserver::start(on, RateLimits::Raised));
        let [synapse, serve] = homeservers.each_ref().map(|it| Side::new(it.place.base.clone()));
        Self { runtime, synapse, serve, _homeservers: homeservers }
    }

    /// Registers these people, on one device each, and forgets the ids of before.
    pub(super) fn begin(&mut self, seed: u64, people: &[String]) {
        let Self { runtime, synapse, serve, .. } = self;
        runtime.block_on(async {
            tokio::join!(synapse.begin(seed, people), serve.begin(seed, people));
        });
    }

    /// Whether both know the ids that a call needs to mean the same at both.
    pub(super) fn can(&self, call: &Call) -> bool {
        // Synapse keeps a redaction from clients while it waits for the event from elsewhere.
        let is_redaction = call.template == "/client/v3/rooms/{}/redact/{}/{}";
        let is_known = |name: &String| self.synapse.ids.contains_key(name);
        !is_redaction || call.arguments.get(1).is_none_or(is_known)
    }

    /// Whether Synapse made a room although it refused to: it leaves what it has done so far.
    pub(super) fn has_left_half_a_room(&mut self, made: &Made) -> bool {
        if made.call.template != "/client/v3/createRoom" || made.synapse.status < 300 {
            return false;
        }
        let asked = Call::new(made.call.who.clone(), "GET", "/client/v3/joined_rooms");
        let answer = self.runtime.block_on(self.synapse.make(&asked));
        let rooms = answer.body["joined_rooms"].as_array().cloned().unwrap_or_default();
        let is_named = |room: &Value| self.synapse.ids.values().any(|id| room == id.as_str());
        !rooms.iter().all(is_named)
    }

    /// Makes a call at both.
    pub(super) fn make(&mut self, call: &Call) -> Made {
        let Self { runtime, synapse, serve, .. } = self;
        if call.template == "/client/v3/rooms/{}/upgrade" {
            runtime.block_on(read_before(synapse, call));
        }
        let (a, b) = runtime.block_on(async { tokio::join!(synapse.make(call), serve.make(call)) });
        if (200..300).contains(&a.status) && (200..300).contains(&b.status) {
            if call.method == "PUT" && call.template.starts_with("/client/v3/profile/") {
                runtime.block_on(settle(synapse, serve, call));
            }
            synapse.bind(call, &a.body);
            serve.bind(call, &b.body);
        }
        let (a, b) = (synapse.named(a), serve.named(b));
        let findings = compare::compare(call, &a, &b);
        Made { call: call.clone(), synapse: a, serve: b, findings }
    }
}

/// Reads what Synapse copies into a room that takes another's place: what it has in memory it copies
/// first, and what was read last may be anything.
async fn read_before(synapse: &Side, call: &Call) {
    for kind in compare::COPIED {
        let template = "/client/v3/rooms/{}/state/{}";
        let room = call.arguments.first().map_or("", String::as_str);
        synapse.make(&Call::new(call.who.clone(), "GET", template).with([room, kind])).await;
    }
}

/// Waits until Synapse has told all rooms of a new name or picture: it does that later.
async fn settle(synapse: &Side, serve: &Side, call: &Call) {
    let rooms = serve.ids.keys().filter(|name| name.starts_with("{r"));
    for room in rooms {
        let template = "/client/v3/rooms/{}/state/m.room.member/{}";
        let asked = Call::new(call.who.clone(), "GET", template).with([room, &call.arguments[0]]);
        let wanted = serve.make(&asked).await;
        let start = Instant::now();
        while wanted.body["membership"] == "join"
            && synapse.make(&asked).await.body != wanted.body
            && start.elapsed() < SETTLING
        {}
    }
}

impl Side {
    fn new(base: String) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { base, client, ids: HashMap::new(), tokens: HashMap::new() }
    }

    async fn begin(&mut self, _seed: u64, people: &[String]) {
        self.ids.clear();
        self.tokens.clear();
        for (place, name) in people.iter().enumerate() {
            let body = json!({
                "username": name, "password": PASSWORD, "device_id": format!("DEVICE{place}"),
                "auth": {"type": "m.login.dummy"},
            });
            let call = Call::new(Who::Nobody, "POST", "/client/v3/register").json(body);
            let answer = self.make(&call).await;
            let token = answer.body["access_token"].as_str();
            let token = token.unwrap_or_else(|| panic!("{}: {}", self.base, answer.body));
            self.tokens.insert(format!("{place}"), token.to_owned());
        }
    }

    async fn make(&self, call: &Call) -> Answer {
        let method = reqwest::Method::from_bytes(call.method.as_bytes()).unwrap();
        let mut request = self.client.request(method, self.url(call));
        let token = match &call.who {
            Who::Person(place) => Some(self.tokens[&place.to_string()].clone()),
            Who::Token(name) => {
                Some(self.tokens.get(name).cloned().unwrap_or_else(|| "none".to_owned()))
            }
            Who::Stranger => Some("syt_c3RyYW5nZXI_abcdefghijklmnop_0abcde".to_owned()),
            Who::Nobody => None,
        };
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request = match &call.body {
            Body::None => request,
            Body::Json(value) => request
                .header("content-type", "application/json")
                .body(self.filled(value).to_string()),
            Body::Raw(bytes) => {
                request.header("content-type", "application/json").body(bytes.clone())
            }
        };
        let answer = request.send().await.unwrap_or_else(|error| panic!("{call:?}: {error}"));
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap_or_default();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, body }
    }

    fn url(&self, call: &Call) -> String {
        let mut arguments = call.arguments.iter();
        let mut url = format!("{}/_matrix", self.base);
        let mut parts = call.template.split("{}");
        url.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let argument = arguments.next().map_or("", String::as_str);
            url.push_str(&encoded(&self.filled_text(argument)));
            url.push_str(part);
        }
        for (number, (name, value)) in call.query.iter().enumerate() {
            let sign = if number == 0 { '?' } else { '&' };
            let value = encoded(&self.filled_text(value));
            write!(url, "{sign}{name}={value}").unwrap();
        }
        url
    }

    /// The id for a name; the text itself when it is none, or a name that never got an id.
    fn filled_text(&self, text: &str) -> String {
        self.ids.get(text).cloned().unwrap_or_else(|| match text.as_bytes() {
            [b'{', b'r', ..] => "!nosuchroom:localhost".to_owned(),
            [b'{', b'e', ..] => "$nosuchevent0123456789abcdefghijklmnopqrstuv".to_owned(),
            _ => text.to_owned(),
        })
    }

    fn filled(&self, value: &Value) -> Value {
        compare::map_texts(value, &|text| self.filled_text(text))
    }

    fn bind(&mut self, call: &Call, body: &Value) {
        for (field, name) in &call.binds {
            match body.pointer(field).and_then(Value::as_str) {
                Some(token) if *field == "/access_token" => {
                    self.tokens.insert(name.clone(), token.to_owned());
                }
                Some(uri) if *field == "/content_uri" => {
                    let id = uri.rsplit('/').next().unwrap_or_default();
                    self.ids.insert(name.clone(), id.to_owned());
                }
                Some(id) => {
                    self.ids.insert(name.clone(), id.to_owned());
                }
                None if field.is_empty() => self.bind_state(name, body),
                None => {}
            }
        }
    }

    /// Names the events of a room's state, as `{e:room:type:key}`.
    fn bind_state(&mut self, room: &str, body: &Value) {
        for event in body.as_array().into_iter().flatten() {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            let name = format!("{{e{room}|{}|{}}}", text("type"), text("state_key"));
            self.ids.insert(name, text("event_id"));
        }
    }

    /// An answer with names instead of ids.
    fn named(&self, answer: Answer) -> Answer {
        let names = self.ids.iter().map(|(name, id)| (id.as_str(), name.as_str()));
        // Numbers are not only ids.
        let names: HashMap<&str, &str> = names.filter(|(id, _)| 8 < id.len()).collect();
        let named =
            |text: &str| names.get(text).map_or_else(|| text.to_owned(), |it| (*it).to_owned());
        Answer { status: answer.status, body: compare::map_texts(&answer.body, &named) }
    }
}

/// Percent-encoded for a path or a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").unwrap();
        }
    }
    encoded
}
