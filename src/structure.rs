//! Do the arrows between the rooms point one way? Read from the `use` lines and paths of every file.

use std::path::{Path, PathBuf};

/// What each room must not name. The compiler keeps `api`, `plan` and `sql` from I/O; this keeps the rest.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "api",
        &[
            "crate::plan",
            "crate::sql",
            "crate::postgres",
            "crate::cluster",
            "crate::controller",
            "crate::cli",
            "crate::pass",
            "tokio",
        ],
    ),
    (
        "plan",
        &[
            "crate::sql",
            "crate::postgres",
            "crate::cluster",
            "crate::controller",
            "crate::cli",
            "crate::pass",
            "tokio",
            "tracing::",
            "std::env",
        ],
    ),
    (
        "sql",
        &[
            "crate::postgres",
            "crate::cluster",
            "crate::controller",
            "crate::cli",
            "crate::pass",
            "tokio",
            "tracing::",
            "std::env",
        ],
    ),
    ("postgres", &["crate::api", "crate::cluster", "crate::controller", "crate::cli", "crate::pass", "kube::", "k8s_openapi"]),
    ("cluster", &["crate::postgres", "crate::controller", "crate::cli", "crate::pass", "crate::target", "tokio_postgres"]),
    ("pass", &["crate::cluster", "crate::controller", "crate::cli", "crate::target"]),
    ("job", &["crate::cluster", "crate::controller", "crate::cli", "kube::", "k8s_openapi"]),
    (
        "storage",
        &[
            "crate::postgres",
            "crate::cluster",
            "crate::controller",
            "crate::cli",
            "crate::pass",
            "crate::job",
            "kube::",
            "tokio_postgres",
        ],
    ),
    ("stores.rs", &["crate::controller", "crate::cli", "crate::pass", "crate::job", "tokio_postgres"]),
    ("target.rs", &["crate::controller", "crate::cli", "crate::pass", "tokio_postgres"]),
    ("controller", &["crate::cli", "tokio_postgres", "SELECT ", "ALTER TABLE"]),
];

fn files(directory: &Path) -> Vec<PathBuf> {
    if directory.is_file() {
        return vec![directory.to_owned()];
    }
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}

#[test]
fn the_arrows_point_one_way() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (room, forbidden) in FORBIDDEN {
        for file in files(&source.join(room)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (line, word) in
                code.flat_map(|line| forbidden.iter().map(move |word| (line, word))).filter(|(line, word)| line.contains(**word))
            {
                wrong.push(format!("{} names {word}: {}", file.strip_prefix(&source).unwrap().display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
