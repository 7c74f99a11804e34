//! `pgreeve completion`: what a shell completes.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::exit::{Exit, Failure};
use super::{Cli, output};

/// Prints a shell's completion script, such as for `source <(pgreeve completion bash)`
#[derive(Args, Debug)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
    /// The program's name, where it is installed under another one
    #[arg(long, default_value = "pgreeve", value_parser = ["pgreeve", "kubectl-pgreeve"])]
    name: String,
}

impl Completion {
    /// Runs the command.
    pub fn run(&self) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), &self.name, &mut script);
        output::write(&String::from_utf8(script)?)?;
        Ok(Exit::Ok)
    }
}
