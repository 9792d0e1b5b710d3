//! A room goes on in a new one, of another version.
//!
//! # Spec
//! Client-Server API, "Room upgrades".

use ruma::{CanonicalJsonObject, RoomVersionId};
use serde_json::{Map, Value, json};

use super::{
    power::Powers,
    version::{rules, rules_of},
};
use crate::{
    matrix::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId},
    server::model::{
        records::{ALIASES, AliasRecord, PUBLIC_ROOMS, ROOM_ALIASES, ROOMS, STATE},
        refusal::Refusal,
        rooms::{
            Action, Draft, MemberChange, RoomEvent, aliases, append_create, append_event,
            canonical, current, membership_of, new_name,
        },
        step::Step,
        table::Broken,
    },
};

/// The state that the new room has as the old one had it, in this order.
const COPIED: [&str; 8] = [
    "m.room.join_rules",
    "m.room.name",
    "m.room.topic",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.avatar",
    "m.room.encryption",
    "m.room.server_acl",
];

/// Makes the room that takes this one's place, and closes this one.
#[derive(Debug)]
pub(crate) struct Upgrade {
    pub(crate) old: OwnedRoomId,
    pub(crate) user: OwnedUserId,
    pub(crate) version: RoomVersionId,
    pub(crate) additional_creators: Vec<OwnedUserId>,
}

impl Upgrade {
    /// Does it. Gives the new room.
    ///
    /// # Errors
    /// `M_FORBIDDEN` for those who may not close the room; `M_NOT_FOUND` for no room;
    /// `M_UNSUPPORTED_ROOM_VERSION`.
    pub(crate) fn make(self, step: &mut Step<'_>) -> Result<OwnedRoomId, Refusal> {
        rules(&self.version)?;
        let record = step
            .get(ROOMS, (&self.old,))?
            .ok_or_else(|| Refusal::not_found("there is no such room"))?;
        let powers = Powers::read(step, &self.old, &rules_of(&record)?)?;
        let is_member = membership_of(step, &self.old, &self.user)?.as_deref() == Some("join");
        if !is_member || !powers.is_enough_to_send(&self.user, "m.room.tombstone", Some(""))? {
            return Err(Refusal::forbidden("you may not close this room"));
        }
        let levels = self.levels(step)?;
        let name = new_name(step)?;
        // The new room names the last event of the old one, unless its own name is not known before.
        let last = if self.is_named_before() { Some(self.close(step, &name)?) } else { None };
        let create = self.create(step, last.as_ref())?;
        let new = append_create(step, (name, self.user.clone()), &self.version, create)?;
        let join = (&*self.user, Action::Join, &*self.user);
        MemberChange::new(new.clone(), join, None).apply(step)?;
        self.put(step, &new, ("m.room.power_levels", ""), self.raised(levels.clone()))?;
        self.copy_state(step, &new)?;
        self.copy_bans(step, &new)?;
        if last.is_none() {
            self.close(step, &new)?;
        }
        self.move_names(step, &new)?;
        self.put(step, &new, ("m.room.power_levels", ""), self.fitting(levels.clone()))?;
        self.silence(step, levels)?;
        Ok(new)
    }

    fn is_named_before(&self) -> bool {
        let rules = self.version.rules();
        rules.is_some_and(|rules| !rules.authorization.room_create_event_id_as_room_id)
    }

    fn has_privileged_creators(&self) -> bool {
        let rules = self.version.rules();
        rules.is_some_and(|rules| rules.authorization.explicitly_privilege_room_creators)
    }

    fn put(
        &self,
        step: &mut Step<'_>,
        room: &RoomId,
        place: (&str, &str),
        content: Map<String, Value>,
    ) -> Result<OwnedEventId, Refusal> {
        let draft =
            Draft::state(room.to_owned(), self.user.clone(), place, Value::Object(content))?;
        append_event(step, draft)
    }

    fn old_content(
        &self,
        step: &Step<'_>,
        kind: &str,
    ) -> Result<Option<Map<String, Value>>, Broken> {
        Ok(current(step, &self.old, kind, "")?.and_then(|event| event.content()))
    }

