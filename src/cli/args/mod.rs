//! The command line, parsed and checked: a command that is returned here can be run.

use std::ffi::{OsStr, OsString};

use super::Failure;
use super::color::Color;

#[cfg_attr(
    not(feature = "cert"),
    allow(dead_code, reason = "only the command reads them")
)]
mod cert;
mod generate;
mod given;
mod habits;
mod help;
mod listen;
mod manual;
pub(crate) mod options;
#[cfg_attr(
    not(feature = "send"),
    allow(dead_code, reason = "only the command reads them")
)]
mod send;
mod split;
mod suggest;
mod value;

#[cfg_attr(
    not(feature = "cert"),
    allow(unused_imports, reason = "only the command uses them")
)]
pub(crate) use cert::{CertArgs, CertRequest};
use generate::Kind;
use help::Topic;
pub(crate) use listen::{
    AppendArgs, CertificateSource, Destination, Directory, ExecArgs, KafkaArgs, LineFront,
    ListenArgs, OutputFormat, TlsArgs,
};
#[cfg(feature = "kafka")]
pub(crate) use listen::{KafkaKey, KafkaRecord, setting};
use options::{ANSWERS, CERT, LISTEN, SEND};
#[cfg_attr(
    not(feature = "send"),
    allow(unused_imports, reason = "only the command uses them")
)]
pub(crate) use send::{FollowArgs, LineFraming, ResumeArgs, SendArgs, Trust};
use split::{Asked, Split};

/// The whole command line.
#[derive(Debug)]
pub(crate) struct CommandLine {
    /// The colours of messages, also of the one about an error in the arguments.
    pub(crate) color: Color,
    /// The command, or the first error in the arguments, for the user.
    pub(crate) command: Result<Command, Failure>,
}

/// The command that the program runs.
#[derive(Debug)]
pub(crate) enum Command {
    Print(String),
    Listen(Box<ListenArgs>),
    Send(Box<SendArgs>),
    Cert(CertArgs),
}

impl Command {
    /// Whether each line on standard error begins with the time.
    pub(crate) fn timestamps(&self) -> bool {
        match self {
            Command::Listen(listen) => listen.timestamps,
            Command::Send(send) => send.timestamps,
            Command::Print(_) | Command::Cert(_) => false,
        }
    }
}

/// Parses the arguments of the program, without its name.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> CommandLine {
    let mut arguments = arguments.peekable();
    let word = arguments.next_if(|first| !first.as_encoded_bytes().starts_with(b"-"));
    let command = word
        .as_deref()
        .map(|word| word.to_str().unwrap_or_default());
    let options = match command {
        Some("send") => &SEND,
        Some("cert") => &CERT,
        Some("help" | "version") => &ANSWERS,
        _ => &LISTEN,
    };
    let mut split = Split::new(arguments, options);
    let color = split.given.choice("--color", Color::named);
    CommandLine {
        color: color.as_ref().ok().copied().flatten().unwrap_or_default(),
        command: parse_command(word.as_deref(), split, color.err()),
    }
}

/// Parses the arguments behind the command's name. Some may be wrong already.
fn parse_command(
    word: Option<&OsStr>,
    split: Split,
    wrong: Option<Failure>,
) -> Result<Command, Failure> {
    let Split {
        mut given,
        free,
        asked,
        error,
    } = split;
    let command = word.map(|word| word.to_str().unwrap_or_default());
    let topic = command.and_then(Topic::named);
    // `tlsink --help send` asks for the same text as `tlsink send --help`.
    let behind = || match (word, &free[..]) {
        (None, [first, ..]) => first.to_str().and_then(Topic::named),
        _ => None,
    };
    let shown = topic.or_else(behind).unwrap_or(Topic::Program);
    if let Some(asked) = asked {
        return Ok(Command::Print(match asked {
            Asked::Version => help::VERSION.to_owned(),
            Asked::ShortHelp => help::short(shown),
            Asked::LongHelp => help::long(shown),
        }));
    }
    // As for help, no other argument must be valid.
    let generated = given.choice("--generate", Kind::named);
    if let Ok(Some(kind)) = generated {
        return Ok(Command::Print(kind.text(shown)));
    }
    if free
        .iter()
        .map(OsString::as_os_str)
        .chain(word)
        .any(OsStr::is_empty)
    {
        return Err(suggest::empty_argument());
    }
    if let (Some(word), None) = (word, topic) {
        return Err(suggest::unknown_command(word));
    }
    if let Some(error) = error.or(wrong) {
        return Err(error);
    }
    generated?;
    match command {
        Some("send") => send::parse(given, &free).map(|send| Command::Send(Box::new(send))),
        Some("cert") => cert::parse(free).map(Command::Cert),
        Some("help") => parse_help(&free).map(Command::Print),
        command => {
            if let Some(more) = free.first() {
                return Err(suggest::unexpected_argument(more));
            }
            match command {
                Some("version") => Ok(Command::Print(help::VERSION.to_owned())),
                _ => listen::parse(given).map(|listen| Command::Listen(Box::new(listen))),
            }
        }
    }
}

