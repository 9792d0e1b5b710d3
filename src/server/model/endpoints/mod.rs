//! The endpoints, a file for each topic.

mod account;
mod cross_signing;
mod keys;
mod login;
mod media;
mod register;
mod versions;

use super::route::Routes;

/// All of them.
pub(super) fn routes() -> Routes {
    let mut routes = Routes::default();
    account::add(&mut routes);
    cross_signing::add(&mut routes);
    keys::add(&mut routes);
    login::add(&mut routes);
    register::add(&mut routes);
    media::add(&mut routes);
    versions::add(&mut routes);
    routes
}
