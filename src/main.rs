//! The program: parse, set up, dispatch.

use std::process::ExitCode;

use pgreeve::cli::exit::Exit;
use pgreeve::{cli, telemetry};

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    // One TLS provider for everything in the process; this is the first and only time that one is chosen.
    let installed =
        rustls::crypto::ring::default_provider().install_default().map_err(|_| "a TLS provider was chosen before".to_owned());
    let (filter, format) = cli.logging();
    if let Err(message) = installed.and_then(|()| telemetry::init(filter, format)) {
        eprintln!("error: {message}");
        return Exit::Usage.into();
    }
    cli.run().into()
}
