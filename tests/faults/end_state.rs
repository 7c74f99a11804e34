//! What counts as the same end? The whole catalog of the user's schemas, and every object's spec and status, without times.

use serde_json::{Map, Value, json};
use tokio_postgres::Client;

/// Each query gives lines of text; `OURS` stands for the tables that are the user's. OIDs, sizes and statistics are left out: they
/// differ between two equal databases.
const CATALOG: [(&str, &str); 9] = [
    (
        "relations",
        "select format('%s %s %s owner %s tablespace %s options %s identity %s security %s %s bound %s parent %s acl %s',
            c.oid::regclass, c.relkind, c.relpersistence, c.relowner::regrole, c.reltablespace, c.reloptions, c.relreplident,
            c.relrowsecurity, c.relforcerowsecurity, pg_get_expr(c.relpartbound, c.oid),
            (select inhparent::regclass from pg_inherits i where i.inhrelid = c.oid),
            (select array_agg(acl::text order by acl::text) from unnest(c.relacl) acl))
         from pg_class c where OURS",
    ),
    (
        "columns",
        "select format('%s %s %s notnull %s statistics %s default %s', c.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod),
            a.attnotnull, coalesce(a.attstattarget::int, -1), pg_get_expr(d.adbin, d.adrelid))
         from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum where OURS",
    ),
    (
        "constraints",
        "select format('%s %s %s valid %s', c.oid::regclass, k.conname, pg_get_constraintdef(k.oid), k.convalidated)
         from pg_class c join pg_constraint k on k.conrelid = c.oid where OURS",
    ),
    (
        "indexes",
        "select format('%s valid %s parent %s', pg_get_indexdef(i.indexrelid), i.indisvalid,
            (select inhparent::regclass from pg_inherits h where h.inhrelid = i.indexrelid))
         from pg_class c join pg_index i on i.indrelid = c.oid where OURS",
    ),
    (
        "policies",
        "select format('%s %s %s %s using %s', c.oid::regclass, p.polname, p.polcmd, p.polroles::regrole[],
            pg_get_expr(p.polqual, p.polrelid))
         from pg_class c join pg_policy p on p.polrelid = c.oid where OURS",
    ),
    (
        "comments",
        "select format('%s: %s', c.oid::regclass, regexp_replace(obj_description(c.oid, 'pg_class'), '\"oid\" ?: ?[0-9]+', '\"oid\":OID'))
         from pg_class c where OURS",
    ),
    (
        "triggers",
        "select pg_get_triggerdef(t.oid) from pg_class c join pg_trigger t on t.tgrelid = c.oid where not t.tgisinternal and OURS",
    ),
    ("pending", "select i.inhrelid::regclass::text from pg_inherits i where i.inhdetachpending"),
    ("extensions", "select format('%s %s in %s', extname, extversion, extnamespace::regnamespace) from pg_extension"),
];

const OURS: &str = "c.relnamespace in (select oid from pg_namespace where nspname !~ '^(pg_|information_schema)')";

/// The end state of a database, by a session of its superuser, and these objects.
pub async fn of(client: &Client, database: &str, namespace: &str, objects: &[Value]) -> Value {
    let mut state = Map::new();
    for (name, query) in CATALOG {
        let query = query.replace("OURS", OURS);
        let sql = format!("select line from ({query}) q (line) order by 1");
        // What leaves while this looks makes a query fail: then the state is not the last one.
        let lines: Vec<String> = match client.query(&sql, &[]).await {
            Ok(rows) => rows.iter().map(|row| generic(row.get(0), database, namespace)).collect(),
            Err(error) => vec![format!("{error:?}")],
        };
        state.insert(name.into(), json!(lines));
    }
    state.insert("rows".into(), json!(rows(client).await));
    state.insert("objects".into(), objects.iter().map(|object| stripped(object, database, namespace)).collect());
    Value::Object(state)
}

/// A line without the names that every playing has of its own.
fn generic(line: &str, database: &str, namespace: &str) -> String {
    line.replace(&format!("{database}_"), "").replace(namespace, "NAMESPACE")
}

/// Where every row lies.
async fn rows(client: &Client) -> Vec<String> {
    let sql = format!("select c.oid::regclass::text from pg_class c where relkind = 'r' and {OURS} order by 1");
    let mut counts = Vec::new();
    for table in client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)) {
        // A table may leave while this looks: then the state is not the last one.
        match client.query_one(&format!("select count(*) from only {table}"), &[]).await {
            Ok(row) => counts.push(format!("{table} {}", row.get::<_, i64>(0))),
            Err(error) => counts.push(format!("{table} {error:?}")),
        }
    }
    counts
}

/// An object without what differs between two equal runs: identities, times, and the history of runs.
fn stripped(object: &Value, database: &str, namespace: &str) -> Value {
    let mut status = object["status"].clone();
    if let Some(status) = status.as_object_mut() {
        status.remove("lastRun");
        status.remove("systemIdentifier");
        for exported in status.get_mut("exports").and_then(Value::as_array_mut).into_iter().flatten() {
            exported
                .as_object_mut()
                .unwrap()
                .retain(|field, _| !["oid", "export", "url", "verifiedAt"].contains(&field.as_str()));
        }
        // A Pod tells of what it has done itself: where it was not the first one, the rest is not told.
        if let Some(rows) = status.get_mut("rows").and_then(Value::as_object_mut) {
            rows.retain(|field, _| field == "before");
        }
        for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
            condition.as_object_mut().unwrap().remove("lastTransitionTime");
        }
    }
    let text =
        json!({"name": object["metadata"]["name"], "kind": object["kind"], "spec": object["spec"], "status": status}).to_string();
    serde_json::from_str(&text.replace(&format!("{database}_"), "").replace(database, "DATABASE").replace(namespace, "NAMESPACE"))
        .unwrap()
}

/// Whether every object is Ready for its present generation, and carries every condition.
pub fn is_ready(state: &Value) -> bool {
    state["objects"].as_array().unwrap().iter().all(|object| {
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}

/// What differs, line by line; nothing where the two are equal.
pub fn difference(expected: &Value, found: &Value) -> String {
    let (mut left, mut right) = (lines(expected), lines(found));
    let common: Vec<String> = left.iter().filter(|line| right.contains(line)).cloned().collect();
    left.retain(|line| !common.contains(line));
    right.retain(|line| !common.contains(line));
    if left.is_empty() && right.is_empty() {
        return String::new();
    }
    format!("missing:\n  {}\nunexpected:\n  {}", left.join("\n  "), right.join("\n  "))
}

fn lines(state: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in state.as_object().unwrap() {
        lines.extend(value.as_array().unwrap().iter().map(|line| format!("{name}: {line}")));
    }
    lines
}
