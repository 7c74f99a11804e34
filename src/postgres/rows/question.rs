//! The questions themselves. Every name is qualified; the reading transaction's `search_path` is `pg_catalog` alone.

pub(super) const OIDS: &str = "
SELECT c.oid
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS w(schema, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name";

/// A partition's copy of its parent's foreign key is not one more.
pub(super) const INCOMING: &str = "
SELECT k.confrelid, k.conrelid, k.conname::pg_catalog.text,
    ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u(num, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.place),
    ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u(num, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.place),
    k.confdeltype::pg_catalog.text,
    NOT EXISTS (SELECT 1 FROM pg_catalog.unnest(k.conpfeqop) AS e(op) JOIN pg_catalog.pg_operator o ON o.oid = e.op
                WHERE o.oprnamespace <> 'pg_catalog'::pg_catalog.regnamespace)
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.unnest(k.conkey) AS u(num)
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num
                    JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation AND NOT l.collisdeterministic)
FROM pg_catalog.pg_constraint k
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY ($1::pg_catalog.oid[])
ORDER BY k.confrelid, k.conrelid, k.conname";

pub(super) const TABLES: &str = "
SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text,
    EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid OR (i.inhparent = c.oid AND c.relkind = 'r')),
    EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1'),
    o.rolname::pg_catalog.text, pg_catalog.pg_has_role(c.relowner, $2),
    c.relrowsecurity AND c.relforcerowsecurity AND NOT (o.rolbypassrls OR o.rolsuper),
    pg_catalog.has_table_privilege(w.relowner, c.oid, 'SELECT'), pg_catalog.has_table_privilege(w.relowner, c.oid, 'INSERT'),
    pg_catalog.has_table_privilege(w.relowner, c.oid, 'DELETE'), pg_catalog.has_schema_privilege(w.relowner, c.relnamespace, 'USAGE'),
    (c.relreplident = 'n' OR (c.relreplident = 'd' AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid AND x.indisprimary)))
    AND EXISTS (SELECT 1 FROM pg_catalog.pg_publication p WHERE p.pubdelete
                AND (p.puballtables OR EXISTS (SELECT 1 FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid))),
    pg_catalog.pg_total_relation_size(c.oid), c.reltuples::pg_catalog.int8
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
LEFT JOIN pg_catalog.pg_class w ON w.relname = $4 AND w.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $3)
WHERE c.oid = ANY ($1::pg_catalog.oid[])";

/// A type that is not PostgreSQL's own and is no enum, nor a domain over one of its own, has operators that are not looked for.
pub(super) const COLUMNS: &str = "
SELECT a.attrelid, a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.format_type(a.atttypid, NULL),
    coalesce(b.typnamespace, t.typnamespace) <> 'pg_catalog'::pg_catalog.regnamespace AND coalesce(b.typtype, t.typtype) <> 'e',
    CASE WHEN a.attcollation <> t.typcollation THEN pg_catalog.quote_ident(m.nspname) || '.' || pg_catalog.quote_ident(l.collname) END,
    CASE WHEN l.collname = 'default' THEN (SELECT datcollate::pg_catalog.text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
         ELSE l.collname::pg_catalog.text END,
    a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> ''
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_catalog.pg_namespace m ON m.oid = l.collnamespace
WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

pub(super) const KEYS: &str = "
SELECT x.indrelid,
    ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.generate_series(0, x.indnkeyatts - 1) AS s(i)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[s.i] ORDER BY s.i)
FROM pg_catalog.pg_index x
WHERE x.indrelid = ANY ($1::pg_catalog.oid[]) AND x.indisunique AND x.indisvalid AND x.indimmediate AND x.indpred IS NULL AND x.indexprs IS NULL
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.generate_series(0, x.indnkeyatts - 1) AS s(i)
                  JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[s.i] WHERE NOT a.attnotnull)
ORDER BY x.indrelid, NOT x.indisprimary, x.indnkeyatts, x.indexrelid";

pub(super) const INDEXES: &str = "
SELECT x.indrelid, i.relname::pg_catalog.text,
    ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.generate_series(0, x.indnkeyatts - 1) AS s(i)
          LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[s.i] AND a.attnum > 0 ORDER BY s.i),
    m.amname = 'btree' AND x.indisvalid AND x.indpred IS NULL AND c.opcdefault
        AND coalesce(x.indcollation[0] = k.attcollation, false),
    x.indisunique, x.indisvalid, pg_catalog.pg_get_indexdef(x.indexrelid)
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = i.relam
JOIN pg_catalog.pg_opclass c ON c.oid = x.indclass[0]
LEFT JOIN pg_catalog.pg_attribute k ON k.attrelid = x.indrelid AND k.attnum = x.indkey[0] AND k.attnum > 0
WHERE x.indrelid = ANY ($1::pg_catalog.oid[])
ORDER BY x.indrelid, i.relname";

/// `tgtype`: 8 DELETE, 4 INSERT (`pg_trigger.h`).
pub(super) const TRIGGERS: &str = "
SELECT tgrelid, tgname::pg_catalog.text, tgtype & 8 <> 0, tgtype & 4 <> 0 FROM pg_catalog.pg_trigger
WHERE tgrelid = ANY ($1::pg_catalog.oid[]) AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY tgrelid, tgname";

pub(super) const SCHEMAS: &str = "
SELECT DISTINCT n.nspname::pg_catalog.text,
    pg_catalog.has_schema_privilege(w.relowner, n.oid, 'CREATE') AND pg_catalog.has_schema_privilege(w.relowner, n.oid, 'USAGE')
FROM pg_catalog.pg_namespace n
LEFT JOIN pg_catalog.pg_class w ON w.relname = $3 AND w.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $2)
WHERE n.nspname = ANY ($1::pg_catalog.text[])";

/// Functions of these names that are not PostgreSQL's own, or may change something, or do not exist. An unqualified name is looked up where
/// the condition would find it.
pub(super) const FUNCTIONS: &str = "
SELECT w.name FROM pg_catalog.unnest($1::pg_catalog.text[]) AS w(name)
WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
                  AND p.proname = CASE WHEN pg_catalog.starts_with(w.name, 'pg_catalog.') THEN pg_catalog.substr(w.name, 12) ELSE w.name END)
   OR EXISTS (SELECT 1 FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.provolatile = 'v'
              AND p.proname = CASE WHEN pg_catalog.starts_with(w.name, 'pg_catalog.') THEN pg_catalog.substr(w.name, 12) ELSE w.name END)";
