//! Sending streams that outlive their connection: a followed file, or standard input.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::mem;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use futures_lite::FutureExt;
use smol::Timer;
use tlsink::client::Connector;
use tlsink::resume::{Position, Preamble};

use super::super::Failure;
use super::super::args::{FollowArgs, ResumeArgs, SendArgs};
use super::super::count::Count;
use super::super::say::Say;
use super::encode::StreamEncoder;
use super::follow::{self, Begun, Servers, State, StateFile};
use super::input::Input;
use super::stop::{StopSignals, Stopped};
use super::{CHATTER, connect, warn_if_unverified};

mod backlog;
mod feed;
mod keeper;
mod pause;
mod session;
mod standing;
mod stream;

use feed::{Feed, Source};
use keeper::Keeper;
use pause::Pauses;
use session::{Break, Session};
use standing::Standing;
use stream::Stream;

/// The pause after another connection took the stream over: the other sender should be stopped, and
/// until then the two should not take it from each other all the time.
const TAKEN_OVER: Duration = Duration::from_secs(30);

/// A connection that its server ends sooner, without having acknowledged anything, is followed by a
/// pause: such a server would make a sender connect all the time.
const FUTILE: Duration = Duration::from_secs(1);

/// Sends, until everything is acknowledged.
///
/// # Errors
///
/// When the stream can't go on, or when the server does not have everything in time at the end.
pub(super) fn run(args: &SendArgs, resume: &ResumeArgs, say: &Say) -> Result<(), Failure> {
    // It is better found now that the format is not built in.
    StreamEncoder::new(args.encode, args.compression)?;
    let connector = connect::connector(args, CHATTER)?;
    let signals = StopSignals::handle()?;
    let (stopping, stop) = async_channel::bounded::<()>(1);
    let (mut feed, mut stream, ending) = match &resume.follow {
        Some(follow) => {
            let (feed, stream) = open_file(follow, resume, &stop, say)?;
            (feed, stream, None)
        }
        None => open_input(resume, say)?,
    };
    for (to, _) in &resume.servers {
        warn_if_unverified(args, to, say);
    }
    let is_live = resume.follow.is_some() || ending.is_some();
    let is_stopped_now = Cell::new(false);
    let stopped = async {
        let input = || is_live.then_some((stopping, ending));
        let stopped = signals.stopped(input, say).await;
        is_stopped_now.set(stopped == Stopped::AtOnce);
        Err(Failure::failed(match stopped {
            Stopped::AtOnce => "stopped before a server had everything".to_owned(),
            Stopped::Late(limit) => {
                format!("no server had everything {limit} s after the signal")
            }
        }))
    };
    let sending = Sending {
        args,
        resume,
        connector: &connector,
        say,
    };
    let sent = smol::block_on(stopped.or(sending.run(&mut feed, &mut stream)));
    let (left, end) = (feed.backlog().len(), feed.backlog().end());
    let saved = match is_stopped_now.get() {
        true => Ok(()),
        false => feed.finish(),
    };
    match sent {
        Ok(()) => {
            saved?;
            let name = stream.name;
            say.info(&format!(
                "everything up to byte {end} of {name:?} is acknowledged"
            ));
            Ok(())
        }
        Err(failure) => {
            if let Err(unsaved) = saved {
                say.error(&unsaved.what);
            }
            if left == 0 {
                return Err(failure);
            }
            let left = Count(left, "byte");
            Err(failure.more(&match resume.follow {
                Some(_) => format!("{left} wait for the next start"),
                None => format!("{left} were read and are not acknowledged"),
            }))
        }
    }
}

