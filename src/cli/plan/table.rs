//! How does a plan look on a terminal? One line a change, with its locks, its time and its budget.

use std::fmt::Write as _;

use super::super::amount;
use super::super::terminal::{Look, Tone};
use super::view::{ActionView, PolicyView, View};
use crate::plan::finding;

/// Lines of changes that a table shows of each policy; `-o wide` shows all.
const SHOWN: usize = 30;

/// How the table is to look.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colour or none.
    pub look: Look,
    /// All lines, each with what takes it back.
    pub wide: bool,
}

/// The table. Writing to a String cannot fail, so what `write!` answers is dropped throughout.
pub fn render(view: &View, style: Style) -> String {
    let mut text = format!("{}\n", database(view, style.look));
    if let Some(blocked) = &view.database.unwritable {
        let _ = writeln!(text, "{}", refusal(&blocked.message, blocked.reason.as_str(), style.look));
    }
    for policy in &view.policies {
        text.push_str(&of_policy(policy, style));
    }
    text.push_str(&footer(view, style.look));
    text
}

fn database(view: &View, look: Look) -> String {
    let database = &view.database;
    let superuser = if database.superuser { "superuser" } else { "not superuser" };
    format!(
        "{} {}   PostgreSQL {} · database {} · role {} ({superuser}) · as of {}",
        look.paint(Tone::Strong, "Database"),
        database.name,
        database.server_version,
        database.database,
        database.role,
        amount::minute(view.as_of),
    )
}

fn of_policy(policy: &PolicyView, style: Style) -> String {
    let Style { look, wide } = style;
    let size = if policy.bytes > 0 { format!(", {}", amount::bytes(policy.bytes)) } else { String::new() };
    let object = &policy.object;
    let kind = look.paint(Tone::Strong, &object.kind);
    let mut text = format!("{kind} {}/{}   {}{size}\n", object.namespace, object.name, policy.headline);
    let shown = if wide { policy.actions.len() } else { policy.actions.len().min(SHOWN) };
    text.push_str(&actions(&policy.actions[..shown], style));
    if shown < policy.actions.len() {
        let _ = writeln!(text, "    … and {} more; -o wide shows all", policy.actions.len() - shown);
    }
    for blocked in &policy.blocked {
        let _ = writeln!(text, "{}", refusal(&blocked.message, blocked.reason.as_str(), look));
    }
    for note in policy.notes.iter().filter(|note| note.id == finding::ON_HOLD.id) {
        let sign = look.paint(Tone::Note, "= keep   ");
        let _ = writeln!(text, "  {sign}  {}   [{}]", note.message, look.paint(Tone::Note, &note.id));
    }
    for kept in &policy.kept {
        let _ = writeln!(text, "  {}  {kept}", look.paint(Tone::Note, "= keep   "));
    }
    for note in policy.notes.iter().filter(|note| note.id != finding::ON_HOLD.id) {
        let sign = look.paint(Tone::Note, "i note   ");
        let _ = writeln!(text, "  {sign}  {}: {}   [{}]", note.object, note.message, look.paint(Tone::Note, &note.id));
    }
    if let Some(hold) = &policy.hold {
        let _ = writeln!(text, "  {}  {}   [{}]", look.paint(Tone::Note, "= hold   "), hold.message, hold.reason);
    }
    if let Some(settled) = policy.settled.as_ref().filter(|_| policy.notes.is_empty() || !policy.is_pending()) {
        let _ = writeln!(text, "  {}  {settled}", look.paint(Tone::Faint, "= keep   "));
    }
    text
}

fn refusal(message: &str, reason: &str, look: Look) -> String {
    format!("  {}  {message}   [{}]", look.paint(Tone::Bad, "! blocked"), look.paint(Tone::Bad, reason))
}

fn actions(actions: &[ActionView], style: Style) -> String {
    let width = |of: fn(&ActionView) -> &str| actions.iter().map(|action| of(action).chars().count()).max().unwrap_or(0);
    let (subjects, details) = (width(|action| &action.subject), width(|action| &action.detail).min(60));
    let verbs = width(|action| action.verb).max(7);
    let mut text = String::new();
    for action in actions {
        let (sign, tone) = match action.verb {
            "create" => ("+", Tone::Add),
            "repair" | "finish detaching" | "reopen" => ("~", Tone::Change),
            _ => ("-", Tone::Bad),
        };
        let verb = style.look.paint(tone, &format!("{sign} {:<verbs$}", action.verb));
        let _ = writeln!(
            text,
            "  {verb}  {:<subjects$}   {:<details$}   {}, {}, lock budget {}",
            action.subject,
            action.detail,
            locks(action),
            action.time,
            action.lock_budget
        );
        if style.wide {
            for statement in &action.undo {
                let _ = writeln!(text, "      {}", style.look.paint(Tone::Faint, &format!("undo: {statement};")));
            }
        }
    }
    text
}

/// The locks, with the schema where it is not `public`.
pub fn locks(action: &ActionView) -> String {
    let one =
        |lock: &super::view::LockView| format!("{} on {}", lock.mode, lock.table.strip_prefix("public.").unwrap_or(&lock.table));
    let locks: Vec<String> = action.locks.iter().map(one).collect();
    if locks.is_empty() { "no lock on a table".into() } else { locks.join(" + ") }
}

fn footer(view: &View, look: Look) -> String {
    let mut text = String::new();
    let pending: Vec<&PolicyView> = view.policies.iter().filter(|policy| policy.is_pending()).collect();
    for policy in &pending {
        let whose =
            if pending.len() > 1 { format!(" ({}/{})", policy.object.namespace, policy.object.name) } else { String::new() };
        let _ =
            writeln!(text, "Plan {}{whose}: {}.", look.paint(Tone::Strong, view.short(&policy.fingerprint)), policy.counted());
    }
    if view.changes == 0 {
        let blocked = if view.blocked > 0 { format!("; {} blocked", view.blocked) } else { String::new() };
        let _ = writeln!(text, "No changes{blocked}.");
    }
    text
}

impl PolicyView {
    /// Whether there is something to do or in the way.
    pub fn is_pending(&self) -> bool {
        !self.actions.is_empty()
    }

    /// The summary with the number of notes and refusals.
    pub fn counted(&self) -> String {
        let notes = match self.notes.len() {
            1 => "1 note".to_owned(),
            count => format!("{count} notes"),
        };
        let blocked = if self.blocked.is_empty() { ", 0 blocked" } else { "" };
        let freed = if self.freed > 0 { format!(" ({} freed)", amount::bytes(self.freed)) } else { String::new() };
        format!("{}{freed}, {notes}{blocked}", self.summary)
    }
}
