//! The options that were given, and their values.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use pico_args::Arguments;

use super::super::Failure;
use super::super::level::Level;
use super::options::Options;

/// The options that were given.
pub(super) struct Given {
    /// Long names alone, each followed by its value, if it takes one. Each value has [`MARK`]
    /// before it.
    arguments: Arguments,
    options: &'static Options,
    /// The last option, if it takes a value, and this value.
    last: Option<(OsString, OsString)>,
}

/// Marks each value. No option's name begins with it, so that no value is mistaken for an option.
const MARK: u8 = b'=';

impl Given {
    /// Takes long names, each followed by its [marked](marked) value, if it takes one.
    pub(super) fn new(words: Vec<OsString>, options: &'static Options) -> Self {
        let last = match &words[..] {
            [.., name, value] => unmarked(value).map(|value| (name.clone(), value.to_owned())),
            _ => None,
        };
        Given {
            arguments: Arguments::from_vec(words),
            options,
            last,
        }
    }

    /// The last option and its value, if the value could be a free argument that the option took
    /// because its own value is missing.
    pub(super) fn swallowed(&self, is_free: impl Fn(&str) -> bool) -> Option<(String, String)> {
        let (name, value) = self.last.as_ref()?;
        let (name, value) = (name.to_str()?, value.to_str()?);
        is_free(value).then(|| (name.to_owned(), value.to_owned()))
    }

    /// Whether a flag is given.
    pub(super) fn flag(&mut self, long: &'static str) -> bool {
        debug_assert!(self.options.find(long).is_some_and(|o| o.value.is_none()));
        self.arguments.contains(long)
    }

    /// The next value of an option, if there is one.
    ///
    /// # Errors
    ///
    /// When it is not UTF-8, or when `parse` rejects it.
    pub(super) fn option<T>(
        &mut self,
        long: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.value(long) else {
            return Ok(None);
        };
        let value = value
            .to_str()
            .ok_or_else(|| Failure::misused(format!("the value of {long} is not UTF-8")))?;
        parse(value)
            .map(Some)
            .map_err(|cause| Failure::misused(format!("{long} {value}: {cause}")))
    }

    /// The value of an option that takes only its [choices](super::options::Opt::choices), in any
    /// case.
    ///
    /// # Errors
    ///
    /// When it is not UTF-8, or when `parse` does not know it in lower case.
    pub(super) fn choice<T>(
        &mut self,
        long: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let choices = self.options.find(long).map_or(&[][..], |o| o.choices);
        debug_assert!(choices.len() > 1);
        self.option(long, |text| {
            parse(&text.to_ascii_lowercase())
                .ok_or_else(|| format!("expected {}", alternatives(choices)))
        })
    }

    /// All values of an option that may be given several times, in their order.
    ///
    /// # Errors
    ///
    /// The same as for [`option`](Self::option).
    pub(super) fn all<T>(
        &mut self,
        long: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Failure> {
        std::iter::from_fn(|| self.option(long, &parse).transpose()).collect()
    }

    /// The next value of an option that takes a path.
    pub(super) fn path(&mut self, long: &'static str) -> Option<PathBuf> {
        self.value(long).map(PathBuf::from)
    }

    /// All values of an option that takes a path and may be given several times, in their order.
    pub(super) fn paths(&mut self, long: &'static str) -> Vec<PathBuf> {
        std::iter::from_fn(|| self.path(long)).collect()
    }

    /// The level that `-v` and `-q` choose.
    ///
    /// # Errors
    ///
    /// When both are given.
    pub(super) fn level(&mut self) -> Result<Level, Failure> {
        let verbose = self.flag("--verbose");
        match (verbose, self.flag("--quiet")) {
            (true, true) => Err(Failure::misused("-v and -q can't be combined")),
            (true, false) => Ok(Level::Detail),
            (false, true) => Ok(Level::Warning),
            (false, false) => Ok(Level::Info),
        }
    }

    /// Ends the parsing of options. Every option in the table must have been parsed.
    pub(super) fn finish(self) {
        let left = self.arguments.finish();
        debug_assert!(left.is_empty(), "{left:?} is in the table, and not parsed");
    }

    /// The words that were not parsed.
    #[cfg(test)]
    pub(super) fn into_words(self) -> Vec<OsString> {
        self.arguments.finish()
    }

    /// The next value of an option, if there is one. It is not empty.
    pub(super) fn value(&mut self, long: &'static str) -> Option<OsString> {
        debug_assert!(self.options.find(long).is_some_and(|o| o.value.is_some()));
        let value =
            |marked: &OsStr| Ok::<_, Infallible>(unmarked(marked).unwrap_or_default().to_owned());
        let found = self.arguments.opt_value_from_os_str(long, value);
        // Each name is followed by a value.
        found.unwrap_or_default()
    }
}

/// A value as [`Given::new`] takes it.
pub(super) fn marked(value: &OsStr) -> OsString {
    let mut marked = vec![MARK];
    marked.extend_from_slice(value.as_bytes());
    OsString::from_vec(marked)
}

/// The value that was [marked].
fn unmarked(marked: &OsStr) -> Option<&OsStr> {
    let value = marked.as_bytes().strip_prefix(&[MARK]);
    value.map(OsStr::from_bytes)
}

/// Several choices, of which one is to be taken.
pub(super) fn alternatives(choices: &[&str]) -> String {
    let (last, others) = choices.split_last().unwrap_or((&"", &[]));
    format!("{} or {last}", others.join(", "))
}

/// Takes any text: the library checks it.
pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// The error for an option of a pair that is given alone.
pub(super) fn unpaired(option: &str, missing: &str) -> Failure {
    Failure::misused(format!("{option} needs {missing}"))
        .hint("if both are in one file, name it twice")
}
