//! Counters of each verified client.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The counters of one verified client, over all of its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientTotals {
    /// The first of the client's [names](crate::Peer::names).
    pub name: Arc<str>,
    /// Connections that completed their handshake.
    pub connections: u64,
    /// Bytes received, decrypted and still compressed.
    pub received: u64,
    /// The last time that the client connected or that bytes arrived, in milliseconds.
    pub last_seen: SystemTime,
}

/// The clients that are counted, up to a limit.
pub(crate) struct Clients {
    most: usize,
    by_name: Mutex<HashMap<Arc<str>, Arc<ClientCounters>>>,
}

/// The live counters behind [`ClientTotals`]. An open connection of the client keeps them.
#[derive(Debug, Default)]
pub(crate) struct ClientCounters {
    connections: AtomicU64,
    received: AtomicU64,
    /// In milliseconds since 1970-01-01 (UTC).
    seen: AtomicU64,
}

impl Clients {
    pub(crate) fn new(most: usize) -> Self {
        Clients {
            most,
            by_name: Mutex::default(),
        }
    }

    /// Counts a connection of this client; returns the counters for it. Once there are as many clients
    /// as are counted, a new one takes the place of the one that was away for longest; `None` if none is
    /// away.
    pub(crate) fn opened(&self, name: &str) -> Option<Arc<ClientCounters>> {
        if self.most == 0 {
            return None;
        }
        let mut by_name = self.lock();
        let counters = match by_name.get(name) {
            Some(counters) => Arc::clone(counters),
            None => {
                if by_name.len() >= self.most {
                    let away = by_name
                        .iter()
                        // No connection has these counters.
                        .filter(|(_, counters)| Arc::strong_count(counters) == 1)
                        .min_by_key(|(_, counters)| counters.seen.load(Relaxed));
                    let longest = away.map(|(name, _)| Arc::clone(name))?;
                    by_name.remove(&longest);
                }
                let counters = Arc::<ClientCounters>::default();
                by_name.insert(name.into(), Arc::clone(&counters));
                counters
            }
        };
        drop(by_name);
        counters.connections.fetch_add(1, Relaxed);
        counters.received(0);
        Some(counters)
    }

    /// The counters of all clients, in no order.
    pub(crate) fn totals(&self) -> Vec<ClientTotals> {
        let by_name: Vec<_> = {
            let by_name = self.lock();
            let clients = by_name.iter();
            clients
                .map(|(name, counters)| (Arc::clone(name), Arc::clone(counters)))
                .collect()
        };
        by_name
            .into_iter()
            .map(|(name, counters)| ClientTotals {
                name,
                connections: counters.connections.load(Relaxed),
                received: counters.received.load(Relaxed),
                last_seen: UNIX_EPOCH + Duration::from_millis(counters.seen.load(Relaxed)),
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<ClientCounters>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl ClientCounters {
    /// Counts bytes of the client.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.unwrap_or_default().as_millis();
        self.seen
            .store(u64::try_from(millis).unwrap_or(u64::MAX), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(clients: &Clients) -> Vec<String> {
        let mut names: Vec<_> = clients
            .totals()
            .into_iter()
            .map(|client| client.name.to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_client_takes_the_place_of_the_one_that_was_away_for_longest() {
        let clients = Clients::new(2);
        let one = clients.opened("one").unwrap();
        let two = clients.opened("two").unwrap();
        assert!(clients.opened("three").is_none());
        one.seen.store(1, Relaxed);
        two.seen.store(2, Relaxed);
        drop((one, two));
        let three = clients.opened("three").unwrap();
        assert_eq!(names(&clients), ["three", "two"]);
        // One that is known keeps its place and its numbers.
        clients.opened("two").unwrap().received(7);
        let again = clients.opened("two").unwrap();
        let totals = clients.totals();
        let two = totals.iter().find(|client| &*client.name == "two").unwrap();
        assert_eq!((two.connections, two.received), (3, 7));
        assert!(two.last_seen.elapsed().unwrap() < Duration::from_secs(3600));
        assert!(clients.opened("four").is_none());
        drop((again, three));
    }

    #[test]
    fn nothing_is_counted_unless_it_is_asked_for() {
        let clients = Clients::new(0);
        assert!(clients.opened("one").is_none());
        assert!(clients.totals().is_empty());
    }
}
