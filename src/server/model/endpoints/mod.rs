//! The endpoints, a file for each topic.

#![expect(clippy::needless_pass_by_value, reason = "handlers have one shape")]

mod absent;
mod account;
mod account_data;
mod aliases;
mod backup;
mod create_room;
mod cross_signing;
mod dehydrated_device;
mod devices;
mod directory;
mod filters;
mod history;
mod keys;
mod login;
mod media;
mod members;
mod membership;
mod presence;
mod profile;
mod push_rules;
mod pushers;
mod receipts;
mod register;
mod relations;
mod reports;
mod send;
mod sliding_sync;
mod spaces;
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
    absent::add(&mut routes);
    account::add(&mut routes);
    account_data::add(&mut routes);
    aliases::add(&mut routes);
    backup::add(&mut routes);
    create_room::add(&mut routes);
    cross_signing::add(&mut routes);
    dehydrated_device::add(&mut routes);
    devices::add(&mut routes);
    directory::add(&mut routes);
    filters::add(&mut routes);
    history::add(&mut routes);
    keys::add(&mut routes);
    login::add(&mut routes);
    media::add(&mut routes);
    members::add(&mut routes);
    membership::add(&mut routes);
    presence::add(&mut routes);
    profile::add(&mut routes);
    push_rules::add(&mut routes);
    pushers::add(&mut routes);
    receipts::add(&mut routes);
    register::add(&mut routes);
    relations::add(&mut routes);
    reports::add(&mut routes);
    send::add(&mut routes);
    spaces::add(&mut routes);
    state::add(&mut routes);
    sliding_sync::add(&mut routes);
    sync::add(&mut routes);
    to_device::add(&mut routes);
    user_directory::add(&mut routes);
    versions::add(&mut routes);
    well_known::add(&mut routes);
    routes
}

#[cfg(test)]
mod tests;
