//! The line at the bottom of a terminal that the next one replaces. It always fits on one line of
//! the terminal: a line that wraps could not be erased, and would stay behind each time.

use std::fmt::{self, Write as _};
use std::io;

use rustix::termios::tcgetwinsize;
use tlsink::output::escaped;

/// The width of a terminal that does not know it, in columns.
const USUAL_WIDTH: usize = 80;

/// The fewest columns within the brackets of a bar.
const SHORTEST_BAR: usize = 5;

/// The most columns within the brackets of a bar: a longer one tells no more.
const LONGEST_BAR: usize = 40;

/// The most columns of a name.
const LONGEST_NAME: usize = 30;

/// In the place of the beginning of a longer name.
const CUT: &str = "...";

/// Parts in their order, of which the least important are left out where they don't fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveLine(Vec<Part>);

#[derive(Clone, Debug)]
struct Part {
    /// The parts of the highest rank are the first to be left out. That of rank 0 is never left out,
    /// but cut off.
    rank: u8,
    /// The text between the part before and this one.
    separator: &'static str,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Text(String),
    /// A bar of which this share is filled, from 0 to 1.
    Bar(f64),
}

impl LiveLine {
    /// Appends a text, in which control characters are escaped.
    pub(crate) fn text(self, rank: u8, separator: &'static str, text: impl fmt::Display) -> Self {
        let text = escaped(&text.to_string()).to_string();
        self.part(rank, separator, Content::Text(text))
    }

    /// Appends the name of a file. Of a long one, only the end is shown, which tells more than the
    /// beginning of a path.
    pub(crate) fn name(self, rank: u8, separator: &'static str, name: &str) -> Self {
        let name = escaped(name).to_string();
        if width(&name) <= LONGEST_NAME {
            return self.text(rank, separator, name);
        }
        let mut surplus = width(&name).saturating_sub(LONGEST_NAME - CUT.len());
        let mut end = name.chars();
        while surplus > 0
            && let Some(c) = end.next()
        {
            surplus = surplus.saturating_sub(columns_of(c));
        }
        self.text(rank, separator, format_args!("{CUT}{}", end.as_str()))
    }

    /// Appends a bar, which is shortened before any part is left out.
    pub(crate) fn bar(self, rank: u8, separator: &'static str, share: f64) -> Self {
        self.part(rank, separator, Content::Bar(share))
    }

    fn part(mut self, rank: u8, separator: &'static str, content: Content) -> Self {
        self.0.push(Part {
            rank,
            separator,
            content,
        });
        self
    }

    /// The whole line, for a place of any width.
    pub(crate) fn whole(&self) -> String {
        self.fitting(usize::MAX)
    }

    /// The line for the terminal on standard error, as wide as that is now.
    pub(super) fn on_terminal(&self) -> String {
        // A terminal of unknown size reports 0.
        let columns = match tcgetwinsize(io::stderr()) {
            Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
            _ => USUAL_WIDTH,
        };
        self.fitting(columns)
    }

    fn fitting(&self, columns: usize) -> String {
        // Some terminals wrap once the last column is filled.
        let room = columns.saturating_sub(1);
        let mut parts: Vec<_> = self.0.iter().collect();
        let mut needed = least_width(&parts);
        while needed > room
            && let Some(last) = parts.iter().map(|part| part.rank).max()
            && last > 0
        {
            parts.retain(|part| part.rank < last);
            needed = least_width(&parts);
        }
        let bar = SHORTEST_BAR
            .saturating_add(room.saturating_sub(needed))
            .min(LONGEST_BAR);
        let mut line = String::new();
        for part in parts {
            if !line.is_empty() {
                line.push_str(part.separator);
            }
            match &part.content {
                Content::Text(text) => line.push_str(text),
                Content::Bar(share) => push_bar(&mut line, *share, bar),
            }
        }
        cut_off(&mut line, room);
        line
    }
}