/// Opens the file to follow, and its state.
fn open_file(
    follow: &FollowArgs,
    resume: &ResumeArgs,
    stop: &Receiver<()>,
    say: &Say,
) -> Result<(Feed, Stream), Failure> {
    let (path, shown) = (&follow.path, follow.state.display().to_string());
    let wanted = resume.stream.as_ref();
    let (mut file, mut state) = StateFile::open(&follow.state, || {
        let name = wanted
            .cloned()
            .unwrap_or_else(|| stream::name_of(Some(path)));
        Ok(State::new(name, stream::instance(0)))
    })?;
    if let Some(wanted) = wanted.filter(|wanted| **wanted != state.stream) {
        return Err(Failure::misused(format!(
            "{shown} is of stream {:?}, not {wanted:?}",
            state.stream
        ))
        .hint("without --stream, that one goes on; --follow-state FILE begins another"));
    }
    state
        .servers
        .keep_only(&names_of_servers(resume), state.generation);
    let (news, begun) = follow::follow(path, &state, say)?;
    match (state.file, begun) {
        (_, Begun::Again) | (None, Begun::Nowhere) => {}
        // Bytes that were sent and not acknowledged had the offsets that the next ones have now.
        (Some(_), _) => state.instance = stream::instance(state.acknowledged.offset),
        (None, Begun::At(place)) => {
            // It may have another name when this program is started again.
            state.file = Some(place);
            file.save(&state)
                .map_err(|error| Failure::failed(format!("can't write {shown}: {error}")))?;
        }
    }
    let stream = Stream {
        name: state.stream.clone(),
        generation: state.generation,
        instance: state.instance,
    };
    let (start, servers) = (state.acknowledged, state.servers.clone());
    say.info(&format!(
        "following {} as stream {:?}, from byte {}",
        path.display(),
        stream.name,
        start.offset
    ));
    let keeper = Keeper::new(file, state, shown, resume.buffer / 2, say);
    let source = Source::File {
        news,
        stop: stop.clone(),
    };
    let standing = Standing::new(Some(path.display().to_string()), false, say);
    let feed = Feed::new(
        source,
        start,
        servers,
        Some(keeper),
        resume.buffer,
        standing,
    );
    Ok((feed, stream))
}

/// Opens standard input. The last part ends it when it is dropped, if it is live.
fn open_input(
    resume: &ResumeArgs,
    say: &Say,
) -> Result<(Feed, Stream, Option<std::io::PipeWriter>), Failure> {
    let mut input = Input::open(None, say)?;
    let ending = input.ending.take();
    let stream = Stream {
        name: resume
            .stream
            .clone()
            .unwrap_or_else(|| stream::name_of(None)),
        generation: 1,
        instance: stream::instance(0),
    };
    let standing = Standing::new(None, input.is_typed, say);
    input.hint(say);
    let source = Source::Input(input);
    let mut servers = Servers::default();
    servers.keep_only(&names_of_servers(resume), stream.generation);
    let feed = Feed::new(
        source,
        Position::START,
        servers,
        None,
        resume.buffer,
        standing,
    );
    Ok((feed, stream, ending))
}

fn names_of_servers(resume: &ResumeArgs) -> Vec<String> {
    let servers = resume.servers.iter();
    servers.map(|(to, _)| to.to_string()).collect()
}

/// The settings and tools that all connections share.
struct Sending<'a> {
    args: &'a SendArgs,
    resume: &'a ResumeArgs,
    connector: &'a Connector,
    say: &'a Say,
}

/// The course of all connections so far.
#[derive(Default)]
struct Course {
    /// The servers on which the stream was open.
    opened: BTreeSet<usize>,
    /// The time since which there is no connection, if one was lost or failed.
    outage: Option<Instant>,
    pauses: Pauses,
    /// The last connection was short, and nothing was acknowledged on it.
    was_futile: bool,
    /// Since the stream has got another name, nothing was acknowledged.
    is_renamed: bool,
}

impl Course {
    /// The pause after the stream has got another name: none, unless a server makes it get one after
    /// the other.
    fn pause_of_renaming(&mut self) -> Duration {
        match mem::replace(&mut self.is_renamed, true) {
            true => self.pauses.next(),
            false => Duration::ZERO,
        }
    }

    /// The pause after a server has asked to go on over another connection: none, unless it does so all
    /// the time.
    fn pause_of_going(&mut self) -> Duration {
        match self.was_futile {
            true => self.pauses.next(),
            false => Duration::ZERO,
        }
    }
}

