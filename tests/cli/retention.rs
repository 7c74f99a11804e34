//! Does data leave from the command line as from a cluster: as planned, with its proof, and not what is held?

use crate::program::{Ran, pgreeve, run};
use crate::shop::{Shop, stable};

/// Costs by month from January to November 2026, a hundred rows each.
async fn shop(major: u32) -> Shop {
    let shop = Shop::open(major).await;
    let months: Vec<String> = (1..=11)
        .map(|month| {
            format!(
                "create table costs_m{month:02} partition of costs for values from ('2026-{month:02}-01 00:00+00') to ('2026-{:02}-01 00:00+00');
                 insert into costs select n, '2026-{month:02}-03 00:00+00' from generate_series(1, 100) n",
                month + 1
            )
        })
        .collect();
    let create = "create table costs (id bigint not null, created_at timestamptz not null) partition by range (created_at)";
    shop.execute(&format!("set role {}; {create}; {}; analyze costs", shop.roles.owner, months.join(";\n"))).await;
    std::fs::remove_file(shop.path().join("events.yaml")).unwrap();
    shop
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: pgreeve.dev/v1alpha1\nkind: RetentionPolicy\nmetadata: {{namespace: shop, name: costs}}\nspec:\n  databaseRef: {{name: orders-db}}\n  table: {{name: costs}}\n{spec}"
    )
}

fn hold(range: &str) -> String {
    format!(
        "apiVersion: pgreeve.dev/v1alpha1\nkind: RetentionHold\nmetadata: {{namespace: shop, name: audit}}\nspec:\n  databaseRef: {{name: orders-db}}\n  table: {{name: costs}}\n  range: {range}\n  reason: an audit\n  until: \"2027-03-01\"\n"
    )
}

const EXPORT: &str =
    "  keep: {age: 6 months}\n  partitions: {grace: 0s}\n  export: {destination: {pvc: {claimName: exports, path: costs}}}\n";

