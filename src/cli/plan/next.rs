//! What is there to do after a plan? It goes to the person, and not into the data.

use super::view::{PolicyView, View};
use crate::api::{APPROVE_ANNOTATION, Reason};

/// After the plan of files: what to type to carry it out. `typed` are the options that lead to the same plan.
pub fn of_files(view: &View, typed: &str) -> Option<String> {
    let fingerprints: Vec<&str> = pending(view).map(|policy| view.short(&policy.fingerprint)).collect();
    let next = (!fingerprints.is_empty()).then(|| format!("Next: pgreeve apply {}{typed}", fingerprints.join(" ")));
    match (next, explain(view)) {
        (Some(next), Some(explain)) => Some(format!("{next}      {explain}")),
        (next, explain) => next.or(explain),
    }
}

/// After the plan of a cluster, where the operator does all but approve. `typed` are the options that lead kubectl there.
pub fn live(view: &View, typed: &str) -> Option<String> {
    let waits = |policy: &&PolicyView| policy.hold.as_ref().is_some_and(|hold| hold.reason == Reason::ApprovalPending.as_str());
    let approve = |policy: &PolicyView| {
        format!(
            "Next: kubectl annotate{typed} -n {} {} {} {APPROVE_ANNOTATION}={} --overwrite",
            policy.object.namespace,
            policy.object.kind.to_lowercase(),
            policy.object.name,
            policy.fingerprint
        )
    };
    let mut lines: Vec<String> = pending(view).filter(waits).map(approve).collect();
    let goes = view.database.unwritable.is_none() && pending(view).any(|policy| policy.hold.is_none());
    if goes {
        let what = if lines.is_empty() { "it" } else { "the rest" };
        lines.push(format!("The operator carries {what} out: nothing to do here."));
    }
    lines.extend(explain(view));
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn pending(view: &View) -> impl Iterator<Item = &PolicyView> {
    view.policies.iter().filter(|policy| policy.is_pending())
}

fn explain(view: &View) -> Option<String> {
    let blocked = view.policies.iter().flat_map(|policy| &policy.blocked).map(|blocked| blocked.reason.as_str());
    let notes = view.policies.iter().flat_map(|policy| &policy.notes).map(|note| note.id.as_str());
    blocked.chain(notes).next().map(|id| format!("Explain: pgreeve explain {id}"))
}
