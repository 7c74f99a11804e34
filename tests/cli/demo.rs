//! Does the demo tell its story, and leave nothing behind?

use crate::program::{pgreeve, run};

#[test]
fn the_demo_plans_applies_and_repairs_and_leaves_nothing() {
    let temporary = tempfile::tempdir_in("/tmp").unwrap();
    // The demo's server is not root's, so it must be able to enter.
    std::os::unix::fs::chown(temporary.path(), None, None).unwrap();
    std::fs::set_permissions(temporary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = pgreeve(&["demo"]);
    command.env("TMPDIR", temporary.path());
    let ran = run(command).expect_code(0);
    let story: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("== ") || line.starts_with("No changes")).collect();
    assert_eq!(story.len(), 6, "{}", ran.stdout);
    assert!(ran.stdout.contains(": 4 to create") && ran.stdout.contains(": 7 to create"), "{}", ran.stdout);
    assert!(ran.stdout.contains("Plan") && ran.stdout.contains(": 1 to create"), "{}", ran.stdout);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
