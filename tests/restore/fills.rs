//! Does a Job fill a database whole, whatever the role's own settings are, and does one that could not say why to whoever comes next?

use std::os::unix::fs::MetadataExt as _;

use pgreeve::api::Reason;
use pgreeve::api::restore::RowCounts;
use pgreeve::job;
use pgreeve::job::backup::inspect::{self, Inspected};
use pgreeve::job::backup::{BackedUp, into};
use pgreeve::plan::action::Blocked;
use pgreeve::plan::backup::{InspectBackup, RestoreDump, Stored};
use pgreeve::plan::restore::names::{Role, Witness, beside};
use pgreeve::sql::restore as sql;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::eventually;
use crate::support::pgproxy::PgProxy;
use crate::support::postgres::{Database, Roles};
use crate::world::{MAJOR, PATIENCE, back_up, given, shop};

const UID: &str = "5f0c1a2b-9d8e-4f00-8000-000000000000";

/// A backup, and Jobs that restore it beside its database, behind a proxy.
struct Stage {
    database: Database,
    roles: Roles,
    volume: TempDir,
    proxy: PgProxy,
    backup: BackedUp,
}

impl Stage {
    /// The shop, and what this says of `NAME`, `OWNER` and `OPERATOR`.
    async fn with(sql: &str) -> Self {
        let (database, roles) = shop(MAJOR).await;
        let sql = sql.replace("NAME", &database.name).replace("OWNER", &roles.owner).replace("OPERATOR", &roles.operator);
        database.superuser().await.batch_execute(&sql).await.unwrap();
        Self::around(database, roles).await
    }

    async fn around(database: Database, roles: Roles) -> Self {
        let volume = tempfile::tempdir().unwrap();
        let backup = back_up(&database, &roles, volume.path()).await;
        let proxy = PgProxy::start(database.server().socket_file()).await;
        Self { database, roles, volume, proxy, backup }
    }

    fn access(&self) -> job::Access {
        let mut access = given(&self.database, &self.roles, self.volume.path());
        let target = access.target.as_mut().unwrap();
        (target.host, target.port) = ("127.0.0.1".into(), self.proxy.port);
        access
    }

    fn stored(&self) -> Stored {
        let destination = serde_json::from_value(json!({"pvc": {"claimName": "backups"}})).unwrap();
        Stored { destination, directory: "shop/nightly-1".into(), identity: None }
    }

    async fn inspect(&self) -> Result<Inspected, Blocked> {
        let database = self.database.name.clone();
        let task = InspectBackup { backup: "nightly".into(), stored: self.stored(), database, job: Default::default() };
        inspect::run(&task, &self.access()).await
    }

    /// An empty database of this restore, and what fills it.
    async fn made(&self, assertions: Value) -> RestoreDump {
        let inspected = self.inspect().await.unwrap();
        let name = beside(&self.database.name, UID);
        let server = self.database.server().superuser("postgres").await;
        let version = i32::try_from(MAJOR).unwrap() * 10_000;
        let witness = Witness::new(UID, Role::Restored, None).text();
        for statement in [sql::create(&name, &inspected.like, version), sql::comment(&name, Some(&witness))] {
            server.batch_execute(&statement).await.unwrap();
        }
        let oid = server.query_one("select oid from pg_database where datname = $1", &[&name]).await.unwrap().get(0);
        RestoreDump {
            stored: self.stored(),
            manifest: inspected.manifest,
            database: name,
            oid,
            witness,
            rehearses: false,
            row_counts: RowCounts::Exact,
            assertions: serde_json::from_value(assertions).unwrap(),
            major: i32::try_from(MAJOR).unwrap(),
            scratch: None,
            job: Default::default(),
        }
    }

    /// What the comment of a database says.
    async fn witness(&self, task: &RestoreDump) -> Witness {
        let query = "select shobj_description($1, 'pg_database')";
        let row = self.database.server().superuser("postgres").await.query_one(query, &[&task.oid]).await.unwrap();
        Witness::read(row.get(0)).unwrap()
    }