async fn names(shop: &Shop) -> Vec<String> {
    let query = "select relname::text from pg_class where relname ~ '^costs_m' and relkind = 'r' order by 1";
    shop.database.superuser().await.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn count(shop: &Shop, table: &str) -> i64 {
    shop.database.superuser().await.query_one(&format!("select count(*) from {table}"), &[]).await.unwrap().get(0)
}

fn apply_to(shop: &Shop, volume: &std::path::Path, arguments: &[&str]) -> Ran {
    let mut command = shop.command(&["apply"]);
    command.args(arguments).arg("--volume").arg(volume);
    run(command)
}

/// Sizes on disk differ between versions by some blocks.
fn without_sizes(text: &str) -> String {
    let size = regex::Regex::new(r#"(\d+|\d\.\d) KiB|("bytes": )\d+"#).unwrap();
    size.replace_all(text, "${2}SIZE").into_owned()
}

#[rstest::rstest]
#[case("table")]
#[case("wide")]
#[case("sql")]
#[case("markdown")]
#[tokio::test]
async fn a_plan_says_what_goes_where_to_and_what_stays(#[case] form: &str) {
    let shop = shop(16).await;
    shop.write(
        "costs.yaml",
        &policy("  keep: {age: 6 months}\n  partitions: {}\n  export: {destination: {s3: {bucket: archive, prefix: shop}}}\n"),
    );
    shop.write("hold.yaml", &hold("{from: \"2026-02-10\", to: \"2026-03-01\"}"));
    let ran = shop.run(&["plan", "-o", form]).expect_code(0);
    insta::assert_snapshot!(format!("retention_{form}"), without_sizes(&stable(&ran.stdout, &shop)));
}

#[tokio::test]
async fn a_partition_is_detached_waits_for_its_grace_and_only_then_is_dropped() {
    for major in [14, 18] {
        let shop = shop(major).await;
        shop.write("costs.yaml", &policy("  keep: {age: 6 months}\n  partitions: {grace: 10 days}\n"));
        shop.write("hold.yaml", &hold("{from: \"2026-02-10\", to: \"2026-03-01\"}"));
        let ran = shop.run(&["apply", "--yes"]).expect_code(0);
        assert!(ran.stdout.contains("3 done, 0 left.") && ran.stdout.contains("3 detached and waiting"), "{}", ran.stdout);
        assert_eq!((names(&shop).await.len(), count(&shop, "costs").await), (11, 800), "what is held is still attached");
        let ran = shop.run(&["plan", "--exit-code"]).expect_code(0);
        assert!(
            ran.stdout.contains("= keep     costs_m02 on hold until 2027-03-01 (RetentionHold shop/audit)"),
            "{}",
            ran.stdout
        );
        assert!(ran.stdout.contains("= keep     public.costs_m01 detached, dropped after "), "{}", ran.stdout);
        let mut later = pgreeve(&["apply", "--yes", "--as-of", "2200-01-01", "--database-url-env", "URL", "-f"]);
        later.arg(shop.path()).env("URL", shop.database.url(&shop.roles.operator));
        // By then the rest has expired too, but for the newest; what is detached now has its grace before it.
        let ran = run(later).expect_code(0);
        assert!(ran.stdout.contains("drop costs_m01") && !ran.stdout.contains("drop costs_m05"), "{}", ran.stdout);
        assert!(names(&shop).await.contains(&"costs_m05".to_owned()));
    }
}

#[tokio::test]
async fn with_export_a_partition_goes_in_one_command_and_lies_in_the_store() {
    let shop = shop(17).await;
    shop.write("costs.yaml", &policy(EXPORT));
    let volume = tempfile::tempdir().unwrap();
    let ran = apply_to(&shop, volume.path(), &["--yes"]).expect_code(0);
    assert!(ran.stdout.ends_with("12 done, 0 left.\n"), "{}", ran.stdout);
    assert_eq!((names(&shop).await.len(), count(&shop, "costs").await), (7, 700));
    let manifests: Vec<&str> =
        ran.stderr.lines().filter(|line| line.contains("exported 100 rows: pvc://exports/costs/")).collect();
    assert_eq!(manifests.len(), 4, "{}", ran.stderr);
    let key = manifests[0].split_once("pvc://exports/").unwrap().1;
    let owner = &shop.roles.owner;
    shop.execute(&format!("set role {owner}; create table back (id bigint not null, created_at timestamptz not null)")).await;
    let mut restore = pgreeve(&["restore", "export", &volume.path().join(key).display().to_string(), "--table", "back"]);
    restore.env("PGREEVE_DATABASE_URL", shop.database.url(owner));
    shop.execute(&format!("alter role {owner} login")).await;
    run(restore).expect_code(0);
    assert_eq!(count(&shop, "back").await, 100);
    apply_to(&shop, volume.path(), &["--yes"]).expect_code(0);
}

/// The actions of the only policy, as verb and subject.
fn verbs_and_subjects(ran: &Ran) -> Vec<String> {
    let view: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let actions = view["policies"][0]["actions"].as_array().unwrap().clone();
    let short = |action: &serde_json::Value| match action.as_str() {
        Some(text) => text.split_whitespace().take(2).collect::<Vec<_>>().join(" "),
        None => format!("{} {}", action["verb"].as_str().unwrap(), action["subject"].as_str().unwrap()),
    };
    actions.iter().map(short).collect()
}

fn archive(shop: &Shop, volume: &std::path::Path, arguments: &[&str]) -> Ran {
    let mut command = shop.command(&["archive"]);
    command.args(arguments).arg("--volume").arg(volume);
    run(command)
}

#[tokio::test]
async fn archive_shows_and_carries_out_the_plan_of_partitions_too() {
    let shop = shop(16).await;
    shop.write("costs.yaml", &policy(EXPORT));
    shop.write("hold.yaml", &hold("{from: \"2026-02-10\", to: \"2026-03-01\"}"));
    let volume = tempfile::tempdir().unwrap();
    let ran = archive(&shop, volume.path(), &["--dry-run"]).expect_code(0);
    insta::assert_snapshot!("archive_of_partitions", without_sizes(&stable(&ran.stdout, &shop)));
    let planned = verbs_and_subjects(&shop.run(&["plan", "-o", "json"]).expect_code(0));
    let shown = verbs_and_subjects(&archive(&shop, volume.path(), &["--dry-run", "-o", "json"]).expect_code(0));
    assert!(planned.len() == 6 && planned == shown, "{planned:?} {shown:?}");
    assert_eq!(names(&shop).await.len(), 11, "a dry run changes nothing");
    let ran = archive(&shop, volume.path(), &["--table", "public.costs"]).expect_code(0);
    for done in ["= done: export costs_m01", "= done: detach costs_m04", "= done: drop costs_m04", "= keep costs_m02 on hold"] {
        assert!(ran.stdout.contains(done), "{done}: {}", ran.stdout);
    }
    assert_eq!((names(&shop).await.len(), count(&shop, "costs").await), (8, 800));
    let ran = archive(&shop, volume.path(), &[]).expect_code(0);
    assert!(ran.stdout.contains("no partition has expired"), "{}", ran.stdout);
    archive(&shop, volume.path(), &["--dry-run", "--table", "nope"]).expect_code(64);
    let ran = archive(&shop, volume.path(), &["create-tables"]).expect_code(64);
    assert!(ran.stderr.contains("no RetentionPolicy with rows"), "{}", ran.stderr);
}

#[tokio::test]
async fn archive_keeps_partitions_under_the_guards_of_the_operator() {
    let shop = shop(15).await;
    let days = |arguments: &[&str]| shop.run(&[&["archive", "--retention-days", "30"], arguments].concat());
    shop.write("costs.yaml", &policy("  keep: {age: 6 months}\n  partitions: {}\n"));
    // Nine of eleven months would go at once.
    let ran = days(&["--dry-run"]).expect_code(0);
    assert!(ran.stdout.contains("9 partitions have expired") && ran.stdout.contains("= hold "), "{}", ran.stdout);
    let ran = days(&[]).expect_code(3);
    for words in ["(81 %) expire by the first run", "guards.approveAbovePercent", ", or for --yes here"] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    for (more, words) in [
        ("  mode: Observe\n", "mode is Observe, so nothing is changed"),
        ("  suspend: true\n", "spec.suspend is true, so nothing is changed"),
        ("  guards: {backup: {scheduleRef: {name: nightly}, within: 24h}}\n", "can only be looked for in a cluster"),
        ("  window: [{schedule: \"0 1 * * *\", duration: 1h}]\n", "the next window opens"),
    ] {
        shop.write("costs.yaml", &policy(&format!("  keep: {{age: 6 months}}\n  partitions: {{}}\n{more}")));
        let ran = days(&["--yes"]).expect_code(3);
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    assert_eq!((names(&shop).await.len(), count(&shop, "costs").await), (11, 1100));
    let limited = "  keep: {age: 6 months}\n  partitions: {}\n  approval: Manual\n  guards: {maxPartitionsPerRun: 2}\n";
    shop.write("costs.yaml", &policy(limited));
    days(&[]).expect_code(3);
    let ran = days(&["--yes"]).expect_code(0);
    assert!(ran.stdout.contains("= done: detach costs_m02") && !ran.stdout.contains("costs_m03"), "{}", ran.stdout);
    assert_eq!(count(&shop, "costs").await, 900, "one --yes is for one run");
}

#[tokio::test]
async fn one_fingerprint_approves_the_whole_way_out_of_what_was_planned() {
    let shop = shop(15).await;
    shop.write("costs.yaml", &policy(&format!("{EXPORT}  approval: Manual\n  guards: {{maxPartitionsPerRun: 1}}\n")));
    let volume = tempfile::tempdir().unwrap();
    apply_to(&shop, volume.path(), &["--yes"]).expect_code(3);
    assert_eq!(names(&shop).await.len(), 11);
    let fingerprint = shop.fingerprints().remove(0);
    let ran = apply_to(&shop, volume.path(), &[&fingerprint]).expect_code(0);
    assert!(ran.stdout.contains("done     drop costs_m01"), "{}", ran.stdout);
    assert_eq!(names(&shop).await.len(), 10, "the next one has not been approved");
}

#[tokio::test]
async fn without_a_way_into_the_store_nothing_goes_and_the_way_is_named() {
    let shop = shop(16).await;
    shop.write("costs.yaml", &policy(EXPORT));
    let ran = shop.run(&["apply", "--yes"]).expect_code(3);
    assert!(ran.stdout.contains("--volume"), "{}", ran.stdout);
    let s3 =
        EXPORT.replace("pvc: {claimName: exports, path: costs}", "s3: {bucket: archive, credentialsSecretRef: {name: archive}}");
    shop.write("costs.yaml", &policy(&s3));
    let mut command = shop.command(&["apply", "--yes"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let ran = run(command).expect_code(3);
    assert!(ran.stdout.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{}", ran.stdout);
    assert_eq!(count(&shop, "costs").await, 1100);
}

#[tokio::test]
async fn a_backup_that_is_asked_for_can_only_be_found_in_a_cluster() {
    let shop = shop(16).await;
    let guard = "  guards: {backup: {scheduleRef: {name: nightly}, within: 24h}}\n";
    shop.write("costs.yaml", &policy(&format!("  keep: {{age: 6 months}}\n  partitions: {{}}\n{guard}")));
    let ran = shop.run(&["apply", "--yes"]).expect_code(3);
    assert!(
        ran.stdout.contains("can only be looked for in a cluster") && ran.stdout.contains("[BackupMissing]"),
        "{}",
        ran.stdout
    );
    assert_eq!(count(&shop, "costs").await, 1100);
}

#[tokio::test]
async fn rows_of_a_plain_table_are_archived_here_too() {
    let shop = Shop::open(16).await;
    std::fs::remove_file(shop.path().join("events.yaml")).unwrap();
    shop.execute(&format!(
        "set role {}; create table costs (id bigint primary key, created_at timestamptz not null); create index on costs (created_at);
         insert into costs select n, '2026-11-14 00:00+00'::timestamptz - n * interval '1 day' from generate_series(1, 300) n; analyze costs",
        shop.roles.owner
    ))
    .await;
    shop.write("costs.yaml", &policy("  keep: {age: 100 days}\n  rows: {column: created_at}\n"));
    let ran = shop.run(&["plan"]).expect_code(0);
    assert!(ran.stdout.contains("- archive"), "{}", ran.stdout);
    let ran = shop.run(&["apply", "--yes"]).expect_code(0);
    assert!(ran.stdout.contains(", 0 left."), "{}", ran.stdout);
    assert_eq!((count(&shop, "costs").await, count(&shop, "costs_archive").await), (99, 201));
}

#[tokio::test]
async fn check_says_what_waits_and_what_is_held() {
    let shop = shop(16).await;
    shop.write("costs.yaml", &policy("  keep: {age: 6 months}\n  partitions: {}\n"));
    shop.write("hold.yaml", &hold("{from: \"2026-02-10\", to: \"2026-03-01\"}"));
    let ran = shop.run(&["check"]).expect_code(0);
    for line in
        ["have expired and are still there", "3 to detach", "costs_m02 on hold until 2027-03-01", "3 partitions have expired"]
    {
        assert!(ran.stdout.contains(line), "{line}: {}", ran.stdout);
    }
    shop.run(&["apply", "--yes"]).expect_code(0);
    let ran = shop.run(&["check"]).expect_code(0);
    assert!(ran.stdout.contains("kept: public.costs_m01 detached, dropped after"), "{}", ran.stdout);
}

/// Every example of data that leaves does what it says, on the table that it is for; the bucket is a real server's.
#[tokio::test]
async fn every_example_lets_go_what_has_expired_and_is_not_held() {
    let shop = Shop::open(17).await;
    std::fs::remove_file(shop.path().join("events.yaml")).unwrap();
    let partition = |table: &str, year: i32, month: u32| {
        let (to, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        format!(
            "create table {table}_{year}_{month:02} partition of {table} for values from ('{year}-{month:02}-01') to ('{to}-{next:02}-01');"
        )
    };
    let costs: String = (1..=12).map(|month| partition("cost_tracking", 2026, month)).collect();
    let chats: String =
        [(2025, 9), (2025, 10), (2026, 10), (2026, 11)].map(|(year, month)| partition("chat_history", year, month)).concat();
    shop.execute(&format!(
        "set role {};
         create table cost_tracking (id bigint, created_at timestamp not null) partition by range (created_at); {costs}
         create table chat_history (id bigint, created_at timestamp not null) partition by range (created_at); {chats}
         insert into chat_history values (1, '2025-09-01'), (2, '2025-10-31')",
        shop.roles.owner
    ))
    .await;
    let store = crate::support::versitygw::s3();
    std::fs::create_dir(store.home.join("archive")).unwrap();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap().replace("https://minio.storage:9000", &store.endpoint);
        if text.contains("kind: Retention") {
            shop.write(path.file_name().unwrap().to_str().unwrap(), &text);
        }
    }
    let apply = || {
        let mut command = shop.command(&["apply", "--yes", "-o", "json"]);
        command.env("AWS_ACCESS_KEY_ID", crate::support::versitygw::ACCESS_KEY);
        command.env("AWS_SECRET_ACCESS_KEY", crate::support::versitygw::SECRET_KEY);
        run(command).expect_code(0)
    };
    let ran = apply();
    let results: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    // April of the costs: the quarter before it is on hold. Two months of chats, each exported before.
    assert_eq!((&results["done"], &results["left"]), (&5.into(), &0.into()), "{}", ran.stdout);
    assert!(!ran.stderr.contains(crate::support::versitygw::SECRET_KEY));
    let manifests =
        store.files("archive").iter().filter(|key| key.starts_with("chat/") && key.ends_with("manifest.json")).count();
    assert_eq!(manifests, 2, "{:?}", store.files("archive"));
    let again: serde_json::Value = serde_json::from_str(&apply().stdout).unwrap();
    assert_eq!((&again["done"], &again["left"]), (&0.into(), &0.into()));
}
