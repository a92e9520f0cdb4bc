//! Any bytes, as the program's arguments, one for each line. `fuzz/` runs this too.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::args::{
    self, CertRequest, CertificateSource, Command, Destination, LineFraming, OutputFormat,
};
use super::failure::{Failure, MISUSED};

/// Parsed arguments can be run, and other arguments give an error that the user can fix: there is
/// no other result.
pub(crate) fn check(lines: &[u8]) {
    let arguments: Vec<OsString> = lines
        .split(|byte| *byte == b'\n')
        .map(|line| OsString::from_vec(line.to_vec()))
        .collect();
    match parse(&arguments) {
        Err(failure) => {
            assert_eq!(failure.status, MISUSED);
            assert!(!failure.what.is_empty());
            assert!(failure.hint.is_none_or(|hint| !hint.is_empty()));
        }
        Ok(Command::Print(text)) => assert!(!text.is_empty()),
        Ok(Command::Listen(listen)) => {
            assert!(!listen.addresses.is_empty());
            assert!(listen.threads > 0 && listen.lanes > 0);
            assert!(listen.max_connections != Some(0) && listen.max_per_ip != Some(0));
            assert!(listen.max_line != Some(0) && listen.max_memory != Some(0));
            assert!(listen.max_decoded != Some(0) && listen.max_window != Some(0));
            if let CertificateSource::Files(pairs) = &listen.tls.certificate {
                assert!(!pairs.is_empty());
            }
            if let Some(clients) = &listen.tls.clients {
                assert!(!clients.optional || clients.allow.is_empty());
            }
            if let Destination::Directory(_) = listen.destination {
                assert_eq!(listen.printer, OutputFormat::Raw);
            }
            if let Destination::Append(append) = &listen.destination {
                assert_ne!(listen.printer, OutputFormat::Raw);
                assert_ne!(append.rotate, Some(0));
                let needs_rotation = append.compress || append.keep.is_some();
                assert!(append.rotate.is_some() || !needs_rotation);
            }
            refuse_more(arguments);
        }
        Ok(Command::Send(send)) => {
            assert!(send.to.port != 0 && !send.name.is_empty());
            assert!(send.framing != LineFraming::Relp || !send.receipt);
            if let Some(level) = send.compression {
                let levels = send.encode.levels();
                assert!(levels.is_some_and(|levels| levels.contains(&level)));
            }
            refuse_more(arguments);
        }
        Ok(Command::Cert(cert)) => {
            let has_names = match &cert.request {
                CertRequest::All(names) | CertRequest::Server(names) => !names.is_empty(),
                CertRequest::Client(_) => true,
            };
            assert!(has_names && !cert.directory.as_os_str().is_empty());
            refuse_more(arguments);
        }
    }
}

/// An unknown option is refused by name before and behind all other arguments.
fn refuse_more(mut arguments: Vec<OsString>) {
    const UNKNOWN: &str = "--no-such-option";
    let refuse = |arguments: &[OsString]| {
        let Err(failure) = parse(arguments) else {
            panic!("it is passed over");
        };
        assert!(failure.what.contains(UNKNOWN), "{}", failure.what);
    };
    if !arguments.iter().any(|argument| argument == "--") {
        arguments.push(UNKNOWN.into());
        refuse(&arguments);
        arguments.pop();
    }
    let has_command = |first: &OsString| !first.as_encoded_bytes().starts_with(b"-");
    let start = usize::from(arguments.first().is_some_and(has_command));
    arguments.insert(start, UNKNOWN.into());
    refuse(&arguments);
}

