//! The output that prints a JSON object for each line.

use std::collections::HashMap;
use std::io::{self, Write};
use std::str;
use std::time::SystemTime;

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use memchr::{memchr, memchr_iter};
use parking_lot::MutexGuard;

use super::escape::{LONGEST_IN_JSON, incomplete, push_json, push_object};
use super::event;
use super::partial::{Partials, split_lines};
use super::shared::{BUFFER, Inner, SharedWriter};
use super::turn::MAX_WRITTEN;
use super::{Output, Portion};
use crate::conn::{Conn, ConnId};
use crate::end::End;
use crate::frame::{Framing, Records};
use crate::memory::Memory;
use crate::time::{LEN, timestamp};

/// Writes JSON (RFC 8259): an object for each line, and for each connection that opens or closes,
/// every object on a line of its own.
///
/// ```text
/// {"type":"open","conn":1,"time":"2026-11-23T19:32:01.123456Z","peer":"192.0.2.7:40312"}
/// {"type":"data","conn":1,"time":"2026-11-23T19:32:01.130021Z","peer":"192.0.2.7:40312","text":"hello"}
/// {"type":"close","conn":1,"time":"2026-11-23T19:32:01.130377Z","peer":"192.0.2.7:40312","received":26,"delivered":6,"format":"gzip","end":"clean"}
/// ```
///
/// In a [framing that has events](Framing::has_events), a record that is a JSON object is printed as an
/// object:
///
/// ```text
/// {"type":"data","conn":2,"time":"2026-11-23T19:32:04.581270Z","peer":"192.0.2.9:51876","event":{"message":"hello"}}
/// ```
///
/// The fields, in the order in which they appear:
///
/// | field | in | meaning |
/// |---|---|---|
/// | `type` | all | `open`, `data` or `close` |
/// | `conn` | all | the connection's [number](Conn::id) |
/// | `time` | all | when it was printed: RFC 3339, in UTC, with microseconds |
/// | `peer` | all | the sender's [address](crate::Peer) |
/// | `client` | all | the first of its verified [names](Conn::names); absent if it has none |
/// | `stream` | data | the name of the resumed [stream](Conn::stream); absent for any other |
/// | `offset` | data | the offset in that stream of the object's first byte; absent with `stream` |
/// | `text` | data | the line without its newline; a CR before that is part of it |
/// | `base64` | data | the same, in place of `text`, if it is not UTF-8 (RFC 4648, section 4) |
/// | `event` | data | the record, in place of `text`, if it is an [event](#events) |
/// | `partial` | data | `true` if the line goes on in this connection's next data object; else absent |
/// | `received` | close | bytes received, decrypted and still compressed |
/// | `delivered` | close | bytes handed on, decompressed, newlines among them |
/// | `format` | close | the [compression format](Conn::format); `auto` if too little data arrived to detect it |
/// | `framing` | close | the [framing](Conn::framing); absent if the stream had none |
/// | `end` | close | how it ended, in [one word](End::word): only `clean` is complete |
/// | `undecoded` | close | bytes of those received that were dropped when the server was cut; absent if there were none |
/// | `skipped` | close | items that are no log records, such as [metrics](Conn::skipped); absent if there were none |
/// | `error` | close | the further facts of the end; absent if it is `clean` |
///
/// Each `open` has its `close`, even if nothing was sent, as by [health
/// checks](crate::Report::is_health_check).
///
/// A line is written as soon as it is finished. An unfinished line at the end of its connection
/// becomes an object like all others. A line that outgrows [`max_line`](Self::max_line) comes in
/// pieces, all of them `partial` but the last: their bytes, joined, are the line. They are cut
/// between characters, and each is `text` or `base64` by itself.
///
/// In strings, all characters that a terminal could obey are escaped, and so are those that turn
/// text around or are invisible.
///
/// A sink never sees a refused connection. To print an object for it too, pass the parts of its
/// [`Report`](crate::Report) to [`refused`](Self::refused).
///
/// Clones share the writer, but each has unfinished lines of its own: give one clone to each lane.
///
/// # Events
///
/// In framings that have events, a record is an event if it is a JSON object (RFC 8259), and common
/// parsers read it: all of its strings are Unicode (a lone `\ud800` is not), its numbers are within
/// the range of IEEE 754 doubles, and it is nested at most 126 deep. Any other record is `text` or
/// `base64`. So are the pieces of an overlong record, and a record that the end of its connection cuts
/// off.
///
/// The object's bytes are passed on: numbers stay as they were written, and keys may appear twice. In
/// its strings, the characters that are escaped in `text` are escaped too. Between tokens, TAB, LF and
/// CR become spaces. Whitespace around the object is dropped.
///
/// This needs the feature `lumberjack` or `forward`. Without them, there are no events.
#[derive(Debug)]
pub struct Json<W: Write> {
    objects: Objects<SharedWriter<W, ()>>,
}

