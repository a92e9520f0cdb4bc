//! Completions for fish.

use super::{COMMANDS, NAMES, Opt, Values, about, joined, values};

/// Calls of `complete` (fish's complete(1)), which need fish 3.
pub(super) fn script() -> String {
    let mut text = START.replace("NAMES", &joined(NAMES, " "));
    for command in &COMMANDS {
        let offer = format!(
            "complete -c tlsink -n '__tlsink_words 1' -xa {}",
            command.name
        );
        text.extend([&offer, " -d ", &quoted(command.summary), "\n"]);
    }
    for command in &COMMANDS {
        text.push('\n');
        let condition = format!("__tlsink_offers {}", command.name);
        for option in command.options.all() {
            write_option(&mut text, &condition, option);
        }
        let second = format!("{condition}; and __tlsink_words 2");
        let words = (!command.words.is_empty()).then_some(Values::Words(command.words));
        for (condition, values) in [(&second, words), (&condition, Some(command.free))] {
            if let Some(values) = values.filter(|values| !matches!(values, Values::Unknown)) {
                let action = action(values);
                text.extend(["complete -c tlsink -n '", condition, "'", &action, "\n"]);
            }
        }
    }
    text
}

fn write_option(text: &mut String, condition: &str, option: &Opt) {
    text.extend(["complete -c tlsink -n '", condition]);
    if !option.repeatable {
        // When the value of an option is completed, the option is the last word so far.
        let last = if option.value.is_some() { "-2" } else { "-1" };
        text.extend([" ", last, " ", &joined(option.names(), " ")]);
    }
    text.push('\'');
    if let Some(short) = option.short {
        text.extend([" -s ", short.trim_start_matches('-')]);
    }
    text.extend([" -l ", option.long.trim_start_matches('-')]);
    if let Some(values) = values(option) {
        text.extend([" -r", &action(values)]);
    }
    if !option.about.is_empty() {
        text.extend([" -d ", &quoted(&about(option))]);
    }
    text.push('\n');
}

/// The arguments of `complete` that offer these.
fn action(values: Values) -> String {
    match values {
        Values::Unknown => " -f".to_owned(),
        Values::Files => " -F".to_owned(),
        Values::Directories => " -fa '(__fish_complete_directories)'".to_owned(),
        Values::Programs => " -fa '(__fish_complete_command)'".to_owned(),
        Values::Words(words) => format!(" -fa '{}'", joined(words.iter().copied(), " ")),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

const START: &str = r#"# Completes the arguments of tlsink in fish.

# Whether so many words are complete.
function __tlsink_words
    test (count (commandline -opc)) -eq $argv[1]
end

# Whether the command is the first argument, and none of the options behind the second one is among
# the words up to that index.
function __tlsink_offers
    set -l words (commandline -opc)
    set -l command listen
    contains -- "$words[2]" NAMES; and set command $words[2]
    test $command = $argv[1]; or return
    for option in $argv[3..-1]
        contains -- $option $words[1..$argv[2]]; and return 1
        string match -q -- "$option=*" $words; and return 1
    end
    return 0
end

complete -c tlsink -f
"#;
