//! The endpoints, a file for each topic.

mod versions;

use super::route::Routes;

/// All of them.
pub(super) fn routes() -> Routes {
    let mut routes = Routes::default();
    versions::add(&mut routes);
    routes
}