/// Makes the objects of one lane, for [`Json`] and for files that are appended to.
#[derive(Debug)]
pub(super) struct Objects<P> {
    partials: Partials,
    printer: ObjectPrinter<P>,
}

/// Takes pages of objects, from any number of lanes.
pub(super) trait PageSink {
    /// While it is held, pages of other lanes wait: an object may have several.
    type Lock<'a>
    where
        Self: 'a;

    fn lock(&self) -> Self::Lock<'_>;

    /// Takes a page, which has objects of this connection alone.
    fn write(lock: &mut Self::Lock<'_>, id: ConnId, page: &[u8]) -> io::Result<()>;
}

/// The length of the longest character in UTF-8, in bytes. No piece of a line is shorter, so that a
/// line can be cut between characters.
const CHARACTER: usize = 4;

impl<W: Write> Json<W> {
    /// Prints to `writer`, which needs no buffer of its own.
    pub fn new(writer: W) -> Self {
        Json {
            objects: Objects::new(SharedWriter::new(writer), Partials::new()),
        }
    }

    /// The longest line that is kept whole, in bytes, and the longest piece of one that is not. At
    /// least 4; 1 MiB by default.
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.objects.max_line(bytes);
        self
    }

    /// The memory from which unfinished lines are reserved; see [`Sink::memory`]. By default, they
    /// have 1 GiB of their own. When the memory is used up, the longest line is written out as if
    /// it had outgrown [`max_line`](Self::max_line).
    ///
    /// [`Sink::memory`]: crate::Sink::memory
    pub fn memory(mut self, memory: Memory) -> Self {
        self.objects.partials.memory = memory;
        self
    }

    /// Writes an object for a connection that was [refused](crate::Report::is_refused), and
    /// flushes.
    ///
    /// ```text
    /// {"type":"refused","time":"2026-11-23T19:32:01.123456Z","peer":"192.0.2.7:40312","claimed":"boiler","reason":"the certificate is revoked"}
    /// ```
    ///
    /// `reason` is the [reason](End::reason) of the end. `claimed` is the first name in the
    /// sender's certificate, which nobody verified, if that certificate is the reason; else it is
    /// absent.
    ///
    /// Peers decide how often this happens. If there are too many refusals for an object each,
    /// count the rest with [`refused_more`](Self::refused_more).
    ///
    /// # Errors
    ///
    /// The error of the writer.
    ///
    /// # Blocking
    ///
    /// Blocks while the writer blocks, or while a clone is writing. Call it on a thread that may
    /// wait for the output, such as a sink's.
    pub fn refused(&self, connection: &Conn, end: &End) -> io::Result<()> {
        let mut object = begin_refused();
        push_field(&mut object, "peer", &connection.peer().to_string());
        if let End::Refused(refusal) = end
            && let Some(claimed) = refusal.claimed().first()
        {
            push_field(&mut object, "claimed", claimed);
        }
        push_field(&mut object, "reason", &end.reason().unwrap_or_default());
        self.write_refused(object)
    }

