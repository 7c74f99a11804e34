//! What do the reference pages say? Written from the code: fields, reasons, findings, metrics, the command line.

use std::fmt::Write as _;

use clap::CommandFactory as _;
use serde_json::Value;

use super::{Cli, explain};
use crate::api::Reason;
use crate::metrics::Metrics;
use crate::plan::finding;

/// Width of the help texts on their page.
const WIDTH: usize = 100;

/// The pages, by file name. Writing to a String cannot fail, so what `write!` answers is dropped throughout.
pub fn files() -> Vec<(String, String)> {
    let mut files = vec![
        ("README.md".to_owned(), contents()),
        ("command-line.md".to_owned(), command_line()),
        ("findings.md".to_owned(), findings()),
        ("metrics.md".to_owned(), metrics()),
        ("reasons.md".to_owned(), reasons()),
    ];
    files.extend(kinds().into_iter().map(|(kind, page)| (format!("{}.md", kind.to_lowercase()), page)));
    files
}

fn contents() -> String {
    let mut text = String::from("# Reference\n\nThese pages come from the code; `make update` writes them anew.\n\n");
    for (kind, _) in kinds() {
        let _ = writeln!(text, "- [{kind}]({}.md): every field", kind.to_lowercase());
    }
    text.push_str("- [Reasons](reasons.md) of conditions, events and metrics\n- [Findings](findings.md) of plans\n- [Metrics](metrics.md)\n- [The command line](command-line.md)\n");
    text
}

fn reasons() -> String {
    let mut text = String::from(
        "# Reasons\n\nOne name in conditions, events and metrics. `pgreeve explain NAME` says the same.\n\n| reason | | meaning | what to do |\n| --- | --- | --- | --- |\n",
    );
    for reason in Reason::ALL {
        let (class, meaning) = (explain::class(reason.class()), cell(reason.meaning()));
        let _ = writeln!(text, "| `{reason}` | {class} | {meaning} | {} |", cell(reason.remedy()));
    }
    text
}

fn findings() -> String {
    let mut text = String::from("# Findings\n\nWhat a plan points out. `pgreeve explain ID` says the same.\n");
    for finding in finding::ALL {
        let _ =
            write!(text, "\n## {}: {}\n\n{}\n\n**What to do:** {}\n", finding.id, finding.title, finding.meaning, finding.remedy);
    }
    text
}

fn metrics() -> String {
    let mut text = String::from(
        "# Metrics\n\nServed at `/metrics` as OpenMetrics; counters end in `_total` there.\n\n| metric | meaning |\n| --- | --- |\n",
    );
    for (name, help) in Metrics::ALL {
        let _ = writeln!(text, "| `{name}` | {} |", cell(help));
    }
    text
}

fn command_line() -> String {
    let mut command = Cli::command().term_width(WIDTH);
    command.build();
    let mut text = format!("# The command line\n\n```text\n{}```\n", tidy(&command.render_long_help().to_string()));
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).filter(|name| name != "help").collect();
    for name in names {
        let Some(sub) = command.find_subcommand_mut(&name) else { continue };
        let help = sub.clone().term_width(WIDTH).render_long_help().to_string();
        let _ = write!(text, "\n## pgreeve {name}\n\n```text\n{}```\n", tidy(&help));
    }
    text
}

/// Without blanks at the ends of lines.
fn tidy(help: &str) -> String {
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n"))
}

fn kinds() -> Vec<(String, String)> {
    let page = |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let names = &crd.spec.names;
        let version = crd.spec.versions.first();
        let schema = version.and_then(|version| version.schema.as_ref()).and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = serde_json::to_value(schema).unwrap_or_default();
        let short: Vec<&str> = names.short_names.iter().flatten().map(String::as_str).collect();
        let mut text = format!(
            "# {}\n\n{}\n\n`kubectl get {}`, or `{}`.\n",
            names.kind,
            description(&schema),
            names.plural,
            short.join("`, `")
        );
        for part in ["spec", "status"] {
            let _ = write!(text, "\n## {part}\n\n| field | type | default | |\n| --- | --- | --- | --- |\n");
            rows(&mut text, &schema["properties"][part], "");
        }
        (names.kind.clone(), text)
    };
    crate::api::crds().into_iter().map(page).collect()
}

fn rows(text: &mut String, schema: &Value, path: &str) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let default = match &property["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            Value::Object(_) => String::new(),
            default => format!("`{}`", cell(&default.to_string())),
        };
        let _ = writeln!(text, "| `{path}` | {} | {default} | {} |", type_of(property), cell(&described(property)));
        let is_list = property["type"] == "array";
        let inner = if is_list { &property["items"] } else { property };
        let inner_path = if is_list { format!("{path}[]") } else { path };
        // A condition is the same in every API; its fields are Kubernetes' own.
        if name != "conditions" {
            rows(text, inner, &inner_path);
        }
    }
}

fn type_of(property: &Value) -> String {
    let name = match property["type"].as_str().unwrap_or("any") {
        "array" => return format!("list of {}", type_of(&property["items"])),
        "integer" => "number",
        other => other,
    };
    match property["enum"].as_array() {
        Some(values) => values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
        None => name.to_owned(),
    }
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// The description with the limits.
fn described(property: &Value) -> String {
    let range = match (property["minimum"].as_f64(), property["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!(" From {least} to {most}."),
        _ => String::new(),
    };
    format!("{}{range}", description(property).trim_end())
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
