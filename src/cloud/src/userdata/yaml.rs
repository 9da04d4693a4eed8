//! Writes YAML as sigs.k8s.io/yaml does: keys in order, two spaces, list items at their key's indentation.

use serde_json::Value;

/// A document; the value is an object.
pub fn write(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, indent: usize, text: &mut String) {
    let pad = "  ".repeat(indent);
    match value {
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort();
            for key in keys {
                text.push_str(&format!("{pad}{}:", scalar(key)));
                inner(&members[key], indent, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                text.push_str(&format!("{pad}-"));
                match item {
                    Value::Object(members) if !members.is_empty() => {
                        // The first key stands behind the dash.
                        let mut nested = String::new();
                        block(item, indent + 1, &mut nested);
                        text.push(' ');
                        text.push_str(nested.trim_start());
                    }
                    other => inner(other, indent, text),
                }
            }
        }
        other => text.push_str(&format!("{pad}{}\n", plain(other))),
    }
}

/// What follows a key's colon or an item's dash.
fn inner(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(members) if members.is_empty() => text.push_str(" {}\n"),
        Value::Array(items) if items.is_empty() => text.push_str(" []\n"),
        Value::Object(_) => {
            text.push('\n');
            block(value, indent + 1, text);
        }
        Value::Array(_) => {
            text.push('\n');
            block(value, indent, text);
        }
        other => text.push_str(&format!(" {}\n", plain(other))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Quoted where YAML 1.1 would read something else: double quotes for texts that look like another type, single ones for texts
/// with a character that means something, double ones for control characters.
fn scalar(text: &str) -> String {
    if text.chars().any(char::is_control) {
        return Value::from(text).to_string();
    }
    if looks_like_another_type(text) {
        return format!("\"{text}\"");
    }
    let first = text.chars().next().unwrap_or(' ');
    let indicator = match first {
        '-' | '?' | ':' => text.chars().nth(1).is_none_or(char::is_whitespace),
        _ => ",[]{}#&*!|>'\"%@`".contains(first),
    };
    if indicator || text.contains(": ") || text.contains(" #") || text.ends_with(':') || text.starts_with(' ') || text.ends_with(' ') {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

fn looks_like_another_type(text: &str) -> bool {
    const WORDS: [&str; 12] = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan"];
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_start_matches(['-', '+']).replace('_', "");
    let number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok();
    let radix = digits.strip_prefix("0x").is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_ascii_hexdigit()))
        || digits
            .strip_prefix("0o")
            .or_else(|| digits.strip_prefix("0b"))
            .is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_ascii_digit()));
    let sexagesimal =
        digits.contains(':') && digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || c == ':');
    let date = lower.len() == 10
        && lower.bytes().enumerate().all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    WORDS.contains(&lower.as_str()) || digits == ".inf" || lower == "<<" || lower == "=" || number || radix || sexagesimal || date
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn blocks_are_laid_out_as_sigs_yaml_does() {
        let value = json!({"b": [{"y": 1, "x": [2]}, "z"], "a": {"c": {}, "d": []}, "e": true});
        assert_eq!(write(&value), "a:\n  c: {}\n  d: []\nb:\n- x:\n  - 2\n  \"y\": 1\n- z\ne: true\n");
    }

    #[rstest]
    #[case("plain", "plain")]
    #[case("https://x:6443", "https://x:6443")]
    #[case("--node-labels=\"a=b\"", "--node-labels=\"a=b\"")]
    #[case("10.0.100.10", "10.0.100.10")]
    #[case("12%", "12%")]
    #[case("1", "\"1\"")]
    #[case("true", "\"true\"")]
    #[case("", "\"\"")]
    #[case("a: b", "'a: b'")]
    #[case("1m0s", "1m0s")]
    #[case("it's", "it's")]
    #[case("*", "'*'")]
    fn scalars_keep_their_type(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(scalar(text), expected);
    }
}
