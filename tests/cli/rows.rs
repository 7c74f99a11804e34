//! Do `archive` and `stats` show what is there, and carry out what policies of rows say?

use std::path::PathBuf;

use crate::program::{Ran, pgreeve, run};
use crate::support::postgres::{Database, Roles};

/// Two tables as in a diary: stories of a year and feedback that messages refer to.
struct Diary {
    database: Database,
    roles: Roles,
    directory: tempfile::TempDir,
}

impl Diary {
    async fn open() -> Self {
        let database = Database::create(15).await;
        let roles = database.roles().await;
        let sql = format!(
            "set role {};
             create table story_sessions (id bigint primary key, body text, created_at timestamptz not null); create index on story_sessions (created_at);
             insert into story_sessions select n, 'x', timestamptz '2025-01-01 00:00+00' + n * interval '1 day' from generate_series(0, 599) n;
             create table feedback_logs (id bigint primary key, created_at timestamptz not null); create index on feedback_logs (created_at);
             insert into feedback_logs select n, timestamptz '2026-08-01 00:00+00' + n * interval '1 day' from generate_series(0, 99) n;
             create table replies (id bigint primary key, feedback bigint references feedback_logs on delete cascade); create index on replies (feedback);
             insert into replies select n, n from generate_series(0, 9) n;
             analyze",
            roles.owner
        );
        database.superuser().await.batch_execute(&sql).await.unwrap();
        let diary = Self { database, roles, directory: tempfile::tempdir().unwrap() };
        diary.write("story_sessions", "365 days", "");
        diary.write("feedback_logs", "90 days", ", dependents: [{table: replies}]");
        diary
    }

    fn write(&self, table: &str, age: &str, more: &str) -> PathBuf {
        let name = table.replace('_', "-");
        let path = self.directory.path().join(format!("{name}.yaml"));
        let text = format!(
            "apiVersion: pgreeve.dev/v1alpha1\nkind: RetentionPolicy\nmetadata: {{namespace: diary, name: {name}}}\nspec:\n  databaseRef: {{name: diary-db}}\n  table: {{name: {table}}}\n  keep: {{age: {age}}}\n  rows: {{column: created_at, batch: {{pause: 0s}}{more}}}\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = pgreeve(arguments);
        command.args(["-f", &self.directory.path().display().to_string(), "--database-url-env", "URL", "--as-of", "2026-11-21"]);
        command.env("URL", self.database.url(&self.roles.operator));
        run(command)
    }

    /// What differs between runs and machines.
    fn stable(&self, text: &str) -> String {
        let rate = regex::Regex::new(r"\d+ rows/s").unwrap();
        let size = regex::Regex::new(r" +\d+(\.\d)? [KM]iB").unwrap();
        let text = text.replace(&self.database.name, "db");
        let fingerprint = regex::Regex::new(r"\b[0-9a-f]{16}\b").unwrap();
        let text = rate.replace_all(&text, "N rows/s").into_owned();
        size.replace_all(&fingerprint.replace_all(&text, "FINGERPRINT"), " SIZE").into_owned()
    }

    async fn count(&self, table: &str) -> i64 {
        self.database.superuser().await.query_one(&format!("select count(*) from {table}"), &[]).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn a_dry_run_shows_what_would_go_and_changes_nothing() {
    let diary = Diary::open().await;
    let ran = diary.run(&["archive", "--dry-run"]).expect_code(0);
    insta::assert_snapshot!(diary.stable(&ran.stdout));
    assert_eq!((diary.count("story_sessions").await, diary.count("feedback_logs").await), (600, 100));
    let ran = diary.run(&["archive", "--dry-run", "--table", "story_sessions", "--retention-days", "30"]).expect_code(0);
    assert!(ran.stdout.contains("600 rows have expired") && !ran.stdout.contains("feedback"), "{}", ran.stdout);
    diary.run(&["archive", "--dry-run", "--table", "nope"]).expect_code(64);
}

#[tokio::test]
async fn archive_creates_the_tables_moves_the_rows_and_has_nothing_left() {
    let diary = Diary::open().await;
    let ran = diary.run(&["archive", "create-tables"]).expect_code(0);
    assert!(ran.stdout.contains("create story_sessions_archive"), "{}", ran.stdout);
    assert_eq!((diary.count("story_sessions_archive").await, diary.count("replies_archive").await), (0, 0));
    // More than half of the stories would go at once.
    let ran = diary.run(&["archive", "--table", "story_sessions"]).expect_code(3);
    for words in ["(54 %) expire by the first run, more than the 50 % of guards.approveAbovePercent", ", or for --yes here"] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    let ran = diary.run(&["archive", "--yes"]).expect_code(0);
    insta::assert_snapshot!(diary.stable(&ran.stdout));
    assert_eq!((diary.count("story_sessions").await, diary.count("story_sessions_archive").await), (276, 324));
    assert_eq!((diary.count("feedback_logs_archive").await, diary.count("replies_archive").await), (22, 10));
    let ran = diary.run(&["archive", "-o", "json"]).expect_code(0);
    let view: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&view["formatVersion"], &view["policies"][0]["expired"]), (&"1".into(), &0.into()));
    assert_eq!(view["policies"][0]["actions"], serde_json::json!([]));
}

#[tokio::test]
async fn stats_shows_tables_archives_and_what_has_expired() {
    let diary = Diary::open().await;
    diary.run(&["archive", "--yes", "--table", "feedback_logs"]).expect_code(0);
    let bytes = regex::Regex::new(r"(?i)(bytes): [1-9]\d*").unwrap();
    for form in ["table", "markdown", "yaml"] {
        let ran = diary.run(&["stats", "-o", form]).expect_code(0);
        insta::assert_snapshot!(format!("stats_{form}"), bytes.replace_all(&diary.stable(&ran.stdout), "$1: N"));
    }
}

#[tokio::test]
async fn what_is_held_observed_or_refused_does_not_go() {
    let diary = Diary::open().await;
    let hold = "apiVersion: pgreeve.dev/v1alpha1\nkind: RetentionHold\nmetadata: {namespace: diary, name: audit}\nspec: {databaseRef: {name: diary-db}, table: {name: story_sessions}, range: {to: '2025-02-01'}, reason: audit}\n";
    std::fs::write(diary.directory.path().join("hold.yaml"), hold).unwrap();
    let ran = diary.run(&["archive", "--yes", "--table", "story_sessions"]).expect_code(0);
    assert!(
        ran.stdout.contains(
            "= keep public.story_sessions: rows from the beginning to 2025-02-01 are held by RetentionHold diary/audit"
        ),
        "{}",
        ran.stdout
    );
    assert_eq!(diary.count("story_sessions").await, 276 + 31);
    let path = diary.write("feedback_logs", "90 days", "");
    let observe = std::fs::read_to_string(&path).unwrap().replace("  keep:", "  mode: Observe\n  keep:");
    std::fs::write(&path, observe).unwrap();
    let ran = diary.run(&["archive", "--yes", "--table", "feedback_logs"]).expect_code(3);
    assert!(ran.stdout.contains("mode is Observe, so nothing is changed"), "{}", ran.stdout);
    diary.database.superuser().await.batch_execute("drop index replies_feedback_idx").await.unwrap();
    let ran = diary.run(&["archive", "--dry-run", "--table", "public.feedback_logs"]).expect_code(3);
    assert!(ran.stdout.contains("blocked: public.replies refers to public.feedback_logs"), "{}", ran.stdout);
}
