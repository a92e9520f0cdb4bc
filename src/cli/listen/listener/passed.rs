//! Listening on sockets that systemd has opened (sd_listen_fds(3)).

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use smol::Async;

use super::super::super::Failure;
use super::super::super::count::Count;
use super::super::super::keep_alive::keep_alive;
use super::super::super::listen_address::{FIRST_PASSED, ListenAddress, Passed};
use super::super::super::platform::is_listening;
use super::super::super::say::Say;
use super::{Bound, ListeningSocket};

/// The sockets that were passed on, and that no listener has taken yet.
pub(super) struct PassedSockets {
    descriptors: ListenFd,
    /// The name of each, in order.
    names: Vec<String>,
    taken: Vec<bool>,
}

/// More sockets than any unit has, so that a wrong number is no great amount of memory.
const MOST_SOCKETS: usize = 4096;

/// The name of sockets that have none (sd_listen_fds(3)).
const UNNAMED: &str = "unknown";

const HINT: &str = "systemd passes sockets to the service of a .socket unit, and FileDescriptorName= \
                    there names them";

impl PassedSockets {
    /// Takes all sockets that are meant for this process. `wanted` is for the error.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub(super) fn take(wanted: &ListenAddress) -> Result<Self, Failure> {
        let number = |name| env::var(name).ok()?.parse::<usize>().ok();
        let none = |why: &str| Failure::misused(format!("{wanted}: {why}")).hint(HINT);
        let Some(count) = number("LISTEN_FDS").filter(|count| (1..=MOST_SOCKETS).contains(count))
        else {
            return Err(none("no sockets were passed (LISTEN_FDS)"));
        };
        // A process inherits the variables of its parent, and none of its sockets.
        if number("LISTEN_PID") != usize::try_from(std::process::id()).ok() {
            return Err(none(
                "the sockets were passed to another process (LISTEN_PID)",
            ));
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let names = (0..count).map(|_| match names.next() {
            None | Some("") => UNNAMED.to_owned(),
            Some(name) => name.to_owned(),
        });
        Ok(PassedSockets {
            names: names.collect(),
            taken: vec![false; count],
            // This closes each on exec, and removes the variables: they are not for child processes.
            descriptors: ListenFd::from_env(),
        })
    }

    /// Takes the sockets with this number or name.
    ///
    /// # Errors
    ///
    /// When there are none, or they are taken, or no listening stream sockets.
    pub(super) fn named(
        &mut self,
        wanted: &Passed,
    ) -> Result<Vec<(ListeningSocket, Bound)>, Failure> {
        let wrong = |why: String| Failure::misused(format!("{wanted}: {why}"));
        let indices: Vec<usize> = match wanted {
            Passed::Number(number) => {
                let index = number.checked_sub(FIRST_PASSED).map(|index| index as usize);
                index
                    .filter(|index| *index < self.names.len())
                    .into_iter()
                    .collect()
            }
            Passed::Name(name) => {
                let names = self.names.iter().enumerate();
                names
                    .filter_map(|(index, own)| (own == name).then_some(index))
                    .collect()
            }
        };
        if indices.is_empty() {
            let names = self.names.join(", ");
            return Err(wrong(format!("no such socket was passed, but {names}")).hint(HINT));
        }
        indices
            .into_iter()
            .map(|index| {
                if let Some(taken) = self.taken.get_mut(index)
                    && std::mem::replace(taken, true)
                {
                    return Err(wrong("another --listen has this socket already".to_owned()));
                }
                self.listener(index)
                    .map_err(|error| wrong(error.to_string()))
            })
            .collect()
    }

    fn listener(&mut self, index: usize) -> io::Result<(ListeningSocket, Bound)> {
        let no_listener = || io::Error::other("this is no listening TCP or Unix socket");
        // Each refuses a socket of another kind.
        if let Ok(Some(listener)) = self.descriptors.take_tcp_listener(index) {
            return match is_listening(&listener)? {
                true => tcp(listener),
                false => Err(no_listener()),
            };
        }
        match self.descriptors.take_unix_listener(index) {
            Ok(Some(listener)) if is_listening(&listener)? => unix(listener),
            _ => Err(no_listener()),
        }
    }

    /// Says that sockets were passed on which nobody listens: whoever connects to them waits forever.
    pub(super) fn say_unused(&self, say: &Say) {
        let names = self.names.iter().zip(&self.taken);
        let unused: Vec<&str> = names
            .filter_map(|(name, taken)| (!taken).then_some(name.as_str()))
            .collect();
        if !unused.is_empty() {
            let count = Count(unused.len() as u64, "passed socket");
            say.info(&format!(
                "no --listen takes {count} ({})",
                unused.join(", ")
            ));
        }
    }
}

fn tcp(listener: TcpListener) -> io::Result<(ListeningSocket, Bound)> {
    // Accepted sockets inherit it (socket(7)).
    keep_alive(&listener);
    let bound = Bound::Ip(listener.local_addr()?);
    Ok((ListeningSocket::Tcp(Async::new(listener)?), bound))
}

fn unix(listener: UnixListener) -> io::Result<(ListeningSocket, Bound)> {
    let bound = listener.local_addr()?.as_pathname().map(Into::into);
    Ok((
        ListeningSocket::Unix(Async::new(listener)?),
        Bound::Unix(bound),
    ))
}
