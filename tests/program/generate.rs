//! The man pages and completions that the program generates, read by the programs that users read
//! and complete with.

#![cfg(feature = "cli")]

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::program::{Program, run_if_installed};
use crate::common::skip::{is_installed, skip};
use crate::common::terminal::Terminal;
use crate::help::Listed;

/// The commands that have a man page.
const COMMANDS: [&str; 3] = ["listen", "send", "cert"];

fn generated(args: &[&str]) -> String {
    let outcome = Program::run(args);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    outcome.stdout_text()
}

/// The output of a program, on both streams, for this input; `None` if the program is not installed.
fn said(command: &mut Command, input: &str) -> Option<String> {
    let output = run_if_installed(command, input.as_bytes())?;
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    Some(said)
}

#[test]
fn man_pages_are_without_fault() {
    for command in COMMANDS {
        let page = generated(&[command, "--generate", "man"]);
        let mut mandoc = Command::new("mandoc");
        mandoc.args(["-T", "lint"]);
        if let Some(said) = said(&mut mandoc, &page) {
            assert_eq!(said, "", "{page}");
        }
        let mut groff = Command::new("groff");
        groff.args(["-man", "-ww", "-z", "-T", "utf8"]);
        if let Some(said) = said(&mut groff, &page) {
            assert_eq!(said, "", "{page}");
        }
    }
}

/// The pages are of the day of the release, once there is one.
#[test]
fn man_pages_have_the_date_of_the_changelog() {
    let version = format!("\n## {} - ", env!("CARGO_PKG_VERSION"));
    let changelog = include_str!("../../CHANGELOG.md");
    let (_, heading) = changelog.split_once(&version).expect("it has the version");
    let date = heading.lines().next().unwrap();
    for command in COMMANDS {
        let page = generated(&[command, "--generate", "man"]);
        let title = page.lines().next().unwrap();
        let is_dated = title.contains(&format!(" 1 {date} "));
        assert!(is_dated || date == "Unreleased", "{title}: {date}");
    }
}

#[test]
fn man_pages_hold_what_the_help_says() {
    for (command, name) in COMMANDS
        .into_iter()
        .zip(["tlsink", "tlsink-send", "tlsink-cert"])
    {
        let page = generated(&[command, "--generate", "man"]);
        let mut mandoc = Command::new("mandoc");
        // Without the default width, lines are not filled as in the help.
        mandoc.args(["-T", "ascii", "-O", "width=200"]);
        let Some(shown) = said(&mut mandoc, &page) else {
            return;
        };
        let shown = without_overstrikes(&shown);
        let titles = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "NOTES",
            "EXIT STATUS",
            "ENVIRONMENT",
            "EXAMPLES",
            "SEE ALSO",
        ];
        let running = ["SIGNALS", "FILES"]
            .into_iter()
            .filter(|_| command != "cert");
        for title in titles.into_iter().chain(running) {
            assert!(shown.contains(&format!("\n{title}\n")), "{title}: {shown}");
        }
        assert!(shown.contains(&format!("\n       {name} - ")), "{shown}");
        for option in Listed::of(command) {
            let names = option.names().collect::<Vec<_>>().join(", ");
            let value = option.value.map(|value| [" ", &value].concat());
            let entry = format!("\n       {names}{}\n", value.unwrap_or_default());
            // A short name may stand beside its description.
            let beside = format!("\n       {names} ");
            assert!(
                shown.contains(&entry) || shown.contains(&beside),
                "{entry}: {shown}"
            );
        }
        // Every word of the help is there, but for those of its frame.
        let help = generated(&[command, "--help"]);
        for word in help.split_whitespace() {
            let is_frame = ["usage:", "Exit", "status:", "Examples:", "Options:"].contains(&word);
            let word = word.trim_end_matches([',', ':']);
            assert!(is_frame || shown.contains(word), "{word}: {shown}");
        }
        let examples = help.split_once("\nExamples:\n").unwrap().1;
        for command in examples
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
        {
            assert!(
                shown.contains(&format!("           {command}\n")),
                "{command}: {shown}"
            );
        }
    }
}

/// Removes the backspaces, with the characters before them, that print bold and underlined text.
fn without_overstrikes(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '\u{8}' => drop(plain.pop()),
            c => plain.push(c),
        }
    }
    plain
}

/// A line that the user has typed so far, and what the shell offers.
struct Line {
    typed: &'static str,
    offered: &'static [&'static str],
}

