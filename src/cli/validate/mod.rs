//! `pgreeve validate`: would the API server take these objects, and do they mean something? Neither is asked.

mod examine;
mod flaw;
mod meaning;
mod metadata;
mod render;
mod schema;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

pub use examine::{Examiner, Verdict};
pub use flaw::{By, Flaw, nearest};

use super::exit::{Exit, Failure};
use super::input::{self, Document};
use super::{Globals, output};

/// Checks objects offline, as the API server and the operator would.
#[derive(Args, Debug)]
pub struct Validate {
    /// Files, directories, globs, or - for stdin; several YAML documents in one are fine, and so is what kustomize builds
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Form of the result on stdout; errors are also explained on stderr
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
}

/// An object of ours without a flaw, with its defaults.
#[derive(Clone, Debug)]
pub struct Valid {
    /// Its kind.
    pub kind: String,
    /// The object.
    pub object: Value,
}

/// What was found out about one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    file: String,
    line: usize,
    kind: String,
    namespace: Option<String>,
    name: String,
    valid: bool,
    errors: Vec<Error>,
    #[serde(skip)]
    document: Option<Document>,
}

#[derive(Debug, Serialize)]
struct Error {
    line: usize,
    column: usize,
    #[serde(flatten)]
    flaw: Flaw,
}

impl Validate {
    /// Runs the command.
    pub fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let findings = findings(&self.paths, globals)?;
        match self.output {
            Format::Json => output::json(&serde_json::json!({"formatVersion": output::VERSION, "objects": findings}))?,
            Format::Table => findings.iter().filter(|finding| finding.valid).try_for_each(|finding| {
                output::line(&format!("{}:{}  {} {}  ok", finding.file, finding.line, finding.kind, finding.full_name()))
            })?,
        }
        let flawed = explain(&findings, globals);
        if flawed > 0 {
            let all = findings.len();
            globals.say(&format!("{flawed} of {all} object{} not valid", if all == 1 { " is" } else { "s are" }));
            return Ok(Exit::Error);
        }
        if findings.is_empty() {
            globals.say(&format!("no object of {} was found", crate::api::GROUP));
        }
        Ok(Exit::Ok)
    }
}

/// The objects of ours in these paths, all of them valid.
///
/// # Errors
/// If a path cannot be read, or an object is not valid; what is wrong with it has been printed.
pub fn valid_objects(paths: &[PathBuf], globals: &Globals) -> Result<Vec<Valid>, Failure> {
    valid(input::read(paths)?, globals)
}

/// The objects of ours in these texts, each with its name, all of them valid.
///
/// # Errors
/// If an object is not valid; what is wrong with it has been printed.
pub fn valid_texts(texts: &[(&str, &str)], globals: &Globals) -> Result<Vec<Valid>, Failure> {
    valid(texts.iter().map(|(name, text)| input::parse(name, text)).collect(), globals)
}

fn valid(contents: Vec<input::Contents>, globals: &Globals) -> Result<Vec<Valid>, Failure> {
    let examiner = Examiner::new(globals.now());
    let mut valid = Vec::new();
    let findings = collect(contents, globals, &examiner, |kind, object| valid.push(Valid { kind, object }));
    match explain(&findings, globals) {
        0 => Ok(valid),
        flawed => Err(Failure::new(Exit::Error, format!("{flawed} objects are not valid; correct them first"))),
    }
}

fn findings(paths: &[PathBuf], globals: &Globals) -> Result<Vec<Finding>, Failure> {
    Ok(collect(input::read(paths)?, globals, &Examiner::new(globals.now()), |_, _| {}))
}

fn collect(
    contents: Vec<input::Contents>,
    globals: &Globals,
    examiner: &Examiner,
    mut keep: impl FnMut(String, Value),
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (source, documents) in contents {
        let documents = match documents {
            Ok(documents) => documents,
            Err(error) => {
                findings.push(Finding::unreadable(&source, &error));
                continue;
            }
        };
        for document in documents {
            match examiner.examine(&document.object, source.named) {
                Verdict::Skipped(why) => {
                    globals.say(&format!("{}:{}: skipped: {why}", source.name, document.place(&[]).line));
                }
                Verdict::Examined { kind, completed, flaws } => {
                    if flaws.is_empty() {
                        keep(kind.clone(), completed);
                    }
                    findings.push(Finding::of(document, kind, flaws));
                }
            }
        }
    }
    findings
}

/// Explains what is wrong on stderr; the number of objects that are.
fn explain(findings: &[Finding], globals: &Globals) -> usize {
    let flawed: Vec<&Finding> = findings.iter().filter(|finding| !finding.valid).collect();
    for finding in &flawed {
        for error in &finding.errors {
            globals.say(&format!("{}\n", render::error(finding, error, globals.stderr().color)));
        }
    }
    flawed.len()
}

impl Finding {
    fn of(document: Document, kind: String, flaws: Vec<Flaw>) -> Self {
        let metadata = &document.object["metadata"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let errors: Vec<Error> = flaws
            .into_iter()
            .map(|flaw| {
                let place = document.place(&flaw.path);
                Error { line: place.line, column: place.column, flaw }
            })
            .collect();
        Self {
            file: document.source.name.clone(),
            line: document.place(&[]).line,
            kind,
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]).or_else(|| text(&metadata["generateName"])).unwrap_or_else(|| "without a name".into()),
            valid: errors.is_empty(),
            errors,
            document: Some(document),
        }
    }

    fn unreadable(source: &std::sync::Arc<input::Source>, error: &crate::yaml::YamlError) -> Self {
        let place = error.place.unwrap_or(crate::yaml::Place { line: 1, column: 1 });
        let flaw = Flaw::at("", By::Syntax, error.message.clone(), "correct the YAML; nothing in this file was looked at");
        let document = Document { source: std::sync::Arc::clone(source), number: 0, prefix: vec![], object: Value::Null };
        Self {
            file: source.name.clone(),
            line: place.line,
            kind: "YAML".into(),
            namespace: None,
            name: source.name.clone(),
            valid: false,
            errors: vec![Error { line: place.line, column: place.column, flaw }],
            document: Some(document),
        }
    }

    fn full_name(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}