impl Sending<'_> {
    /// Sends the stream, over as many connections as that takes.
    async fn run(&self, feed: &mut Feed, stream: &mut Stream) -> Result<(), Failure> {
        let mut course = Course::default();
        let count = self.resume.servers.len();
        // The servers that were left in turn, because they failed or asked for it.
        let mut left = 0_usize;
        loop {
            let turn = left.checked_rem(count).unwrap_or(0);
            let broken = match self.run_once(turn, feed, stream, &mut course).await {
                Ok(()) if feed.has_ended() => return Ok(()),
                // A long line goes on over another connection.
                Ok(()) => continue,
                Err(broken) => broken,
            };
            let is_outage = matches!(broken, Break::Outage(_));
            let pause = match broken {
                Break::Fatal(failure) => return Err(failure),
                Break::Contradicted(what) => {
                    self.say
                        .warning(&self.rename(turn, &what, feed, stream).await?);
                    course.pause_of_renaming()
                }
                Break::Elsewhere(what) => {
                    self.say
                        .info(&self.rename(turn, &what, feed, stream).await?);
                    course.pause_of_renaming()
                }
                Break::TakenOver(what) => {
                    self.say.warning(&format!(
                        "{what}; going on in {} s; is another sender running?",
                        TAKEN_OVER.as_secs()
                    ));
                    TAKEN_OVER
                }
                Break::Go(what) => {
                    left = left.saturating_add(1);
                    self.say.detail(|| what);
                    course.pause_of_going()
                }
                Break::Outage(what) => {
                    left = left.saturating_add(1);
                    match course.outage {
                        // With -q, too, somebody has to learn that lines wait.
                        None => self.say.warning(&format!("{what}; trying again")),
                        Some(_) => self.say.detail(|| what),
                    }
                    course.outage.get_or_insert_with(Instant::now);
                    if !left.is_multiple_of(count) {
                        continue;
                    }
                    course.pauses.next()
                }
            };
            let paused = async {
                Timer::after(pause).await;
                Ok(false)
            };
            let was_live = !feed.has_ended();
            if settled(feed, &course, is_outage).or(paused).await? {
                return Ok(());
            }
            if was_live && feed.has_ended() {
                // The rest may have little time.
                course.pauses = Pauses::default();
            }
        }
    }

    /// Gives the stream another name at this server, under which it begins behind the last acknowledged
    /// byte; returns the message with this reason. At the other servers it goes on under its names
    /// there: they may have more of it than they could acknowledge.
    ///
    /// # Errors
    ///
    /// When the source can't be read.
    async fn rename(
        &self,
        turn: usize,
        reason: &str,
        feed: &mut Feed,
        stream: &mut Stream,
    ) -> Result<String, Failure> {
        stream.generation = stream.generation.saturating_add(1);
        if let Some((to, _)) = self.resume.servers.get(turn) {
            feed.set_generation(&to.to_string(), stream.generation)
                .await?;
        }
        let from = feed.backlog().acknowledged().offset;
        let name = stream.name(stream.generation);
        Ok(format!(
            "{reason}; going on from byte {from} as stream {name:?}"
        ))
    }

    /// Sends the stream over one connection, until it is whole or the connection breaks.
    async fn run_once(
        &self,
        turn: usize,
        feed: &mut Feed,
        stream: &Stream,
        course: &mut Course,
    ) -> Result<(), Break> {
        course.was_futile = true;
        let server = self.resume.servers.get(turn);
        let server = server.ok_or_else(|| Failure::failed("there is no server"))?;
        let to = &server.0;
        let name = stream.name(feed.server(&to.to_string()).generation);
        let from = feed.backlog().acknowledged();
        let preamble = Preamble::new(&*name, from)
            .map_err(|error| Failure::failed(format!("{name:?}: {error}")))?
            .with_instance(stream.instance);
        let opening = async {
            let known = course.opened.contains(&turn);
            Session::open(
                self.args,
                server,
                self.connector,
                &preamble,
                known,
                self.say,
            )
            .await
            .map(Some)
        };
        let settled = async {
            settled(feed, course, false).await?;
            Ok(None)
        };
        let Some(mut session) = opening.or(settled).await? else {
            return Ok(());
        };
        let at = session.at();
        // Standard input goes on behind the bytes that a stream of this name has already.
        if course.opened.is_empty() && self.resume.follow.is_none() && from == Position::START {
            feed.move_behind(at);
            self.say.info(&format!(
                "{to}: sending standard input as stream {name:?}, from byte {}",
                at.offset
            ));
        }
        session
            .reconcile(feed, &name, self.resume.accept_gap)
            .await?;
        course.opened.insert(turn);
        match course.outage.take() {
            Some(since) => self.say.warning(&format!(
                "{to}: connected again after {} s, going on from byte {}",
                since.elapsed().as_secs(),
                at.offset
            )),
            None => self
                .say
                .detail(|| format!("{to}: going on from byte {}", at.offset)),
        }
        let began = Instant::now();
        let ran = session.run(feed).await;
        course.was_futile = !session.has_progressed() && began.elapsed() < FUTILE;
        if session.has_progressed() {
            course.pauses = Pauses::default();
            course.is_renamed = false;
        }
        ran
    }
}

/// Does the work of the feed while there is no connection; returns `true` when none is needed: the
/// stream has ended, and everything is acknowledged. When a pause ends with the stream, returns `false`
/// then.
async fn settled(feed: &mut Feed, course: &Course, ends_pause: bool) -> Result<bool, Failure> {
    let was_live = !feed.has_ended();
    loop {
        let was_open = !course.opened.is_empty() || feed.is_of_file();
        if feed.has_ended() && feed.backlog().len() == 0 && was_open {
            return Ok(true);
        }
        if ends_pause && was_live && feed.has_ended() {
            return Ok(false);
        }
        feed.work().await?;
    }
}
