//! Man pages, in the macros of man(7).

use super::super::help::{self, Topic};
use super::super::manual::{self, Block, Entry, Manual};

/// The names of all pages, and their texts.
static PAGES: [(&str, &Manual); 3] = [
    ("tlsink", &manual::PROGRAM),
    ("tlsink-send", &manual::SEND),
    ("tlsink-cert", &manual::CERT),
];

/// The day of the version, or of the last change to the pages before it.
const DATE: &str = "2026-11-28";

/// The page about this topic.
pub(super) fn page(topic: Topic) -> String {
    let [program, send, cert] = PAGES;
    let (name, manual) = match topic {
        Topic::Program | Topic::Listen => program,
        Topic::Send => send,
        Topic::Cert => cert,
    };
    let mut text = String::new();
    let title = escaped(&name.to_uppercase());
    let version = escaped(help::VERSION.trim_end());
    text.push_str(&format!(".TH {title} 1 {DATE} \"{version}\"\n"));
    section(&mut text, "NAME");
    text.extend([&escaped(name), " \\- ", &escaped(manual.summary), "\n"]);
    section(&mut text, "SYNOPSIS");
    text.push_str(".nf\n");
    for form in manual.usage {
        text.extend([&styled(form.usage), "\n"]);
    }
    text.push_str(".fi\n");
    section(&mut text, "DESCRIPTION");
    write_lines(&mut text, manual.about);
    for block in manual.arguments {
        match block {
            Block::Paragraph(lines) => {
                text.push_str(".PP\n");
                write_lines(&mut text, lines);
            }
            Block::Table(lines) => write_literal(&mut text, lines),
        }
    }
    section(&mut text, "OPTIONS");
    for group in manual.options.groups {
        if manual.options.groups.len() > 1 {
            text.extend([".SS ", &escaped(group.title), "\n"]);
        }
        for option in group.options {
            let names: Vec<_> = option.names().map(styled).collect();
            text.extend([".TP\n", &names.join(", ")]);
            if let Some(value) = option.value {
                text.extend([" ", &styled(value)]);
            }
            text.push('\n');
            write_lines(&mut text, option.about);
        }
    }
    write_paragraphs(&mut text, "NOTES", manual.notes);
    write_paragraphs(&mut text, "SIGNALS", manual.signals);
    section(&mut text, "EXIT STATUS");
    write_lines(&mut text, manual.exit_status);
    let environment: Vec<_> = manual.environment.iter().copied().flatten().collect();
    write_entries(&mut text, "ENVIRONMENT", &environment);
    write_entries(&mut text, "FILES", &manual.files.iter().collect::<Vec<_>>());
    section(&mut text, "EXAMPLES");
    for (number, example) in manual.examples.iter().enumerate() {
        break_behind_first(&mut text, number);
        text.extend([&escaped(example.title), ":\n"]);
        write_literal(&mut text, example.commands);
    }
    section(&mut text, "SEE ALSO");
    let others = PAGES.iter().filter(|(other, _)| *other != name);
    let others: Vec<_> = others
        .map(|(other, _)| format!("{}(1)", bold(other)))
        .collect();
    text.extend([&others.join(", "), "\n"]);
    text
}

fn section(text: &mut String, title: &str) {
    text.extend([".SH ", title, "\n"]);
}

fn write_paragraphs(text: &mut String, title: &str, paragraphs: &[&str]) {
    if !paragraphs.is_empty() {
        section(text, title);
    }
    for (number, paragraph) in paragraphs.iter().enumerate() {
        break_behind_first(text, number);
        write_lines(text, paragraph);
    }
}

fn write_entries(text: &mut String, title: &str, entries: &[&Entry]) {
    if !entries.is_empty() {
        section(text, title);
    }
    for entry in entries {
        text.extend([".TP\n", &bold(entry.name), "\n"]);
        write_lines(text, entry.about);
    }
}

/// Begins a paragraph, unless it is the first one of its section, which has begun.
fn break_behind_first(text: &mut String, number: usize) {
    if number > 0 {
        text.push_str(".PP\n");
    }
}

/// The longest line of a page, which roff fills again.
const MOST_COLUMNS: usize = 80;

/// Writes words that are filled.
fn write_lines(text: &mut String, lines: &str) {
    let mut line = String::new();
    for word in lines.split_whitespace() {
        let word = escaped(word);
        if line.len() + 1 + word.len() > MOST_COLUMNS {
            write_line(text, &line);
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    write_line(text, &line);
}

fn write_line(text: &mut String, escaped: &str) {
    // A request begins with a dot, or with a quote, which is escaped anyway.
    let guard = if escaped.starts_with('.') { "\\&" } else { "" };
    text.extend([guard, escaped, "\n"]);
}

/// Writes lines that stay as they are, in a paragraph of their own.
fn write_literal(text: &mut String, lines: &str) {
    text.push_str(".PP\n.RS 4\n.nf\n");
    for line in lines.lines() {
        write_line(text, &escaped(line));
    }
    text.push_str(".fi\n.RE\n");
}

/// Prints placeholders, which are in upper case, in italics, and other words in bold.
fn styled(usage: &str) -> String {
    let mut text = String::new();
    let mut rest = usage;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let end = rest.find(|c| is_word(c) != is_word(first));
        let (run, behind) = rest.split_at(end.unwrap_or(rest.len()));
        match first {
            'A'..='Z' => text.extend(["\\fI", &escaped(run), "\\fR"]),
            first if is_word(first) => text.push_str(&bold(run)),
            _ => text.push_str(&escaped(run)),
        }
        rest = behind;
    }
    text
}

fn bold(word: &str) -> String {
    ["\\fB", &escaped(word), "\\fR"].concat()
}

/// Escapes the characters that roff would not print as they are (groff_char(7)).
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            '"' => escaped.push_str("\\(dq"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_printed_as_it_is() {
        let mut text = String::new();
        write_lines(&mut text, ".log\\n\n'{peer}' ~ ^ ` \"\na.b --c\n");
        let expected = "\\&.log\\en \\(aq{peer}\\(aq \\(ti \\(ha \\(ga \\(dq a.b \\-\\-c\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn placeholders_are_in_italics() {
        assert_eq!(
            styled("tlsink send [--ca FILE] HOST:PORT [FILE...]"),
            "\\fBtlsink\\fR \\fBsend\\fR [\\fB\\-\\-ca\\fR \\fIFILE\\fR] \
             \\fIHOST\\fR:\\fIPORT\\fR [\\fIFILE\\fR...]"
        );
    }
}
