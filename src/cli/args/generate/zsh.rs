//! Completions for zsh.

use super::{COMMANDS, Command, NAMES, Opt, Values, about, joined, values};

/// A function for a folder in `fpath`, or to be sourced behind `compinit` (zshcompsys(1)).
pub(super) fn script() -> String {
    let mut text = START.to_owned();
    for command in &COMMANDS {
        let described = [command.name, ":", &escaped(command.summary)].concat();
        text.extend(["            ", &quoted(&described), "\n"]);
    }
    text.extend([MIDDLE, "        (", &joined(NAMES, "|"), ")", SHIFT]);
    for command in &COMMANDS {
        text.extend(["        (", command.name, ")\n            _arguments -s -S"]);
        let options = command.options.all().flat_map(option_specs);
        for spec in options.chain(free_specs(command)) {
            text.extend([" \\\n                ", &quoted(&spec)]);
        }
        text.push_str("\n            ;;\n");
    }
    text + END
}

/// The specification of each name of an option (zshcompsys(1), `_arguments`).
fn option_specs(option: &'static Opt) -> impl Iterator<Item = String> {
    option.names().map(|name| {
        // All names of an option exclude each other.
        let mut spec = match (option.repeatable, option.short) {
            (true, _) => "*".to_owned(),
            (false, None) => String::new(),
            (false, Some(short)) => format!("({short} {})", option.long),
        };
        spec.push_str(name);
        if option.value.is_some() {
            spec.push(if name == option.long { '=' } else { '+' });
        }
        spec.extend(["[", &escaped(&about(option)), "]"]);
        if let (Some(placeholder), Some(values)) = (option.value, values(option)) {
            spec.extend([":", placeholder, ":", &action(values)]);
        }
        spec
    })
}

/// The specifications of a command's arguments that are no options.
fn free_specs(command: &Command) -> impl Iterator<Item = String> {
    let words = (!command.words.is_empty()).then(|| action(Values::Words(command.words)));
    let free = match command.free {
        Values::Unknown => None,
        free => Some(action(free)),
    };
    let first = match (words, &free) {
        (None, _) => None,
        (Some(words), None) => Some(["1: :", &words].concat()),
        (Some(words), Some(free)) => Some(format!(
            "1: : _alternative \"words::{words}\" \"arguments::{free}\""
        )),
    };
    let rest = free.map(|free| ["*: :", &free].concat());
    first.into_iter().chain(rest)
}

fn action(values: Values) -> String {
    match values {
        // An empty action would complete files.
        Values::Unknown => " ".to_owned(),
        Values::Files => "_files".to_owned(),
        Values::Directories => "_files -/".to_owned(),
        Values::Programs => "_command_names -e".to_owned(),
        Values::Words(words) => format!("({})", joined(words.iter().copied(), " ")),
    }
}

/// Escapes the characters that separate the parts of a specification.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '\\' | ':' | '[' | ']') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

const START: &str = r#"#compdef tlsink
# Completes the arguments of tlsink in zsh.

_tlsink() {
    local command=listen
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
        local -a commands=(
"#;

const MIDDLE: &str = r#"        )
        _describe command commands
        return
    fi
    case $words[2] in
"#;

const SHIFT: &str = r#"
            command=$words[2]
            shift words
            (( CURRENT-- ))
            ;;
    esac
    case $command in
"#;

const END: &str = r#"    esac
}

if [[ $funcstack[1] == _tlsink ]]; then
    _tlsink "$@"
else
    compdef _tlsink tlsink
fi
"#;