    async fn text(&self, query: &str, name: &str) -> Vec<String> {
        let rows = self.database.server().superuser("postgres").await.query(query, &[&name]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let (name, server) = (beside(&self.database.name, UID), self.database.server());
        crate::support::postgres::blocking(async move {
            let drop = format!("drop database if exists {name} with (force)");
            server.superuser("postgres").await.batch_execute(&drop).await.unwrap();
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_before_there_is_a_table_is_made_anew_and_its_cause_is_told() {
    let stage = Stage::with(
        "create schema audit authorization OWNER; set role OWNER; create function audit.one() returns int language sql as 'select 1'",
    )
    .await;
    stage.proxy.refuse(|sql| sql.starts_with("CREATE FUNCTION").then_some("42501"));
    let task = stage.made(json!([])).await;
    let broken_off = into::run(&task, &stage.access()).await.unwrap_err();
    assert_eq!(broken_off.reason, Reason::ToolFailed, "{}", broken_off.message);
    let failure = stage.witness(&task).await.failure.expect("why it broke off stands in the comment");
    assert!(failure.message.contains("CREATE FUNCTION") && !failure.for_good, "{}", failure.message);
    let effects = stage.proxy.effects();
    let sent = |text: &str| effects.iter().position(|effect| effect.sql.contains(text));
    assert!(sent("\"begun\":true") < sent("CREATE SCHEMA") && sent("\"begun\":true").is_some(), "{effects:#?}");
    stage.proxy.refuse(|_| None);
    let again = into::run(&task, &stage.access()).await.unwrap_err();
    assert_eq!(again.reason, Reason::NotEmpty, "{}", again.message);
    assert!(again.message.contains("CREATE FUNCTION"), "{}", again.message);
}

/// The Job was killed, so that nobody says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_a_job_has_begun_to_fill_is_not_filled_by_another_though_nothing_is_in_it() {
    let stage = Stage::with("select 1").await;
    let task = stage.made(json!([])).await;
    let mut begun = serde_json::to_value(Witness::new(UID, Role::Restored, None)).unwrap();
    begun["begun"] = json!(true);
    let server = stage.database.server().superuser("postgres").await;
    server.batch_execute(&sql::comment(&task.database, Some(&begun.to_string()))).await.unwrap();
    let again = into::run(&task, &stage.access()).await.map(|proof| proof.rows).unwrap_err();
    assert_eq!(again.reason, Reason::NotEmpty, "{}", again.message);
}

/// Twenty index entries of 25 ms each, which pg_restore and ANALYZE work out.
const SLOW: &str = "create schema audit authorization OWNER; set role OWNER; create table audit.log (n int);
    insert into audit.log select generate_series(1, 20);
    create function audit.slow(int) returns int immutable language plpgsql as 'begin perform pg_sleep(0.025); return $1; end';
    create index on audit.log (audit.slow(n));
    reset role;
    create role NAME_app; alter role OPERATOR createrole;
    alter database NAME set search_path = audit, public;
    alter role NAME_app in database NAME set work_mem = '9MB';
    alter database NAME owner to OWNER; comment on database NAME is 'the shop'; alter database NAME connection limit 5;
    revoke connect on database NAME from public; grant create on database NAME to NAME_app with grant option;
    alter role OPERATOR set statement_timeout = '250ms'; alter role OPERATOR set idle_session_timeout = '250ms'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_whole_with_what_no_dump_carries_though_its_role_has_little_patience() {
    let stage = Stage::with(SLOW).await;
    // By the setting of the database, as everybody finds it.
    let assertions = json!([{"name": "log", "sql": "select count(*) from log", "equals": 20}]);
    let task = stage.made(assertions).await;
    let proof = into::run(&task, &stage.access()).await.unwrap();
    assert_eq!((proof.rows, proof.assertions, proof.omitted), (Some(5020), 1, Vec::<String>::new()));
    let witness = stage.witness(&task).await;
    assert_eq!((witness.comment.as_deref(), witness.failure), (Some("the shop"), None));
    let name = &stage.database.name;
    let settings = "select coalesce(r.rolname, '') || ' ' || array_to_string(setconfig, ', ') from pg_db_role_setting
        left join pg_roles r on r.oid = setrole where setdatabase = (select oid from pg_database where datname = $1) order by 1";
    let expected = [" search_path=audit, public, work_mem=7MB".to_owned(), format!("{name}_app work_mem=9MB")];
    assert_eq!(stage.text(settings, &task.database).await, expected);
    let like =
        "select format('%s %s %s', pg_get_userbyid(datdba), datconnlimit, array(select format('%s %s %s %s', grantee::regrole,
        grantor::regrole, privilege_type, is_grantable) from aclexplode(datacl) order by 1)) from pg_database where datname = $1";
    assert_eq!(stage.text(like, &task.database).await, stage.text(like, name).await);
}

impl Stage {
    async fn server(&self, sql: &str) {
        let sql = sql.replace("NAME", &self.database.name).replace("OPERATOR", &self.roles.operator);
        self.database.server().superuser("postgres").await.batch_execute(&sql).await.unwrap();
    }

