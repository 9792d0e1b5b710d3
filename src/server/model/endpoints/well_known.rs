//! Where clients find this server, and people those who run it.

use ruma::api::client::discovery::{discover_homeserver, discover_support};
use serde_json::{Map, Value, json};

use crate::server::model::{
    body::{LooseResponse, Plain},
    refusal::{Refusal, Stop},
    route::{Context, Routes},
    settings::Contact,
    step::Step,
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(client);
    routes.add(support);
}

fn client(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: discover_homeserver::Request,
) -> Result<discover_homeserver::Response, Stop> {
    let url = step.settings.public_url.clone();
    let url = url.ok_or_else(|| Refusal::not_found("the server does not know its address"))?;
    let homeserver = discover_homeserver::HomeserverInfo::new(url);
    Ok(discover_homeserver::Response::new(homeserver))
}

/// Loose, because contacts are shown as they were set up.
fn support(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: Plain<discover_support::Request>,
) -> Result<LooseResponse, Stop> {
    let contacts: Vec<Value> = step.settings.contacts.iter().map(contact).collect();
    let page = step.settings.support_page.as_ref();
    if contacts.is_empty() && page.is_none() {
        return Err(Refusal::not_found("nobody is named").into());
    }
    let mut answer = Map::new();
    if !contacts.is_empty() {
        answer.insert("contacts".to_owned(), contacts.into());
    }
    if let Some(page) = page {
        answer.insert("support_page".to_owned(), page.as_str().into());
    }
    Ok(LooseResponse(answer.into()))
}

fn contact(contact: &Contact) -> Value {
    let mut value = json!({ "role": contact.role });
    let ways = [("matrix_id", &contact.matrix_id), ("email_address", &contact.email_address)];
    for (name, way) in ways {
        if let (Some(fields), Some(way)) = (value.as_object_mut(), way) {
            fields.insert(name.to_owned(), way.as_str().into());
        }
    }
    value
}
