//! The errors of outputs, and of the templates for their files' names.

use std::fmt;
use std::io;

use crate::count::Loss;

/// An [`Output`](crate::output::Output) failed, and with it the sink that fed it.
#[derive(Debug)]
pub struct OutputError {
    pub(crate) source: io::Error,
    pub(crate) streams: usize,
    pub(crate) unflushed: u64,
}

impl OutputError {
    /// The kind of the error that the output's medium returned.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Combines two failures of sinks that feed the same output, with the cause of this one.
    pub fn and(mut self, other: &OutputError) -> Self {
        self.streams = self.streams.saturating_add(other.streams);
        self.unflushed = self.unflushed.saturating_add(other.unflushed);
        self
    }

    /// The number of streams that were open, or not yet flushed, when the output failed.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// The number of bytes that the output was given since its last flush. Up to this many are
    /// lost.
    pub fn unflushed(&self) -> u64 {
        self.unflushed
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = Loss {
            bytes: self.unflushed,
            streams: self.streams as u64,
        };
        write!(f, "can't write the output: {}{loss}", self.source)
    }
}

impl std::error::Error for OutputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The reason why a text is no [`Template`](crate::output::Template) for file names, or no
/// [`Prefix`](crate::output::Prefix) for lines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template is empty.
    Empty,
    /// A brace has no counterpart, or stands within a token.
    Unbalanced,
    /// The template has an unknown token.
    UnknownToken(String),
    /// The template has a character that no file name in a directory can hold: `/`, or a control
    /// character.
    Forbidden(char),
    /// A [`Prefix`](crate::output::Prefix) has a character that is not printable.
    Unprintable(char),
    /// The template begins with `.` or `-`, as hidden files and options do.
    Beginning,
    /// The template ends in `.part`, as names of incomplete files do.
    End,
    /// The text besides the tokens is too long.
    TooLong {
        /// The longest text allowed, in bytes.
        most: usize,
    },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TOKENS: &str =
            "{time}, {date}, {hour}, {peer}, {port}, {client}, {conn} and {stream}";
        match self {
            TemplateError::Empty => f.write_str("expected a name, such as {time}-{peer}-{conn}"),
            TemplateError::Unbalanced => {
                write!(f, "expected braces around tokens alone, which are {TOKENS}")
            }
            TemplateError::UnknownToken(token) => {
                write!(f, "unknown token {{{token}}}; there are {TOKENS}")
            }
            TemplateError::Forbidden('/') => {
                f.write_str("names can't hold /, except those of files that are appended to")
            }
            TemplateError::Forbidden(c) => write!(f, "names can't hold {}", c.escape_default()),
            TemplateError::Unprintable(c) => {
                write!(f, "prefixes can't hold {}", c.escape_default())
            }
            TemplateError::Beginning => {
                f.write_str("names can't begin with . or -, as hidden files and options do")
            }
            TemplateError::End => {
                f.write_str("names can't end in .part, as those of incomplete files do")
            }
            TemplateError::TooLong { most } => {
                write!(f, "expected at most {most} bytes besides the tokens")
            }
        }
    }
}

impl std::error::Error for TemplateError {}
