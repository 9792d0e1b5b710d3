//! The endpoints, a file for each topic.

#![expect(clippy::needless_pass_by_value, reason = "handlers have one shape")]

mod absent;
mod account;
mod account_data;
mod backup;
mod create_room;
mod cross_signing;
mod devices;
mod filters;
mod history;
mod keys;
mod login;
mod media;
mod membership;
mod presence;
mod profile;
mod push_rules;
mod pushers;
mod receipts;
mod register;
mod send;
mod state;
mod sync;
mod to_device;
mod user_directory;
mod versions;
mod well_known;

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
    absent::add(&mut routes);
    backup::add(&mut routes);
    presence::add(&mut routes);
    profile::add(&mut routes);
    pushers::add(&mut routes);
    user_directory::add(&mut routes);
    well_known::add(&mut routes);
    versions::add(&mut routes);
    routes
}
