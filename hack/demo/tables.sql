-- Which database does the demo start with? A chat service's: two tables by month, as teams keep them by hand.
--
-- Over two million rows in the last fourteen months. Nobody ran the cron job six months ago, so that month is missing; and nobody has
-- run it since, so the current month is the last one. The owner is an ordinary role.
\set ON_ERROR_STOP on
\pset pager off

SELECT 'CREATE ROLE chat_owner LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'chat_owner') \gexec
SELECT 'CREATE ROLE chat_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'chat_reader') \gexec
ALTER ROLE chat_owner PASSWORD :'password' CREATEDB; -- a restore makes a database beside the other
-- What an earlier run has kept for a rollback.
SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database WHERE datname LIKE 'chat\_\_%' \gexec
SELECT 'CREATE DATABASE chat OWNER chat_owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'chat') \gexec
\connect chat
SET client_min_messages = warning;
ALTER SCHEMA public OWNER TO chat_owner;
SET ROLE chat_owner;

-- One transaction: rows of a table that was made in it need no WAL.
BEGIN;
-- First what was detached when an earlier run was broken off: it uses the table's sequence.
SELECT format('DROP TABLE %I', relname) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT relispartition AND relname ~ '^chat_history_[0-9]{4}_[0-9]{2}$' \gexec
DROP TABLE IF EXISTS chat_history, cost_tracking;

CREATE TABLE chat_history (
    id bigserial,
    user_id integer NOT NULL,
    role varchar(20) NOT NULL,
    content text NOT NULL,
    created_at timestamp NOT NULL DEFAULT now()
) PARTITION BY RANGE (created_at);

CREATE TABLE cost_tracking (
    id bigserial,
    user_id integer NOT NULL,
    model varchar(50) NOT NULL,
    input_tokens integer NOT NULL,
    output_tokens integer NOT NULL,
    cost_usd numeric(10, 6) NOT NULL,
    created_at timestamp NOT NULL DEFAULT now()
) PARTITION BY RANGE (created_at);

GRANT SELECT ON chat_history, cost_tracking TO chat_reader;

-- The months there are: all but the one that was forgotten.
CREATE TEMPORARY TABLE months ON COMMIT DROP AS
SELECT date_trunc('month', now()::timestamp) - age * interval '1 month' AS start, age
FROM generate_series(0, 14) AS age
WHERE age <> 6;

SELECT format('CREATE TABLE %1$s_%2$s PARTITION OF %1$s FOR VALUES FROM (%3$L) TO (%4$L)',
              name, to_char(start, 'YYYY_MM'), start, start + interval '1 month')
FROM months, (VALUES ('chat_history'), ('cost_tracking')) AS tables (name)
ORDER BY start \gexec
SELECT format('GRANT SELECT ON %s_%s TO chat_reader', name, to_char(start, 'YYYY_MM'))
FROM months, (VALUES ('chat_history'), ('cost_tracking')) AS tables (name) \gexec

-- Spread evenly over each month as far as it has passed.
INSERT INTO chat_history (user_id, role, content, created_at)
SELECT n % 10000, (ARRAY['user', 'assistant'])[1 + n % 2], 'message ' || n || repeat(' lorem ipsum', 5),
       start + (least(start + interval '1 month', now()::timestamp) - start) * (n / 100001.0)
FROM months, generate_series(1, 100000) AS n;

INSERT INTO cost_tracking (user_id, model, input_tokens, output_tokens, cost_usd, created_at)
SELECT n % 10000, (ARRAY['small', 'large'])[1 + n % 2], n % 4000, n % 900, (n % 4900) / 100000.0,
       start + (least(start + interval '1 month', now()::timestamp) - start) * (n / 60001.0)
FROM months, generate_series(1, 60000) AS n;

CREATE INDEX idx_chat_history_user_created ON chat_history (user_id, created_at DESC);
CREATE INDEX idx_chat_history_created ON chat_history (created_at DESC);
CREATE INDEX idx_cost_tracking_user_created ON cost_tracking (user_id, created_at DESC);
CREATE INDEX idx_cost_tracking_created ON cost_tracking (created_at DESC);
COMMIT;
ANALYZE chat_history, cost_tracking;
