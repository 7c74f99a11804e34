-- Which partitions are there, from the forgotten month's neighbours on?
\pset footer off
SELECT format('chat_history: the newest of its %s partitions', count(*)) AS title FROM pg_inherits WHERE inhparent = 'chat_history'::regclass \gset
\pset title :title
SELECT p.relname AS partition,
       substring(pg_get_expr(p.relpartbound, p.oid) FROM 'FROM \(''([^ '']+)') AS "from",
       substring(pg_get_expr(p.relpartbound, p.oid) FROM 'TO \(''([^ '']+)') AS "to",
       greatest(p.reltuples, 0)::bigint AS rows,
       pg_get_userbyid(p.relowner) AS owner
FROM pg_inherits i
JOIN pg_class p ON p.oid = i.inhrelid
WHERE i.inhparent = 'chat_history'::regclass
  AND substring(pg_get_expr(p.relpartbound, p.oid) FROM 'FROM \(''([^ '']+)')::date >= date_trunc('month', now()) - interval '7 months'
ORDER BY 2;