/// The help for a command, or for the program.
fn parse_help(free: &[OsString]) -> Result<String, Failure> {
    match free {
        [] => Ok(help::long(Topic::Program)),
        [command] => match command.to_str().and_then(Topic::named) {
            Some(topic) => Ok(help::long(topic)),
            None => Err(suggest::unknown_command(command)),
        },
        [_, more, ..] => Err(suggest::unexpected_argument(more)),
    }
}

#[cfg(test)]
mod tests {
    use super::options::{COMMANDS, Opt, Options};
    use super::*;

    #[test]
    fn every_option_means_the_same_in_every_form() {
        for command in COMMANDS {
            for option in command.all() {
                let forms = forms(option);
                let meant = meaning(command, option, &forms[0]);
                assert!(meant.starts_with("Ok("), "{}: {meant}", option.long);
                let without = meaning(command, option, &[]);
                assert_ne!(meant, without, "{} is passed over", option.long);
                for form in &forms {
                    assert_eq!(meaning(command, option, form), meant, "{form:?}");
                }
            }
        }
    }

    #[test]
    fn an_option_that_is_given_twice_is_refused_in_every_form() {
        for command in COMMANDS {
            let once = |option: &&'static Opt| !option.repeatable && !is_answered(option);
            for option in command.all().filter(once) {
                for first in &forms(option) {
                    for second in &forms(option) {
                        let twice = [&first[..], second].concat();
                        let said = meaning(command, option, &twice);
                        let name = match second[0].starts_with("--") {
                            true => option.long,
                            false => option.short.unwrap(),
                        };
                        let expected = format!("{name} is given twice");
                        assert!(said.contains(&expected), "{twice:?}: {said}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_option_with_choices_takes_each_of_them_and_names_them_all() {
        for command in COMMANDS {
            for option in command.all().filter(|option| !option.choices.is_empty()) {
                let meaning =
                    |value: &str| meaning(command, option, &[format!("{}={value}", option.long)]);
                let mut meanings = Vec::new();
                for choice in option.choices {
                    let meant = meaning(choice);
                    assert!(meant.starts_with("Ok("), "{choice}: {meant}");
                    assert_eq!(meaning(&choice.to_uppercase()), meant);
                    assert!(
                        !meanings.contains(&meant),
                        "{choice} has no meaning of its own"
                    );
                    assert!(option.about.contains(choice), "{choice} is not described");
                    meanings.push(meant);
                }
                let refused = meaning("bogus");
                let [others @ .., last] = option.choices else {
                    unreachable!()
                };
                let expected = format!("bogus: expected {} or {last}\"", others.join(", "));
                assert!(refused.contains(&expected), "{refused}");
            }
        }
    }

    #[test]
    fn generated_texts_need_no_other_argument_and_yield_to_help() {
        let text = |words: &str| match parse(words.split(' ').map(OsString::from)).command {
            Ok(Command::Print(text)) => text,
            other => panic!("{words}: {other:?}"),
        };
        let (page, script) = (text("send --generate man"), text("--generate zsh"));
        assert!(page.starts_with(".TH TLSINK\\-SEND 1 "), "{page}");
        assert_eq!(text("send --bogus --generate=MAN a b c d"), page);
        assert_eq!(text("listen --generate man"), text("--generate man"));
        assert_eq!(text("--generate man send"), page);
        assert_eq!(text("--help cert"), text("cert --help"));
        for command in ["listen", "send", "cert", "help", "version"] {
            assert_eq!(text(&format!("{command} --generate zsh")), script);
        }
        assert_eq!(text("cert --generate man --help"), text("cert --help"));
        assert_eq!(text("--generate csh --version"), text("--version"));
    }

    #[test]
    fn an_option_without_its_value_is_refused_in_every_form() {
        for command in COMMANDS {
            for option in command.all().filter(|option| option.value.is_some()) {
                let expected = format!("{} needs a value", option.long);
                for name in option.names() {
                    let name = name.to_owned();
                    for form in [
                        vec![name.clone()],
                        vec![format!("{name}=")],
                        vec![name.clone(), String::new()],
                        vec![name.clone(), "--quiet".to_owned()],
                        vec![name.clone(), "--".to_owned()],
                    ] {
                        // The form comes last: before another argument, an option would take that
                        // as its value.
                        let mut words = vec![word(command)];
                        words.extend(form);
                        let said = parsed(words);
                        assert!(said.contains(&expected), "{name}: {said}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_flag_takes_no_value_in_any_form() {
        for command in COMMANDS {
            for option in command.all().filter(|option| option.value.is_none()) {
                for name in option.names() {
                    for value in ["", "1"] {
                        let form = [format!("{name}={value}")];
                        let said = meaning(command, option, &form);
                        let expected = format!("{name} takes no value");
                        assert!(said.contains(&expected), "{form:?}: {said}");
                    }
                }
            }
        }
    }

    /// Each way to give an option.
    fn forms(option: &Opt) -> Vec<Vec<String>> {
        let Some(placeholder) = option.value else {
            // Help and its short form print different texts.
            let short = option.short.filter(|_| option.long != "--help");
            let short = short.map(|short| vec![short.to_owned()]);
            return [vec![option.long.to_owned()]]
                .into_iter()
                .chain(short)
                .collect();
        };
        let (long, value) = (option.long, sample(option.long, placeholder));
        let mut forms = vec![
            vec![long.to_owned(), value.to_owned()],
            vec![format!("{long}={value}")],
        ];
        if let Some(short) = option.short {
            forms.push(vec![short.to_owned(), value.to_owned()]);
            forms.push(vec![format!("{short}{value}")]);
            forms.push(vec![format!("{short}={value}")]);
        }
        forms
    }

    /// A value that the option takes.
    fn sample(long: &str, placeholder: &str) -> &'static str {
        match (long, placeholder) {
            ("--format", _) => "JSON",
            (_, "FORMAT") => "Gzip",
            (_, "KIND") => "Fish",
            ("--allow-client", _) => "*.example.net",
            (_, "ADDR") => "[::1]:9",
            (_, "CIDR" | "PEER") => "192.0.2.0/24",
            (_, "N") => "3",
            (_, "TIME") => "1h30m",
            (_, "SIZE") => "2MiB",
            (_, "LIMIT") => "30d",
            (_, "FILE" | "DIR") => "of=a/b.pem",
            (_, "NAME" | "NAMES") => "a.example",
            (_, "MODE") => "Optional",
            (_, "VERSION") => "1.3",
            (_, "TEMPLATE") => "{conn}=",
            (_, "CMD") => "cat 'a b'",
            (_, "WHEN") => "Never",
            (_, "BROKERS") => "a.example:9092,[::1]:9",
            (_, "KEY") => "Peer",
            (_, "RECORD") => "Block",
            (_, "SETTING") => "linger.ms=5",
            (_, "SHA256") => "0000000000000000000000000000000000000000000000000000000000000000",
            (_, "FRAMING") => "Octet",
            (_, other) => panic!("{long} takes a value of a new kind, {other}"),
        }
    }

    /// The outcome of parsing this option, together with the options that it needs.
    fn meaning(command: &Options, option: &Opt, form: &[String]) -> String {
        let needs: &[&str] = match (command.command, option.long) {
            (_, "--cert") => &["--key=k"],
            (_, "--key") => &["--cert=c"],
            (_, "--client-auth" | "--allow-client" | "--crl") => &["--client-ca=ca"],
            ("tlsink listen", "--name" | "--sync") => &["--output-dir=d"],
            (_, "--append") => &["--output-dir=d", "--name=n"],
            (_, "--state") => &["--output=f"],
            (_, "--exec-max") => &["--exec=c"],
            (_, "--kafka") => &["--topic=t"],
            (_, "--topic") => &["--kafka=h:1"],
            (_, "--kafka-key" | "--kafka-record" | "--kafka-set" | "--kafka-file") => {
                &["--kafka=h:1", "--topic=t"]
            }
            (_, "--rotate") => &["--output-dir=d", "--name=n", "--append"],
            (_, "--compress" | "--keep") => {
                &["--output-dir=d", "--name=n", "--append", "--rotate=1k"]
            }
            (_, "--forward-key") => &["--framing=forward"],
            (_, "--follow-state") => &["--follow=f"],
            (_, "--stream" | "--buffer" | "--accept-gap") => &["--resume"],
            _ => &[],
        };
        let mut words = vec![word(command)];
        words.extend(needs.iter().map(|need| (*need).to_owned()));
        words.extend(form.iter().cloned());
        match command.command {
            "tlsink send" => words.push("h:1".to_owned()),
            "tlsink cert" => words.push("dir".to_owned()),
            _ => {}
        }
        parsed(words)
    }

    /// The command as it is typed behind the program's name.
    fn word(command: &Options) -> String {
        command.command.replace("tlsink ", "")
    }

    fn parsed(words: Vec<String>) -> String {
        let CommandLine { color, command } = parse(words.into_iter().map(OsString::from));
        format!("{:?}", command.map(|command| (color, command)))
    }

    /// Whether the option prints a text, however often it is given.
    fn is_answered(option: &Opt) -> bool {
        ["--generate", "--help", "--version"].contains(&option.long)
    }
}