    fn create(
        &self,
        step: &Step<'_>,
        last: Option<&OwnedEventId>,
    ) -> Result<CanonicalJsonObject, Refusal> {
        let old = self.old_content(step, "m.room.create")?.unwrap_or_default();
        let predecessor = match last {
            None => json!({"room_id": self.old}),
            Some(last) => json!({"room_id": self.old, "event_id": last}),
        };
        let mut content = json!({ "room_version": self.version, "predecessor": predecessor });
        if let Value::Object(content) = &mut content {
            for field in ["type", "m.federate"] {
                content.extend(old.get(field).map(|value| (field.to_owned(), value.clone())));
            }
            if self.has_privileged_creators() && !self.additional_creators.is_empty() {
                let creators = json!(self.additional_creators);
                content.insert("additional_creators".to_owned(), creators);
            }
            let rules = self.version.rules();
            if rules.is_some_and(|rules| !rules.authorization.use_room_create_sender) {
                content.insert("creator".to_owned(), json!(self.user));
            }
        }
        canonical(content)
    }

    /// The power levels of the old room, without creators of whom the new room's version says that
    /// they have all power.
    fn levels(&self, step: &Step<'_>) -> Result<Map<String, Value>, Refusal> {
        Ok(self.old_content(step, "m.room.power_levels")?.unwrap_or_default())
    }

    fn fitting(&self, mut levels: Map<String, Value>) -> Map<String, Value> {
        if self.has_privileged_creators()
            && let Some(Value::Object(users)) = levels.get_mut("users")
        {
            users.retain(|user, _| {
                user != self.user.as_str()
                    && !self.additional_creators.iter().any(|creator| creator.as_str() == user)
            });
        }
        levels
    }

    /// Power levels by which the user can make the room what it is to be.
    fn raised(&self, mut levels: Map<String, Value>) -> Map<String, Value> {
        let number =
            |value: Option<&Value>, default| value.and_then(Value::as_i64).unwrap_or(default);
        let events = levels.get("events").and_then(Value::as_object);
        let highest = events.into_iter().flat_map(Map::values).filter_map(Value::as_i64).max();
        let needed = number(levels.get("state_default"), 50)
            .max(number(levels.get("ban"), 50))
            .max(highest.unwrap_or(0));
        let default = number(levels.get("users_default"), 0);
        let users = levels.entry("users".to_owned()).or_insert_with(|| json!({}));
        if let Value::Object(users) = users
            && number(users.get(self.user.as_str()), default) < needed
        {
            users.insert(self.user.to_string(), needed.into());
        }
        self.fitting(levels)
    }

    fn copy_state(&self, step: &mut Step<'_>, new: &RoomId) -> Result<(), Refusal> {
        for kind in COPIED {
            if let Some(content) = self.old_content(step, kind)? {
                self.put(step, new, (kind, ""), content)?;
            }
        }
        for (child, content) in self.state_of(step, "m.space.child")? {
            if !content.is_empty() {
                self.put(step, new, ("m.space.child", &child), content)?;
            }
        }
        Ok(())
    }

    fn copy_bans(&self, step: &mut Step<'_>, new: &RoomId) -> Result<(), Refusal> {
        for (user, content) in self.state_of(step, "m.room.member")? {
            if content.get("membership").and_then(Value::as_str) == Some("ban") {
                self.put(step, new, ("m.room.member", &user), content)?;
            }
        }
        Ok(())
    }

    /// All state of this type, by its key.
    fn state_of(&self, step: &Step<'_>, kind: &str) -> Result<Vec<Keyed>, Broken> {
        let mut all = Vec::new();
        for (mut key, place) in step.scan(STATE, (&self.old, kind))? {
            key.text()?;
            key.text()?;
            let event = RoomEvent::expect(step, &place.event)?;
            all.push((key.text()?, event.content().unwrap_or_default()));
        }
        Ok(all)
    }

    fn close(&self, step: &mut Step<'_>, new: &RoomId) -> Result<OwnedEventId, Refusal> {
        let body = "This room has been replaced";
        let content = Map::from_iter([
            ("body".to_owned(), body.into()),
            ("replacement_room".to_owned(), new.as_str().into()),
        ]);
        self.put(step, &self.old, ("m.room.tombstone", ""), content)
    }

    /// The names, and the place in the directory.
    fn move_names(&self, step: &mut Step<'_>, new: &RoomId) -> Result<(), Refusal> {
        for alias in aliases::of_room(step, &self.old)? {
            let creator = step.get(ALIASES, (alias.as_str(),))?;
            let creator = creator.map_or_else(|| self.user.clone(), |record| record.creator);
            let record = AliasRecord { room: new.to_owned(), creator };
            step.put(ALIASES, (alias.as_str(),), &record)?;
            step.delete(ROOM_ALIASES, (&self.old, alias.as_str()));
            step.put(ROOM_ALIASES, (new, alias.as_str()), &())?;
        }
        if step.get(PUBLIC_ROOMS, (&self.old,))?.is_some() {
            step.delete(PUBLIC_ROOMS, (&self.old,));
            step.put(PUBLIC_ROOMS, (new,), &())?;
        }
        if let Some(names) = self.old_content(step, "m.room.canonical_alias")? {
            let place = ("m.room.canonical_alias", "");
            unless_forbidden(self.put(step, &self.old, place, Map::new()))?;
            self.put(step, new, place, names)?;
        }
        Ok(())
    }

