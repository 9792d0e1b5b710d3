//! An authorization server for tests: signs everybody on whom a browser brings (OAuth, for Synapse's
//! single sign-on), and stands for the Matrix Authentication Service, to which Synapse delegates all
//! logins then. Its state is one thread's.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, Sender, channel},
};

use serde_json::{Value, json};

use super::web::{Answer, Asked, serve};
use crate::rig;

/// What Synapse and this server prove themselves with.
pub(super) const SECRET: &str = "between-us-9917";

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A running server.
pub(super) struct Provider {
    /// Where it is.
    pub(super) base: String,
    orders: Sender<Order>,
}

type Order = Box<dyn FnOnce(&mut State) + Send>;

/// What it knows.
#[derive(Default)]
pub(super) struct State {
    /// By device code.
    grants: BTreeMap<String, Grant>,
    /// Living tokens, and for whom.
    access: BTreeMap<String, Login>,
    refresh: BTreeMap<String, Login>,
    made: u64,
    /// How long access tokens live, in seconds.
    pub(super) life: u64,
    /// How many more polls are to be told to slow down.
    pub(super) slow_downs: u64,
    /// Only the names of scopes of before are known.
    pub(super) is_old: bool,
    /// What was asked: path and fields.
    pub(super) log: Vec<(String, BTreeMap<String, String>)>,
    /// Answers to the refresh grant that are lost.
    pub(super) lose: u64,
}

#[derive(Clone, Debug)]
struct Grant {
    scope: String,
    user_code: String,
    /// Who allowed it; `Some(None)`: nobody ever will.
    verdict: Option<Option<String>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Login {
    user: String,
    scope: String,
}

impl Provider {
    pub(super) fn start() -> Self {
        let (orders, queue): (Sender<Order>, Receiver<Order>) = channel();
        std::thread::spawn(move || {
            let mut state = State { life: 300, ..State::default() };
            while let Ok(order) = queue.recv() {
                order(&mut state);
            }
        });
        let asks = orders.clone();
        let base = serve(move |asked| {
            let (tell, told) = channel();
            let order: Order = Box::new(move |state| tell.send(state.answer(&asked)).unwrap());
            asks.send(order).unwrap();
            told.recv().unwrap()
        });
        Self { base, orders }
    }

    /// Looks at its state, or changes it.
    pub(super) fn with<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> T {
        let (tell, told) = channel();
        self.orders.send(Box::new(move |state| tell.send(change(state)).unwrap())).unwrap();
        told.recv().unwrap()
    }

    /// What Synapse has to be told for single sign-on by this server, under two names.
    pub(super) fn sign_on(&self) -> Value {
        let one = |id: &str, name: &str| {
            json!({
                "idp_id": id, "idp_name": name, "discover": false, "issuer": self.base,
                "client_id": "synapse", "client_secret": SECRET, "scopes": ["profile"],
                "authorization_endpoint": format!("{}/authorize", self.base),
                "token_endpoint": format!("{}/sso/token", self.base),
                "userinfo_endpoint": format!("{}/userinfo", self.base),
                "user_profile_method": "userinfo_endpoint", "skip_verification": true,
                "user_mapping_provider": {"config": {
                    "subject_claim": "sub", "localpart_template": "{{ user.sub }}",
                }},
            })
        };
        json!({"oidc_providers": [one("acme", "Acme Works"), one("beta", "Beta")]})
    }

    /// What Synapse has to be told to leave logins to this server.
    pub(super) fn delegation(&self) -> Value {
        json!({
            "matrix_authentication_service": {
                "enabled": true, "endpoint": format!("{}/", self.base), "secret": SECRET,
            },
            "password_config": {"enabled": false},
            "enable_registration": false,
            "enable_registration_without_verification": false,
        })
    }

    /// Allows what waits under a code, as somebody: the homeserver is told of user and device first.
    pub(super) fn allow(&self, homeserver: &str, user_code: &str, user: &str) {
        let code = user_code.to_owned();
        let scope = self.with(move |state| state.grant(&code).scope.clone());
        let device = scope.rsplit(':').next().unwrap();
        let tell = |path: &str, body: Value| {
            let answer = rig::http(homeserver, "POST", path, Some(SECRET), &body);
            assert!(answer.get("errcode").is_none(), "{path}: {answer}");
        };
        tell("/_synapse/mas/provision_user", json!({"localpart": user}));
        tell("/_synapse/mas/upsert_device", json!({"localpart": user, "device_id": device}));
        let (code, user) = (user_code.to_owned(), user.to_owned());
        self.with(move |state| state.grant(&code).verdict = Some(Some(user)));
    }

    /// Refuses what waits under a code.
    pub(super) fn deny(&self, user_code: &str) {
        let code = user_code.to_owned();
        self.with(move |state| state.grant(&code).verdict = Some(None));
    }
}

impl State {
    fn grant(&mut self, user_code: &str) -> &mut Grant {
        self.grants.values_mut().find(|grant| grant.user_code == user_code).unwrap()
    }

    /// Ends everything that was ever given to somebody.
    pub(super) fn forget(&mut self, user: &str) {
        self.access.retain(|_, login| login.user != user);
        self.refresh.retain(|_, login| login.user != user);
    }