    /// Writes an object for further connections that were refused for the same reason, and flushes.
    ///
    /// ```text
    /// {"type":"refused","time":"2026-11-23T19:32:02.123456Z","reason":"no certificate","more":30}
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the writer.
    ///
    /// # Blocking
    ///
    /// The same as for [`refused`](Self::refused).
    pub fn refused_more(&self, reason: &str, more: u64) -> io::Result<()> {
        let mut object = begin_refused();
        push_field(&mut object, "reason", reason);
        object.extend_from_slice(format!(r#","more":{more}"#).as_bytes());
        self.write_refused(object)
    }

    fn write_refused(&self, mut object: Vec<u8>) -> io::Result<()> {
        object.extend_from_slice(END);
        let shared = &self.objects.printer.sink;
        shared.lock().writer.write_all(&object)?;
        shared.flush()
    }
}

impl<W: Write> Clone for Json<W> {
    fn clone(&self) -> Self {
        Json {
            objects: self.objects.another(self.objects.printer.sink.clone()),
        }
    }
}

impl<W: Write> Output for Json<W> {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        self.objects.data(connection, bytes)
    }

    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        self.objects.turn(connection, bytes)
    }

    fn records(&mut self, connection: &Conn, records: Records<'_>) -> io::Result<Portion> {
        self.objects.records(connection, records)
    }

    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        self.objects.open(connection)
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        self.objects.close(connection, end)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.objects.printer.sink.flush()
    }
}

impl<W: Write> PageSink for SharedWriter<W, ()> {
    type Lock<'a>
        = MutexGuard<'a, Inner<W, ()>>
    where
        Self: 'a;

    fn lock(&self) -> Self::Lock<'_> {
        SharedWriter::lock(self)
    }

    fn write(lock: &mut Self::Lock<'_>, _: ConnId, page: &[u8]) -> io::Result<()> {
        lock.writer.write_all(page)
    }
}

impl<P: PageSink> Objects<P> {
    pub(super) fn new(sink: P, partials: Partials) -> Self {
        Objects {
            partials,
            printer: ObjectPrinter::new(sink),
        }
    }

    /// Makes objects with the same limits, for another lane.
    pub(super) fn another(&self, sink: P) -> Self {
        Objects::new(sink, self.partials.another())
    }

    /// See [`Json::max_line`].
    pub(super) fn max_line(&mut self, bytes: usize) {
        self.partials.max_line = bytes.max(CHARACTER);
    }

    /// See [`Json::memory`].
    pub(super) fn memory(&mut self, memory: Memory) {
        self.partials.memory = memory;
    }

    /// The kept part of this connection's line.
    pub(super) fn kept(&self, id: ConnId) -> &[u8] {
        self.partials.kept(id)
    }

    /// The sink of all pages.
    pub(super) fn sink(&mut self) -> &mut P {
        &mut self.printer.sink
    }

