//! The endpoints, a file for each topic.

#![expect(clippy::needless_pass_by_value, reason = "handlers have one shape")]

mod account;
mod account_data;
mod create_room;
mod cross_signing;
mod devices;
mod filters;
mod history;
mod keys;
mod login;
mod media;
mod membership;
mod push_rules;
mod receipts;
mod register;
mod send;
mod state;
mod sync;
mod to_device;
mod versions;

use super::route::Routes;

/// All of them.
pub(super) fn routes() -> Routes {
    let mut routes = Routes::default();
    account::add(&mut routes);
    account_data::add(&mut routes);
    create_room::add(&mut routes);
    cross_signing::add(&mut routes);
    devices::add(&mut routes);
    filters::add(&mut routes);
    history::add(&mut routes);
    keys::add(&mut routes);
    login::add(&mut routes);
    media::add(&mut routes);
    membership::add(&mut routes);
    push_rules::add(&mut routes);
    receipts::add(&mut routes);
    register::add(&mut routes);
    send::add(&mut routes);
    state::add(&mut routes);
    sync::add(&mut routes);
    to_device::add(&mut routes);
    versions::add(&mut routes);
    routes
}
