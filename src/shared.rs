//! The state that a server and its connections share: settings, limits, and a registry of connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::channel::EventSender;
use crate::clients::Clients;
use crate::conn::ConnId;
use crate::event::BufferPool;
use crate::lane::Lane;
use crate::link::{Link, Request};
use crate::memory::Memory;
use crate::peer::{Address, Peer};
use crate::places::Places;
use crate::rate::Rates;
use crate::report::Report;
use crate::tls::Tls;
use crate::totals::{Counters, FailureCounters, Totals};

#[derive(Clone, Debug)]
pub(crate) struct ServerSettings {
    pub(crate) tls: Option<Tls>,
    pub(crate) handshake_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    /// The most connections that one IP address may have.
    pub(crate) max_per_ip: Option<usize>,
    /// The number of completed handshakes after which the server stops.
    pub(crate) stop_after: Option<u64>,
    /// Whether senders get receipts.
    pub(crate) receipts: bool,
    /// Decides which peers are refused.
    pub(crate) allow: Option<PeerFilter>,
    /// The most verified clients that are counted.
    pub(crate) counted_clients: usize,
}

/// Decides whether a peer may connect.
#[derive(Clone)]
pub(crate) struct PeerFilter(pub(crate) Arc<dyn Fn(&Peer) -> bool + Send + Sync>);

impl fmt::Debug for PeerFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerFilter")
    }
}

/// The state that a server and its connections share. Connections keep it alive, but do not keep
/// the server running.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: ServerSettings,
    pub(crate) buffers: Arc<BufferPool>,
    pub(crate) memory: Memory,
    /// The rates of senders, if they are limited.
    pub(crate) rates: Option<Rates>,
    pub(crate) places: Arc<Places>,
    /// The number of connections that may still complete their handshake.
    admissions: AtomicU64,
    stopped: AtomicBool,
    stop: event_listener::Event,
    registry: Mutex<Registry>,
    /// The lane of each sink, which stays when the channels are closed.
    lanes: Vec<Arc<Lane>>,
    /// The number of connections in the registry, readable without its lock.
    connections: AtomicUsize,
    /// The number of those among them that have not completed their handshake.
    pub(crate) handshakes: AtomicUsize,
    /// Notified when `connections` becomes 0.
    none: event_listener::Event,
    counters: Vec<Arc<Counters>>,
    pub(crate) failures: FailureCounters,
    pub(crate) clients: Clients,
}

/// The result of registering a connection.
pub(crate) struct Registration {
    pub(crate) id: ConnId,
    /// The channel to the connection's sink; `None` once the server is stopped.
    pub(crate) channel: Option<EventSender>,
    /// The connection limit, if the peer's address exceeds it.
    pub(crate) too_many: Option<usize>,
}

/// Channels and links are under one lock, so every connection that has a channel to a sink can be
/// cut.
#[derive(Debug)]
struct Registry {
    /// The channel to each sink; empty once the server is stopped. A sink ends when no connection
    /// has its channel either.
    channels: Vec<EventSender>,
    /// All connections that have neither resolved nor been dropped.
    links: HashMap<ConnId, Arc<Link>>,
    /// The number of connections from each host, if that is limited.
    per_ip: HashMap<Host, usize>,
    /// The last connection's number.
    last: u64,
    /// The reports of connections that were cut after the server was stopped.
    cut: Vec<Report>,
}

/// A host, as its connections are counted. The same link-local address on another interface is
/// another host (RFC 4007, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Host {
    ip: IpAddr,
    /// The interface of a link-local address; 0 for any other.
    zone: u32,
}

impl Host {
    fn of(address: SocketAddr) -> Self {
        Host {
            ip: address.ip().to_canonical(),
            zone: match address {
                SocketAddr::V4(_) => 0,
                SocketAddr::V6(address) => address.scope_id(),
            },
        }
    }
}

impl Shared {
    pub(crate) fn new(
        settings: ServerSettings,
        memory: Memory,
        rates: Option<Rates>,
        max_connections: usize,
        channels: Vec<EventSender>,
        counters: Vec<Arc<Counters>>,
    ) -> Arc<Self> {
        Arc::new(Shared {
            clients: Clients::new(settings.counted_clients),
            admissions: AtomicU64::new(settings.stop_after.unwrap_or(u64::MAX)),
            settings,
            buffers: Arc::default(),
            memory,
            rates,
            places: Places::new(max_connections),
            stopped: AtomicBool::new(false),
            stop: event_listener::Event::new(),
            lanes: channels.iter().map(|one| Arc::clone(one.lane())).collect(),
            registry: Mutex::new(Registry {
                channels,
                links: HashMap::new(),
                per_ip: HashMap::new(),
                last: 0,
                cut: Vec::new(),
            }),
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            none: event_listener::Event::new(),
            counters,
            failures: FailureCounters::default(),
        })
    }

