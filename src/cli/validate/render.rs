//! How is a flaw shown? With the lines around it, the field, and what to do.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, SourceOffset, SourceSpan,
};

use super::{Error, Finding};

/// Width of a report; a terminal breaks longer lines itself.
const WIDTH: usize = 110;

#[derive(Debug)]
struct Shown {
    title: String,
    help: String,
    source: NamedSource<String>,
    span: SourceSpan,
    label: String,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some(self.label.clone()), self.span))))
    }
}

/// The text of an error.
pub(super) fn error(finding: &Finding, error: &Error, color: bool) -> String {
    let flaw = &error.flaw;
    let field = if flaw.field.is_empty() { String::new() } else { format!("{}: ", flaw.field) };
    let text = finding.document.as_ref().map(|document| document.source.text.clone()).unwrap_or_default();
    let start = SourceOffset::from_location(&text, error.line, error.column);
    let rest = text.get(start.offset()..).unwrap_or_default();
    let length = rest.find([':', '\n', ' ']).unwrap_or(rest.len()).max(1);
    let span = SourceSpan::new(start, length.min(rest.len()));
    let shown = Shown {
        title: format!("{} {}: {field}{}", finding.kind, finding.full_name(), flaw.message),
        help: flaw.help.clone(),
        source: NamedSource::new(&finding.file, text),
        span,
        label: flaw.field.clone(),
    };
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_context_lines(1).with_links(false);
    let mut report = String::new();
    match handler.render_report(&mut report, &shown) {
        Ok(()) => report.trim_end().to_owned(),
        Err(_) => format!("{}:{}:{}: {}; {}", finding.file, error.line, error.column, shown.title, shown.help),
    }
}