const fn line(typed: &'static str, offered: &'static [&'static str]) -> Line {
    Line { typed, offered }
}

/// Lines that all shells complete to the same. DIR is a folder with `a.pem`, `b c.pem`, and the folder
/// `sub`.
const LINES: [Line; 25] = [
    line("tlsink s", &["send"]),
    line("tlsink ", &["cert", "help", "listen", "send", "version"]),
    line("tlsink help c", &["cert"]),
    line("tlsink --for", &["--format", "--forward-key"]),
    line("tlsink listen --for", &["--format", "--forward-key"]),
    line("tlsink --format ", &["json", "lines", "raw"]),
    line("tlsink -f ", &["json", "lines", "raw"]),
    line("tlsink --format=j", &["json"]),
    line("tlsink -fj", &["json"]),
    line("tlsink --color n", &["never"]),
    line("tlsink cert --color=n", &["never"]),
    line("tlsink --cert DIR/b", &["b c.pem"]),
    line("tlsink --label --decode z", &["zlib", "zstd"]),
    line("tlsink --listen ", &[]),
    line("tlsink --label x", &[]),
    line("tlsink --label -- --for", &[]),
    line("tlsink --cert a --cer", &["--cert"]),
    line("tlsink --cert DIR/", &["a.pem", "b c.pem", "sub"]),
    line("tlsink --cert=DIR/a", &["a.pem"]),
    line("tlsink --output-dir DIR/", &["sub"]),
    line("tlsink send --enc", &["--encode"]),
    line("tlsink send --framing n", &["none"]),
    line("tlsink send h:1 DIR/a", &["a.pem"]),
    line("tlsink cert serv", &["server"]),
    line("tlsink cert server a.example DIR/", &["sub"]),
];

/// A folder with the files to complete.
fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.pem", "b c.pem"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    fs::create_dir(folder.path().join("sub")).unwrap();
    folder
}