/// The columns that these parts need, with the shortest bar.
fn least_width(parts: &[&Part]) -> usize {
    let mut needed = 0_usize;
    for part in parts {
        if needed > 0 {
            needed = needed.saturating_add(part.separator.len());
        }
        needed = needed.saturating_add(match &part.content {
            Content::Text(text) => width(text),
            Content::Bar(_) => SHORTEST_BAR + "[]".len(),
        });
    }
    needed
}

fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// The most columns that a terminal uses for a character. As each one beyond ASCII is taken for a wide
/// one, no line wraps, whichever version of Unicode the terminal knows; a name with such characters
/// leaves less room for the rest.
fn columns_of(c: char) -> usize {
    if c.is_ascii() { 1 } else { 2 }
}

/// Appends a bar with this many columns within its brackets.
fn push_bar(line: &mut String, share: f64, columns: usize) {
    let filled = (share.clamp(0.0, 1.0) * columns as f64) as usize;
    let tip = if filled < columns { ">" } else { "" };
    let _ = write!(line, "[{:<columns$}]", "=".repeat(filled) + tip);
}

/// Keeps the beginning of a text that has at most this many columns.
fn cut_off(text: &mut String, columns: usize) {
    let mut width = 0_usize;
    let end = text.char_indices().find_map(|(at, c)| {
        width = width.saturating_add(columns_of(c));
        (width > columns).then_some(at)
    });
    if let Some(end) = end {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> LiveLine {
        LiveLine::default()
            .name(3, "", "notes.txt")
            .bar(2, " ", 0.45)
            .text(0, " ", "45%")
            .text(1, ", ", "12.3 of 27.3 MiB")
    }

    #[test]
    fn the_bar_is_shortened_before_parts_are_left_out_by_rank() {
        let bar = format!("[{:<40}]", "=".repeat(18) + ">");
        let longest = format!("notes.txt {bar} 45%, 12.3 of 27.3 MiB");
        for (columns, expected) in [
            (usize::MAX, &*longest),
            (75, &longest),
            (74, &longest.replace("=>  ", ">  ")),
            (41, "notes.txt [==>   ] 45%, 12.3 of 27.3 MiB"),
            (40, "notes.txt [==>  ] 45%, 12.3 of 27.3 MiB"),
            (39, "[======>       ] 45%, 12.3 of 27.3 MiB"),
            (30, "[==>  ] 45%, 12.3 of 27.3 MiB"),
            (29, "45%, 12.3 of 27.3 MiB"),
            (22, "45%, 12.3 of 27.3 MiB"),
            (21, "45%"),
            (4, "45%"),
            (3, "45"),
            (1, ""),
            (0, ""),
        ] {
            assert_eq!(line().fitting(columns), expected, "{columns}");
        }
    }

    #[test]
    fn a_line_never_fills_the_last_column() {
        for name in ["a", "\u{1b}[2J\n", "日本語", "e\u{301}", "🦀🦀"] {
            let line = line().name(1, ", ", name).bar(1, " ", 2.0);
            for columns in 1..200 {
                let line = line.fitting(columns);
                assert!(width(&line) < columns, "{line}");
                assert!(!line.contains(char::is_control), "{line}");
            }
        }
    }

    #[test]
    fn a_bar_is_full_only_at_the_end() {
        for (share, bar) in [
            (-1.0, "[>    ]"),
            (f64::NAN, "[>    ]"),
            (0.0, "[>    ]"),
            (0.2, "[=>   ]"),
            (0.999, "[====>]"),
            (1.0, "[=====]"),
            (f64::INFINITY, "[=====]"),
        ] {
            assert_eq!(LiveLine::default().bar(0, "", share).fitting(8), bar);
        }
    }

    #[test]
    fn a_long_name_is_shown_by_its_end() {
        let shown = |name: &str| LiveLine::default().name(0, "", name).whole();
        let longest = "x".repeat(30);
        assert_eq!(shown(&longest), longest);
        assert_eq!(
            shown(&format!("/{longest}")),
            format!("...{}", &longest[3..])
        );
        let wide = "é".repeat(16);
        assert_eq!(shown(&wide), format!("...{}", "é".repeat(13)));
    }
}
