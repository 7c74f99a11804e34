//! `pgreeve explain`: what a finding or a reason means, and what to do about it.

use clap::Args;

use super::exit::{Exit, Failure};
use super::terminal::Tone;
use super::{Globals, output};
use crate::api::Reason;
use crate::api::reason::Class;
use crate::plan::finding::{self, Finding};

/// Explains a finding (PGR-204) or a reason (DefaultRows); lists all of them without an argument
#[derive(Args, Debug)]
pub struct Explain {
    /// Identifier of a finding or name of a reason, in any case
    #[arg(value_name = "ID")]
    id: Option<String>,
}

impl Explain {
    /// Runs the command.
    pub fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let Some(id) = &self.id else {
            output::write(&list())?;
            return Ok(Exit::Ok);
        };
        let strong = |text: &str| globals.stdout().paint(Tone::Strong, text);
        if let Some(Finding { id, title, meaning, remedy }) = finding::find(id) {
            output::write(&format!("{}  {title}\n\n{meaning}\n\nWhat to do: {remedy}\n", strong(id)))?;
            return Ok(Exit::Ok);
        }
        let Some(reason) = Reason::ALL.iter().find(|reason| reason.as_str().eq_ignore_ascii_case(id)) else {
            return Err(unknown(id));
        };
        let class = class(reason.class());
        output::write(&format!(
            "{}  {class}\n\n{}\n\nWhat to do: {}\n",
            strong(reason.as_str()),
            reason.meaning(),
            reason.remedy()
        ))?;
        Ok(Exit::Ok)
    }
}

fn unknown(id: &str) -> Failure {
    let known = finding::ALL.iter().map(|finding| finding.id).chain(Reason::ALL.iter().map(|reason| reason.as_str()));
    let near = super::validate::nearest(id, known).map(|near| format!("did you mean {near}? ")).unwrap_or_default();
    Failure::new(Exit::Usage, format!("{id} is no finding and no reason: {near}pgreeve explain lists all of them"))
}

/// How a pass goes on after a reason, in a few words.
pub fn class(class: Class) -> &'static str {
    match class {
        Class::Fine => "nothing is wrong",
        Class::Waiting => "passes by itself",
        Class::Stalled => "a person must act",
    }
}

fn list() -> String {
    let mut text = String::from("Findings, in plans and statuses:\n");
    for finding in finding::ALL {
        text.push_str(&format!("  {:<22} {}\n", finding.id, finding.title));
    }
    text.push_str("\nReasons, of conditions, events and metrics:\n");
    for reason in Reason::ALL {
        text.push_str(&format!("  {:<22} {}\n", reason.as_str(), reason.meaning()));
    }
    text
}