/// Calls `complete` with each line, and compares the last parts of what it offers.
fn each_line_is_completed(complete: impl Fn(&str) -> Option<Vec<String>>) {
    let folder = files();
    for Line { typed, offered } in LINES {
        let typed = typed.replace("DIR", folder.path().to_str().unwrap());
        let Some(said) = complete(&typed) else {
            return;
        };
        let mut last_parts: Vec<&str> = said
            .iter()
            .map(|offer| offer.trim_end_matches('/'))
            .map(|offer| offer.rsplit(['/', '=']).next().unwrap_or_default())
            // A short option, in front of its value.
            .map(|offer| offer.strip_prefix("-f").unwrap_or(offer))
            .collect();
        last_parts.sort_unstable();
        last_parts.dedup();
        assert_eq!(last_parts, offered, "{typed}");
    }
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

/// Calls the completing function as bash does (bash(1), "Programmable Completion"). The arguments
/// are the line, and its words.
const BASH: &str = r#"
source /dev/stdin || exit
COMP_LINE=$1 COMP_POINT=${#1}
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
[[ $(complete -p tlsink) == 'complete -F _tlsink tlsink' ]] || exit
_tlsink tlsink "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn bash_completes() {
    let script = generated(&["--generate", "bash"]);
    let complete = |typed: &str, words: &[&str]| {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", BASH, "bash", typed]).args(words);
        said(&mut bash, &script).map(|said| lines(&said))
    };
    each_line_is_completed(|typed| {
        // By default, = and : are words of their own.
        let split = typed.replace('=', " = ").replace("h:1", "h : 1");
        complete(typed, &split.split(' ').collect::<Vec<_>>())
    });
    // COMP_WORDBREAKS may be without =.
    if let Some(offered) = complete("tlsink --format=j", &["tlsink", "--format=j"]) {
        assert_eq!(offered, ["--format=json"]);
    }
    if let Some(offered) = complete("tlsink --format=", &["tlsink", "--format", "="]) {
        assert_eq!(offered, ["lines", "raw", "json"]);
    }
}

/// A shell whose command `args` leaves its arguments in a file, one a line.
const BASH_SETUP: &str = r#"
PS1='ready> '
bind 'set enable-bracketed-paste off'
source "$folder/tlsink.bash"
args() { printf '%s\n' "$@" >"$folder/args"; echo stored; }
"#;

#[test]
fn bash_inserts_what_it_completes() {
    if !is_installed("bash") {
        skip("bash is not installed");
        return;
    }
    let (folder, files) = (tempfile::tempdir().unwrap(), files());
    let file = |name: &str| folder.path().join(name);
    fs::write(file("tlsink.bash"), generated(&["--generate", "bash"])).unwrap();
    fs::write(file("setup"), BASH_SETUP).unwrap();
    let Terminal { user, controller } = Terminal::open();
    // A shell that never gets ready must not wait forever.
    let mut bash = Command::new("timeout");
    bash.args(["60", "bash", "--noprofile", "--rcfile"])
        .arg(file("setup"))
        .arg("-i")
        .env("folder", folder.path())
        .env("TERM", "dumb")
        .stdin(user.try_clone().unwrap())
        .stdout(user.try_clone().unwrap())
        .stderr(user);
    let mut shell = bash.spawn().unwrap();
    drop(bash);
    let mut shown = String::new();
    let mut wait_until_ready = |behind: &str| {
        // Keys may repeat the prompt.
        while !shown.contains(behind) || !shown.ends_with("ready> ") {
            let mut bytes = [0; 4096];
            let count = (&controller).read(&mut bytes).expect("the shell goes on");
            shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        shown.clear();
    };
    wait_until_ready("");
    for (typed, completed) in [
        ("sen", &["send"][..]),
        ("--forma", &["--format"]),
        ("--format j", &["--format", "json"]),
        ("--format=j", &["--format=json"]),
        ("-fj", &["-fjson"]),
        ("--cert DIR/b", &["--cert", "DIR/b c.pem"]),
        ("--cert=DIR/b", &["--cert=DIR/b c.pem"]),
        ("-cDIR/b", &["-cDIR/b c.pem"]),
        (r"--cert DIR/b\ c", &["--cert", "DIR/b c.pem"]),
        ("--cert 'DIR/b ", &["--cert", "DIR/b c.pem"]),
        ("--output-dir DIR/s", &["--output-dir", "DIR/sub/"]),
        ("send h:1 DIR/b", &["send", "h:1", "DIR/b c.pem"]),
    ] {
        let fill = |text: &str| text.replace("DIR", files.path().to_str().unwrap());
        // Tab completes; Ctrl-A goes to the start of the line.
        let keys = format!("tlsink {}\t\x01args \r", fill(typed));
        (&controller).write_all(keys.as_bytes()).unwrap();
        wait_until_ready("stored");
        let args = fs::read_to_string(file("args")).unwrap();
        let completed: Vec<String> = completed.iter().map(|word| fill(word)).collect();
        assert_eq!(lines(&args)[1..], completed, "{typed}");
    }
    (&controller).write_all(b"exit\r").unwrap();
    shell.wait().unwrap();
}

#[test]
fn fish_completes_and_offers_each_option_as_often_as_it_may_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("tlsink.fish");
    fs::write(&script, generated(&["--generate", "fish"])).unwrap();
    let complete = |typed: &str| {
        let mut fish = Command::new("fish");
        let commands = "source $argv[1]; complete -C $argv[2]";
        fish.args(["--no-config", "-c", commands])
            .arg(&script)
            .arg(typed);
        let said = said(&mut fish, "")?;
        // Descriptions follow tabs.
        let offer = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        Some(said.lines().map(offer).collect())
    };
    each_line_is_completed(complete);
    each_option_is_offered_as_often_as_it_may_be_given(complete);
}

/// Lists the matches, instead of inserting or showing them.
const ZSH_SETUP: &str = r#"
PROMPT= RPROMPT=
fpath=($folder $fpath)
autoload -Uz compinit
compinit -u -d $folder/dump
compadd() {
    # These calls add no match.
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd "$@"
        return
    fi
    local -a matches
    local match
    builtin compadd -A matches "$@"
    for match in $matches; do
        print -r -- $'\nmatch' ${(Q)match}
    done
    builtin compadd "$@"
}
capture() {
    _main_complete
    compstate[insert]= compstate[list]=
    print $'\nend'
}
zle -C capture complete-word capture
bindkey '^I' capture
print rea''dy
"#;

/// Types a line and a tab into zsh on a terminal (zshmodules(1), zsh/zpty).
const ZSH: &str = r#"
zmodload zsh/zpty || exit
zpty shell zsh -f -i
zpty -w shell "folder=${(q)1}; source \$folder/setup"
zpty -r shell shown '*ready*'
zpty -w -n shell $2$'\t'
zpty -r shell shown $'*\nend*'
print -r -- $shown
"#;

#[test]
fn zsh_completes_and_offers_each_option_as_often_as_it_may_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    file("_tlsink", &generated(&["--generate", "zsh"]));
    file("setup", ZSH_SETUP);
    let complete = |typed: &str| zsh_matches(folder.path(), typed);
    each_line_is_completed(complete);
    each_option_is_offered_as_often_as_it_may_be_given(complete);
}

fn zsh_matches(folder: &Path, typed: &str) -> Option<Vec<String>> {
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-c", ZSH, "zsh"]).arg(folder).arg(typed);
    zsh.env("TERM", "dumb");
    let said = said(&mut zsh, "")?;
    assert!(said.contains("\nend"), "{typed}: {said}");
    let matches = said.lines().filter_map(|line| line.strip_prefix("match "));
    Some(matches.map(|line| line.trim_end().to_owned()).collect())
}

fn each_option_is_offered_as_often_as_it_may_be_given(
    complete: impl Fn(&str) -> Option<Vec<String>>,
) {
    for (typed, offered) in [
        ("tlsink --label --labe", &[][..]),
        ("tlsink --format=raw --form", &[]),
        ("tlsink --format raw --form", &[]),
        ("tlsink send -e gzip --encod", &[]),
        ("tlsink --allow-from ::/0 --allow-f", &["--allow-from"]),
        ("tlsink -l 1 --liste", &["--listen"]),
    ] {
        if let Some(said) = complete(typed) {
            assert_eq!(said, offered, "{typed}");
        }
    }
}
