//! Which objects were given? Files, directories, globs and stdin, read into documents that know where they stand.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use crate::yaml::{self, Place, Step, YamlError};

/// A text with a name for messages.
#[derive(Debug)]
pub struct Source {
    /// The path, or `stdin`.
    pub name: String,
    /// What it holds.
    pub text: String,
    /// Whether the path was given, and not found in a directory: then everything in it must be an object.
    pub named: bool,
}

/// An object and where it stands.
#[derive(Clone, Debug)]
pub struct Document {
    /// The text it comes from.
    pub source: Arc<Source>,
    /// Number of its YAML document in that text.
    pub number: usize,
    /// The way to it within a `List`.
    pub prefix: Vec<Step>,
    /// The object.
    pub object: Value,
}

impl Document {
    /// Where a field of the object stands.
    pub fn place(&self, path: &[Step]) -> Place {
        let whole = [self.prefix.as_slice(), path].concat();
        yaml::place(&self.source.text, self.number, &whole).unwrap_or(Place { line: 1, column: 1 })
    }
}

/// What a source holds.
pub type Contents = (Arc<Source>, Result<Vec<Document>, YamlError>);

/// Reads everything that the paths name. A source that is not YAML is an error of that source alone.
///
/// # Errors
/// If a path does not exist or cannot be read, or a directory holds no YAML.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Contents>> {
    let mut found = Vec::new();
    for path in paths {
        for source in sources(path)? {
            let source = Arc::new(source);
            let documents = documents(&source);
            found.push((source, documents));
        }
    }
    Ok(found)
}

/// What a text holds.
pub fn parse(name: &str, text: &str) -> Contents {
    let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned(), named: true });
    let documents = documents(&source);
    (source, documents)
}

fn sources(path: &Path) -> anyhow::Result<Vec<Source>> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("stdin cannot be read")?;
        return Ok(vec![Source { name: "stdin".into(), text, named: true }]);
    }
    if path.is_dir() {
        let mut files = Vec::new();
        walk(path, &mut files)?;
        if files.is_empty() {
            return Err(anyhow!("{} holds no .yaml, .yml or .json file; name the files or another directory", path.display()));
        }
        return files.iter().map(|file| source(file, false)).collect();
    }
    if path.exists() {
        return Ok(vec![source(path, true)?]);
    }
    let pattern = path.to_string_lossy();
    let matches: Vec<PathBuf> = match glob::glob(&pattern) {
        Ok(paths) => paths.filter_map(Result::ok).filter(|path| path.is_file()).collect(),
        Err(_) => vec![],
    };
    if matches.is_empty() {
        return Err(anyhow!("{pattern}: no such file; give files, directories, globs, or - for stdin"));
    }
    matches.iter().map(|file| source(file, true)).collect()
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("{} cannot be read", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let is_yaml = path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if path.is_dir() && !is_hidden {
            walk(&path, files)?;
        } else if is_yaml && !is_hidden {
            files.push(path);
        }
    }
    Ok(())
}

fn source(path: &Path, named: bool) -> anyhow::Result<Source> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))?;
    Ok(Source { name, text, named })
}

fn documents(source: &Arc<Source>) -> Result<Vec<Document>, YamlError> {
    let mut found = Vec::new();
    for (number, object) in yaml::documents(&source.text)? {
        let is_list = object["apiVersion"] == "v1" && object["kind"] == "List";
        match object["items"].as_array().filter(|_| is_list) {
            Some(items) => found.extend(items.iter().enumerate().map(|(index, item)| Document {
                source: Arc::clone(source),
                number,
                prefix: vec![Step::Key("items".into()), Step::Index(index)],
                object: item.clone(),
            })),
            None => found.push(Document { source: Arc::clone(source), number, prefix: vec![], object }),
        }
    }
    Ok(found)
}
