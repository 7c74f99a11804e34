//! Do the small commands do what they say?

use crate::program::{pgreeve, run};

#[test]
fn explain_knows_every_finding_and_every_reason_and_says_what_is_near() {
    let list = run(pgreeve(&["explain"])).expect_code(0).stdout;
    let ids = list.lines().filter(|line| line.starts_with("  ")).map(|line| line.split_whitespace().next().unwrap());
    let ids: Vec<&str> = ids.collect();
    assert!(ids.len() > 30 && ids.contains(&"PGR-204") && ids.contains(&"DefaultRows"), "{list}");
    for id in ["PGR-204", "pgr-204", "defaultrows"] {
        let said = run(pgreeve(&["explain", id])).expect_code(0).stdout;
        assert!(said.contains("What to do: "), "{said}");
    }
    let ran = run(pgreeve(&["explain", "DefaultRow"])).expect_code(64);
    assert!(ran.stderr.contains("did you mean DefaultRows?"), "{}", ran.stderr);
}

#[test]
fn completion_is_for_the_program_and_for_the_plugin() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(pgreeve(&["completion", shell])).expect_code(0).stdout;
        assert!(script.contains("validate"), "{shell}: {script}");
    }
    let script = run(pgreeve(&["completion", "bash", "--name", "kubectl-pgreeve"])).expect_code(0).stdout;
    assert!(script.contains("complete -F") && script.contains("kubectl-pgreeve"), "{script}");
}

#[test]
fn as_a_plugin_it_calls_itself_as_kubectl_does() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("kubectl-pgreeve");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pgreeve"), &plugin).unwrap();
    let output = std::process::Command::new(plugin).args(["explain", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("Usage: kubectl pgreeve explain"), "{help}");
}

#[test]
fn colour_is_for_those_who_ask_for_it() {
    let colored = run(pgreeve(&["explain", "PGR-204", "--color", "always"])).expect_code(0).stdout;
    assert!(colored.contains("\u{1b}["), "{colored}");
    let mut refused = pgreeve(&["explain", "PGR-204"]);
    refused.env("NO_COLOR", "1");
    assert!(!run(refused).expect_code(0).stdout.contains('\u{1b}'));
}

#[test]
fn the_operator_without_a_cluster_says_so() {
    let mut command = pgreeve(&["operator", "--listen", "127.0.0.1:0"]);
    command.env("KUBECONFIG", "/nonexistent").env_remove("KUBERNETES_SERVICE_HOST").env("HOME", "/nonexistent");
    let ran = run(command).expect_code(1);
    assert!(ran.stderr.contains("the operator cannot run"), "{}", ran.stderr);
    run(pgreeve(&["operator", "--resync", "10"])).expect_code(64);
}
