//! Splits the arguments into options and free arguments, by the table of options, so that every
//! option takes every form: `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-nVALUE`, flags combined
//! as in `-qv`, and `--` behind the last option.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::super::Failure;
use super::given::{self, Given};
use super::habits;
use super::options::{COMMANDS, Opt, Options};
use super::suggest;

/// The arguments of a command, split.
pub(super) struct Split {
    pub(super) given: Given,
    /// The arguments that are neither options nor their values, in order.
    pub(super) free: Vec<OsString>,
    /// A text that the user asked for, even among wrong arguments.
    pub(super) asked: Option<Asked>,
    /// The first error.
    pub(super) error: Option<Failure>,
}

/// The texts that options request. A later one in this list takes precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    Version,
    ShortHelp,
    LongHelp,
}

impl Split {
    pub(super) fn new(
        arguments: impl Iterator<Item = OsString>,
        options: &'static Options,
    ) -> Self {
        let mut splitter = Splitter {
            options,
            rest: arguments.peekable(),
            words: Vec::new(),
            seen: Vec::new(),
            asked: None,
        };
        let mut free = Vec::new();
        let mut error = None;
        while let Some(argument) = splitter.rest.next() {
            let bytes = argument.as_bytes();
            let result = if bytes == b"--" {
                free.extend(splitter.rest.by_ref());
                Ok(())
            } else if bytes.starts_with(b"--") {
                splitter.long(&argument)
            } else if bytes.starts_with(b"-") && bytes.len() > 1 {
                splitter.short(&argument)
            } else {
                free.push(argument);
                Ok(())
            };
            error = error.or(result.err());
        }
        Split {
            given: Given::new(splitter.words, options),
            free,
            asked: splitter.asked,
            error,
        }
    }
}

struct Splitter<I: Iterator<Item = OsString>> {
    options: &'static Options,
    rest: std::iter::Peekable<I>,
    /// The options and their values, in the form that [`Given`] takes.
    words: Vec<OsString>,
    /// The long names of the given options.
    seen: Vec<&'static str>,
    asked: Option<Asked>,
}

impl<I: Iterator<Item = OsString>> Splitter<I> {
    /// Takes `--name`, and `--name=VALUE`.
    fn long(&mut self, argument: &OsStr) -> Result<(), Failure> {
        let (name, value) = split_at_equals(argument.as_bytes());
        let name = String::from_utf8_lossy(name);
        match self.options.find(&name) {
            Some(option) => self.take(option, &name, value),
            None => Err(suggest::unknown_option(&name, self.options)),
        }
    }

    /// Takes `-n`, `-nVALUE`, `-n=VALUE`, and flags together, of which the last may be an option
    /// with a value.
    fn short(&mut self, argument: &OsStr) -> Result<(), Failure> {
        let bytes = argument.as_bytes();
        let (whole, _) = split_at_equals(bytes);
        let whole = String::from_utf8_lossy(whole);
        // `-once` would be `--output nce`, which no user means. `-ca` may well be `--cert a`.
        if whole.len() > 3 {
            let meant = match self.options.find(&format!("-{whole}")) {
                Some(option) => Some(format!("did you mean {}?", option.long)),
                None => habits::option(&whole, self.options),
            };
            if let Some(hint) = meant {
                return Err(Failure::misused(format!("unknown option {whole}")).hint(hint));
            }
        }
        let mut rest = bytes.get(1..).unwrap_or_default();
        let mut is_first = true;
        while let Some((letter, behind)) = rest.split_first() {
            let name = format!("-{}", char::from(*letter));
            let Some(option) = self.options.find(&name) else {
                // A letter that other programs have may have its value behind it, as in `-p4433`.
                let has_value = habits::option(&name, self.options).is_some();
                let unknown = match is_first && !has_value {
                    true => &*whole,
                    false => &*name,
                };
                return Err(suggest::unknown_option(unknown, self.options));
            };
            let attached = match (option.value, behind) {
                (_, [b'=', value @ ..]) => Some(value),
                (Some(_), [_, ..]) => Some(behind),
                (None, _) | (_, []) => None,
            };
            self.take(option, &name, attached)?;
            if attached.is_some() {
                break;
            }
            rest = behind;
            is_first = false;
        }
        Ok(())
    }

