//! A proxy that cuts connections at random bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::common::dice::Dice;
use crate::common::program::FREE;

/// Passes connections on to a receiver whose address may change. It ends when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<Option<SocketAddr>>,
    links: Mutex<Vec<Weak<Link>>>,
    /// The bytes passed on to a receiver.
    passed: AtomicU64,
    is_calm: AtomicBool,
    has_ended: AtomicBool,
}

/// A sender's connection and the one to a receiver. They are closed when both directions have ended.
struct Link {
    sender: TcpStream,
    receiver: TcpStream,
    is_cut: AtomicBool,
    /// So that more happens before its end.
    is_slow: bool,
}

/// The manner in which a connection is cut.
#[derive(Clone, Copy)]
enum Cut {
    Fin,
    Reset,
}

/// The time after which a thread that can't write looks whether its link was cut.
const LOOK: Duration = Duration::from_millis(50);

impl Proxy {
    pub fn start(seed: u64) -> Proxy {
        let listener = TcpListener::bind(FREE).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::default(),
            links: Mutex::default(),
            passed: AtomicU64::new(0),
            is_calm: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for (number, sender) in (0..).zip(listener.incoming()) {
                if serving.has_ended.load(Ordering::Acquire) {
                    break;
                }
                if let Ok(sender) = sender {
                    serve(&serving, sender, Dice::new(seed.wrapping_add(number)));
                }
            }
        });
        Proxy { address, shared }
    }

    /// From now on, connections go there, or are closed at once.
    pub fn set_target(&self, target: Option<SocketAddr>) {
        *self.shared.target.lock().unwrap() = target;
    }

    /// From now on, no connection is cut.
    pub fn calm(&self) {
        self.shared.is_calm.store(true, Ordering::Release);
    }

    pub fn cut_all(&self) {
        let links = self.shared.links.lock();
        let mut links = links.unwrap_or_else(PoisonError::into_inner);
        for link in links.drain(..).filter_map(|link| link.upgrade()) {
            link.cut(Cut::Reset);
        }
    }

    /// The bytes that came for receivers so far.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
        self.cut_all();
    }
}

fn serve(shared: &Arc<Shared>, sender: TcpStream, mut dice: Dice) {
    let target = *shared.target.lock().unwrap();
    let receiver = target.and_then(|target| TcpStream::connect(target).ok());
    let Some(receiver) = receiver else { return };
    let is_cut = dice.below(2) == 0;
    let upwards = dice.below(4) > 0;
    let most = dice.one_of(&[1_000, 10_000, 100_000]);
    let after = dice.below(most);
    let how = dice.one_of(&[Cut::Fin, Cut::Reset]);
    for stream in [&sender, &receiver] {
        stream.set_write_timeout(Some(LOOK)).unwrap();
        stream.set_nodelay(true).unwrap();
    }
    let link = Arc::new(Link {
        sender,
        receiver,
        is_cut: AtomicBool::new(false),
        is_slow: dice.below(3) == 0,
    });
    let mut links = shared.links.lock().unwrap_or_else(PoisonError::into_inner);
    links.retain(|link| link.strong_count() > 0);
    links.push(Arc::downgrade(&link));
    drop(links);
    for up in [true, false] {
        let budget = (is_cut && up == upwards).then_some(after);
        let (link, shared) = (Arc::clone(&link), Arc::clone(shared));
        thread::spawn(move || link.pass_on(&shared, up, budget, how));
    }
}

impl Link {
    /// Passes one direction on until it ends, or until the budget of bytes is used up.
    fn pass_on(&self, shared: &Shared, up: bool, mut budget: Option<usize>, how: Cut) {
        let (mut from, to) = match up {
            true => (&self.sender, &self.receiver),
            false => (&self.receiver, &self.sender),
        };
        let mut piece = vec![0; if self.is_slow { 1 << 10 } else { 16 << 10 }];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if shared.is_calm.load(Ordering::Acquire) {
                budget = None;
            } else if self.is_slow {
                thread::sleep(Duration::from_millis(2));
            }
            let passed = budget.map_or(count, |budget| budget.min(count));
            if self.write_all(to, &piece[..passed]).is_err() {
                return self.cut(Cut::Reset);
            }
            if up {
                shared.passed.fetch_add(passed as u64, Ordering::Relaxed);
            }
            if passed < count {
                return self.cut(how);
            }
            budget = budget.map(|budget| budget - count);
        }
        if !self.is_cut.load(Ordering::Acquire) {
            // The other half goes on.
            _ = to.shutdown(Shutdown::Write);
        }
    }

    /// Writes all bytes, unless the link is cut meanwhile.
    fn write_all(&self, mut to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(error) if self.is_cut.load(Ordering::Acquire) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn cut(&self, how: Cut) {
        self.is_cut.store(true, Ordering::Release);
        for stream in [&self.sender, &self.receiver] {
            // Errors mean that it has ended already.
            match how {
                Cut::Fin => _ = stream.shutdown(Shutdown::Both),
                Cut::Reset => {
                    _ = set_socket_linger(stream, Some(Duration::ZERO));
                    // Wakes the thread that reads; the last one to end closes, which resets.
                    _ = stream.shutdown(Shutdown::Read);
                }
            }
        }
    }
}
