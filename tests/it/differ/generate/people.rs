//! What somebody keeps for themselves: profile, account data, tags, filters, devices, push rules.

use serde_json::{Value, json};

use super::World;
use crate::{
    differ::call::{Call, Who},
    rig::PASSWORD,
};

impl World {
    /// Something of somebody's own, or of somebody else.
    pub(super) fn personal(&mut self) -> Call {
        let person = self.anybody();
        let other = self.anybody();
        let whose = if self.random.percent(80) { person } else { other };
        let (person, whose) = (Who::Person(person), self.user(whose));
        match self.random.below(7) {
            0 => self.profile(person, &whose),
            1 => self.account_data(person, &whose),
            2 => self.tag(person, &whose),
            3 => self.filter(person, &whose),
            4 => self.device(person),
            5 => self.push_rule(person),
            _ => self.login(person),
        }
    }

    fn profile(&mut self, who: Who, whose: &str) -> Call {
        let call = |method, template| Call::new(who.clone(), method, template).with([whose]);
        match self.random.below(8) {
            0..=2 => call("PUT", "/client/v3/profile/{}/displayname")
                .json(json!({"displayname": self.random.of(&["Ada", "Bób 🜂", ""])})),
            3 => call("PUT", "/client/v3/profile/{}/avatar_url").json(
                json!({"avatar_url": self.random.of(&["mxc://localhost/abc", "", "http://x"])}),
            ),
            4 => call("GET", "/client/v3/profile/{}/displayname"),
            5 => call("GET", "/client/v3/profile/{}/avatar_url"),
            6 => Call::new(who, "GET", "/client/v3/profile/{}").with(["@nobody:localhost"]),
            _ => call("GET", "/client/v3/profile/{}"),
        }
    }

    fn account_data(&mut self, who: Who, whose: &str) -> Call {
        let kind = self.random.of(&[
            "m.direct",
            "org.example.mine",
            "m.ignored_user_list",
            "m.fully_read",
            "m.push_rules",
        ]);
        let room = Self::room(self.random.below(self.rooms.len()));
        let content = match kind {
            "m.ignored_user_list" => json!({"ignored_users": {}}),
            _ => json!({"n": self.number()}),
        };
        let own = "/client/v3/user/{}/account_data/{}";
        let of_room = "/client/v3/user/{}/rooms/{}/account_data/{}";
        match self.random.below(4) {
            0 => Call::new(who, "PUT", own).with([whose, kind]).json(content),
            1 => Call::new(who, "GET", own).with([whose, kind]),
            2 => Call::new(who, "PUT", of_room).with([whose, &room, kind]).json(content),
            _ => Call::new(who, "GET", of_room).with([whose, &room, kind]),
        }
    }

    fn tag(&mut self, who: Who, whose: &str) -> Call {
        let room = Self::room(self.random.below(self.rooms.len()));
        let one = "/client/v3/user/{}/rooms/{}/tags/{}";
        match self.random.below(4) {
            0 | 1 => Call::new(who, "PUT", one)
                .with([whose, &room, "u.work"])
                .json(self.random.of(&[json!({"order": 0.25}), json!({}), json!({"order": "x"})])),
            2 => Call::new(who, "DELETE", one).with([whose, &room, "u.work"]),
            _ => Call::new(who, "GET", "/client/v3/user/{}/rooms/{}/tags").with([whose, &room]),
        }
    }

    fn filter(&mut self, who: Who, whose: &str) -> Call {
        if self.random.percent(60) {
            let name = format!("{{f{}}}", self.filters);
            self.filters += 1;
            let filters = [
                json!({"room": {"timeline": {"limit": 1}}}),
                json!({"room": {"state": {"lazy_load_members": true}}}),
                json!({"room": {"timeline": {"limit": -1}}}),
                json!({"room": {"timeline": {"types": "m.room.message"}}}),
                json!({"event_format": "odd"}),
            ];
            return Call::new(who, "POST", "/client/v3/user/{}/filter")
                .with([whose])
                .json(self.random.of(&filters))
                .bind("/filter_id", name);
        }
        let filter = match self.filters {
            0 => "999".to_owned(),
            filters => format!("{{f{}}}", self.random.below(filters)),
        };
        if self.random.percent(40) {
            return Call::new(who, "GET", "/client/v3/sync")
                .query("timeout", "0")
                .query("filter", filter);
        }
        Call::new(who, "GET", "/client/v3/user/{}/filter/{}").with([whose, &filter])
    }