    /// Takes an option that was given by this name, with the value attached to it, if there is one.
    fn take(
        &mut self,
        option: &'static Opt,
        name: &str,
        attached: Option<&[u8]>,
    ) -> Result<(), Failure> {
        let value = match (option.value, attached) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(Failure::misused(format!("{name} takes no value")));
            }
            (Some(_), Some(value)) => Some(OsStr::from_bytes(value).to_owned()),
            (Some(_), None) => self.rest.next_if(|next| !looks_like_an_option(next)),
        };
        if option.value.is_some() && value.as_ref().is_none_or(|value| value.is_empty()) {
            return Err(self.needs_value(option, attached));
        }
        self.asked = self.asked.max(match (option.long, name) {
            ("--version", _) => Some(Asked::Version),
            ("--help", "--help") => Some(Asked::LongHelp),
            ("--help", _) => Some(Asked::ShortHelp),
            _ => None,
        });
        if self.seen.contains(&option.long) && !option.repeatable {
            return Err(Failure::misused(format!("{name} is given twice")));
        }
        self.seen.push(option.long);
        self.words.push(option.long.into());
        if let Some(value) = value {
            self.words.push(given::marked(&value));
        }
        Ok(())
    }

    fn needs_value(&mut self, option: &Opt, attached: Option<&[u8]>) -> Failure {
        let long = option.long;
        let failure = Failure::misused(format!("{long} needs a value"));
        let form = match option.choices {
            [] => {
                let placeholder = option.value.unwrap_or_default();
                format!("give {long} {placeholder}; {}", self.options.see)
            }
            choices => format!("give {long} {}", given::alternatives(choices)),
        };
        let Some(next) = self.rest.peek().filter(|_| attached.is_none()) else {
            return failure.hint(form);
        };
        let (name, _) = split_at_equals(next.as_bytes());
        let name = String::from_utf8_lossy(name);
        let is_known = || COMMANDS.iter().any(|command| command.find(&name).is_some());
        if name == "--" || !looks_like_an_option(next) || is_known() {
            return failure.hint(form);
        }
        failure.hint(match habits::option(&name, self.options) {
            Some(hint) => hint,
            None => format!(
                "if {0} is the value, give {long}={0}",
                next.to_string_lossy()
            ),
        })
    }
}

/// Whether an argument can't be the value of the option before it. A lone hyphen can, and so can a
/// negative number.
fn looks_like_an_option(argument: &OsStr) -> bool {
    match argument.as_bytes() {
        [b'-', next, ..] => !next.is_ascii_digit() && *next != b'.',
        _ => false,
    }
}

fn split_at_equals(argument: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = argument.splitn(2, |byte| *byte == b'=');
    let name = parts.next().unwrap_or_default();
    (name, parts.next())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::super::options::{LISTEN, SEND};
    use super::*;

    #[test]
    fn every_form_of_an_option_means_the_same() {
        for forms in [
            &[
                "--output FILE",
                "--output=FILE",
                "-o FILE",
                "-oFILE",
                "-o=FILE",
            ][..],
            &[
                "-v -o FILE",
                "-vo FILE",
                "-voFILE",
                "-vo=FILE",
                "--verbose -oFILE",
            ],
            &["--cert a -c b", "-ca --cert=b", "-c a -c=b"],
            &["--output=a=b", "-o a=b", "-oa=b"],
        ] {
            let [first, ..] = forms else { unreachable!() };
            for form in forms {
                assert_eq!(words(form), words(first), "{form}");
            }
        }
        assert_eq!(words("-qv"), ["--quiet", "--verbose"]);
    }

    #[test]
    fn values_may_look_like_options_where_they_are_attached() {
        assert_eq!(words("--output=--once"), ["--output", "=--once"]);
        assert_eq!(words("-o=-v -v"), ["--output", "=-v", "--verbose"]);
        assert_eq!(words("-o - -q"), ["--output", "=-", "--quiet"]);
        assert_eq!(words("--drain -1"), ["--drain", "=-1"]);
        let mut given = split("--output=--once --once", &LISTEN).given;
        assert_eq!(given.value("--output"), Some("--once".into()));
        assert!(given.flag("--once"));
        given.finish();
    }

    #[test]
    fn a_long_name_behind_one_hyphen_is_not_split() {
        for argument in ["-once", "-once=1", "-output", "-key=x", "-help"] {
            let error = split(argument, &LISTEN).error.unwrap();
            let name = argument.split('=').next().unwrap();
            assert_eq!(error.what, format!("unknown option {name}"));
            assert_eq!(error.hint, Some(format!("did you mean -{name}?")));
        }
        assert_eq!(words("-ca"), words("--cert a"));
    }

    #[test]
    fn an_argument_that_is_not_utf_8_stays_unchanged() {
        let path = OsString::from_vec(b"-\xff.pem".to_vec());
        for prefix in ["--cert=", "-c", "-c="] {
            let mut argument = OsString::from(prefix);
            argument.push(&path);
            let mut split = Split::new([argument].into_iter(), &LISTEN);
            assert!(split.error.is_none());
            assert_eq!(split.given.value("--cert"), Some(path.clone()));
        }
        let split = Split::new([path].into_iter(), &LISTEN);
        assert_eq!(split.error.unwrap().what, "unknown option -\u{fffd}.pem");
    }

    #[test]
    fn two_hyphens_end_the_options() {
        let split = split("-q h:1 -- --once -- -x", &SEND);
        assert!(split.error.is_none());
        assert_eq!(split.free, ["h:1", "--once", "--", "-x"]);
    }

    #[test]
    fn help_is_found_among_wrong_arguments_and_not_among_values() {
        for (arguments, asked) in [
            ("--bogus -h", Some(Asked::ShortHelp)),
            ("-vh --help", Some(Asked::LongHelp)),
            ("-hV", Some(Asked::ShortHelp)),
            ("-V", Some(Asked::Version)),
            ("--output --help", Some(Asked::LongHelp)),
            ("--output=--help", None),
            ("-- --help", None),
        ] {
            assert_eq!(split(arguments, &LISTEN).asked, asked, "{arguments}");
        }
    }

    fn split(arguments: &str, options: &'static Options) -> Split {
        Split::new(arguments.split(' ').map(OsString::from), options)
    }

    fn words(arguments: &str) -> Vec<OsString> {
        let split = split(arguments, &LISTEN);
        assert!(split.error.is_none(), "{arguments}");
        split.given.into_words()
    }
}
