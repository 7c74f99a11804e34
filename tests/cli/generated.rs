//! Are the files that come from the code as the code is? `PGREEVE_UPDATE=1 cargo test --test cli generated` writes them anew.

use std::path::{Path, PathBuf};

use crate::program::{pgreeve, run};

fn top(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The directory holds exactly these files.
fn hold(directory: &str, files: &[(String, String)]) {
    if std::env::var_os("PGREEVE_UPDATE").is_some() {
        std::fs::create_dir_all(top(directory)).unwrap();
        for (name, text) in files {
            std::fs::write(top(directory).join(name), text).unwrap();
        }
    }
    for (name, text) in files {
        let found = std::fs::read_to_string(top(directory).join(name)).unwrap_or_default();
        assert!(found == *text, "{directory}/{name} is not as the code is: run PGREEVE_UPDATE=1 cargo test --test cli generated");
    }
    let known: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    for entry in std::fs::read_dir(top(directory)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name.as_str()), "{directory}/{name} comes from nothing: remove it");
    }
}

#[test]
fn the_crds_are_as_the_code_is_here_and_in_the_chart() {
    let files = pgreeve::cli::crd_files().unwrap();
    hold("crds", &files);
    hold("charts/pgreeve/files/crds", &files);
}

#[test]
fn the_reference_is_as_the_code_is() {
    hold("docs/reference", &pgreeve::cli::reference_files());
}

#[test]
fn the_command_prints_the_same_crds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    let ran = run(pgreeve(&["crds", "--output-dir", &path])).expect_code(0);
    assert_eq!(ran.stdout, "");
    let printed = run(pgreeve(&["crds"])).expect_code(0).stdout;
    let written: String = pgreeve::cli::crd_files()
        .unwrap()
        .iter()
        .map(|(name, text)| {
            assert_eq!(std::fs::read_to_string(directory.path().join(name)).unwrap(), *text);
            format!("---\n{text}")
        })
        .collect();
    assert_eq!(printed, written);
}
