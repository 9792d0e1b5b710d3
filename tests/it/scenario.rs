//! From one scenario, a test on each homeserver: same steps, same assertions.

/// Makes of each scenario, a function of [`On`], a test on both homeservers by each way.
macro_rules! everywhere {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            use crate::homeserver::On;

            #[test]
            fn synapse() {
                super::$scenario(On::Synapse);
            }

            #[test]
            fn synapse_by_gateway() {
                super::$scenario(On::SynapseByGateway);
            }

            #[test]
            fn serve() {
                super::$scenario(On::Serve);
            }

            #[test]
            fn serve_over_http() {
                super::$scenario(On::ServeOverHttp);
            }

            #[test]
            fn serve_by_gateway() {
                super::$scenario(On::ServeByGateway);
            }
        }
    )+ };
}

/// Makes of each scenario, a function of [`On`], a test on Synapse and one on `grotto serve`, each
/// by the way that grotto takes by itself.
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            use crate::homeserver::On;

            #[test]
            fn synapse() {
                super::$scenario(On::Synapse);
            }

            #[test]
            fn serve() {
                super::$scenario(On::Serve);
            }
        }
    )+ };
}

/// Makes of each scenario, a function of [`On`], a test on every server end of the stream: the
/// gateway before either homeserver, and our homeserver's own.
macro_rules! on_each_stream {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            use crate::homeserver::On;

            #[test]
            fn synapse_by_gateway() {
                super::$scenario(On::SynapseByGateway);
            }

            #[test]
            fn serve() {
                super::$scenario(On::Serve);
            }

            #[test]
            fn serve_by_gateway() {
                super::$scenario(On::ServeByGateway);
            }
        }
    )+ };
}

pub(crate) use {everywhere, on_both, on_each_stream};
