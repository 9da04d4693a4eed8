//! Multipart archives, as cloud-init and nodeadm take them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One part: its media type without parameters, in lower case, and its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub media_type: String,
    pub body: String,
}

/// The parts of a multipart document; `Ok(None)` when the text is no such document at all.
pub fn parts(text: &str) -> Result<Option<Vec<Part>>, String> {
    let (headers, body) = split_head(text.trim_start());
    let Some(content_type) = header(headers, "content-type") else { return Ok(None) };
    if !media_type(content_type).starts_with("multipart/") {
        return Ok(None);
    }
    let boundary = parameter(content_type, "boundary").ok_or("the multipart document names no boundary")?;
    let (delimiter, end) = (format!("--{boundary}"), format!("--{boundary}--"));
    let mut parts = Vec::new();
    let mut current: Option<Vec<&str>> = None;
    for line in body.lines() {
        let trimmed = line.trim_end();
        if trimmed == delimiter || trimmed == end {
            if let Some(lines) = current.take() {
                parts.push(part(&lines.join("\n"))?);
            }
            if trimmed == end {
                return Ok(Some(parts));
            }
            current = Some(Vec::new());
        } else if let Some(lines) = &mut current {
            lines.push(line);
        }
    }
    Err(format!("the multipart document ends without {end}"))
}

fn part(text: &str) -> Result<Part, String> {
    let (headers, body) = split_head(text);
    let media_type = header(headers, "content-type").map(media_type).unwrap_or_default();
    let encoding = header(headers, "content-transfer-encoding").unwrap_or("8bit").trim().to_ascii_lowercase();
    let body = match encoding.as_str() {
        "7bit" | "8bit" | "binary" => body.to_owned(),
        "base64" => {
            let packed: String = body.split_whitespace().collect();
            let bytes = STANDARD.decode(packed).map_err(|error| format!("a part is not base64: {error}"))?;
            String::from_utf8(bytes).map_err(|_| "a part is not UTF-8 text".to_owned())?
        }
        other => return Err(format!("a part has the transfer encoding {other:?}, which is not read")),
    };
    Ok(Part { media_type, body })
}

/// Header lines, up to the first empty line, and the rest.
fn split_head(text: &str) -> (&str, &str) {
    // A part without headers begins with its empty line.
    for separator in ["\r\n\r\n", "\n\n"] {
        if let Some((head, body)) = text.split_once(separator) {
            let looks = head.lines().all(|line| line.contains(':') || line.starts_with([' ', '\t']) || line.is_empty());
            return if looks { (head, body) } else { ("", text) };
        }
    }
    (text, "")
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
}

fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn parameter(content_type: &str, name: &str) -> Option<String> {
    let parameters = content_type.split(';').skip(1).filter_map(|each| each.split_once('='));
    let found = parameters.into_iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty())
}
