//! The options that the program's own help lists.

use crate::common::program::Program;

/// An option, as `--help` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub short: Option<String>,
    pub long: String,
    /// The placeholder for its value.
    pub value: Option<String>,
}

impl Listed {
    /// All options of a command.
    pub fn of(command: &str) -> Vec<Listed> {
        let outcome = Program::run(&[command, "--help"]);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
        let help = outcome.stdout_text();
        // Lines of examples may begin with options, too.
        let (list, _) = help.split_once("\nExamples:\n").unwrap();
        let listed: Vec<Listed> = list.lines().filter_map(Listed::parse).collect();
        assert!(!listed.is_empty(), "{help}");
        listed
    }

    /// The short name, if there is one, and the long one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.short.iter().chain([&self.long]).map(String::as_str)
    }

    fn parse(line: &str) -> Option<Listed> {
        let line = line.strip_prefix("  ")?;
        if !line.starts_with('-') && !line.starts_with("    --") {
            return None;
        }
        let mut words = line.split_whitespace().peekable();
        let short = words.next_if(|word| word.ends_with(','));
        let long = words.next()?;
        let is_placeholder = |word: &&str| {
            word.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        };
        // A description begins in lower case, or with a number.
        let is_value = |word: &&str| word.bytes().any(|byte| byte.is_ascii_uppercase());
        Some(Listed {
            short: short.map(|short| short.trim_end_matches(',').to_owned()),
            long: long.to_owned(),
            value: words
                .next()
                .filter(|word| is_placeholder(word) && is_value(word))
                .map(str::to_owned),
        })
    }
}
