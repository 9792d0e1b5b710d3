//! Cross-signing keys on real homeservers: the first ones need nothing but a token, others the password
//! too. Whoever stole a token must not give somebody another identity.

use grotto::matrix::{CanonicalText, CanonicalValue, UserId, sign};
use serde_json::{Value, json};
use vodozemac::Ed25519SecretKey;

use crate::{
    homeserver::On,
    scenario,
    served::{Answer, Client, runtime},
};

scenario::on_both! { another_identity_needs_the_password }

const UPLOAD: &str = "/_matrix/client/v3/keys/device_signing/upload";

/// The keys of an identity, other ones for another number.
fn identity(user: &str, number: u8) -> Value {
    let secret = |place: u8| Ed25519SecretKey::from_slice(&[number * 3 + place; 32]);
    let master = secret(0);
    let name = |key: &Ed25519SecretKey| key.public_key().to_base64();
    let key = |place: u8, usage: &str| {
        let public = name(&secret(place));
        let key = json!({
            "user_id": user, "usage": [usage], "keys": {format!("ed25519:{public}"): public},
        });
        let mut object = CanonicalValue::parse_object(&key.to_string()).unwrap();
        let (user, by) = (<&UserId>::try_from(user).unwrap(), format!("ed25519:{}", name(&master)));
        sign(&mut object, user, &by, |text| master.sign(text.as_bytes()));
        serde_json::from_str::<Value>(&CanonicalText(&object).to_string()).unwrap()
    };
    json!({
        "master_key": key(0, "master"),
        "self_signing_key": key(1, "self_signing"),
        "user_signing_key": key(2, "user_signing"),
    })
}

async fn upload(client: &Client, keys: &Value, auth: Value) -> Answer {
    let mut body = keys.clone();
    if !auth.is_null() {
        body["auth"] = auth;
    }
    client.post(UPLOAD, &body).await
}

async fn master_key(client: &Client) -> Value {
    let body = json!({"device_keys": {&client.user: []}});
    let found = client.post("/_matrix/client/v3/keys/query", &body).await;
    found.body["master_keys"][&client.user]["keys"].clone()
}

fn another_identity_needs_the_password(on: On) {
    runtime().block_on(async {
        let base = &on.shared().base;
        let alice = Client::register(base, "signer").await;
        let mallory = Client::register(base, "mallory").await;
        let [first, other] = [1, 2].map(|number| identity(&alice.user, number));
        let flows = json!([{"stages": ["m.login.password"]}]);

        assert_eq!(upload(&alice, &first, Value::Null).await.status, 200, "nothing is replaced");
        assert_eq!(upload(&alice, &first, Value::Null).await.status, 200, "the same again");
        assert_eq!(master_key(&alice).await, first["master_key"]["keys"]);

        let asked = upload(&alice, &other, Value::Null).await;
        assert_eq!((asked.status, asked.code()), (401, ""));
        assert_eq!(asked.body["flows"], flows);
        let proof = |client: &Client, password: &str| {
            json!({
                "type": "m.login.password", "session": asked.body["session"], "password": password,
                "identifier": {"type": "m.id.user", "user": client.user},
            })
        };

        let wrong = upload(&alice, &other, proof(&alice, "guessed")).await;
        assert_eq!((wrong.status, wrong.code()), (401, "M_FORBIDDEN"));
        assert_eq!((&wrong.body["flows"], &wrong.body["completed"]), (&flows, &json!([])));
        assert_eq!(wrong.body["session"], asked.body["session"], "one may try again");
        // In a session of its own: at Synapse it is of no use to anybody afterwards.
        let mut theirs = proof(&mallory, "correct-horse-7Qz");
        theirs.as_object_mut().unwrap().remove("session");
        let of_another = upload(&alice, &other, theirs).await;
        assert_eq!((of_another.status, of_another.code()), (403, "M_FORBIDDEN"));
        let none = upload(&alice, &other, json!({"session": asked.body["session"]})).await;
        assert_eq!((none.status, &none.body["flows"]), (401, &flows));
        assert_eq!(master_key(&alice).await, first["master_key"]["keys"], "nothing has changed");

        let right = upload(&alice, &other, proof(&alice, "correct-horse-7Qz")).await;
        assert_eq!(right.status, 200, "{right:?}");
        assert_eq!(master_key(&alice).await, other["master_key"]["keys"]);
        assert_eq!(upload(&alice, &other, Value::Null).await.status, 200, "the same again");
        assert_eq!(upload(&alice, &first, Value::Null).await.status, 401, "back is a change too");
    });
}