    /// Writes the first of these lines, which began earlier or is overlong, and returns the others.
    fn line<'a>(&mut self, connection: &Conn, lines: &'a [u8]) -> io::Result<&'a [u8]> {
        let Some(newline) = memchr(b'\n', lines) else {
            return Ok(lines);
        };
        let line = lines.get(..newline).unwrap_or_default();
        let last = self.keep(connection, line)?;
        self.finish(connection.id(), last, Rest::None)?;
        Ok(lines.get(newline.saturating_add(1)..).unwrap_or_default())
    }

    /// Ends a line with its kept part, or with `last` if that could not be kept.
    fn finish(&mut self, id: ConnId, last: &[u8], rest: Rest) -> io::Result<()> {
        let kept = self.partials.take(id);
        let line = if last.is_empty() { &kept } else { last };
        self.printer.write_line(id, line, rest)
    }

    /// Keeps the beginning of a line, or of the next piece of one.
    fn begin(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let id = connection.id();
        let left = self.keep(connection, bytes)?;
        let (whole, open) = split_characters(left);
        self.printer.write_piece(id, whole)?;
        let left = self.keep(connection, open)?;
        self.printer.write_piece(id, left)
    }

    /// Keeps these bytes behind the kept part of this connection's line, and writes the line piece
    /// by piece as it outgrows the limit. Bytes that find no memory are written too, except the
    /// last piece, which is returned, and then nothing is kept.
    fn keep<'a>(&mut self, connection: &Conn, mut bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        let id = connection.id();
        let Objects { partials, printer } = self;
        loop {
            let room = partials.max_line.saturating_sub(partials.kept(id).len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            if !partials.keep(connection, now, |id, line| {
                printer.write_characters(id, line)
            })? {
                break;
            }
            bytes = later;
            if bytes.is_empty() {
                return Ok(bytes);
            }
            let left = printer.write_characters(id, partials.kept(id))?;
            partials.shorten(id, left);
        }
        let kept = partials.take(id);
        let (whole, open) = split_characters(&kept);
        printer.write_piece(id, whole)?;
        // The character that is cut here, too small to be counted.
        let mut cut = open.to_vec();
        while incomplete(&cut) > 0
            && let Some((first @ 0x80..0xc0, rest)) = bytes.split_first()
        {
            cut.push(*first);
            bytes = rest;
        }
        printer.write_piece(id, &cut)?;
        while let Some((piece, rest)) = bytes.split_at_checked(partials.max_line)
            && !rest.is_empty()
        {
            let left = printer.write_characters(id, piece)?;
            let written = piece.len().saturating_sub(left);
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(bytes)
    }
}

