//! Producing to Kafka: the settings, and starting the writer.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tlsink::output::{
    Kafka, KafkaHandle, KafkaKey, KafkaNotice, KafkaRecord, KafkaSettings, KafkaWriter, Memory,
    Output,
};

use super::super::args::{self, KafkaArgs, setting};
use super::super::say::Say;
use super::super::{Failure, start_thread};
use super::outlet::Backlog;

/// Brokers that acknowledge nothing for so long, although records wait, fail the health check.
const SILENT: Duration = Duration::from_secs(10);

/// The bit of a file's mode by which others than its owner and group may read it (inode(7)).
const OTHERS_READ: u32 = 0o004;

/// The output that produces, and its writer, which is yet to be started.
pub(super) struct KafkaOutlet {
    output: Kafka,
    writer: KafkaWriter,
}

/// The output, of which each lane has its own.
pub(super) struct KafkaOutput(Kafka);

/// Reads the settings, and begins to connect.
///
/// # Errors
///
/// When a setting can't be read, or librdkafka does not take it.
pub(super) fn open(args: &KafkaArgs, say: &Say) -> Result<KafkaOutlet, Failure> {
    let (output, writer) = Kafka::new(settings(args, say)?).map_err(|error| unusable(&error))?;
    let said = say.clone();
    let writer = writer.on_notice(move |notice| match notice {
        KafkaNotice::Topic { .. } | KafkaNotice::Fatal(_) => said.error(&notice.to_string()),
        // These pass, and are said to have passed.
        notice => said.warning(&notice.to_string()),
    });
    Ok(KafkaOutlet { output, writer })
}

/// Checks the settings, without connecting.
///
/// # Errors
///
/// When a setting can't be read, or does not exist, or can't have this value.
pub(super) fn check(args: &KafkaArgs, say: &Say) -> Result<(), Failure> {
    settings(args, say)?
        .check()
        .map_err(|error| unusable(&error))
}

/// Reads the settings, and warns of those that are not secure.
fn settings(args: &KafkaArgs, say: &Say) -> Result<KafkaSettings, Failure> {
    if let Some((key, _)) = (args.settings.iter()).find(|(key, _)| KafkaSettings::is_secret(key)) {
        let failure = Failure::misused(format!("--kafka-set {key}: other users can see it"));
        return Err(
            failure.hint("put it in a file that only tlsink can read, and give --kafka-file")
        );
    }
    let key = match args.key {
        args::KafkaKey::Client => KafkaKey::Client,
        args::KafkaKey::Peer => KafkaKey::Peer,
        args::KafkaKey::Conn => KafkaKey::Conn,
        args::KafkaKey::None => KafkaKey::None,
    };
    let record = match args.record {
        args::KafkaRecord::Line => KafkaRecord::Line,
        args::KafkaRecord::Block => KafkaRecord::Block,
    };
    let settings = KafkaSettings::new(&args.brokers, &args.topic);
    let mut settings = settings.key(key).record(record);
    let file = args.file.as_deref();
    let file = file.map(|file| read(file, say)).transpose()?;
    // An option outranks a line of the file.
    for (key, value) in file.iter().flatten().chain(&args.settings) {
        settings = settings.set(key, value).map_err(|error| unusable(&error))?;
    }
    for warning in settings.warnings() {
        say.warning(warning);
    }
    Ok(settings)
}

/// Reads the settings in a file: one in each line, with comments behind `#`.
/// Warns if there is a secret in it, and anybody can read it.
fn read(file: &Path, say: &Say) -> Result<Vec<(String, String)>, Failure> {
    let shown = file.display();
    let unreadable =
        |error| Failure::misused(format!("can't read the settings in {shown}: {error}"));
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let mode = fs::metadata(file).map_err(unreadable)?.mode();
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let settings = lines.map(|(index, line)| {
        let number = index.saturating_add(1);
        // The line may have a secret in it.
        setting(line).map_err(|error| Failure::misused(format!("{shown}, line {number}: {error}")))
    });
    let settings: Vec<_> = settings.collect::<Result<_, _>>()?;
    if mode & OTHERS_READ != 0
        && settings
            .iter()
            .any(|(key, _)| KafkaSettings::is_secret(key))
    {
        say.warning(&format!(
            "every user can read the secrets in {shown}: take that from others, as by chmod o-r"
        ));
    }
    Ok(settings)
}

fn unusable(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidInput => Failure::misused(format!("--kafka: {error}"))
            .hint("--kafka-set takes the settings in librdkafka's CONFIGURATION.md"),
        _ => Failure::failed(format!("can't start the producer: {error}")),
    }
}

/// The reason why no more senders should be sent here, if there is one: no broker was ever reached, or none
/// has acknowledged a record for long, although some wait.
pub(super) fn fault(kafka: &KafkaHandle) -> Option<String> {
    let silence = kafka.silence();
    let fault = match kafka.was_reached() {
        false => "no broker has answered yet".to_owned(),
        true if silence > SILENT => {
            let seconds = silence.as_secs();
            format!("the brokers have acknowledged no record for {seconds} s")
        }
        true => return None,
    };
    Some(match kafka.trouble() {
        Some(reason) => format!("{fault}: {reason}"),
        None => fault,
    })
}

impl KafkaOutlet {
    pub(super) fn backlog(&self) -> Backlog {
        Backlog::Kafka(self.output.handle())
    }

    /// Starts the writer. When every record is acknowledged or lost, it calls `ended`.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(
        self,
        ended: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> Result<KafkaOutput, Failure> {
        let KafkaOutlet { output, writer } = self;
        start_thread("kafka", move || ended(writer.run()))?;
        Ok(KafkaOutput(output))
    }
}

impl KafkaOutput {
    /// The output of another lane.
    pub(super) fn another(
        &self,
        max_line: Option<usize>,
        memory: Memory,
    ) -> impl Output + Send + use<> {
        let output = self.0.clone().memory(memory);
        match max_line {
            Some(bytes) => output.max_line(bytes),
            None => output,
        }
    }
}
