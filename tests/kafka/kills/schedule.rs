//! The processes that die or are stopped, and when.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::site::{Daemon, Site};
use crate::brokers::{Brokers, NODES};
use crate::common::dice::Dice;

/// The time between two events.
const TICK: Duration = Duration::from_secs(1);

/// The time for which a process is stopped.
const STOP: Duration = Duration::from_secs(5);

/// The longest time for which a process is dead, in seconds. A broker takes some more to start.
const DEATH: usize = 4;

/// Kills and stops processes, and lets them work again. A seed decides what happens, as far as processes
/// work.
pub struct Schedule<'a> {
    brokers: &'a Brokers,
    receivers: &'a mut [Daemon],
    balancer: &'a mut Daemon,
    dice: Dice,
    start: Instant,
    outages: Vec<Outage>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Receiver(usize),
    Broker(u32),
    Balancer,
}

/// A process that does not work.
struct Outage {
    victim: Victim,
    state: State,
}

enum State {
    Dead {
        until: Instant,
    },
    Stopped {
        until: Instant,
    },
    /// A broker, until it takes part.
    Starting(Arc<AtomicBool>),
}

impl<'a> Schedule<'a> {
    /// The start is that of the times which are printed.
    pub fn new(site: &'a mut Site, dice: Dice, start: Instant) -> Self {
        Schedule {
            brokers: &site.brokers,
            receivers: &mut site.receivers,
            balancer: &mut site.balancer,
            dice,
            start,
            outages: Vec::new(),
        }
    }

    /// Returns when this time is over, and all processes work again.
    pub fn run(mut self, duration: Duration) {
        let end = Instant::now() + duration;
        thread::scope(|scope| {
            let mut now = Instant::now();
            while now < end {
                self.heal(now, scope);
                self.strike(now);
                thread::sleep((now + TICK).saturating_duration_since(Instant::now()));
                now = Instant::now();
            }
            let last = end + STOP.max(TICK * DEATH as u32);
            self.heal(last, scope);
        });
        for daemon in self.receivers.iter_mut().chain([self.balancer]) {
            daemon.check();
        }
    }

    /// Ends the outages that are to end by now.
    fn heal<'scope>(&mut self, now: Instant, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        for mut outage in std::mem::take(&mut self.outages) {
            let Outage { victim, state } = &mut outage;
            match state {
                State::Dead { until } if *until <= now => {
                    self.say(&format!("start {victim}"));
                    let Victim::Broker(node) = *victim else {
                        self.daemon(*victim).start();
                        continue;
                    };
                    let takes_part = Arc::new(AtomicBool::new(false));
                    *state = State::Starting(Arc::clone(&takes_part));
                    let brokers = self.brokers;
                    scope.spawn(move || {
                        brokers.revive(node);
                        takes_part.store(true, Ordering::Release);
                    });
                }
                State::Stopped { until } if *until <= now => {
                    self.say(&format!("continue {victim}"));
                    match *victim {
                        Victim::Broker(node) => self.brokers.resume(node),
                        victim => self.daemon(victim).signal(Signal::CONT),
                    }
                    continue;
                }
                State::Starting(takes_part) if takes_part.load(Ordering::Acquire) => {
                    self.say(&format!("{victim} takes part"));
                    continue;
                }
                _ => {}
            }
            self.outages.push(outage);
        }
    }

    /// Kills or stops a process, if the one that is rolled works.
    fn strike(&mut self, now: Instant) {
        let (victim, which) = match self.dice.below(20) {
            0..10 => {
                let number = self.dice.below(self.receivers.len());
                (Victim::Receiver(number), "")
            }
            10..14 => (Victim::Broker(self.dice.one_of(&NODES)), ""),
            14..17 => match self.brokers.controller() {
                Some(node) => (Victim::Broker(node), ", the controller"),
                None => return,
            },
            _ => (Victim::Balancer, ""),
        };
        let kills = self.dice.below(2) == 0;
        let death = TICK * (1 + self.dice.below(DEATH) as u32);
        if !self.may_fail(victim, kills) {
            return;
        }
        let (what, state) = match kills {
            true => ("kill", State::Dead { until: now + death }),
            false => ("stop", State::Stopped { until: now + STOP }),
        };
        self.say(&format!("{what} {victim}{which}"));
        match (victim, kills) {
            (Victim::Broker(node), true) => self.brokers.kill(node),
            (Victim::Broker(node), false) => self.brokers.suspend(node),
            (victim, true) => self.daemon(victim).kill(),
            (victim, false) => self.daemon(victim).signal(Signal::STOP),
        }
        self.outages.push(Outage { victim, state });
    }

    /// One broker may be dead, and another one stopped: without a majority, everything waits.
    fn may_fail(&self, victim: Victim, kills: bool) -> bool {
        let is_broker = |victim| matches!(victim, Victim::Broker(_));
        let out = self.outages.iter().map(|outage| outage.victim);
        let brokers_out = out.clone().filter(|out| is_broker(*out)).count();
        let most = usize::from(!kills);
        out.clone().all(|out| out != victim) && (!is_broker(victim) || brokers_out <= most)
    }

    fn daemon(&mut self, victim: Victim) -> &mut Daemon {
        match victim {
            Victim::Receiver(number) => &mut self.receivers[number],
            Victim::Balancer => self.balancer,
            Victim::Broker(_) => unreachable!("the script of the cluster runs it"),
        }
    }

    /// libtest shows this only if the test fails.
    fn say(&self, what: &str) {
        println!("{:6.1} s: {what}", self.start.elapsed().as_secs_f64());
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Victim::Receiver(number) => write!(f, "receiver {number}"),
            Victim::Broker(node) => write!(f, "broker {node}"),
            Victim::Balancer => f.write_str("the balancer"),
        }
    }
}
