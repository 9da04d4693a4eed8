//! Command lines: words with quotes, and the kubelet's flags among them.

use super::{Bootstrap, Refusal, Taint};

/// Splits as a shell does: quotes group, a backslash takes the next character as it is.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"'), '\\') | (None, '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("unexpected end of line while looking for the matching quote: {line}"));
    }
    words.extend(word);
    Ok(words)
}

/// Takes the kubelet flags that shape a node; the others change nothing that anybody sees here. Later flags win, except that labels
/// add up. Both `--flag=value` and `--flag value` are read.
pub fn kubelet(bootstrap: &mut Bootstrap, words: &[String]) -> Result<(), Refusal> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else { continue };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None if TAKEN.contains(&flag) => (flag, words.next().cloned().unwrap_or_default()),
            None => continue,
        };
        let value = value.trim_matches('"');
        let wrong = || Refusal::Kubelet(format!("invalid argument {value:?} for \"--{name}\" flag"));
        match name {
            "node-labels" => bootstrap.labels.extend(pairs(value, '=').ok_or_else(wrong)?),
            "register-with-taints" => bootstrap.taints = taints(value).ok_or_else(wrong)?,
            "max-pods" => bootstrap.max_pods = Some(value.parse().map_err(|_| wrong())?),
            "pods-per-core" => bootstrap.pods_per_core = Some(value.parse().map_err(|_| wrong())?).filter(|count| *count > 0),
            "kube-reserved" => bootstrap.kube_reserved.extend(pairs(value, '=').ok_or_else(wrong)?),
            "system-reserved" => bootstrap.system_reserved.extend(pairs(value, '=').ok_or_else(wrong)?),
            "eviction-hard" => bootstrap.eviction_hard.extend(pairs(value, '<').ok_or_else(wrong)?),
            _ => {}
        }
    }
    Ok(())
}

const TAKEN: [&str; 7] =
    ["node-labels", "register-with-taints", "max-pods", "pods-per-core", "kube-reserved", "system-reserved", "eviction-hard"];

fn pairs(text: &str, separator: char) -> Option<Vec<(String, String)>> {
    let pair = |each: &str| each.split_once(separator).map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
    text.split(',').filter(|each| !each.trim().is_empty()).map(pair).collect()
}

fn taints(text: &str) -> Option<Vec<Taint>> {
    text.split(',').filter(|each| !each.trim().is_empty()).map(|each| taint(each.trim())).collect()
}

/// `key=value:Effect` or `key:Effect`.
fn taint(text: &str) -> Option<Taint> {
    let (named, effect) = text.rsplit_once(':')?;
    let (key, value) = named.split_once('=').unwrap_or((named, ""));
    let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect);
    (known && !key.is_empty()).then(|| Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() })
}