    /// How many living tokens somebody has.
    pub(super) fn living(&self, user: &str) -> usize {
        self.access.values().chain(self.refresh.values()).filter(|it| it.user == user).count()
    }

    /// Every token ever seen, for a look at what was logged.
    pub(super) fn secrets(&self) -> Vec<String> {
        let tokens = self.access.keys().chain(self.refresh.keys());
        tokens.chain(self.grants.keys()).cloned().collect()
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}_{:08x}_{}", self.made * 0x9e37_79b1 % 0xffff_ffff, self.made)
    }

    fn answer(&mut self, asked: &Asked) -> Option<Answer> {
        let fields = asked.fields();
        self.log.push((asked.path().to_owned(), fields.clone()));
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let base = format!("http://{}", asked.headers["host"]);
        Some(match asked.path() {
            "/authorize" => Answer::redirect(&format!(
                "{}?code=somebody&state={}",
                field("redirect_uri"),
                field("state")
            )),
            "/sso/token" => {
                Answer::json(200, &json!({"access_token": "sso", "token_type": "Bearer"}))
            }
            "/userinfo" => Answer::json(200, &json!({"sub": "signedon"})),
            "/.well-known/openid-configuration" => Answer::json(200, &metadata(&base)),
            "/register" => Answer::json(201, &json!({"client_id": "client-of-grotto"})),
            "/device" => self.begin(&base, &field("scope")),
            "/token" if field("grant_type") == DEVICE_GRANT => self.poll(&field("device_code")),
            "/token" => return self.renew(&field("refresh_token")),
            "/oauth2/introspect" => Answer::json(200, &self.introspect(&field("token"))),
            "/revoke" => {
                let token = field("token");
                let login = self.refresh.get(&token).or(self.access.get(&token)).cloned();
                if let Some(login) = login {
                    self.access.retain(|_, it| *it != login);
                    self.refresh.retain(|_, it| *it != login);
                }
                Answer::json(200, &json!({}))
            }
            _ => Answer::json(404, &json!({"error": "not_found"})),
        })
    }

    fn begin(&mut self, base: &str, scope: &str) -> Answer {
        if self.is_old && !scope.contains("org.matrix.msc2967") {
            return Answer::json(400, &json!({"error": "invalid_scope"}));
        }
        let device_code = self.fresh("code");
        let user_code = format!("WDJB-{:04}", self.made);
        let grant = Grant { scope: scope.to_owned(), user_code: user_code.clone(), verdict: None };
        self.grants.insert(device_code.clone(), grant);
        Answer::json(
            200,
            &json!({
                "device_code": device_code, "user_code": user_code, "interval": 1,
                "verification_uri": format!("{base}/link"), "expires_in": 60,
                "verification_uri_complete": format!("{base}/link?user_code={user_code}"),
            }),
        )
    }

    fn poll(&mut self, device_code: &str) -> Answer {
        let no = |error: &str| Answer::json(400, &json!({"error": error}));
        if self.slow_downs > 0 {
            self.slow_downs -= 1;
            return no("slow_down");
        }
        let Some(grant) = self.grants.get(device_code).cloned() else {
            return no("invalid_grant");
        };
        match grant.verdict {
            None => no("authorization_pending"),
            Some(None) => no("access_denied"),
            Some(Some(user)) => {
                self.grants.remove(device_code);
                self.give(Login { user, scope: grant.scope })
            }
        }
    }

    /// The old refresh token holds until the new one is used, as the specification asks.
    fn renew(&mut self, token: &str) -> Option<Answer> {
        let Some(login) = self.refresh.get(token).cloned() else {
            return Some(Answer::json(400, &json!({"error": "invalid_grant"})));
        };
        self.refresh.retain(|other, it| *it != login || other == token);
        let answer = self.give(login);
        if self.lose > 0 {
            self.lose -= 1;
            return None;
        }
        Some(answer)
    }

    fn give(&mut self, login: Login) -> Answer {
        let (access, refresh) = (self.fresh("mat"), self.fresh("mar"));
        self.access.insert(access.clone(), login.clone());
        self.refresh.insert(refresh.clone(), login.clone());
        Answer::json(
            200,
            &json!({
                "access_token": access, "refresh_token": refresh, "token_type": "Bearer",
                "expires_in": self.life, "scope": login.scope,
            }),
        )
    }

    fn introspect(&self, token: &str) -> Value {
        match self.access.get(token) {
            Some(login) => json!({
                "active": true, "scope": login.scope, "username": login.user,
                "sub": login.user, "expires_in": self.life,
            }),
            None => json!({"active": false}),
        }
    }
}

fn metadata(base: &str) -> Value {
    json!({
        "issuer": format!("{base}/"),
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "registration_endpoint": format!("{base}/register"),
        "revocation_endpoint": format!("{base}/revoke"),
        "device_authorization_endpoint": format!("{base}/device"),
        "account_management_uri": format!("{base}/account"),
        "response_types_supported": ["code"],
        "grant_types_supported": [DEVICE_GRANT, "refresh_token"],
        "response_modes_supported": ["query", "fragment"],
        "code_challenge_methods_supported": ["S256"],
    })
}
