//! Completions for bash.

use super::{COMMANDS, NAMES, Values, joined, values};

/// A function for `complete -F` (bash(1), "Programmable Completion"), which needs bash 4.
pub(super) fn script() -> String {
    let mut text = START.replace("NAMES", &joined(NAMES, " "));
    for command in &COMMANDS {
        text.extend(["        ", command.name, ")\n            case $option in\n"]);
        for option in command.options.all() {
            if let Some(values) = values(option) {
                let names = joined(option.names(), " | ");
                let action = action(values);
                let space = if action.is_empty() { "" } else { " " };
                text.extend(["                ", &names, ")", space, &action, " ;;\n"]);
            }
        }
        text.push_str("                *)\n                    cur=$prefix$cur prefix=\n");
        let options = ["options='", &joined(command.options.names(), " "), "'"].concat();
        let words = match command.words {
            [] => String::new(),
            words => ["((COMP_CWORD == 2)) && ", &action(Values::Words(words))].concat(),
        };
        for line in [options, action(command.free), words] {
            if !line.is_empty() {
                text.extend(["                    ", &line, "\n"]);
            }
        }
        text.push_str("                    ;;\n            esac\n            ;;\n");
    }
    text + END
}

/// The assignment that lets the function offer these.
fn action(values: Values) -> String {
    match values {
        Values::Unknown => String::new(),
        Values::Files => "kind=-f".to_owned(),
        Values::Directories => "kind=-d".to_owned(),
        Values::Programs => "kind=-c".to_owned(),
        Values::Words(words) => format!("words='{}'", joined(words.iter().copied(), " ")),
    }
}

const START: &str = r#"# Completes the arguments of tlsink in bash.

_tlsink() {
    local cur=${COMP_WORDS[COMP_CWORD]} command=listen option prefix= options= words= kind= word
    local names='NAMES'
    COMPREPLY=()
    # Where = is in COMP_WORDBREAKS, it is a word of its own.
    option=${COMP_WORDS[COMP_CWORD - 1]}
    case $cur in
        --*=*) option=${cur%%=*} prefix=${cur%%=*}= cur=${cur#*=} ;;
        -[!-]?*) option=${cur:0:2} prefix=${cur:0:2} cur=${cur:2} ;;
        =) cur= ;;
        *) [[ $option == = ]] && option=${COMP_WORDS[COMP_CWORD - 2]} ;;
    esac
    if [[ COMP_CWORD -eq 1 && $prefix$cur != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$names" -- "$cur")
        return
    fi
    [[ " $names " == *" ${COMP_WORDS[1]} "* ]] && command=${COMP_WORDS[1]}
    case $command in
"#;

const END: &str = r#"    esac
    if [[ -n $options ]]; then
        for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
            [[ $word == -- ]] && options=
        done
        [[ $cur == -* ]] && words=$options kind=
    fi
    # For names with quotes, bash completes by itself.
    case $kind in
        -f) compopt -o filenames -o default 2>/dev/null ;;
        -d) compopt -o filenames -o dirnames 2>/dev/null ;;
    esac
    mapfile -t COMPREPLY < <(
        compgen -W "$words" -- "$cur"
        [[ -n $kind ]] && compgen "$kind" -- "$cur"
    )
    COMPREPLY=("${COMPREPLY[@]/#/$prefix}")
}

complete -F _tlsink tlsink
"#;
