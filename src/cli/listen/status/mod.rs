//! `--status`: metrics for Prometheus, and the health for balancers, over HTTP.
//!
//! A thread of its own serves them, and reads counters that take no lock of a lane: neither a slow
//! scraper nor a hostile one delays a sender.

use std::sync::Arc;

use smol::LocalExecutor;
use tlsink::Server;

use super::super::listen_address::ListenAddress;
use super::super::say::Say;
use super::super::{Failure, start_thread};
use super::health::Health;
use super::listener::{Listener, Listeners, SocketFile};
use super::observed::Meter;
use super::outlet::Backlog;
use tlsink::Tls;

mod http;
mod metrics;

pub(super) use http::MAX_CONNECTIONS;
use http::Response;
pub(super) use metrics::MAX_CLIENTS;

/// A part that has not turned for this long fails the health check.
const HANGING: std::time::Duration = std::time::Duration::from_secs(10);

/// The listening status server.
pub(super) struct StatusListener(Listeners);

/// The things that the status server shows.
pub(super) struct Status {
    pub(super) server: Server,
    pub(super) health: Arc<Health>,
    pub(super) tls: Tls,
    pub(super) meters: Vec<Arc<Meter>>,
    /// The bytes that threads of the output's own have yet to deal with, if it has some.
    pub(super) backlog: Option<Backlog>,
}

impl StatusListener {
    /// Listens; beside another program that does so too, if `reuse_port`.
    ///
    /// # Errors
    ///
    /// When the address can't be listened on.
    pub(super) fn bind(
        address: &ListenAddress,
        reuse_port: bool,
        say: &Say,
    ) -> Result<Self, Failure> {
        let addresses = std::slice::from_ref(address);
        smol::block_on(Listeners::bind(addresses, reuse_port, say)).map(StatusListener)
    }

    /// Says where it listens, and serves `status` from now on. Returns the files of its sockets, which
    /// are removed when they are dropped.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(self, status: Status, say: &Say) -> Result<Vec<SocketFile>, Failure> {
        let Listeners {
            all: listeners,
            files,
        } = self.0;
        for listener in &listeners {
            let address = &listener.address;
            say.info(&format!("serving /metrics and /healthz on {address}"));
            if !address.is_local() {
                say.warning(&format!(
                    "anybody who reaches {address} can read the names of senders there"
                ));
            }
        }
        start_thread("status", move || {
            let executor = LocalExecutor::new();
            let serving = async {
                let serving: Vec<_> = listeners
                    .iter()
                    .map(|listener| executor.spawn(serve(listener, &status)))
                    .collect();
                for one in serving {
                    one.await;
                }
            };
            smol::block_on(executor.run(serving));
        })?;
        Ok(files)
    }
}

async fn serve(listener: &Listener, status: &Status) {
    http::serve(|| listener.accept(), |path| status.respond(path)).await;
}

impl Status {
    fn respond(&self, path: &str) -> Response {
        match path {
            "/metrics" => Response::metrics(metrics::exposition(self)),
            "/healthz" => match self.fault() {
                None => Response::text(200, "ok\n".to_owned()),
                Some(fault) => Response::text(503, format!("{fault}\n")),
            },
            _ => Response::text(404, "tlsink serves /metrics and /healthz\n".to_owned()),
        }
    }

    /// The reason why no more senders should be sent here, if there is one.
    fn fault(&self) -> Option<String> {
        if self.health.is_stopping() {
            return Some("stopping".to_owned());
        }
        let silent = || self.backlog.as_ref()?.fault();
        self.health.hanging(HANGING).or_else(silent)
    }
}
