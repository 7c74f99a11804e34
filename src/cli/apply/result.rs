//! What did an apply come to? Each action with what became of it, and what is left.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::exit::Exit;
use super::super::output;
use super::super::plan::view::{Hold, View};
use super::super::planned::Planned;
use super::super::terminal::{Look, Tone};
use crate::api::Reason;
use crate::plan::Outcome;
use crate::plan::action::{Blocked, ObjectId};
use crate::plan::outcome::ActionResult;
use crate::plan::status::problem;

/// A plan that was carried out, as far as it went.
#[derive(Debug)]
pub struct Applied {
    /// The policy.
    pub object: ObjectId,
    /// What became of its actions.
    pub outcome: Outcome,
}

/// What became of every policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    format_version: &'static str,
    database: String,
    policies: Vec<PolicyResult>,
    done: usize,
    left: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyResult {
    object: ObjectId,
    fingerprint: String,
    actions: Vec<Line>,
    hold: Option<Hold>,
    blocked: Vec<Blocked>,
    left: usize,
    settled: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    action: String,
    result: &'static str,
    reason: &'static str,
    tries: Option<u32>,
    message: Option<String>,
}

impl Results {
    /// From what was planned, what was done, and what a new look says.
    pub fn new(view: &View, applied: Vec<Applied>, after: Vec<Planned>) -> Self {
        let of_policy = |(policy, left): (&super::super::plan::view::PolicyView, Planned)| {
            let outcome = applied.iter().find(|applied| applied.object == policy.object).map(|applied| &applied.outcome);
            PolicyResult {
                object: policy.object.clone(),
                fingerprint: policy.fingerprint.clone(),
                actions: outcome.map(lines).unwrap_or_default(),
                hold: policy.hold.clone(),
                blocked: left.plan.blocked.clone(),
                left: left.plan.actions.len(),
                settled: left.plan.is_settled().then_some(left.settled),
            }
        };
        let policies: Vec<PolicyResult> = view.policies.iter().zip(after).map(of_policy).collect();
        Self {
            format_version: output::VERSION,
            database: view.database.name.clone(),
            done: applied.iter().map(|applied| applied.outcome.done()).sum(),
            left: policies.iter().map(|policy| policy.left).sum(),
            policies,
        }
    }

    /// How the command ends: the worst that happened.
    pub fn exit(&self) -> Exit {
        let lines = || self.policies.iter().flat_map(|policy| &policy.actions);
        let refusals = || self.policies.iter().flat_map(|policy| &policy.blocked);
        if lines().any(|line| line.result == "Failed") {
            return Exit::Error;
        }
        if refusals().any(|blocked| blocked.reason == Reason::MissingPrivilege) {
            return Exit::Connection;
        }
        let is_held = self.policies.iter().any(|policy| policy.hold.is_some());
        let is_whole = lines().all(|line| line.result == "Done") && refusals().next().is_none() && !is_held;
        if is_whole { Exit::Ok } else { Exit::Blocked }
    }

    /// For people. Writing to a String cannot fail.
    pub fn table(&self, look: Look) -> String {
        let mut text = String::new();
        for policy in &self.policies {
            for line in &policy.actions {
                let (sign, tone) = if line.result == "Done" { ("done    ", Tone::Add) } else { (line.result, Tone::Bad) };
                let _ = writeln!(
                    text,
                    "{} {}",
                    look.paint(tone, &format!("{sign:<8}")),
                    line.message.as_ref().unwrap_or(&line.action)
                );
            }
            if let Some(hold) = &policy.hold {
                let _ = writeln!(
                    text,
                    "{} {}: {}   [{}]",
                    look.paint(Tone::Note, "held    "),
                    policy.object,
                    hold.message,
                    hold.reason
                );
            }
            for blocked in &policy.blocked {
                let _ = writeln!(text, "{} {}   [{}]", look.paint(Tone::Bad, "blocked "), blocked.message, blocked.reason);
            }
            if let Some(settled) = &policy.settled {
                let _ = writeln!(text, "{} {}: {settled}", look.paint(Tone::Faint, "settled "), policy.object);
            }
        }
        let _ = writeln!(text, "{} done, {} left.", self.done, self.left);
        text
    }
}

fn lines(outcome: &Outcome) -> Vec<Line> {
    let line = |(action, result): &(crate::plan::Action, ActionResult)| {
        let (reason, message) = problem(action, result);
        let (tries, message) = match result {
            ActionResult::Done { tries } => (Some(*tries), None),
            _ => (None, Some(message)),
        };
        Line { action: action.to_string(), result: result.name(), reason: reason.as_str(), tries, message }
    };
    outcome.results.iter().map(line).collect()
}
