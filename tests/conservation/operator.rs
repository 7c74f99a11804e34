//! How does the operator run here? As the program that users start, which can be killed as a kernel or a kubelet kills it.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use crate::support::apiserver::apiserver;
use crate::world::World;

/// A running `pgreeve operator`; it dies with this value.
pub struct Operator(Child);

impl Operator {
    /// Starts it for this world's namespace alone.
    pub fn start(world: &World) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
        command.args(["operator", "--namespaces", &world.namespace, "--listen", "127.0.0.1:0", "--resync", "1s"]);
        command.args(["--image", "pgreeve:test", "--jobs-per-database", "2"]);
        let log = File::options().create(true).append(true).open(Self::log(world)).unwrap();
        command.env("KUBECONFIG", apiserver().kubeconfig()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }

    /// What all operators of this world have logged.
    pub fn log(world: &World) -> std::path::PathBuf {
        world.entry().join("operator.log")
    }

    /// Whether it is still there; an operator does not end by itself.
    pub fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // One that was killed before is gone.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
