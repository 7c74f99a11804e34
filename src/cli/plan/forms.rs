//! How is a plan written for a pull request, for psql, and for scripts?

use std::fmt::Write as _;

use super::super::amount;
use super::table::locks;
use super::view::{PolicyView, View};

/// Markdown, to paste into a pull request. Writing to a String cannot fail.
pub fn markdown(view: &View) -> String {
    let database = &view.database;
    let mut text = format!(
        "### pgreeve plan for `{}`\n\nPostgreSQL {}, database `{}`, role `{}`, as of {}.\n",
        database.name,
        database.server_version,
        database.database,
        database.role,
        amount::minute(view.as_of)
    );
    if let Some(blocked) = &database.unwritable {
        let _ = write!(text, "\n**{}**: {}\n", blocked.reason, cell(&blocked.message));
    }
    for policy in &view.policies {
        text.push_str(&markdown_of(policy));
    }
    text
}

fn markdown_of(policy: &PolicyView) -> String {
    let mut text = format!("\n#### {}\n\n{}\n", policy.object, cell(&policy.headline));
    if !policy.actions.is_empty() {
        text.push_str("\n| change | object | how | locks | time |\n| --- | --- | --- | --- | --- |\n");
    }
    for action in &policy.actions {
        let (subject, detail) = (cell(&action.subject), cell(&action.detail));
        let _ = writeln!(text, "| {} | `{subject}` | {detail} | {} | {} |", action.verb, cell(&locks(action)), action.time);
    }
    let mut points = Vec::new();
    points.extend(policy.blocked.iter().map(|blocked| format!("**blocked** ({}): {}", blocked.reason, cell(&blocked.message))));
    points.extend(policy.notes.iter().map(|note| format!("{} {}: {}", note.id, cell(&note.object), cell(&note.message))));
    points.extend(policy.kept.iter().map(|kept| format!("kept: {}", cell(kept))));
    points.extend(policy.hold.iter().map(|hold| format!("on hold ({}): {}", hold.reason, cell(&hold.message))));
    points.extend(policy.settled.iter().map(|settled| format!("nothing to do: {settled}")));
    if !points.is_empty() {
        let _ = write!(text, "\n- {}\n", points.join("\n- "));
    }
    if !policy.actions.is_empty() {
        let _ = write!(text, "\nPlan `{}`: {}.\n", policy.fingerprint, policy.counted());
    }
    text
}

/// Text that neither a pipe nor a line break takes out of its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The statements, as psql takes them. Comments say what waits and what is blocked.
pub fn sql(view: &View) -> String {
    let mut text =
        format!("-- {}: database {}, as of {}\n", view.database.name, view.database.database, amount::minute(view.as_of));
    for policy in &view.policies {
        let _ = write!(text, "\n-- {}: {}\n", policy.object, comment(&policy.headline));
        if !policy.actions.is_empty() {
            let _ = writeln!(text, "-- plan {}: {}", policy.fingerprint, policy.counted());
        }
        for blocked in &policy.blocked {
            let _ = writeln!(text, "-- blocked ({}): {}", blocked.reason, comment(&blocked.message));
        }
        for action in &policy.actions {
            let _ = write!(text, "\n-- {} {} {}\n", action.verb, comment(&action.subject), comment(&action.detail));
            for statement in &action.statements {
                let _ = writeln!(text, "{};", statement.trim_start());
            }
        }
    }
    text
}

/// Text that stays within its comment.
fn comment(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
