//! Any bytes, as the program's arguments: one for each line. `fuzz/` runs this too.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use pico_args::Arguments;

use super::args::{self, Certificate, Command, Destination, Made, Printer};
use super::failure::MISUSED;
use super::value;

/// What is parsed can be run, and what can't be is the user's to mend: nothing else comes of it.
pub(crate) fn check(lines: &[u8]) {
    let arguments: Vec<OsString> = lines
        .split(|byte| *byte == b'\n')
        .map(|line| OsString::from_vec(line.to_vec()))
        .collect();
    match args::parse(Arguments::from_vec(arguments.clone())) {
        Err(failure) => {
            assert_eq!(failure.status, MISUSED);
            assert!(!failure.what.is_empty());
            assert!(failure.hint.is_none_or(|hint| !hint.is_empty()));
        }
        Ok(Command::Print(text)) => assert!(!text.is_empty()),
        Ok(Command::Listen(listen)) => {
            let is_address = |address: &String| value::address(address).is_ok();
            assert!(!listen.addresses.is_empty() && listen.addresses.iter().all(is_address));
            assert!(listen.threads > 0 && listen.lanes > 0);
            assert!(listen.max_connections != Some(0) && listen.max_per_ip != Some(0));
            if let Certificate::Files(pairs) = &listen.tls.certificate {
                assert!(!pairs.is_empty());
            }
            if let Some(clients) = &listen.tls.clients {
                assert!(!clients.optional || clients.allow.is_empty());
            }
            if let Destination::Directory(_) = listen.destination {
                assert_eq!(listen.printer, Printer::Raw);
            }
            refuse_more(arguments);
        }
        Ok(Command::Send(send)) => {
            assert!(value::address(&send.to).is_ok() && !send.name.is_empty());
            if let Some(level) = send.compression {
                let levels = send.encode.levels();
                assert!(levels.is_some_and(|levels| levels.contains(&level)));
            }
            refuse_more(arguments);
        }
        Ok(Command::Cert(cert)) => {
            let has_names = match &cert.made {
                Made::All(names) | Made::Server(names) => !names.is_empty(),
                Made::Client(_) => true,
            };
            assert!(has_names && !cert.directory.as_os_str().is_empty());
            refuse_more(arguments);
        }
    }
}

/// An option that there isn't is refused by name behind anything.
fn refuse_more(mut arguments: Vec<OsString>) {
    arguments.push("--no-such-option".into());
    let Err(failure) = args::parse(Arguments::from_vec(arguments)) else {
        panic!("it is passed over");
    };
    assert!(
        failure.what.contains("--no-such-option"),
        "{}",
        failure.what
    );
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::help;
    use super::check;

    /// What stands for a value somewhere, or nearly does.
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
        b"listen",
        b"send",
        b"cert",
        b"\xff",
        b"\xc3\xa9",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_arguments_what_is_parsed_can_be_run(
            command in select(vec!["", "listen", "send", "send\nh:1", "cert"]),
            arguments in vec(argument(), 0..6),
        ) {
            check(&[command.as_bytes(), b"\n", &arguments.join(&b'\n')].concat());
        }

        #[test]
        fn whatever_the_bytes_of_arguments_what_is_parsed_can_be_run(lines: Vec<u8>) {
            check(&lines);
        }
    }

    /// An option, a value, one of each, or anything.
    fn argument() -> impl Strategy<Value = Vec<u8>> {
        let option = || select(help::options().map(str::as_bytes).collect::<Vec<_>>());
        let value = || select(VALUES);
        prop_oneof![
            2 => option().prop_map(<[u8]>::to_vec),
            2 => (option(), select(b"\n=".to_vec()), value())
                .prop_map(|(option, between, value)| [option, &[between], value].concat()),
            1 => value().prop_map(<[u8]>::to_vec),
            1 => any::<Vec<u8>>(),
        ]
    }
}