impl<P: PageSink> Objects<P> {
    pub(super) fn data(&mut self, connection: &Conn, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Portion { taken, .. } = self.turn(connection, bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    pub(super) fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        let id = connection.id();
        self.printer.now = timestamp(SystemTime::now());
        self.printer.written = 0;
        let goes_on = self.printer.head(connection, bytes.len()).goes_on;
        let (mut lines, rest) = split_lines(bytes);
        if goes_on || !self.partials.kept(id).is_empty() {
            lines = self.line(connection, lines)?;
        }
        // All lines are checked at once, because nearly always all of them are text.
        let mut text = str::from_utf8(lines).ok();
        while !lines.is_empty() && self.printer.written < MAX_WRITTEN {
            let longest = self.partials.max_line;
            let mut left = self.printer.write_lines(id, lines, text, longest)?;
            if self.printer.written < MAX_WRITTEN {
                left = self.line(connection, left)?;
            }
            let done = lines.len().saturating_sub(left.len());
            text = text.and_then(|text| text.get(done..));
            lines = left;
        }
        let taken = match lines {
            [] => {
                self.begin(connection, rest)?;
                bytes.len()
            }
            left => bytes.len() - left.len() - rest.len(),
        };
        self.printer.finish()?;
        Ok(Portion {
            taken,
            written: self.printer.written,
        })
    }

    pub(super) fn records(
        &mut self,
        connection: &Conn,
        records: Records<'_>,
    ) -> io::Result<Portion> {
        let id = connection.id();
        self.printer.now = timestamp(SystemTime::now());
        self.printer.written = 0;
        self.printer.head(connection, connection.given);
        let mut taken = 0_usize;
        for record in records.iter() {
            if record.ends {
                let last = self.keep(connection, record.bytes)?;
                self.finish(id, last, Rest::None)?;
            } else {
                self.begin(connection, record.bytes)?;
            }
            taken = taken.saturating_add(record.len());
            if self.printer.written >= MAX_WRITTEN {
                break;
            }
        }
        self.printer.finish()?;
        Ok(Portion::new(taken, self.printer.written))
    }

    pub(super) fn open(&mut self, connection: &Conn) -> io::Result<()> {
        let (object, _) = begin_object("open", connection);
        self.printer.write_event(connection.id(), object)
    }

    pub(super) fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let id = connection.id();
        self.printer.now = timestamp(SystemTime::now());
        self.printer.written = 0;
        let goes_on = self.printer.heads.get(&id).is_some_and(|head| head.goes_on);
        if connection.comes_again(end) {
            drop(self.partials.take(id));
        } else if goes_on || !self.partials.kept(id).is_empty() {
            self.finish(id, b"", Rest::Missing)?;
        }
        self.printer.finish()?;
        self.printer.heads.remove(&id);

        let (mut object, _) = begin_object("close", connection);
        let totals = format!(
            r#","received":{},"delivered":{}"#,
            connection.received(),
            connection.delivered()
        );
        object.extend_from_slice(totals.as_bytes());
        push_field(&mut object, "format", connection.format().name());
        if !matches!(connection.framing(), Framing::Auto | Framing::None) {
            push_field(&mut object, "framing", connection.framing().name());
        }
        push_field(&mut object, "end", end.word());
        if connection.undecoded() > 0 {
            let undecoded = format!(r#","undecoded":{}"#, connection.undecoded());
            object.extend_from_slice(undecoded.as_bytes());
        }
        if connection.skipped() > 0 {
            let skipped = format!(r#","skipped":{}"#, connection.skipped());
            object.extend_from_slice(skipped.as_bytes());
        }
        if let Some(facts) = end.facts() {
            push_field(&mut object, "error", &facts.to_string());
        }
        self.printer.write_event(id, object)
    }
}

/// Prints objects.
#[derive(Debug)]
struct ObjectPrinter<P> {
    sink: P,
    /// The heads of open connections. A head is hardly larger than the connection's other state, so
    /// its memory is not counted.
    heads: HashMap<ConnId, Head>,
    /// Objects that are not handed on yet; empty between calls of the output.
    page: Vec<u8>,
    /// The connection whose objects are on the page.
    page_of: Option<ConnId>,
    /// The time for the objects being printed.
    now: [u8; LEN],
    /// The number of bytes handed on in this turn.
    written: usize,
}

/// The beginning of a connection's data objects.
#[derive(Debug)]
struct Head {
    /// All bytes up to the text.
    bytes: Vec<u8>,
    /// The offset of the time in them.
    time: usize,
    /// The offset in the resumed stream of the next object's first byte, if there is a stream.
    offset: Option<u64>,
    /// Whether the last object was partial.
    goes_on: bool,
    /// Whether records may be events.
    has_events: bool,
}

/// The rest of a line, behind the bytes that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// The line is complete.
    None,
    /// The next object has it.
    Follows,
    /// The connection ended before it came.
    Missing,
}

impl<P: PageSink> ObjectPrinter<P> {
    fn new(sink: P) -> Self {
        ObjectPrinter {
            sink,
            heads: HashMap::new(),
            page: Vec::with_capacity(PAGE),
            page_of: None,
            now: timestamp(SystemTime::now()),
            written: 0,
        }
    }