    /// Drops the database that was restored into.
    async fn drop_restored(&self) {
        self.server(&format!("drop database {} with (force)", beside(&self.database.name, UID))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_gets_its_tablespace_again_where_the_role_may_and_else_it_is_told_as_labels_are() {
    let (database, roles) = shop(MAJOR).await;
    let (name, server) = (database.name.clone(), database.server());
    let directory = server.socket.join(format!("{name}_fast"));
    std::fs::create_dir(&directory).unwrap();
    let owner = std::fs::metadata(server.socket.join("data")).unwrap();
    std::os::unix::fs::chown(&directory, Some(owner.uid()), Some(owner.gid())).unwrap();
    let admin = server.superuser("postgres").await;
    admin.batch_execute(&format!("create tablespace {name}_fast location '{}'", directory.display())).await.unwrap();
    admin.batch_execute(&format!("grant create on tablespace {name}_fast to public")).await.unwrap();
    admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", &[&name]).await.unwrap();
    eventually("nobody is there", PATIENCE, async || {
        admin.batch_execute(&format!("alter database {name} set tablespace {name}_fast")).await.ok()
    })
    .await;
    // As a module of the server would have it, that is none here.
    let label = format!(
        "set allow_system_table_mods = on; insert into pg_shseclabel
         select oid, 'pg_database'::regclass, 'selinux', 'secret' from pg_database where datname = '{name}'"
    );
    admin.batch_execute(&label).await.unwrap();
    let stage = Stage::around(database, roles).await;
    let lies = "select spcname::text from pg_database d join pg_tablespace t on t.oid = dattablespace where datname = $1";
    let task = stage.made(json!([])).await;
    let proof = into::run(&task, &stage.access()).await.unwrap();
    assert_eq!(stage.text(lies, &task.database).await, [format!("{name}_fast")]);
    assert!(proof.omitted.len() == 1 && proof.omitted[0].contains("SECURITY LABEL FOR \"selinux\""), "{:?}", proof.omitted);
    stage.drop_restored().await;
    stage.server("revoke create on tablespace NAME_fast from public").await;
    let task = stage.made(json!([])).await;
    let proof = into::run(&task, &stage.access()).await.unwrap();
    assert_eq!(stage.text(lies, &task.database).await, ["pg_default"]);
    let says = format!("tablespace {name}_fast: the server has none of that name in which the role may create");
    assert!(proof.omitted[0].starts_with(&says), "{:?}", proof.omitted);
}

/// Its owner is forced too, and the role that made the backup saw all rows.
const SECURED: &str = "alter table users enable row level security, force row level security; alter role OPERATOR bypassrls";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_row_security_hides_from_the_role_are_no_lack_of_the_backup() {
    let stage = Stage::with(SECURED).await;
    stage.server("alter role OPERATOR nobypassrls").await;
    let task = stage.made(json!([])).await;
    let says = format!("row security hides rows of users from role {0}", stage.roles.operator);
    for rehearses in [true, false] {
        let task = if rehearses { RestoreDump { rehearses, ..task.clone() } } else { stage.made(json!([])).await };
        let refused = into::run(&task, &stage.access()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::MissingPrivilege, "{}", refused.message);
        assert!(refused.message.starts_with(&says) && refused.message.contains("BYPASSRLS"), "{}", refused.message);
        stage.drop_restored().await;
    }
    // Where nobody counts, an assertion is not answered with what the policies show.
    let asked = json!([{"name": "users", "sql": "select count(*) from users", "equals": 2000}]);
    let task = RestoreDump { row_counts: RowCounts::Skip, ..stage.made(asked.clone()).await };
    let refused = into::run(&task, &stage.access()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::MissingPrivilege, "{}", refused.message);
    assert!(refused.message.contains("assertion \"users\"") && refused.message.contains("BYPASSRLS"), "{}", refused.message);
    stage.drop_restored().await;
    stage.server("alter role OPERATOR bypassrls").await;
    let proof = into::run(&stage.made(asked).await, &stage.access()).await.unwrap();
    assert_eq!((proof.rows, proof.assertions), (Some(5000), 1));
}

/// What is in the way of a restore is said before anything is touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_the_server_cannot_take_is_told_with_what_lacks() {
    let stage = Stage::with("select 1").await;
    let file = stage.backup.url.replace("pvc://backups", &stage.volume.path().display().to_string());
    let sound: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let refusal = async |change: &dyn Fn(&mut Value)| {
        let mut manifest = sound.clone();
        change(&mut manifest);
        std::fs::write(&file, manifest.to_string()).unwrap();
        let refused = stage.inspect().await.map(|found| found.manifest).unwrap_err();
        (refused.reason, refused.message)
    };
    let (reason, message) = refusal(&|manifest| manifest["roles"].as_array_mut().unwrap().push(json!("nobody_here"))).await;
    assert_eq!((reason, message.contains("nobody_here")), (Reason::RoleMissing, true), "{message}");
    let (reason, message) =
        refusal(&|manifest| manifest["extensions"] = json!([{"name": "no_such_thing", "version": "1"}])).await;
    assert_eq!((reason, message.contains("no_such_thing")), (Reason::ExtensionMissing, true), "{message}");
    let (reason, message) = refusal(&|manifest| manifest["database"]["properties"]["owner"] = json!("postgres")).await;
    let grant = format!("GRANT postgres TO {}", stage.roles.operator);
    assert_eq!((reason, message.contains(&grant)), (Reason::MissingPrivilege, true), "{message}");
}