    fn device(&mut self, who: Who) -> Call {
        let device = format!("DEVICE{}", self.random.below(6));
        let one = "/client/v3/devices/{}";
        match self.random.below(6) {
            0 => Call::new(who, "GET", one).with([&device]),
            1 => Call::new(who, "PUT", one).with([&device]).json(json!({"display_name": "mine"})),
            2 => Call::new(who, "DELETE", one).with([&device]).json(json!({})),
            3 => Call::new(who, "POST", "/client/v3/delete_devices")
                .json(json!({"devices": [device]})),
            4 => Call::new(who, "GET", "/client/v3/account/whoami"),
            _ => Call::new(who, "GET", "/client/v3/devices"),
        }
    }

    fn push_rule(&mut self, who: Who) -> Call {
        let kind = self.random.of(&["override", "underride", "content", "room", "sender", "odd"]);
        let rule =
            self.random.of(&["mine", ".m.rule.master", ".mine", "another", ".m.rule.message"]);
        // The name of such a rule is whom or what it is about.
        let (room, other) = (self.random.below(self.rooms.len()), self.anybody());
        let about = match kind {
            "room" if self.random.percent(85) => Self::room(room),
            "sender" if self.random.percent(85) => self.user(other),
            "room" | "sender" => "odd".to_owned(),
            _ => rule.to_owned(),
        };
        let rule = about.as_str();
        let one = "/client/v3/pushrules/global/{}/{}";
        let part = "/client/v3/pushrules/global/{}/{}/{}";
        let actions = self.random.of(&[json!(["notify"]), json!([]), json!(["odd"]), json!("x")]);
        match self.random.below(8) {
            0 => Call::new(who, "GET", "/client/v3/pushrules/"),
            1 => Call::new(who, "GET", one).with([kind, rule]),
            2 | 3 => {
                let mut body = json!({"actions": actions});
                match kind {
                    "content" => body["pattern"] = "cake".into(),
                    "room" | "sender" => {}
                    _ => body["conditions"] = json!([]),
                }
                Call::new(who, "PUT", one).with([kind, rule]).json(body)
            }
            4 => Call::new(who, "DELETE", one).with([kind, rule]),
            5 => Call::new(who, "PUT", part)
                .with([kind, rule, "enabled"])
                .json(json!({"enabled": self.random.of(&[json!(true), json!(false), json!(1)])})),
            6 => Call::new(who, "GET", part).with([kind, rule, "actions"]),
            _ => Call::new(who, "PUT", part)
                .with([kind, rule, "actions"])
                .json(json!({"actions": actions})),
        }
    }

    fn login(&mut self, who: Who) -> Call {
        let person = self.anybody();
        let number = self.tokens.len();
        let login = |user: Value, password: &str| {
            json!({"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user},
                "password": password, "device_id": format!("LOGIN{number}")})
        };
        let template = "/client/v3/login";
        match self.random.below(9) {
            0..=2 => {
                self.tokens.push(person);
                Call::new(Who::Nobody, "POST", template)
                    .json(login(self.user(person).into(), PASSWORD))
                    .bind("/access_token", format!("l{number}"))
            }
            3 => Call::new(Who::Nobody, "POST", template)
                .json(login(self.user(person).into(), "wrong")),
            4 => Call::new(Who::Nobody, "POST", template)
                .json(login("@nobody:localhost".into(), PASSWORD)),
            5 => Call::new(Who::Nobody, "GET", template),
            6 if 0 < number => {
                let token = format!("l{}", self.random.below(number));
                Call::new(Who::Token(token), "POST", "/client/v3/logout").json(json!({}))
            }
            7 if 0 < number => {
                let token = format!("l{}", self.random.below(number));
                Call::new(Who::Token(token), "GET", "/client/v3/account/whoami")
            }
            8 => Call::new(who, "GET", "/client/v3/capabilities").status_only(),
            _ => Call::new(Who::Nobody, "GET", "/client/v3/register/available")
                .query("username", self.random.of(&["fresh-name", "Not Allowed", ""]).to_owned()),
        }
    }
}
