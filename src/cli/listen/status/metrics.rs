//! The counters in Prometheus's text format, version 0.0.4.

use std::fmt::{Display, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "kafka")]
use tlsink::output::KafkaHandle;

use super::super::outlet::Backlog;
use super::Status;

/// The most verified clients that have metrics of their own.
pub(in crate::cli::listen) const MAX_CLIENTS: usize = 10_000;

/// All metrics, as they are now.
pub(super) fn exposition(status: &Status) -> String {
    let mut all = Exposition::default();
    let Status {
        server,
        tls,
        meters,
        backlog,
        ..
    } = status;

    all.gauge("tlsink_build_info", "The version of tlsink.")
        .labelled(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    all.gauge(
        "tlsink_healthy",
        "1 while tlsink takes connections, all of its threads turn, and brokers of Kafka answer if records wait for them, as /healthz says.",
    )
    .value(u8::from(status.fault().is_none()));

    let handshakes = server.handshakes();
    let open = server.connections().saturating_sub(handshakes);
    all.gauge("tlsink_connections", "Connections, by state.")
        .labelled(&[("state", "handshake")], handshakes)
        .labelled(&[("state", "open")], open);
    let totals = server.totals();
    all.counter(
        "tlsink_streams_opened_total",
        "Connections that completed their handshake.",
    )
    .value(totals.connections);
    let ended = all.counter(
        "tlsink_streams_ended_total",
        "Streams that have ended, by their end, without health checks.",
    );
    for (end, count) in totals.ends.by_word() {
        ended.labelled(&[("end", end)], count);
    }
    let failures = server.failures();
    all.counter(
        "tlsink_handshakes_failed_total",
        "Connections that were never established, by reason.",
    )
    .labelled(&[("reason", "refused")], failures.refused)
    .labelled(&[("reason", "unverified")], failures.unverified)
    .labelled(&[("reason", "closed")], failures.closed)
    .labelled(&[("reason", "reset")], failures.reset)
    .labelled(&[("reason", "timeout")], failures.timeout)
    .labelled(&[("reason", "limit")], failures.limit)
    .labelled(&[("reason", "cut")], failures.cut);
    all.counter(
        "tlsink_health_checks_total",
        "Connections that sent nothing and went away.",
    )
    .value(totals.health_checks.saturating_add(failures.health_checks));

    all.counter(
        "tlsink_received_bytes_total",
        "Bytes received, decrypted and still compressed.",
    )
    .value(totals.received);
    all.counter(
        "tlsink_delivered_bytes_total",
        "Decompressed bytes that the output was given.",
    )
    .value(totals.delivered);
    let lines = meters.iter().map(|meter| meter.lines());
    all.counter(
        "tlsink_lines_total",
        "Lines and records that the output was given.",
    )
    .value(lines.fold(0, u64::saturating_add));
    let waited = meters.iter().map(|meter| meter.waited().as_secs_f64());
    all.counter(
        "tlsink_output_seconds_total",
        "Time that lanes have spent in their output, waiting for it to take what it was given.",
    )
    .value(waited.sum::<f64>());

    all.gauge(
        "tlsink_unflushed_bytes",
        "Delivered bytes that the output has not flushed.",
    )
    .value(totals.delivered.saturating_sub(totals.flushed));
    let held = backlog.as_ref().map_or(0, Backlog::bytes);
    all.gauge(
        "tlsink_held_bytes",
        "Bytes that are yet to be appended to files or to be in Kafka, and are not acknowledged before.",
    )
    .value(held);
    #[cfg(feature = "kafka")]
    if let Some(Backlog::Kafka(kafka)) = backlog {
        all.kafka(kafka);
    }
    let memory = server.memory_use();
    all.gauge(
        "tlsink_memory_bytes",
        "Bytes of the memory that streams share: kept for windows, unfinished lines and outputs, or of chunks on their way.",
    )
    .labelled(&[("use", "kept")], memory.kept)
    .labelled(&[("use", "chunks")], memory.chunks);
    all.gauge(
        "tlsink_memory_limit_bytes",
        "The most memory that streams may share.",
    )
    .value(memory.limit);

    let expiry = all.gauge(
        "tlsink_credential_expiry_timestamp_seconds",
        "The time at which a certificate or a CRL expires.",
    );
    let mut expirations = tls.expirations();
    // Two of the same name would be one series with two values: the first to expire counts.
    expirations.sort_by(|one, other| {
        let key = |it: &tlsink::tls::Expiration| (it.kind.to_string(), it.name.clone(), it.end);
        key(one).cmp(&key(other))
    });
    expirations.dedup_by(|next, first| next.kind == first.kind && next.name == first.name);
    for expiration in expirations {
        let kind = expiration.kind.to_string();
        let labels = [("kind", &*kind), ("name", &*expiration.name)];
        expiry.labelled(&labels, seconds(expiration.end));
    }

    let mut clients = server.clients();
    clients.sort_by(|one, other| one.name.cmp(&other.name));
    let streams = all.counter(
        "tlsink_client_streams_total",
        "Streams of each verified client.",
    );
    for client in &clients {
        streams.labelled(&[("client", &client.name)], client.connections);
    }
    let received = all.counter(
        "tlsink_client_received_bytes_total",
        "Bytes received from each verified client, decrypted and still compressed.",
    );
    for client in &clients {
        received.labelled(&[("client", &client.name)], client.received);
    }
    let seen = all.gauge(
        "tlsink_client_last_seen_timestamp_seconds",
        "The last time that each verified client connected or sent something.",
    );
    for client in &clients {
        seen.labelled(&[("client", &client.name)], seconds(client.last_seen));
    }
    all.text
}

/// Seconds since 1970-01-01 (UTC).
fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Microseconds would be noise.
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Metrics as text, and the name of the last one.
#[derive(Default)]
struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    #[cfg(feature = "kafka")]
    fn kafka(&mut self, kafka: &KafkaHandle) {
        let totals = kafka.totals();
        self.counter(
            "tlsink_kafka_records_total",
            "Records, by what has become of them: acknowledged, or lost as they were refused for good or their producer failed.",
        )
        .labelled(&[("result", "acknowledged")], totals.acknowledged_records)
        .labelled(&[("result", "lost")], totals.lost_records);
        self.counter(
            "tlsink_kafka_acknowledged_bytes_total",
            "Bytes in the values of acknowledged records.",
        )
        .value(totals.acknowledged_bytes);
        self.gauge(
            "tlsink_kafka_oldest_record_seconds",
            "The time for which the oldest unacknowledged record has waited, 0 if none waits.",
        )
        .value(kafka.oldest().as_secs_f64());
        self.gauge(
            "tlsink_kafka_silence_seconds",
            "The time for which records have waited while the brokers answered for none of them, 0 if none waits.",
        )
        .value(kafka.silence().as_secs_f64());
        self.counter(
            "tlsink_kafka_producers_replaced_total",
            "Producers that had a fatal error, and were replaced.",
        )
        .value(totals.replaced_producers);
    }

    fn counter(&mut self, name: &'static str, help: &str) -> &mut Self {
        self.metric(name, "counter", help)
    }

    fn gauge(&mut self, name: &'static str, help: &str) -> &mut Self {
        self.metric(name, "gauge", help)
    }

    /// Begins a metric. Its samples follow.
    fn metric(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Self {
        self.name = name;
        // Writing to a String can't fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    fn value(&mut self, value: impl Display) -> &mut Self {
        self.labelled(&[], value)
    }

    fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.text.push_str(self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"");
            push_escaped(&mut self.text, text);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }
}

/// Escapes a label's value.
fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut all = Exposition::default();
        all.gauge("a", "Help.")
            .labelled(&[("b", "\\ \" \n é"), ("c", "")], 1.5)
            .value(7);
        let expected = "# HELP a Help.\n# TYPE a gauge\na{b=\"\\\\ \\\" \\n é\",c=\"\"} 1.5\na 7\n";
        assert_eq!(all.text, expected);
    }
}
