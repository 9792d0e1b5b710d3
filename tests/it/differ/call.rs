//! A call as the generator makes it: names instead of the ids that either server gives.

use serde_json::Value;

/// Who makes a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// One of the people, with the token of their first login.
    Person(usize),
    /// Whoever has the token that goes by this name.
    Token(String),
    /// Somebody with a token that no server gave.
    Stranger,
    /// Somebody without a token.
    Nobody,
}

/// What a call sends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    None,
    Json(Value),
    /// Anything else.
    Raw(Vec<u8>),
}

/// How answers are to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Status, errcode and the body with its values.
    Whole,
    /// Status and errcode.
    Status,
}

/// A call. `{name}` in an argument or as a text of the body stands for an id.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) who: Who,
    pub(super) method: &'static str,
    /// The path below `/_matrix`, `{}` for each argument.
    pub(super) template: &'static str,
    pub(super) arguments: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Body,
    /// Fields of the answer and the names that their values go by from then on.
    pub(super) binds: Vec<(&'static str, String)>,
    /// What was made wrong about it, if anything.
    pub(super) wrong: Option<&'static str>,
    pub(super) depth: Depth,
}

impl Call {
    pub(super) fn new(who: Who, method: &'static str, template: &'static str) -> Self {
        Self {
            who,
            method,
            template,
            arguments: Vec::new(),
            query: Vec::new(),
            body: Body::None,
            binds: Vec::new(),
            wrong: None,
            depth: Depth::Whole,
        }
    }

    pub(super) fn with<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.arguments.extend(arguments.map(str::to_owned));
        self
    }

    pub(super) fn json(mut self, body: Value) -> Self {
        self.body = Body::Json(body);
        self
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn bind(mut self, field: &'static str, name: impl Into<String>) -> Self {
        self.binds.push((field, name.into()));
        self
    }

    /// Says of a call that the generator made wrong by itself that it is.
    pub(super) fn with_known_wrong(mut self) -> Self {
        let body = match &self.body {
            Body::Json(body) => body.to_string(),
            Body::None | Body::Raw(_) => String::new(),
        };
        let odd =
            ["\"odd\"", "1.5", ":\"7\"", "\"guest_access\"", "\"actions\":\"x\"", "\"enabled\":1"];
        if odd.iter().any(|odd| body.contains(odd)) {
            self.wrong = Some("a body that cannot be");
        }
        if self.query.iter().any(|(_, value)| ["x", "-1", "odd"].contains(&value.as_str())) {
            self.wrong = Some("a query that cannot be");
        }
        if self.arguments.iter().any(|it| ["odd", "m.odd", "no alias"].contains(&it.as_str())) {
            self.wrong = Some("an argument that cannot be");
        }
        self
    }

    pub(super) fn status_only(mut self) -> Self {
        self.depth = Depth::Status;
        self
    }

    /// Which endpoint, as the list of differences names it.
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.method, self.template)
    }
}
