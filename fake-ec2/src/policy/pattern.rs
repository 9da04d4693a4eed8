//! Wildcards (`*`, `?`) and policy variables (`${aws:username}`). What a variable stands for is literal: a `*` in a tag is a star.

use std::borrow::Cow;

use super::Context;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Letter(char),
}

/// A pattern ready to be matched.
#[derive(Debug)]
pub struct Pattern(Vec<Token>);

/// How letters are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Exact,
    Ignored,
}

impl Pattern {
    /// Wildcards alone: actions, and documents of 2008, which have no variables.
    pub fn plain(text: &str) -> Self {
        Self(text.chars().map(wild).collect())
    }

    /// Wildcards and variables; `None` if a variable has no value in this request, whereby the pattern matches nothing.
    pub fn with_variables(text: &str, context: &Context) -> Option<Self> {
        let mut tokens = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            tokens.extend(rest[..at].chars().map(wild));
            let inside = &rest[at + 2..];
            let Some(end) = inside.find('}') else {
                tokens.extend(rest[at..].chars().map(wild));
                return Some(Self(tokens));
            };
            let value = variable(&inside[..end], context)?;
            tokens.extend(value.chars().map(Token::Letter));
            rest = &inside[end + 1..];
        }
        tokens.extend(rest.chars().map(wild));
        Some(Self(tokens))
    }

    pub fn matches(&self, text: &str, case: Case) -> bool {
        let pattern = &self.0;
        let text: Vec<char> = text.chars().collect();
        let same = |one: char, two: char| one == two || (case == Case::Ignored && one.eq_ignore_ascii_case(&two));
        let (mut p, mut t, mut star) = (0, 0, None);
        while t < text.len() {
            match pattern.get(p) {
                Some(Token::Any) => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(Token::One) => (p, t) = (p + 1, t + 1),
                Some(Token::Letter(letter)) if same(*letter, text[t]) => (p, t) = (p + 1, t + 1),
                _ => {
                    let Some((at, from)) = star else { return false };
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
            }
        }
        pattern[p..].iter().all(|token| *token == Token::Any)
    }
}

fn wild(letter: char) -> Token {
    match letter {
        '*' => Token::Any,
        '?' => Token::One,
        letter => Token::Letter(letter),
    }
}

/// `${*}`, `${?}` and `${$}` are the letters themselves; `${key, 'default'}` has a default.
fn variable<'a>(inside: &'a str, context: &'a Context) -> Option<Cow<'a, str>> {
    if matches!(inside, "*" | "?" | "$") {
        return Some(inside.into());
    }
    let (key, default) = inside.split_once(',').map_or((inside, None), |(key, default)| (key, Some(default.trim())));
    let default = default.and_then(|text| text.strip_prefix('\'')?.strip_suffix('\''));
    context.one(key.trim()).or(default).map(Cow::from)
}

/// A text with its variables replaced and no wildcards; `None` if one has no value.
pub fn literal<'a>(text: &'a str, context: &Context) -> Option<Cow<'a, str>> {
    if !text.contains("${") {
        return Some(text.into());
    }
    let pattern = Pattern::with_variables(text, context)?;
    let letter = |token: &Token| match token {
        Token::Any => '*',
        Token::One => '?',
        Token::Letter(letter) => *letter,
    };
    Some(pattern.0.iter().map(letter).collect::<String>().into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("ec2:Describe*", "ec2:describeInstances", true)]
    #[case("ec2:Run?nstances", "ec2:RunInstances", true)]
    #[case("ec2:*", "iam:PassRole", false)]
    #[case("*", "", true)]
    #[case("a*b*c", "axxbyyc", true)]
    #[case("a*b*c", "axxbyy", false)]
    fn actions(#[case] pattern: &str, #[case] text: &str, #[case] matches: bool) {
        assert_eq!(Pattern::plain(pattern).matches(text, Case::Ignored), matches);
    }

    #[rstest]
    #[case("arn:aws:iam::1:user/${aws:username}", "arn:aws:iam::1:user/ann", true)]
    #[case("${aws:PrincipalTag/team}/*", "a*b/x", true)]
    #[case("${aws:PrincipalTag/team}/*", "axb/x", false)]
    #[case("${aws:PrincipalTag/none}/*", "/x", false)]
    #[case("${aws:PrincipalTag/none, 'all'}/*", "all/x", true)]
    #[case("a${*}b", "a*b", true)]
    #[case("a${*}b", "axb", false)]
    #[case("a${", "a${", true)]
    fn variables(#[case] pattern: &str, #[case] text: &str, #[case] matches: bool) {
        let mut context = Context::default();
        context.set("aws:username", "ann");
        context.set("aws:PrincipalTag/team", "a*b");
        assert_eq!(Pattern::with_variables(pattern, &context).is_some_and(|pattern| pattern.matches(text, Case::Exact)), matches);
    }
}
