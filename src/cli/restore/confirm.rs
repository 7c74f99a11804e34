//! Does a person want what the plan says? It is shown, and the database's name is the word.

use super::super::exit::{Exit, Failure};
use super::super::terminal::can_ask;
use super::super::{Globals, output};
use crate::api::restore::RestoreStatus;

/// Shows the plan on stdout.
pub fn show(namespace: &str, name: &str, planned: &RestoreStatus) -> Result<(), Failure> {
    let mut text = format!("Restore   {namespace}/{name}\n");
    for (title, value) in [("Backup", &planned.backup), ("Database", &planned.database)] {
        if let Some(value) = value {
            text.push_str(&format!("{title:<10}{value}\n"));
        }
    }
    if let Some(plan) = &planned.plan {
        text.push_str(&format!("Plan      {}\n", plan.summary));
        for (number, action) in plan.actions.iter().enumerate() {
            text.push_str(&format!("  {}. {action}\n", number + 1));
        }
        if plan.more > 0 {
            text.push_str(&format!("  and {} more\n", plan.more));
        }
    }
    output::write(&text)?;
    Ok(())
}

/// Asks for the name of the database, unless it was typed ahead.
///
/// # Errors
/// If it is another name, or nobody can be asked.
pub fn ask(database: &str, typed: Option<&str>, globals: &Globals) -> Result<(), Failure> {
    let answer = match typed {
        Some(typed) => typed.to_owned(),
        None if can_ask() => globals.answer(&format!("Type the name of the database to have this done ({database}): "))?,
        None => {
            let message = format!("nobody can be asked here: type the name ahead with --yes-restore {database}");
            return Err(Failure::new(Exit::Usage, message));
        }
    };
    match answer.trim() == database {
        true => Ok(()),
        false => Err(Failure::new(Exit::Blocked, format!("the database is {database}, and not {:?}", answer.trim()))),
    }
}
