//! The endpoints, a file for each topic.

mod account;
mod login;
mod media;
mod register;
mod versions;

use super::route::Routes;

/// All of them.
pub(super) fn routes() -> Routes {
    let mut routes = Routes::default();
    account::add(&mut routes);
    login::add(&mut routes);
    register::add(&mut routes);
    media::add(&mut routes);
    versions::add(&mut routes);
    routes
}
