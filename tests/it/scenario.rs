//! From one scenario, a test on each homeserver: same steps, same assertions.

/// Makes of each scenario, a function of [`On`], a test on both homeservers by each way.
macro_rules! everywhere {
    ($($scenario:ident),+ $(,)?) => { $(
        crate::scenario::tests! {
            $scenario:
            synapse Synapse,
            synapse_by_gateway SynapseByGateway,
            serve Serve,
            serve_over_http ServeOverHttp,
            serve_by_gateway ServeByGateway
        }
    )+ };
}

/// Makes of each scenario, a function of [`On`], a test on Synapse and one on `grotto serve`, each
/// by the way that grotto takes by itself.
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => { $(
        crate::scenario::tests! { $scenario: synapse Synapse, serve Serve }
    )+ };
}

/// Makes of each scenario, a function of [`On`], a test on Synapse and one on `grotto serve`, both
/// over HTTP, where a `Meddler` can stand between.
macro_rules! over_http {
    ($($scenario:ident),+ $(,)?) => { $(
        crate::scenario::tests! { $scenario: synapse Synapse, serve_over_http ServeOverHttp }
    )+ };
}

/// Makes of each scenario, a function of [`On`], a test on every server end of the stream: the
/// gateway before either homeserver, and our homeserver's own.
macro_rules! on_each_stream {
    ($($scenario:ident),+ $(,)?) => { $(
        crate::scenario::tests! {
            $scenario:
            synapse_by_gateway SynapseByGateway,
            serve Serve,
            serve_by_gateway ServeByGateway
        }
    )+ };
}

/// The tests of one scenario, by name and way.
macro_rules! tests {
    ($scenario:ident: $($name:ident $way:ident),+) => {
        mod $scenario {
            use crate::homeserver::On;

            $(
                #[test]
                fn $name() {
                    super::$scenario(On::$way);
                }
            )+
        }
    };
}

pub(crate) use {everywhere, on_both, on_each_stream, over_http, tests};
