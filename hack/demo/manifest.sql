-- What does a manifest say? Shortened: of its columns names and types alone, and not the query.
\pset format unaligned
\pset tuples_only on
SELECT jsonb_pretty(jsonb_set(:'manifest'::jsonb - 'query', '{columns}',
       (SELECT jsonb_agg(c ->> 'name' || ' ' || (c ->> 'type')) FROM jsonb_array_elements(:'manifest'::jsonb -> 'columns') AS c)));
