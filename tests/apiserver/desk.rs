//! What does a person have in front of them? A kubeconfig, and the program beside it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::program::{Ran, pgreeve, run};
use crate::support::apiserver::apiserver;
use crate::world::World;

/// The moment of the operator, and of every plan here.
pub const NOW: &str = "2026-11-21T08:00:00Z";

/// A person's files.
pub struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    /// With the administrator's kubeconfig, whose context is of this world's namespace.
    pub fn of(world: &World) -> Self {
        Self::in_namespace(&world.namespace)
    }

    /// The same, for a namespace.
    pub fn in_namespace(namespace: &str) -> Self {
        let desk = Self { directory: tempfile::tempdir().unwrap() };
        desk.change(|kubeconfig| kubeconfig["contexts"][0]["context"]["namespace"] = json!(namespace));
        desk
    }

    /// Changes the kubeconfig.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let path = self.directory.path().join("kubeconfig");
        let found = std::fs::read(&path).or_else(|_| std::fs::read(apiserver().kubeconfig())).unwrap();
        let mut kubeconfig = serde_json::from_slice(&found).unwrap();
        change(&mut kubeconfig);
        std::fs::write(path, kubeconfig.to_string()).unwrap();
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program, at the operator's moment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.present(arguments);
        command.args(["--as-of", NOW]);
        command
    }

    /// The program, now.
    pub fn present(&self, arguments: &[&str]) -> Command {
        let mut command = pgreeve(arguments);
        command.env("KUBECONFIG", self.directory.path().join("kubeconfig"));
        command
    }

    /// Runs it.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments))
    }

    /// Runs it with a URL of the world's database.
    pub fn run_with_url(&self, world: &World, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.env("PGREEVE_DATABASE_URL", world.database.url(&world.roles.operator));
        run(command)
    }
}

/// The views that a plan printed as JSON, one for each database.
pub fn views(ran: &Ran) -> Vec<Value> {
    serde_json::Deserializer::from_str(&ran.stdout).into_iter().map(Result::unwrap).collect()
}

/// The fingerprint of the only policy, and how many changes its plan has.
pub fn fingerprint(ran: &Ran) -> (String, u64) {
    let views = views(ran);
    let [view] = views.as_slice() else { panic!("one database: {}", ran.stdout) };
    assert_eq!(view["policies"].as_array().unwrap().len(), 1, "{}", ran.stdout);
    (view["policies"][0]["fingerprint"].as_str().unwrap().to_owned(), view["changes"].as_u64().unwrap())
}