    /// Nobody is to talk on in the old room, as far as the user may see to that.
    fn silence(&self, step: &mut Step<'_>, mut levels: Map<String, Value>) -> Result<(), Refusal> {
        let number = |value: Option<&Value>| value.and_then(Value::as_i64).unwrap_or(0);
        let quiet = (number(levels.get("users_default")) + 1).max(50);
        for field in ["invite", "events_default"] {
            if number(levels.get(field)) < quiet {
                levels.insert(field.to_owned(), quiet.into());
            }
        }
        unless_forbidden(self.put(step, &self.old, ("m.room.power_levels", ""), levels))
    }
}

/// A state key and the content of its event.
type Keyed = (String, Map<String, Value>);

/// What the user may not do is not done.
fn unless_forbidden(done: Result<OwnedEventId, Refusal>) -> Result<(), Refusal> {
    match done {
        Err(refusal) if refusal.status != 403 => Err(refusal),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::server::model::testing::World;

    #[test]
    fn an_upgraded_room_keeps_its_name_its_bans_and_its_alias_and_names_the_old_one() {
        let mut world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let body = json!({
            "room_version": "11", "preset": "public_chat", "room_alias_name": "den", "name": "Den",
        });
        let old = world.room(&alice, body);
        world.join(&bob, &old);
        let ban = json!({"user_id": bob.id});
        assert_eq!(world.post(&format!("/rooms/{old}/ban"), &alice, ban).0, 200);
        let path = format!("/rooms/{old}/upgrade");
        let (status, reply) = world.post(&path, &alice, json!({"new_version": "12"}));
        assert_eq!(status, 200, "{reply}");
        let new = reply["replacement_room"].as_str().unwrap();
        let state = |world: &mut World, room: &str, kind: &str| {
            world.get(&format!("/rooms/{room}/state/{kind}"), &alice).1
        };
        assert_eq!(state(&mut world, new, "m.room.name")["name"], "Den");
        assert_eq!(state(&mut world, new, "m.room.create")["predecessor"]["room_id"], *old);
        assert_eq!(state(&mut world, &old, "m.room.tombstone")["replacement_room"], *new);
        let (_, found) = world.get("/directory/room/%23den:test", &alice);
        assert_eq!(found["room_id"], *new);
        assert_eq!(world.post(&format!("/rooms/{new}/join"), &bob, json!({})).0, 403);
    }

    #[test]
    fn a_room_whose_name_is_known_before_names_the_last_event_of_the_old_one() {
        let mut world = World::new();
        let alice = world.user("alice");
        let old = world.room(&alice, json!({"room_version": "10"}));
        for (version, has_event) in [("11", true), ("12", false)] {
            let path = format!("/rooms/{old}/upgrade");
            let (status, reply) = world.post(&path, &alice, json!({"new_version": version}));
            assert_eq!(status, 200, "{reply}");
            let new = reply["replacement_room"].as_str().unwrap();
            let path = format!("/rooms/{new}/state/m.room.create");
            let last = &world.get(&path, &alice).1["predecessor"]["event_id"];
            assert_eq!(last.is_string(), has_event);
            if let Some(last) = last.as_str() {
                let (_, event) = world.get(&format!("/rooms/{old}/event/{last}"), &alice);
                assert_eq!(event["content"]["replacement_room"], *new);
            }
        }
    }

    #[test]
    fn only_those_who_may_close_a_room_upgrade_it() {
        let mut world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let room = world.room_of(&[&alice, &bob]);
        let path = format!("/rooms/{room}/upgrade");
        let (status, reply) = world.post(&path, &bob, json!({"new_version": "12"}));
        assert_eq!((status, &reply["errcode"]), (403, &json!("M_FORBIDDEN")));
        let (status, reply) = world.post(&path, &alice, json!({"new_version": "1"}));
        assert_eq!((status, &reply["errcode"]), (400, &json!("M_UNSUPPORTED_ROOM_VERSION")));
    }
}