fn parse(arguments: &[OsString]) -> Result<Command, Failure> {
    args::parse(arguments.iter().cloned()).command
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::args::options::{COMMANDS, Opt};
    use super::{OsString, OsStringExt, check, parse};

    /// Texts that are a value of some option, or nearly so.
    const VALUES: &[&[u8]] = &[
        b"",
        b"-",
        b"--",
        b"=",
        b"0",
        b"1",
        b"1.5",
        b"64k",
        b"1025",
        b"zstd",
        b"none",
        b"json",
        b"raw",
        b"optional",
        b"1.2",
        b"a,b",
        b"{conn}",
        b"h:1",
        b"[::1]:0",
        b"[fe80::1%eth0]:1",
        b":4433",
        b"10MiB",
        b"10mb",
        b"1h30m",
        b"500ms",
        b"GZIP",
        b"-x",
        b"-vq",
        b"--once=",
        b"listen",
        b"send",
        b"cert",
        b"help",
        b"version",
        b"\xff",
        b"\xc3\xa9",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_arguments_that_parse_can_be_run(
            command in select(vec!["", "listen", "send", "send\nh:1", "cert", "help", "version"]),
            arguments in vec(argument(), 0..6),
        ) {
            check(&[command.as_bytes(), b"\n", &arguments.join(&b'\n')].concat());
        }

        #[test]
        fn any_bytes_that_parse_as_arguments_can_be_run(lines: Vec<u8>) {
            check(&lines);
        }

        #[test]
        fn every_form_of_the_same_options_means_the_same(
            command in select(COMMANDS.to_vec()),
            picks in vec((any::<prop::sample::Index>(), value()), 0..6),
        ) {
            let all: Vec<&Opt> = command.all().collect();
            let options: Vec<_> = picks.iter().map(|(at, value)| (*at.get(&all), *value)).collect();
            let mean = |form: fn(&Opt, &[u8]) -> Vec<Vec<u8>>| {
                let name = command.command.rsplit(' ').next().unwrap_or_default();
                let mut words = vec![name.as_bytes().to_vec()];
                words.extend(options.iter().flat_map(|(option, value)| form(option, value)));
                words.push(b"h:1".to_vec());
                let words: Vec<_> = words.into_iter().map(OsString::from_vec).collect();
                format!("{:?}", parse(&words))
            };
            prop_assert_eq!(mean(separate), mean(joined));
        }
    }

    /// `--name VALUE`
    fn separate(option: &Opt, value: &[u8]) -> Vec<Vec<u8>> {
        let mut words = vec![option.long.into()];
        words.extend(option.value.map(|_| value.to_vec()));
        words
    }

    /// `-nVALUE`, or `--name=VALUE` where there is no short name.
    fn joined(option: &Opt, value: &[u8]) -> Vec<Vec<u8>> {
        // Only repeatable options get their short name here: help, and the message about a repeated
        // option, name the given form.
        let name = option.long;
        match (option.value, option.short) {
            (None, _) => vec![name.into()],
            (Some(_), Some(short)) if option.repeatable => {
                vec![[short.as_bytes(), value].concat()]
            }
            (Some(_), _) => vec![[name.as_bytes(), b"=", value].concat()],
        }
    }

    /// A text that is a value in every form, as it is neither empty nor an option.
    fn value() -> impl Strategy<Value = &'static [u8]> {
        let plain: Vec<&[u8]> = VALUES
            .iter()
            .copied()
            .filter(|value| !value.is_empty() && !matches!(value, [b'-', _, ..] | [b'=', ..]))
            .collect();
        select(plain)
    }

    /// An option, a value, one of each, or anything.
    fn argument() -> impl Strategy<Value = Vec<u8>> {
        let names = || COMMANDS.iter().flat_map(|command| command.names());
        let option = || select(names().map(str::as_bytes).collect::<Vec<_>>());
        let value = || select(VALUES);
        prop_oneof![
            2 => option().prop_map(<[u8]>::to_vec),
            2 => (option(), select(vec![&b"\n"[..], b"=", b""]), value())
                .prop_map(|(option, between, value)| [option, between, value].concat()),
            1 => value().prop_map(<[u8]>::to_vec),
            1 => any::<Vec<u8>>(),
        ]
    }
}
