//! The server of the demo, in memory: its accounts and the two rooms that are waiting.

use serde_json::{Value, json};

use super::stage::DemoError;
use crate::{
    matrix::{OwnedRoomId, RoomId},
    server::{Admin, AdminDone, AdminJob, Database, Enrolled, Model, Server, Settings},
};

/// Name of the server.
const NAME: &str = "demo";

/// The server and everybody on it.
pub(super) struct House {
    pub(super) server: Server,
    pub(super) user: Enrolled,
    pub(super) guide: Enrolled,
    pub(super) robin: Enrolled,
    /// The chat of user and guide.
    pub(super) direct: OwnedRoomId,
    /// The room of all.
    pub(super) group: OwnedRoomId,
}

impl House {
    /// Builds it.
    ///
    /// # Errors
    /// When the system gives no memory or thread.
    pub(super) async fn build() -> Result<Self, DemoError> {
        let mut admin = Admin::of(Database::in_memory()?);
        admin.perform(AdminJob::Settle { name: Some(NAME.to_owned()) })?;
        let user = enroll(&mut admin, "you")?;
        let guide = enroll(&mut admin, "guide")?;
        let robin = enroll(&mut admin, "robin")?;
        let server = Server::start(Model::new(Settings::new(NAME)), admin.into_database())?;
        let [direct, group] = {
            let as_user = Caller { server: &server, who: &user };
            let as_guide = Caller { server: &server, who: &guide };
            let as_robin = Caller { server: &server, who: &robin };
            as_guide.is_called("Guide").await?;
            as_robin.is_called("Robin").await?;
            let direct = as_guide.makes(direct_chat(&user)).await?;
            let group = as_robin.makes(garden(&user, &guide)).await?;
            as_user.joins(&direct).await?;
            as_user.joins(&group).await?;
            as_guide.joins(&group).await?;
            as_user.marks_direct(&guide, &direct).await?;
            as_guide.marks_direct(&user, &direct).await?;
            [direct, group]
        };
        Ok(Self { server, user, guide, robin, direct, group })
    }
}

fn enroll(admin: &mut Admin, name: &str) -> Result<Enrolled, DemoError> {
    let job = AdminJob::Enroll { name: name.to_owned(), device: "grotto demo".to_owned() };
    let AdminDone::Enrolled(enrolled) = admin.perform(job)? else { return Err(DemoError::Bug) };
    Ok(enrolled)
}

fn encryption() -> Value {
    json!([{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}])
}

fn direct_chat(with: &Enrolled) -> Value {
    json!({
        "preset": "trusted_private_chat",
        "is_direct": true,
        "invite": [with.user_id],
        "initial_state": encryption(),
    })
}

fn garden(user: &Enrolled, guide: &Enrolled) -> Value {
    json!({
        "preset": "private_chat",
        "name": "Garden",
        "topic": "Beans, bees and other news",
        "invite": [user.user_id, guide.user_id],
        "initial_state": encryption(),
    })
}

/// Somebody who calls the server.
struct Caller<'a> {
    server: &'a Server,
    who: &'a Enrolled,
}

impl Caller<'_> {
    async fn makes(&self, room: Value) -> Result<OwnedRoomId, DemoError> {
        let answer = self.call("POST", "/createRoom", &room).await?;
        let room = answer.get("room_id").and_then(Value::as_str).unwrap_or_default();
        OwnedRoomId::try_from(room).map_err(|_error| refused("/createRoom", &answer))
    }

    async fn joins(&self, room: &RoomId) -> Result<(), DemoError> {
        self.call("POST", &format!("/rooms/{room}/join"), &json!({})).await.map(drop)
    }

    async fn is_called(&self, name: &str) -> Result<(), DemoError> {
        let path = format!("/profile/{}/displayname", self.who.user_id);
        self.call("PUT", &path, &json!({"displayname": name})).await.map(drop)
    }

    async fn marks_direct(&self, other: &Enrolled, room: &RoomId) -> Result<(), DemoError> {
        let path = format!("/user/{}/account_data/m.direct", self.who.user_id);
        self.call("PUT", &path, &json!({other.user_id.as_str(): [room]})).await.map(drop)
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, DemoError> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/_matrix/client/v3{path}"))
            .body(body.to_string().into_bytes())
            .map_err(|error| refused(path, &error.to_string().into()))?;
        let response = self.server.call(request, Some(self.who.access_token.clone())).await?;
        let answer = serde_json::from_slice(response.body()).unwrap_or_default();
        if response.status().is_success() { Ok(answer) } else { Err(refused(path, &answer)) }
    }
}

fn refused(what: &str, answer: &Value) -> DemoError {
    DemoError::Refused { what: what.to_owned(), answer: answer.to_string() }
}
