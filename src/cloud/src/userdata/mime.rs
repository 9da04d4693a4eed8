//! MIME multipart archives, as Go's mime/multipart reads and writes them, without carriage returns.
//!
//! Source: `A/pkg/providers/amifamily/bootstrap/mime/mime.go`, `eksbootstrap.go`.

use super::UserDataError;

const BOUNDARY: &str = "//";
pub const SHELL_SCRIPT: &str = "text/x-shellscript; charset=\"us-ascii\"";
pub const NODE_CONFIG: &str = "application/node.eks.aws";

/// One part: its headers in order of name, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub headers: Vec<(String, String)>,
    pub content: String,
}

impl Part {
    pub fn new(content_type: &str, content: impl Into<String>) -> Self {
        Part { headers: vec![("Content-Type".to_owned(), content_type.to_owned())], content: content.into() }
    }
}

/// Whether user data are an archive already.
pub fn is_archive(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with("MIME-Version:") || text.starts_with("Content-Type:")
}

pub fn write(parts: &[Part]) -> String {
    let mut text = format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\n\n");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&format!("--{BOUNDARY}\n"));
        for (name, value) in &part.headers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        text.push_str(&part.content);
    }
    text.push_str(&format!("\n--{BOUNDARY}--\n"));
    text.replace('\r', "")
}

pub fn read(text: &str) -> Result<Vec<Part>, UserDataError> {
    let invalid = |message: &str| UserDataError::Invalid(format!("parsing custom UserData, {message}"));
    let text = text.replace("\r\n", "\n");
    let (headers, body) = head(text.trim_start_matches(['\n', ' '])).ok_or_else(|| invalid("the header has no end"))?;
    let content_type = headers.iter().find(|(name, _)| name == "Content-Type").ok_or_else(|| invalid("it has no Content-Type header"))?;
    let boundary = boundary(&content_type.1).ok_or_else(|| invalid("it is not a multipart archive with a boundary"))?;
    let delimiter = format!("--{boundary}");
    // Everything before the first delimiter is a preamble.
    let mut rest = after_delimiter(body, &delimiter, true).ok_or_else(|| invalid("it has no part"))?;
    let mut parts = Vec::new();
    while let Rest::Part(content) = rest {
        if content.trim().is_empty() {
            // A delimiter that opens nothing ends the archive.
            break;
        }
        let (headers, content) = head(content).ok_or_else(|| invalid("a part's header has no end"))?;
        let end = end_of_part(content, &delimiter).ok_or_else(|| invalid("a part has no end"))?;
        parts.push(Part { headers, content: content[..end].to_owned() });
        rest = after_delimiter(&content[end..], &delimiter, false).ok_or_else(|| invalid("a part has no end"))?;
    }
    Ok(parts)
}

enum Rest<'a> {
    Part(&'a str),
    End,
}

/// What follows the next delimiter line.
fn after_delimiter<'a>(text: &'a str, delimiter: &str, at_start: bool) -> Option<Rest<'a>> {
    let start = if at_start && text.starts_with(delimiter) { 0 } else { text.find(&format!("\n{delimiter}"))? + 1 };
    let after = &text[start + delimiter.len()..];
    if after.starts_with("--") {
        return Some(Rest::End);
    }
    Some(Rest::Part(after.split_once('\n').map_or("", |(_, rest)| rest)))
}

/// Where the part's text ends: before the line break that belongs to the delimiter.
fn end_of_part(content: &str, delimiter: &str) -> Option<usize> {
    if content.starts_with(delimiter) {
        return Some(0);
    }
    content.find(&format!("\n{delimiter}"))
}

/// Header lines up to the first empty line, and what follows it. Names are written as Go does: `Content-Type`.
fn head(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let (lines, body) = if let Some(body) = text.strip_prefix('\n') { ("", body) } else { text.split_once("\n\n")? };
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines.lines() {
        match line.split_once(':') {
            Some(_) if line.starts_with([' ', '\t']) => continue_last(&mut headers, line)?,
            Some((name, value)) => headers.push((canonical(name.trim()), value.trim().to_owned())),
            None if line.starts_with([' ', '\t']) => continue_last(&mut headers, line)?,
            None => return None,
        }
    }
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    Some((headers, body))
}

fn continue_last(headers: &mut [(String, String)], line: &str) -> Option<()> {
    let (_, value) = headers.last_mut()?;
    value.push(' ');
    value.push_str(line.trim());
    Some(())
}

fn canonical(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|c| {
            let made = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            made
        })
        .collect()
}

fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let parts = [Part::new(SHELL_SCRIPT, "#!/bin/bash\necho x\n"), Part::new(NODE_CONFIG, "a: b")];
        let text = write(&parts);
        assert_eq!(read(&text).unwrap(), parts);
        assert_eq!(write(&read(&text).unwrap()), text);
    }

    #[test]
    fn an_archive_may_end_with_an_open_delimiter() {
        let text = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"B\"\n\n--B\nContent-Type: text/plain\n\nx\n--B\n";
        assert_eq!(read(text).unwrap(), [Part::new("text/plain", "x")]);
    }

    #[test]
    fn refuses_what_is_no_archive() {
        for text in
            ["Content-Type: text/plain\n\nx", "MIME-Version: 1.0\n\nx", "Content-Type: multipart/mixed; boundary=B\n\n--B\nA: b\n\nopen"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(MIME-Version: 1.0\n)?(Content-Type: multipart/mixed; boundary=b\n)?(\n|--b|--|b|: |x|\r){0,24}") {
            let _ = read(&text);
        }
    }
}
