-- Which are the oldest partitions?
\pset footer off
SELECT format('chat_history: the oldest of its %s partitions', count(*)) AS title FROM pg_inherits WHERE inhparent = 'chat_history'::regclass \gset
\pset title :title
SELECT p.relname AS partition,
       substring(pg_get_expr(p.relpartbound, p.oid) FROM 'FROM \(''([^ '']+)') AS "from",
       substring(pg_get_expr(p.relpartbound, p.oid) FROM 'TO \(''([^ '']+)') AS "to",
       greatest(p.reltuples, 0)::bigint AS rows,
       pg_size_pretty(pg_total_relation_size(p.oid)) AS size
FROM pg_inherits i
JOIN pg_class p ON p.oid = i.inhrelid
WHERE i.inhparent = 'chat_history'::regclass
ORDER BY 2
LIMIT 4;