    /// Writes whole lines up to the first overlong one, or until a turn's worth is written, and
    /// returns the others. `text` is the same lines, if they are text.
    fn write_lines<'a>(
        &mut self,
        id: ConnId,
        lines: &'a [u8],
        text: Option<&str>,
        longest: usize,
    ) -> io::Result<&'a [u8]> {
        let Some((head, mut objects)) = self.page_writer(id)? else {
            return Ok(lines);
        };
        let mut from = 0;
        for newline in memchr_iter(b'\n', lines) {
            let line = lines.get(from..newline).unwrap_or_default();
            if line.len() > longest {
                break;
            }
            let text = match text {
                Some(text) => text.get(from..newline),
                None => str::from_utf8(line).ok(),
            };
            match head.has_events {
                true => objects.write_record(head, line, text)?,
                false => objects.write_object(head, line, text, false)?,
            }
            head.move_by(line.len().saturating_add(1));
            from = newline.saturating_add(1);
            if *objects.written >= MAX_WRITTEN {
                break;
            }
        }
        Ok(lines.get(from..).unwrap_or_default())
    }

    /// Writes a line, or a piece of one.
    fn write_line(&mut self, id: ConnId, line: &[u8], rest: Rest) -> io::Result<()> {
        let Some((head, mut objects)) = self.page_writer(id)? else {
            return Ok(());
        };
        let text = str::from_utf8(line).ok();
        let is_whole = !head.goes_on && rest == Rest::None;
        head.goes_on = rest == Rest::Follows;
        match head.has_events && is_whole {
            true => objects.write_record(head, line, text)?,
            false => objects.write_object(head, line, text, head.goes_on)?,
        }
        let newline = usize::from(rest == Rest::None);
        head.move_by(line.len().saturating_add(newline));
        Ok(())
    }

    /// Writes a piece of a line, unless the piece is empty.
    fn write_piece(&mut self, id: ConnId, piece: &[u8]) -> io::Result<()> {
        match piece {
            [] => Ok(()),
            piece => self.write_line(id, piece, Rest::Follows),
        }
    }

    /// Writes a piece of a line up to the end of its last whole character, and returns how many
    /// bytes are left.
    fn write_characters(&mut self, id: ConnId, piece: &[u8]) -> io::Result<usize> {
        let (whole, open) = split_characters(piece);
        self.write_piece(id, whole)?;
        Ok(open.len())
    }

    /// Writes an object that has begun.
    fn write_event(&self, id: ConnId, mut object: Vec<u8>) -> io::Result<()> {
        object.extend_from_slice(END);
        P::write(&mut self.sink.lock(), id, &object)
    }

    /// The head of a connection's objects, which exists from its first data, of this length, to its
    /// end.
    fn head(&mut self, connection: &Conn, given: usize) -> &mut Head {
        self.heads
            .entry(connection.id())
            .or_insert_with(|| Head::new(connection, given))
    }

    /// Gets ready to write for a connection.
    fn page_writer(&mut self, id: ConnId) -> io::Result<Option<(&mut Head, PageWriter<'_, P>)>> {
        if self.page_of != Some(id) {
            self.finish()?;
            self.page_of = Some(id);
        }
        let Some(head) = self.heads.get_mut(&id) else {
            return Ok(None);
        };
        let time = head.time..head.time.saturating_add(LEN);
        if let Some(time) = head.bytes.get_mut(time) {
            time.copy_from_slice(&self.now);
        }
        let objects = PageWriter {
            sink: &self.sink,
            id,
            page: &mut self.page,
            written: &mut self.written,
            lock: None,
        };
        Ok(Some((head, objects)))
    }

    /// Hands on the page.
    fn finish(&mut self) -> io::Result<()> {
        if let Some(id) = self.page_of
            && !self.page.is_empty()
        {
            P::write(&mut self.sink.lock(), id, &self.page)?;
            self.written = self.written.saturating_add(self.page.len());
            self.page.clear();
        }
        Ok(())
    }
}

impl Head {
    fn new(connection: &Conn, given: usize) -> Self {
        let (mut bytes, time) = begin_object("data", connection);
        if let Some(stream) = connection.stream() {
            push_field(&mut bytes, "stream", stream);
        }
        bytes.extend_from_slice(TEXT);
        let end = connection.stream_offset();
        Head {
            bytes,
            time,
            offset: end.map(|end| end.saturating_sub(given as u64)),
            goes_on: false,
            has_events: connection.framing().has_events(),
        }
    }

    /// Moves on in the stream, by the bytes of an object and its newline.
    fn move_by(&mut self, bytes: usize) {
        if let Some(offset) = &mut self.offset {
            *offset = offset.saturating_add(bytes as u64);
        }
    }