    /// Registers a new connection, until [`forget`](Self::forget) removes it.
    pub(crate) fn register(&self, link: &Arc<Link>, peer: &Peer) -> Registration {
        let mut registry = self.registry();
        registry.last += 1;
        let id = ConnId(registry.last);
        registry.links.insert(id, Arc::clone(link));
        self.count(&registry);
        let channel = registry.channels.get(self.lane(id)).cloned();
        let too_many = self.count_peer(&mut registry, peer);
        Registration {
            id,
            channel,
            too_many,
        }
    }

    /// The index of the sink for a connection's stream. Connections are distributed in turn: which
    /// sink has less to do is known only afterwards.
    pub(crate) fn lane(&self, id: ConnId) -> usize {
        // There is one set of counters for each sink.
        (id.0 as usize)
            .checked_rem(self.counters.len())
            .unwrap_or(0)
    }

    /// Counts a connection for another peer. Returns the connection limit, if the new peer's address
    /// exceeds it.
    pub(crate) fn change_peer(&self, before: Option<&Peer>, peer: Option<&Peer>) -> Option<usize> {
        let mut registry = self.registry();
        if let Some(before) = before {
            self.discount_peer(&mut registry, before);
        }
        peer.and_then(|peer| self.count_peer(&mut registry, peer))
    }

    /// Removes a connection, which counts for this peer.
    pub(crate) fn forget(&self, id: ConnId, peer: Option<&Peer>) {
        let mut registry = self.registry();
        registry.links.remove(&id);
        self.count(&registry);
        if let Some(peer) = peer {
            self.discount_peer(&mut registry, peer);
        }
    }

    /// Returns the connection limit, if the peer's address now exceeds it.
    fn count_peer(&self, registry: &mut Registry, peer: &Peer) -> Option<usize> {
        let (ip, limit) = self.limited(peer)?;
        let count = registry.per_ip.entry(ip).or_default();
        *count += 1;
        (*count > limit).then_some(limit)
    }

    fn discount_peer(&self, registry: &mut Registry, peer: &Peer) {
        if let Some((ip, _)) = self.limited(peer)
            && let Entry::Occupied(mut count) = registry.per_ip.entry(ip)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// The host that the peer's connections count for, and the most that it may have.
    fn limited(&self, peer: &Peer) -> Option<(Host, usize)> {
        match (peer.address(), self.settings.max_per_ip) {
            (Address::Ip(address), Some(limit)) => Some((Host::of(*address), limit)),
            _ => None,
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.counters
            .iter()
            .map(|counters| counters.totals())
            .fold(Totals::default(), std::ops::Add::add)
    }

    /// The number of connections that have neither resolved nor been dropped.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    fn count(&self, registry: &Registry) {
        let count = registry.links.len();
        // The registry is locked, so the value stored last is the true one.
        self.connections.store(count, Ordering::Release);
        if count == 0 {
            self.none.notify(usize::MAX);
        }
    }

    pub(crate) async fn until_no_connections(&self) {
        while self.connections() > 0 {
            // Listen first, then look once more, as in `until_stopped`.
            let none = self.none.listen();
            if self.connections() > 0 {
                none.await;
            }
        }
    }

    /// Keeps the report of a connection that was cut, if the server is being stopped. Before the
    /// stop, nobody asks for such reports, and their number has no bound.
    pub(crate) fn remember_cut(&self, report: &Report) {
        let mut registry = self.registry();
        if registry.channels.is_empty() {
            registry.cut.push(report.clone());
        }
    }

    pub(crate) fn cut_reports(&self) -> Vec<Report> {
        self.registry().cut.clone()
    }

    /// Decides whether to admit a connection that has completed its handshake.
    pub(crate) fn admit(&self) -> bool {
        let left = self
            .admissions
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
        if left == Ok(1) {
            self.stop();
        }
        left.is_ok()
    }

    pub(crate) fn cut(&self) {
        let registry = self.registry();
        for link in registry.links.values() {
            link.request(Request::Cut);
        }
        let last = ConnId(registry.last);
        drop(registry);
        // A sink may still wait for holds of streams whose connections were dropped.
        for lane in &self.lanes {
            lane.cut(last);
        }
    }

    pub(crate) fn stop(&self) {
        self.registry().channels.clear();
        self.stopped.store(true, Ordering::Release);
        self.stop.notify(usize::MAX);
    }

    pub(crate) async fn until_stopped(&self) {
        while !self.stopped.load(Ordering::Acquire) {
            // Listen first, then look once more: a stop in between is not missed.
            let stop = self.stop.listen();
            if !self.stopped.load(Ordering::Acquire) {
                stop.await;
            }
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_is_another_host_on_another_interface() {
        let host = |address: &str| Host::of(address.parse().unwrap());
        for (one, other, is_same) in [
            ("[fe80::1%4]:9", "[fe80::1%4]:8", true),
            ("[fe80::1%4]:9", "[fe80::1%5]:9", false),
            ("[::ffff:192.0.2.7]:9", "192.0.2.7:9", true),
            ("192.0.2.7:9", "192.0.2.8:9", false),
        ] {
            assert_eq!(host(one) == host(other), is_same, "{one} {other}");
        }
    }
}
