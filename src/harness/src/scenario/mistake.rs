//! What is wrong with a file, and where, with what to do about it.

use crate::yaml::Span;
use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use std::fmt;
use std::sync::Arc;

/// One mistake in one file.
#[derive(Clone, Debug)]
pub struct Mistake {
    pub file: String,
    pub source: Arc<str>,
    pub span: Span,
    /// What is wrong, as a sentence without its full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug)]
pub struct Site {
    pub file: String,
    pub source: Arc<str>,
    pub span: Span,
}

impl Site {
    pub fn mistake(&self, message: impl Into<String>, help: impl Into<Option<String>>) -> Mistake {
        let Site { file, source, span } = self.clone();
        Mistake { file, source, span, message: message.into(), help: help.into() }
    }
}

/// All mistakes that were found: never empty.
#[derive(Debug)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.source.get(..self.span.start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        write!(f, "{}:{line}: {}", self.file, self.message)
    }
}

impl std::error::Error for Mistake {}

impl Diagnostic for Mistake {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let length = self.span.len().max(1);
        Some(Box::new(std::iter::once(LabeledSpan::new(Some("here".to_owned()), self.span.start, length))))
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

impl Mistakes {
    /// With the lines, carets and help, for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour { miette::GraphicalTheme::unicode() } else { miette::GraphicalTheme::unicode_nocolor() };
        let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(110);
        let mut text = String::new();
        for mistake in &self.0 {
            let shown = WithSource { mistake, source: NamedSource::new(&mistake.file, mistake.source.to_string()) };
            if handler.render_report(&mut text, &shown).is_err() {
                text.push_str(&mistake.to_string());
            }
            text.push('\n');
        }
        text
    }
}

struct WithSource<'a> {
    mistake: &'a Mistake,
    source: NamedSource<String>,
}

impl fmt::Debug for WithSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.mistake, f)
    }
}
impl fmt::Display for WithSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistake.message)
    }
}
impl std::error::Error for WithSource<'_> {}
impl Diagnostic for WithSource<'_> {
    fn severity(&self) -> Option<Severity> {
        self.mistake.severity()
    }
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.mistake.help()
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let fits = self.mistake.span.start <= self.mistake.source.len();
        if fits { self.mistake.labels() } else { None }
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }
}