    /// All bytes up to the offset, or to the content, whatever it is.
    fn common(&self) -> &[u8] {
        self.bytes.strip_suffix(TEXT).unwrap_or_default()
    }
}

/// Begins an object with the fields that all objects share. Also returns the offset of the time.
fn begin_object(kind: &str, connection: &Conn) -> (Vec<u8>, usize) {
    let begin = format!(r#"{{"type":"{kind}","conn":{},"time":""#, connection.id());
    let mut object = begin.into_bytes();
    let time = object.len();
    object.extend_from_slice(&timestamp(SystemTime::now()));
    object.push(b'"');
    push_field(&mut object, "peer", &connection.peer().to_string());
    if let Some(client) = connection.names().first() {
        push_field(&mut object, "client", client);
    }
    (object, time)
}

/// Begins an object for a connection that no sink has seen.
fn begin_refused() -> Vec<u8> {
    let mut object = br#"{"type":"refused","time":""#.to_vec();
    object.extend_from_slice(&timestamp(SystemTime::now()));
    object.push(b'"');
    object
}

/// Adds a field that is a string.
fn push_field(object: &mut Vec<u8>, name: &str, value: &str) {
    object.extend_from_slice(format!(r#","{name}":""#).as_bytes());
    push_json(object, value);
    object.push(b'"');
}

/// Splits off the beginning of a character that is cut.
fn split_characters(text: &[u8]) -> (&[u8], &[u8]) {
    let whole = text.len().saturating_sub(incomplete(text));
    text.split_at_checked(whole).unwrap_or((text, &[]))
}

/// Writes objects on a page of its own lane, so that lanes work in parallel; the page is handed on
/// as a whole.
struct PageWriter<'a, P: PageSink> {
    sink: &'a P,
    id: ConnId,
    page: &'a mut Vec<u8>,
    written: &'a mut usize,
    /// The lock is held from the moment an object outgrows the page to the object's end, so that
    /// nothing comes in between.
    lock: Option<P::Lock<'a>>,
}

/// The size of a page, in bytes. A page is handed on at the end of an object when half of it is
/// used; the other half is for that object, and few objects are longer.
const PAGE: usize = 2 * BUFFER;

/// The most text, or JSON, that is put on the page at a time, in bytes. All of it fits on an empty
/// page, even if every byte has to be escaped.
const PART: usize = PAGE / LONGEST_IN_JSON;

const TEXT: &[u8] = br#","text":""#;
const BASE64: &[u8] = br#","base64":""#;
const EVENT: &[u8] = br#","event":"#;

/// The end of an object that is no data.
const END: &[u8] = b"}\n";

impl<'a, P: PageSink> PageWriter<'a, P> {
    /// Writes a line, or a piece of one. `text` is the same, if it is text.
    fn write_object(
        &mut self,
        head: &Head,
        line: &[u8],
        text: Option<&str>,
        partial: bool,
    ) -> io::Result<()> {
        if let Some(text) = text {
            match head.offset {
                None => self.put(&head.bytes)?,
                Some(_) => self.begin(head, TEXT)?,
            }
            self.put_escaped(text, push_json)?;
        } else {
            self.begin(head, BASE64)?;
            let mut encoder = EncoderWriter::new(&mut *self, &STANDARD);
            encoder.write_all(line)?;
            encoder.finish()?;
        }
        self.put(match partial {
            true => b"\",\"partial\":true}\n",
            false => b"\"}\n",
        })?;
        self.end()
    }

    /// Writes a whole record, of a framing that has events.
    fn write_record(&mut self, head: &Head, record: &[u8], text: Option<&str>) -> io::Result<()> {
        let Some(object) = text.and_then(event::object) else {
            return self.write_object(head, record, text, false);
        };
        self.begin(head, EVENT)?;
        self.put_escaped(object, push_object)?;
        self.put(b"}\n")?;
        self.end()
    }

    /// Begins an object with this content.
    fn begin(&mut self, head: &Head, content: &[u8]) -> io::Result<()> {
        self.put(head.common())?;
        if let Some(offset) = head.offset {
            self.put(format!(r#","offset":{offset}"#).as_bytes())?;
        }
        self.put(content)
    }

    /// Ends an object.
    fn end(&mut self) -> io::Result<()> {
        if self.lock.is_some() || self.page.len() >= BUFFER {
            self.hand_on()?;
            self.lock = None;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > PAGE.saturating_sub(self.page.len()) {
            let id = self.id;
            let lock = self.hand_on()?;
            if bytes.len() > PAGE {
                return P::write(lock, id, bytes);
            }
        }
        self.page.extend_from_slice(bytes);
        Ok(())
    }

    fn put_escaped(&mut self, mut text: &str, push: impl Fn(&mut Vec<u8>, &str)) -> io::Result<()> {
        while !text.is_empty() {
            // A character has at most 4 bytes.
            let (part, rest) = (0..4)
                .find_map(|less| text.split_at_checked(PART - less))
                .unwrap_or((text, ""));
            if PAGE.saturating_sub(self.page.len()) < part.len().saturating_mul(LONGEST_IN_JSON) {
                self.hand_on()?;
            }
            push(self.page, part);
            text = rest;
        }
        Ok(())
    }

    /// Hands on the page under the lock, and keeps the lock.
    fn hand_on(&mut self) -> io::Result<&mut P::Lock<'a>> {
        let sink = self.sink;
        let lock = self.lock.get_or_insert_with(|| sink.lock());
        P::write(lock, self.id, self.page)?;
        *self.written = self.written.saturating_add(self.page.len());
        self.page.clear();
        Ok(lock)
    }
}

impl<P: PageSink> Write for PageWriter<'_, P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Peer;

    /// Takes the pages of one connection.
    #[derive(Debug, Default)]
    struct Page(parking_lot::Mutex<Vec<u8>>);

    impl PageSink for Page {
        type Lock<'a> = MutexGuard<'a, Vec<u8>>;

        fn lock(&self) -> Self::Lock<'_> {
            self.0.lock()
        }

        fn write(page: &mut Self::Lock<'_>, _: ConnId, more: &[u8]) -> io::Result<()> {
            page.extend_from_slice(more);
            Ok(())
        }
    }

    #[test]
    fn an_object_of_a_resumed_stream_tells_the_offset_of_its_first_byte() {
        let connection = Conn::new(ConnId(1), Peer::label("x"), Memory::new(1 << 20));
        let mut objects = Objects::new(Page::default(), Partials::new());
        objects.max_line(4);
        let head = objects.printer.head(&connection, 0);
        head.offset = Some(1000);
        for bytes in [&b"one\ntw"[..], b"o\n\n12", b"34567\n\xff\nrest"] {
            let mut rest = bytes;
            while !rest.is_empty() {
                let taken = objects.turn(&connection, rest).unwrap().taken;
                rest = &rest[taken..];
            }
        }
        objects.close(&connection, &End::Clean).unwrap();
        let page = String::from_utf8(objects.sink().0.get_mut().clone()).unwrap();
        let data = page.lines().filter_map(|line| {
            let (_, rest) = line.split_once(r#","offset":"#)?;
            rest.strip_suffix('}')
        });
        let expected = [
            r#"1000,"text":"one""#,
            r#"1004,"text":"two""#,
            r#"1008,"text":"""#,
            r#"1009,"text":"1234","partial":true"#,
            r#"1013,"text":"567""#,
            r#"1017,"base64":"/w==""#,
            r#"1019,"text":"rest""#,
        ];
        assert_eq!(data.collect::<Vec<_>>(), expected);
    }
}
