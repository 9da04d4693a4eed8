//! An answer for people.

use super::{Answer, Fact};
use std::fmt::Write as _;

/// Longest line before it is wrapped.
const WIDTH: usize = 118;
const MARGIN: &str = "             ";

pub fn text(answer: &Answer, colour: bool) -> String {
    let bold = |words: &str| if colour { format!("\x1b[1m{words}\x1b[0m") } else { words.to_owned() };
    let mut out = String::new();
    let _ = writeln!(out, "{} at {}", bold(&answer.object), answer.at);
    for section in &answer.sections {
        let _ = writeln!(out, "\n{}", bold(section.title));
        section.facts.iter().for_each(|fact| one(&mut out, fact));
    }
    out
}

fn one(out: &mut String, fact: &Fact) {
    let first = fact.at.map_or_else(|| MARGIN.to_owned(), |at| format!("{:>10}   ", at.to_string()));
    wrapped(out, &first, MARGIN, &fact.says);
    let margin = format!("{MARGIN}  ");
    for line in &fact.more {
        wrapped(out, &margin, &format!("{margin}  "), line);
    }
}

fn wrapped(out: &mut String, first: &str, margin: &str, words: &str) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in words.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = margin.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    let _ = writeln!(out, "{line}");
}
