//! `pgreeve stats`: how much is there, how much of it has expired, and how much is archived? A line for each policy of rows.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::archive::policies::{LeavingArgs, Which};
use super::database::DatabaseArgs;
use super::exit::{Exit, Failure};
use super::policies::Looked;
use super::source::Opened;
use super::{Globals, amount, output};
use crate::plan::action::Action;
use crate::plan::rows::{ROWS_COUNTED, Table};
use crate::postgres::Session;
use crate::postgres::rows::count_rows;

/// Shows how large the tables of RetentionPolicies and their archives are, and how many of their rows have expired
#[derive(Args, Debug)]
pub struct Stats {
    #[command(flatten)]
    policies: LeavingArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Table,
    Json,
    Yaml,
    Markdown,
}

/// A number of rows: counted up to a hundred thousand, estimated beyond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Count {
    rows: i64,
    exact: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    policy: String,
    table: String,
    retention: String,
    total: Count,
    archivable: Count,
    bytes: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<String>,
    archived: Count,
    archive_bytes: i64,
    /// Why rows that have expired would not go, if so.
    blocked: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    format_version: &'static str,
    database: String,
    tables: Vec<Line>,
    total_archivable: Count,
}

impl Stats {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let Opened { policies, session, .. } = self.policies.open(Which::Rows, &self.database, globals).await?;
        let (server, looked) = policies.look_at_leaving(&session, self.policies.now(globals)).await?;
        let mut tables = Vec::with_capacity(looked.len());
        for one in &looked {
            tables.push(line(one, &session).await?);
        }
        let archivable = tables.iter().map(|line| line.archivable);
        let total =
            Count { rows: archivable.clone().map(|count| count.rows).sum(), exact: archivable.clone().all(|count| count.exact) };
        let view = View { format_version: output::VERSION, database: server.database, tables, total_archivable: total };
        match self.output {
            Form::Table => output::write(&view.table())?,
            Form::Markdown => output::write(&view.markdown())?,
            Form::Json => output::json(&view)?,
            Form::Yaml => output::write(&crate::yaml::text(&view)?)?,
        }
        Ok(Exit::Ok)
    }
}

async fn line(one: &Looked, session: &Session) -> Result<Line, Failure> {
    let spec = &one.policy.spec;
    let (answers, tables, plan) = (&one.facts.rows.answers, &one.facts.rows.tables, &one.planned.plan);
    let table = tables.get(&spec.table);
    let planned = plan.actions.iter().find_map(|action| match action {
        Action::ArchiveRows(task) => task.archive.clone(),
        _ => None,
    });
    let archive = planned.or_else(|| {
        let rows = spec.rows.as_ref()?;
        (rows.action == crate::api::row_retention::RowAction::Archive).then(|| {
            rows.archive_table.clone().unwrap_or_else(|| crate::api::TableName {
                schema: spec.table.schema.clone(),
                name: format!("{}_archive", spec.table.name),
            })
        })
    });
    let archived = archive.as_ref().and_then(|archive| tables.get(archive));
    let archivable = match (answers.expired, answers.estimated) {
        (Some(counted), _) if counted < ROWS_COUNTED => Count { rows: counted, exact: true },
        (counted, estimated) => Count { rows: counted.max(estimated).unwrap_or(0), exact: false },
    };
    Ok(Line {
        policy: format!("{}/{}", plan.object.namespace, plan.object.name),
        table: spec.table.to_string(),
        retention: spec.keep.age.map(|age| age.to_string()).unwrap_or_default(),
        total: count(table, session).await?,
        archivable,
        bytes: table.map_or(0, |table| table.bytes),
        oldest: answers.oldest.clone(),
        archive: archive.map(|archive| archive.to_string()),
        archived: count(archived, session).await?,
        archive_bytes: archived.map_or(0, |table| table.bytes),
        blocked: plan.blocked.iter().map(|blocked| blocked.message.clone()).collect(),
    })
}

/// A table that is not there, or that our role may not read, has no rows to show.
async fn count(table: Option<&Table>, session: &Session) -> Result<Count, Failure> {
    let Some(table) = table.filter(|table| table.may_act_as_owner) else { return Ok(Count { rows: 0, exact: table.is_none() }) };
    let counted = count_rows(session, table, ROWS_COUNTED).await.map_err(|fault| Failure::fault("counting rows", &fault))?;
    Ok(match counted {
        counted if counted < ROWS_COUNTED => Count { rows: counted, exact: true },
        counted => Count { rows: counted.max(table.tuples), exact: false },
    })
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}{}", if self.exact { "" } else { "~" }, self.rows))
    }
}

const HEAD: [&str; 8] = ["TABLE", "ROWS", "ARCHIVABLE", "ARCHIVED", "SIZE", "ARCHIVE SIZE", "OLDEST", "RETENTION"];

impl View {
    fn cells(&self) -> Vec<[String; 8]> {
        let size = |bytes: i64| if bytes == 0 { "-".to_owned() } else { amount::bytes(bytes) };
        let cells = |line: &Line| {
            [
                line.table.clone(),
                line.total.to_string(),
                line.archivable.to_string(),
                if line.archive.is_some() { line.archived.to_string() } else { "-".into() },
                size(line.bytes),
                size(line.archive_bytes),
                line.oldest.as_deref().map_or_else(|| "-".into(), amount::bound),
                line.retention.clone(),
            ]
        };
        self.tables.iter().map(cells).collect()
    }

    fn table(&self) -> String {
        let rows: Vec<[String; 8]> = std::iter::once(HEAD.map(str::to_owned)).chain(self.cells()).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for row in &rows {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = width(column);
                // Numbers stand on their right, words on their left.
                if (1..=5).contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
            text.push('\n');
        }
        for line in &self.tables {
            for blocked in &line.blocked {
                text.push_str(&format!("! {}: {blocked}\n", line.table));
            }
        }
        text.push_str(&format!("{} rows to archive.\n", self.total_archivable));
        text
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
        };
        let mut text = line(&HEAD.map(str::to_owned));
        text.push_str("| --- | ---: | ---: | ---: | ---: | ---: | --- | --- |\n");
        text.extend(self.cells().iter().map(|cells| line(cells)));
        text
    }
}
